/** Entries: the rows of tier 2, written and removed with all that hangs on them: pieces, tags, room, versions.
 *  Owns:   the count of rows, the reservation of versions.   Not here: transactions (group.ts), answers (ops.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) a row never goes without its pieces and its tags.  (2) an entry without tags, grace and compression is written
 *          by one statement and read by one, as if there were no such things.
 *          (3) the file always says that versions are reserved beyond any that it holds, so after a kill none comes twice. */

import { wallMs } from '../../engine/clock.ts'
import { PART_BYTES } from '../../engine/limits.ts'
import { checksum } from './checksum.ts'
import { Compression } from './compression.ts'
import { putLarge } from './large.ts'
import { freshUntilMs, type Meta, metaText, readMeta } from './meta.ts'
import type { Room } from './room.ts'
import type { Statements } from './statements.ts'
import type { SqliteStore } from './store.ts'
import type { TagTable } from './tags.ts'

/** Versions reserved ahead: what 300 000 writes a second use up in four hours. */
const VERSIONS_RESERVED = 2 ** 32
const VERSION_COUNTER = 'version'
/** Bytes of a row of `tagged`. */
const TAG_BYTES = 32

export class Entries {
  count = 0
  readonly compression: Compression
  /** Told of each row's end. */
  onWrote: (goneAtMs: number) => void = () => undefined
  private readonly store: SqliteStore
  private readonly room: Room
  private readonly tags: TagTable
  private hasParts = false
  private reservedTo = 0
  /** Of the row inserted last: SQLite's last rowid moves with an insert only, so an update shows by its standing still. */
  private lastId: number | bigint = 0

  constructor(store: SqliteStore, room: Room, tags: TagTable, compressFromBytes: number) {
    this.store = store
    this.room = room
    this.tags = tags
    this.compression = new Compression(compressFromBytes)
    room.beforeEviction = rows => this.unlinkOldest(rows)
  }

  /** Learns a file that was opened. */
  open(statements: Statements): void {
    this.hasParts = statements.hasParts.get()![0] === 1
    const [lowest, highest] = statements.idSpan.get()!
    this.count = lowest === null ? 0 : highest! - lowest + 1
    this.lastId = 0
    this.reservedTo = 0
  }

  /** The first version that is free: beyond all that were reserved, and beyond the clock, for a file that has lost them. */
  nextVersion(): number {
    const { counter, highestVersion } = this.statements
    const reserved = counter.get(VERSION_COUNTER)?.[0] ?? (highestVersion.get()![0] ?? 0) + 1
    return Math.max(Math.floor(wallMs() * 1_000), reserved)
  }

  /** Whether an entry may be given: not expired, no tag of its invalidated. Removing it is left to others. */
  isLive(goneAtMs: number, metaText: string | null, nowMs: number): boolean {
    if (goneAtMs <= nowMs) return false
    if (metaText === null) return true
    const meta = readMeta(metaText)
    return freshUntilMs(goneAtMs, meta) > nowMs && this.tags.isCurrent(this.statements, meta)
  }

  /** Writes source[start, end) under a key, in place of whatever was there. Inside a transaction. */
  write(
    key: string,
    goneAtMs: number,
    version: number,
    meta: Meta | undefined,
    source: Buffer,
    start: number,
    end: number,
  ): void {
    const { statements } = this
    const bytes = end - start
    this.reserve(version)
    const tagCount = meta?.t === undefined ? 0 : Object.keys(meta.t).length
    this.room.reserve(key.length, bytes + tagCount * TAG_BYTES)
    if (this.hasParts) statements.dropParts.run(key)
    this.onWrote(goneAtMs)
    if (bytes > PART_BYTES) {
      this.hasParts = true
      this.replace(key, goneAtMs, version, meta ?? {}, source.subarray(start, end), true)
      return
    }
    let value: Buffer = source.subarray(start, end)
    const packed = this.compression.pack(value)
    if (packed !== undefined) value = packed
    if (meta === undefined && packed === undefined) {
      const sum = checksum(value, 0, value.length, version)
      const { changes, lastInsertRowid } = statements.put.run(key, goneAtMs, version, sum, value)
      if (lastInsertRowid !== this.lastId && changes > 0) this.inserted(lastInsertRowid)
      if (changes > 0) return
    }
    const whole = packed === undefined ? meta : { ...meta, z: 1 as const }
    this.replace(key, goneAtMs, version, whole ?? {}, value, false)
  }

