/** SqliteHandler: answers the operations of tier 2. Reads at once, in the order of the ring; writes after their COMMIT.
 *  Owns:   the reply buffer, the counter of versions, hits and misses; its parts own the rest.
 *  Thread: the sqlite worker.
 *  Holds:  (1) a GET is never answered with an error: what cannot be read is a MISS.  (2) an expired row is a MISS from its
 *          first millisecond, whoever removes it later.  (3) no value is decoded. */

import { copyBytes } from '../../engine/bytes.ts'
import { monotonicMs, wallMs } from '../../engine/clock.ts'
import { HearthError, toHearthError } from '../../engine/errors.ts'
import { KEYS_COUNT_MAX, PART_BYTES } from '../../engine/limits.ts'
import { BodyReader, writeTime, writeUint } from '../../engine/protocol/body.ts'
import { encodeValue } from '../../engine/protocol/payload.ts'
import { OPS, REPLIES } from '../../engine/protocol/spec.ts'
import type { Handler, Replies, RequestFrame } from '../handler.ts'
import { Doubts } from './doubts.ts'
import { Glob } from './glob.ts'
import { Group, OUTCOME_OK } from './group.ts'
import { scanKeys } from './keys.ts'
import { putLarge, readLarge } from './large.ts'
import { Room } from './room.ts'
import { PAGE_BYTES } from './statements.ts'
import { REOPEN_MS, SqliteStore, type StoreHealth, type StoreOptions } from './store.ts'
import { Upkeep } from './upkeep.ts'

export interface SqliteHandler extends Handler {
  health(): StoreHealth
}

/** Opens the file, or a new one in place of one that cannot be used; never throws for what it finds on the disk. */
export function createSqliteHandler(options: StoreOptions): SqliteHandler {
  return new Tier(options)
}

const EMPTY = Buffer.alloc(0)
/** Room in the reply buffer for what stands before a value: key, time. A longer key makes it grow. */
const HEAD_BYTES = 2_048

class Tier implements SqliteHandler {
  readonly ops = [OPS.GET, OPS.PUT, OPS.DEL, OPS.KEYS, OPS.READ_PART].map(op => op.code)

  private readonly store: SqliteStore
  private readonly room: Room
  private readonly doubts = new Doubts()
  private readonly group: Group
  private readonly upkeep: Upkeep
  private readonly reader = new BodyReader()
  private out = Buffer.allocUnsafeSlow(HEAD_BYTES + PART_BYTES)
  private version = 0
  private hasParts = false
  private epoch = -1
  private entries = 0
  /** Of the row inserted last; what is counted in `entries` are inserts less deletes, whoever else removes rows counts too. */
  private lastId: number | bigint = 0
  private hits = 0
  private misses = 0

  constructor(options: StoreOptions) {
    this.store = new SqliteStore(options)
    this.room = new Room(this.store)
    this.upkeep = new Upkeep(this.store, this.room)
    this.group = new Group(this.store, this.room, this.doubts, this.upkeep)
    this.isReady()
  }

  handle(frame: RequestFrame, replies: Replies): void {
    try {
      this.reader.reset(frame.bytes, frame.start, frame.end)
      if (frame.op === OPS.GET.code) this.get(frame, replies)
      else if (frame.op === OPS.PUT.code) this.put(frame, replies)
      else if (frame.op === OPS.DEL.code) this.del(frame, replies)
      else if (frame.op === OPS.READ_PART.code) this.readPart(frame, replies)
      else if (frame.op === OPS.KEYS.code) this.keys(frame, replies)
      else throw new HearthError('BAD_REQUEST', `operation ${frame.op} is not one of tier 2`)
    } catch (error) {
      // Only what is wrong with the frame comes here: each operation answers for the disk itself.
      replies.fail(frame.ticket, toHearthError(error))
    }
  }

  flush(replies: Replies): void {
    this.group.flush(replies)
  }

  idle(): number {
    if (!this.isReady()) return REOPEN_MS
    if (this.store.degraded || this.doubts.any) this.probe()
    const nextMs = this.upkeep.idle()
    if (this.upkeep.entries !== undefined) {
      this.entries = this.upkeep.entries + this.removals()
      this.upkeep.entries = undefined
    }
    return this.store.degraded ? Math.min(nextMs, REOPEN_MS) : nextMs
  }