  /** Writes many values that live equally long, by one statement. `items`: key, version, offset in `blob` from 1, bytes. */
  writeMany(
    goneAtMs: number,
    items: readonly (readonly [string, number, number, number])[],
    blob: Buffer,
  ): void {
    const { statements } = this
    this.reserve(items.at(-1)![1])
    let keyBytes = 0
    for (const [key] of items) {
      keyBytes += key.length
      if (this.hasParts) statements.dropParts.run(key)
    }
    this.room.reserve(keyBytes, blob.length)
    this.onWrote(goneAtMs)
    const isPlain = !this.compression.isOn && items.every(([, , , bytes]) => bytes <= PART_BYTES)
    if (isPlain) {
      const [, before] = statements.idSpan.get()!
      const rows = items.map(([key, version, offset, bytes]) => {
        const sum = checksum(blob, offset - 1, offset - 1 + bytes, version)
        return [key, version, offset, bytes, sum]
      })
      const { changes } = statements.putMany.run(goneAtMs, blob, JSON.stringify(rows))
      const [, after] = statements.idSpan.get()!
      this.count += after! - (before ?? 0)
      this.lastId = after!
      if (changes === items.length) return
    }
    // Some of them stand over entries with tags, which are to be taken out one by one.
    for (const [key, version, offset, bytes] of items)
      this.write(key, goneAtMs, version, undefined, blob, offset - 1, offset - 1 + bytes)
  }

  /** The versions that tags have now, for an entry that is to be stored. Inside a transaction. */
  snapshot(names: readonly string[]): Record<string, number> {
    const versions = this.tags.snapshot(this.statements, names)
    // A new tag moved SQLite's last rowid too.
    this.lastId = this.tags.lastAddedId ?? this.lastId
    this.tags.lastAddedId = undefined
    return versions
  }

  /** Removes a key; whether it could have been given. Inside a transaction. */
  remove(key: string, nowMs: number): boolean {
    const { statements } = this
    const row = statements.del.get(key)
    if (row === undefined) return false
    this.count--
    const [id, goneAtMs, meta] = row
    const isLive = this.isLive(goneAtMs, meta, nowMs)
    if (meta !== null) this.tags.unlink(statements, id, meta)
    return isLive
  }

  /** Removes a row that was found with its meta. Inside a transaction. */
  removeById(id: number, meta: string | null): void {
    this.statements.delById.run(id)
    this.count--
    this.tags.unlink(this.statements, id, meta)
  }

  /** The version of what could be given under a key; 0: nothing. */
  versionOf(key: string, nowMs: number): number {
    const head = this.statements.head.get(key)
    return head !== undefined && this.isLive(head[1], head[3], nowMs) ? head[2] : 0
  }

  /** Deletes the expired rows of a window of ids, with their tags; how many. */
  expire(after: number, upTo: number, nowMs: number): number {
    const { statements } = this
    return this.guarded(() => {
      if (!this.tags.areUsed) return statements.expire.run(after, upTo, nowMs).changes
      for (const [id, meta] of statements.taggedExpired.all(after, upTo, nowMs))
        this.tags.unlink(statements, id, meta)
      return statements.expire.run(after, upTo, nowMs).changes
    })
  }

  /** Runs housekeeping that removes rows: in a transaction of its own if tags may hang on them. */
  guarded<T>(work: () => T): T {
    return this.tags.areUsed ? this.transact(work) : work()
  }

  /** Runs housekeeping that changes tags, in a transaction of its own. */
  transact<T>(work: () => T): T {
    const { statements } = this
    statements.beginWrite.run()
    try {
      const result = work()
      this.tags.save(statements)
      statements.commit.run()
      return result
    } catch (error) {
      if (this.store.inTransaction) statements.rollback.run()
      this.rolledBack()
      throw error
    }
  }

  /** Before COMMIT. */
  beforeCommit(): void {
    this.tags.save(this.statements)
  }

  /** After ROLLBACK: what was noted in memory is void. */
  rolledBack(): void {
    this.tags.reset()
    this.reservedTo = 0
  }

  private get statements(): Statements {
    return this.store.statements!
  }

  private replace(
    key: string,
    goneAtMs: number,
    version: number,
    meta: Meta,
    value: Buffer,
    isLarge: boolean,
  ): void {
    const { statements } = this
    const old = statements.head.get(key)
    if (old !== undefined && old[3] !== null) this.tags.unlink(statements, old[0], old[3])
    const id = isLarge
      ? putLarge(statements, this.compression, key, goneAtMs, version, meta, value)
      : putInRow(statements, key, goneAtMs, version, meta, value)
    if (old === undefined) this.inserted(id)
    this.tags.link(statements, id, meta)
  }

  private inserted(id: number | bigint): void {
    this.count++
    this.lastId = id
  }

  /** A version is about to be written. */
  private reserve(version: number): void {
    if (version < this.reservedTo - VERSIONS_RESERVED / 2) return
    this.reservedTo = version + VERSIONS_RESERVED
    this.statements.setCounter.run(VERSION_COUNTER, this.reservedTo)
  }

  private unlinkOldest(rows: number): void {
    if (!this.tags.areUsed) return
    for (const [id, meta] of this.statements.taggedOldest.all(rows))
      this.tags.unlink(this.statements, id, meta)
  }
}

function putInRow(
  statements: Statements,
  key: string,
  goneAtMs: number,
  version: number,
  meta: Meta,
  value: Buffer,
): number {
  const sum = checksum(value, 0, value.length, version)
  return statements.putWithMeta.get(key, goneAtMs, version, null, metaText(meta), sum, value)![0]
}