  health(): StoreHealth {
    return this.store.health()
  }

  /** `entries` counts expired rows until they are removed, and is put right by each walk of upkeep. */
  stats(): Record<string, unknown> {
    const { store, group, room, upkeep } = this
    const figures = { bytes: 0, freeBytes: 0, walBytes: 0 }
    try {
      if (store.statements !== undefined) Object.assign(figures, sizes(room, upkeep))
    } catch (error) {
      store.failed('read', error)
    }
    return {
      entries: store.statements === undefined ? 0 : Math.max(0, this.entries - this.removals()),
      ...figures,
      maxBytes: store.maxBytes,
      hits: this.hits,
      misses: this.misses,
      writes: group.writes,
      commits: group.commits,
      groupSize: group.commits === 0 ? 0 : group.writes / group.commits,
      evictions: room.evictions,
      expirations: upkeep.expirations,
      setAsideAs: store.setAsideAs,
      ...store.health(),
    }
  }

  close(): void {
    try {
      this.upkeep.truncate()
    } catch (error) {
      this.store.failed('checkpoint', error)
    }
    this.store.close()
  }

  private get(frame: RequestFrame, replies: Replies): void {
    const key = this.reader.text()
    const keyEnd = this.reader.at
    this.reader.done()
    const row = this.lookup(key, replies)
    if (row === undefined || row[0] <= wallMs()) {
      this.misses++
      replies.reply(REPLIES.MISS.code, frame.ticket, EMPTY)
      return
    }
    this.hits++
    const value = row[1]
    if (value === null) return this.foundLarge(frame, key, keyEnd, replies)
    const headBytes = keyEnd - frame.start + 9
    if (headBytes + value.length > this.out.length) {
      this.out = Buffer.allocUnsafeSlow(headBytes + value.length + HEAD_BYTES)
    }
    copyBytes(frame.bytes, frame.start, keyEnd, this.out, 0)
    const at = writeTime(this.out, headBytes - 9, row[0])
    copyBytes(value, 0, value.length, this.out, at)
    replies.reply(REPLIES.FOUND.code, frame.ticket, this.out, 0, at + value.length)
  }

  private lookup(key: string, replies: Replies): [number, Buffer | null] | undefined {
    if (!this.isReady() || this.doubts.holds(key)) return undefined
    try {
      this.group.beforeRead()
      return this.store.statements!.get.get(key)
    } catch (error) {
      this.group.readFailed(error, replies)
      return undefined
    }
  }

  private foundLarge(frame: RequestFrame, key: string, keyEnd: number, replies: Replies): void {
    const [, version, bytes] = this.store.statements!.getLarge.get(key)!
    const keyBytes = keyEnd - frame.start
    copyBytes(frame.bytes, frame.start, keyEnd, this.out, 0)
    let at = writeUint(this.out, keyBytes, version)
    at = writeUint(this.out, at, bytes!)
    replies.reply(REPLIES.FOUND_LARGE.code, frame.ticket, this.out, 0, at)
  }

  private readPart(frame: RequestFrame, replies: Replies): void {
    const key = this.reader.text()
    const version = this.reader.uint()
    const offset = this.reader.uint()
    const limit = this.reader.uint()
    this.reader.done()
    let bytes = -1
    if (this.isReady() && !this.doubts.holds(key)) {
      try {
        this.group.beforeRead()
        bytes = readLarge(this.store.statements!, key, version, offset, limit, this.out)
      } catch (error) {
        this.group.readFailed(error, replies)
      }
    }
    if (bytes < 0) replies.reply(REPLIES.ABSENT.code, frame.ticket, EMPTY)
    else replies.reply(REPLIES.BYTES.code, frame.ticket, this.out, 0, bytes)
  }

  private put(frame: RequestFrame, replies: Replies): void {
    const key = this.reader.text()
    const expiresAtMs = this.reader.time()
    const start = this.reader.raw()
    const bytes = frame.end - start
    if (bytes > this.room.valueBytesMax) {
      const bound = this.store.maxBytes
      throw new HearthError(
        'VALUE_TOO_LARGE',
        `a value of ${bytes} bytes does not fit into tier 2 of ${bound}: raise sqlite.max_bytes`,
      )
    }
    if (!this.group.beforeWrite(bytes, replies))
      return this.group.refuse(frame.ticket, key, replies)
    this.group.add(frame.ticket, OUTCOME_OK, key)
    try {
      this.isReady()
      this.write(key, expiresAtMs, frame.bytes, start, frame.end)
    } catch (error) {
      this.group.fail(error, replies)
    }
  }

  private write(
    key: string,
    expiresAtMs: number,
    source: Buffer,
    start: number,
    end: number,
  ): void {
    const statements = this.store.statements!
    const bytes = end - start
    this.room.reserve(key.length, bytes)
    if (this.hasParts) statements.dropParts.run(key)
    const version = this.version++
    const id =
      bytes > PART_BYTES
        ? putLarge(statements, key, expiresAtMs, version, source, start, end)
        : statements.put.run(key, expiresAtMs, version, null, source.subarray(start, end))
            .lastInsertRowid
    if (bytes > PART_BYTES) this.hasParts = true
    // SQLite's last rowid moves with an insert only, so an update shows by its standing still.
    if (id !== this.lastId) this.entries++
    this.lastId = id
    this.upkeep.wrote(expiresAtMs)
  }

  private del(frame: RequestFrame, replies: Replies): void {
    const key = this.reader.text()
    this.reader.done()
    if (!this.group.beforeWrite(0, replies)) return this.group.refuse(frame.ticket, key, replies)
    try {
      const row = this.store.statements!.del.get(key)
      if (row !== undefined) this.entries--
      this.group.add(frame.ticket, row !== undefined && row[0] > wallMs() ? 1 : 0, key)
    } catch (error) {
      this.group.add(frame.ticket, 0, key)
      this.group.fail(error, replies)
    }
  }

  private keys(frame: RequestFrame, replies: Replies): void {
    const glob = new Glob(this.reader.text())
    const after = this.reader.text()
    const limit = Math.min(this.reader.uint(), KEYS_COUNT_MAX)
    this.reader.done()
    const found: string[] = []
    if (this.isReady()) {
      try {
        this.group.beforeRead()
        scanKeys(this.store.statements!, this.doubts, glob, after, limit, found)
      } catch (error) {
        this.group.readFailed(error, replies)
      }
    }
    replies.reply(REPLIES.RESULT.code, frame.ticket, encodeValue(found))
  }

  /** Whether there is a connection; learns anew what depends on its file when it is another one. */
  private isReady(): boolean {
    if (!this.store.available()) return false
    if (this.epoch === this.store.epoch) return true
    try {
      this.learn()
      this.epoch = this.store.epoch
      return true
    } catch (error) {
      this.store.failed('read', error)
      return false
    }
  }

  private learn(): void {
    const { lastVersion, hasParts, idSpan } = this.store.statements!
    // Microseconds, so that versions differ between runs as well; past the newest row if the clock went back.
    this.version = Math.max(Math.floor(wallMs() * 1_000), (lastVersion.get()?.[0] ?? 0) + 1)
    this.hasParts = hasParts.get()![0] === 1
    const [lowest, highest] = idSpan.get()!
    this.entries = this.removals() + (lowest === null ? 0 : highest! - lowest + 1)
    this.lastId = 0
    this.room.reset()
  }

  private removals(): number {
    return this.room.evictions + this.upkeep.expirations
  }

  /** Writes something small, to see whether the disk takes writes again; and deletes what is doubted. */
  private probe(): void {
    const nowMs = monotonicMs()
    if (this.group.beforeWrite(0, NOBODY)) {
      try {
        this.store.statements!.probe.run(nowMs)
        this.store.succeeded('read')
      } catch (error) {
        this.group.fail(error, NOBODY)
      }
    }
    this.group.flush(NOBODY)
  }
}

/** A probe has no one to answer. */
const NOBODY: Replies = { reply() {}, fail() {} }

function sizes(room: Room, upkeep: Upkeep) {
  return {
    bytes: room.pageCount() * PAGE_BYTES,
    freeBytes: room.freePages() * PAGE_BYTES,
    walBytes: upkeep.walBytes(),
  }
}
