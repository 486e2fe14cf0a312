/** Writes: what changes one entry or several, in the group of its drain; and what is kept back, written when it is time.
 *  Owns:   the tickets that wait for what is kept back.   Not here: transactions (group.ts), many at a stroke (invalidation.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) conditions are checked and sums are made in the order of the ring, inside the transaction that writes them:
 *          nothing comes between.  (2) what is kept back of a key is written or dropped before anything newer of it is. */

import { wallMs } from '../../engine/clock.ts'
import { HearthError } from '../../engine/errors.ts'
import type { BodyReader } from '../../engine/protocol/body.ts'
import { ENTRY_FLAG } from '../../engine/protocol/cache_spec.ts'
import { decodeValue, encodeValue } from '../../engine/protocol/payload.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies, RequestFrame } from '../handler.ts'
import { verifyRow } from './checksum.ts'
import { OUTCOME_OK } from './group.ts'
import { type Meta, readMeta } from './meta.ts'
import type { Parts } from './parts.ts'
import type { Reads } from './reads.ts'
import type { Row } from './statements.ts'

const EMPTY = Buffer.alloc(0)
const ONE = Buffer.from([1])

export class Writes {
  private readonly parts: Parts
  private readonly reader: BodyReader
  private readonly reads: Reads
  /** FLUSH requests to be answered with the next writing of what is kept back. */
  private readonly flushTickets: number[] = []

  constructor(parts: Parts, reader: BodyReader, reads: Reads) {
    this.parts = parts
    this.reader = reader
    this.reads = reads
  }

  put(frame: RequestFrame, replies: Replies): void {
    const { reader, parts } = this
    const key = reader.text()
    const expiresAtMs = reader.time()
    const version = reader.time()
    const start = reader.raw()
    this.checkLength(frame.end - start)
    parts.behind.drop(key)
    const { group } = parts
    if (!group.beforeWrite(frame.end - start, replies))
      return group.refuse(frame.ticket, key, replies)
    group.add(frame.ticket, OUTCOME_OK, key)
    try {
      parts.entries.write(key, expiresAtMs, version, undefined, frame.bytes, start, frame.end)
    } catch (error) {
      group.fail(error, replies)
    }
  }

  putBehind(frame: RequestFrame, replies: Replies): void {
    const { reader } = this
    const key = reader.text()
    const expiresAtMs = reader.time()
    const version = reader.time()
    const start = reader.raw()
    this.checkLength(frame.end - start)
    if (this.keepBack(key, expiresAtMs, version, undefined, frame, start, replies)) {
      replies.reply(REPLIES.OK.code, frame.ticket, EMPTY)
      return
    }
    reader.reset(frame.bytes, frame.start, frame.end)
    this.put(frame, replies)
  }

  /** PUT_EXTRA: with grace and tags, and only if the entry is of the version given. */
  putExtra(frame: RequestFrame, replies: Replies): void {
    const { reader, parts } = this
    const key = reader.text()
    const expiresAtMs = reader.time()
    const version = reader.time()
    const graceMs = reader.uint()
    const flags = reader.uint()
    const ifVersion = reader.maybeUint()
    const tags: string[] = []
    for (let left = reader.arrayHead(); left > 0; left--) tags.push(reader.text())
    const start = reader.raw()
    this.checkLength(frame.end - start)
    const rest = {
      ...(graceMs > 0 ? { g: graceMs } : {}),
      ...((flags & ENTRY_FLAG.adaptive) !== 0 ? { a: 1 as const } : {}),
    }
    const goneAtMs = expiresAtMs + graceMs
    const isBehind = (flags & ENTRY_FLAG.behind) !== 0 && ifVersion < 0
    // What is kept back outlives this transaction, so it is stored in it if its tags are begun or ended there, which is rare.
    if (isBehind && parts.isReady() && tags.every(tag => this.isSettled(tag))) {
      const meta = this.metaOf(rest, tags)
      if (this.keepBack(key, goneAtMs, version, meta, frame, start, replies)) {
        replies.reply(REPLIES.COUNT.code, frame.ticket, ONE)
        return
      }
    }
    this.attempt(frame.ticket, key, frame.end - start, replies, () => {
      this.writeKept(key)
      if (ifVersion >= 0 && parts.entries.versionOf(key, wallMs()) !== ifVersion) {
        parts.group.add(frame.ticket, 0)
        return
      }
      const meta = this.metaOf(rest, tags)
      parts.entries.write(key, goneAtMs, version, meta, frame.bytes, start, frame.end)
      parts.group.add(frame.ticket, 1, key)
    })
  }

  putMany(frame: RequestFrame, replies: Replies): void {
    const { reader, parts } = this
    const expiresAtMs = reader.time()
    let version = reader.time()
    const isBehind = reader.uint() === 1
    const count = reader.arrayHead() / 2
    const blobAt = reader.at
    const items: [string, number, number, number][] = []
    for (let i = 0; i < count; i++) {
      const key = reader.text()
      reader.binRange()
      this.checkLength(reader.textEnd - reader.textStart)
      items.push([key, version++, reader.textStart - blobAt + 1, reader.textEnd - reader.textStart])
    }
    reader.done()
    if (isBehind && this.keepAllBack(items, expiresAtMs, frame, blobAt, replies)) {
      replies.reply(REPLIES.OK.code, frame.ticket, EMPTY)
      return
    }
    const bytes = frame.end - blobAt
    if (!parts.group.beforeWrite(bytes, replies, items.length)) {
      for (const [key] of items) parts.doubts.add(key)
      return parts.group.refuse(frame.ticket, undefined, replies)
    }
    for (const [key] of items) {
      parts.behind.drop(key)
      parts.group.addUnasked(key)
    }
    parts.group.add(frame.ticket, OUTCOME_OK)
    try {
      const blob = frame.bytes.subarray(blobAt, frame.end)
      parts.entries.writeMany(expiresAtMs, items, blob)
    } catch (error) {
      parts.group.fail(error, replies)
    }
  }

  del(frame: RequestFrame, replies: Replies): void {
    const { reader, parts } = this
    const key = reader.text()
    reader.done()
    this.attempt(frame.ticket, key, 0, replies, () => {
      const nowMs = wallMs()
      const kept = parts.behind.get(key)
      const wasKept = kept !== undefined && parts.entries.isLive(kept[0], kept[2], nowMs)
      parts.behind.drop(key)
      const wasThere = parts.entries.remove(key, nowMs)
      parts.group.add(frame.ticket, wasKept || (wasThere && kept === undefined) ? 1 : 0, key)
    })
  }

  /** RETIME: another end for an entry that is there. */
  retime(frame: RequestFrame, replies: Replies): void {
    const { reader, parts } = this
    const key = reader.text()
    const expiresAtMs = reader.time()
    reader.done()
    this.attempt(frame.ticket, key, 0, replies, () => {
      this.writeKept(key)
      const statements = parts.store.statements!
      const head = statements.head.get(key)
      const isThere = head !== undefined && parts.entries.isLive(head[1], head[3], wallMs())
      if (isThere) {
        const goneAtMs = expiresAtMs + (readMeta(head[3]).g ?? 0)
        statements.retime.run(goneAtMs, head[0])
        parts.entries.onWrote(goneAtMs)
      }
      parts.group.add(frame.ticket, isThere ? 1 : 0, key)
    })
  }

  /** ADD: a number plus another, or a new one. */
  add(frame: RequestFrame, replies: Replies): void {
    const { reader, parts } = this
    const key = reader.text()
    const by = reader.number()
    const expiresAtMs = reader.time()
    const version = reader.time()
    reader.done()
    let refusal: HearthError | undefined
    this.attempt(frame.ticket, key, 0, replies, () => {
      this.writeKept(key)
      const row = this.liveRow(key)
      const old = row === undefined ? 0 : this.numberIn(row)
      const sum = old === undefined ? undefined : old + by
      if (sum === undefined || !Number.isFinite(sum)) {
        refusal = notANumber(key, old)
        return
      }
      const value = encodeValue(sum)
      const meta = row === undefined || row[2] === null ? undefined : withoutPacking(row[2])
      const goneAtMs = row === undefined ? expiresAtMs : row[0]
      parts.entries.write(key, goneAtMs, version, meta, value, 0, value.length)
      const written: Row = [goneAtMs, version, row === undefined ? null : row[2], value]
      if (meta !== undefined) written[2] = JSON.stringify(meta)
      const { op, body } = this.reads.foundBody(key, written)
      parts.group.addReply(frame.ticket, op, body, key)
    })
    if (refusal !== undefined) replies.fail(frame.ticket, refusal)
  }

  /** FLUSH: answered once what is kept back now has been written. */
  flushRequest(frame: RequestFrame, replies: Replies): void {
    if (this.parts.behind.size > 0) this.flushTickets.push(frame.ticket)
    else this.parts.group.addBarrier(frame.ticket, replies)
  }

  /** Writes what has been kept back, in the group of this drain. */
  flushKept(replies: Replies): void {
    const { behind, group, entries, doubts } = this.parts
    if (behind.size > 0) {
      const nowMs = wallMs()
      for (const [key, kept] of behind.all()) {
        const { goneAtMs, version, meta, at, bytes } = kept
        const isOver = goneAtMs <= nowMs
        if (isOver) behind.coalesced++
        // What it stood over is older still, and must not show again.
        if (isOver && !this.hasRow(key)) continue
        if (group.beforeWrite(bytes, replies)) {
          group.addUnasked(key)
          try {
            if (isOver) entries.remove(key, nowMs)
            else entries.write(key, goneAtMs, version, meta, behind.bytes, at, at + bytes)
          } catch (error) {
            group.fail(error, replies)
          }
        } else {
          doubts.add(key)
        }
      }
      behind.clear()
    }
    for (const ticket of this.flushTickets) group.addBarrier(ticket, replies)
    this.flushTickets.length = 0
  }

  /** The same once it is time. */
  flushIfDue(replies: Replies): void {
    if (this.parts.behind.isDue) this.flushKept(replies)
  }

  /** Runs a write in the group; whatever fails in it fails the group. */
  private attempt(
    ticket: number,
    key: string,
    bytes: number,
    replies: Replies,
    write: () => void,
  ): void {
    const { group } = this.parts
    if (!group.beforeWrite(bytes, replies)) return group.refuse(ticket, key, replies)
    try {
      write()
    } catch (error) {
      group.add(ticket, 0, key)
      group.fail(error, replies)
    }
  }

  /** Keeps a value back; false when it is not one to be kept. */
  private keepBack(
    key: string,
    goneAtMs: number,
    version: number,
    meta: Meta | undefined,
    frame: RequestFrame,
    start: number,
    replies: Replies,
  ): boolean {
    const { behind } = this.parts
    if (!behind.takes(frame.end - start)) return false
    if (behind.put(key, goneAtMs, version, meta, frame.bytes, start, frame.end)) return true
    this.flushKept(replies)
    return behind.put(key, goneAtMs, version, meta, frame.bytes, start, frame.end)
  }

  private keepAllBack(
    items: readonly (readonly [string, number, number, number])[],
    expiresAtMs: number,
    frame: RequestFrame,
    blobAt: number,
    replies: Replies,
  ): boolean {
    const { behind } = this.parts
    if (!items.every(([, , , bytes]) => behind.takes(bytes))) return false
    for (const [key, version, offset, bytes] of items) {
      const start = blobAt + offset - 1
      const end = start + bytes
      if (behind.put(key, expiresAtMs, version, undefined, frame.bytes, start, end)) continue
      this.flushKept(replies)
      behind.put(key, expiresAtMs, version, undefined, frame.bytes, start, end)
    }
    return true
  }

  /** Writes what is kept back of one key, inside the transaction: something is to be built on it. */
  private writeKept(key: string): void {
    const { behind, entries, group } = this.parts
    const kept = behind.take(key)
    if (kept === undefined) return
    const { goneAtMs, version, meta, at, bytes } = kept
    group.addUnasked(key)
    entries.write(key, goneAtMs, version, meta, behind.bytes, at, at + bytes)
  }

  private hasRow(key: string): boolean {
    try {
      return this.parts.isReady() && this.parts.store.statements!.head.get(key) !== undefined
    } catch {
      return true // Then its removal is tried, and meets the same error where it is dealt with.
    }
  }

  private liveRow(key: string): Row | undefined {
    const row = this.parts.store.statements!.get.get(key)
    if (row !== undefined) verifyRow(row)
    return row !== undefined && this.parts.entries.isLive(row[0], row[2], wallMs())
      ? row
      : undefined
  }

  private numberIn([, , metaText, stored]: Row): number | undefined {
    if (stored === null) return undefined
    const isPacked = readMeta(metaText).z === 1
    const value = decodeValue(isPacked ? this.parts.entries.compression.unpack(stored) : stored)
    return typeof value === 'number' ? value : undefined
  }

  private isSettled(name: string): boolean {
    return this.parts.tags.named(this.parts.store.statements!, name)?.isUnsettled === false
  }

  private metaOf(rest: Meta, tags: readonly string[]): Meta | undefined {
    if (tags.length > 0) return { t: this.parts.entries.snapshot(tags), ...rest }
    return rest.g === undefined && rest.a === undefined ? undefined : rest
  }

  private checkLength(bytes: number): void {
    const { room, store } = this.parts
    if (bytes <= room.valueBytesMax) return
    throw new HearthError(
      'VALUE_TOO_LARGE',
      `a value of ${bytes} bytes does not fit into tier 2 of ${store.maxBytes}: raise sqlite.max_bytes`,
    )
  }
}

function withoutPacking(metaText: string): Meta {
  const { z: _, ...rest } = readMeta(metaText)
  return rest
}

function notANumber(key: string, old: number | undefined): HearthError {
  const why = old === undefined ? 'holds something else than a number' : 'would be no finite number'
  return new HearthError('BAD_REQUEST', `${JSON.stringify(key)} ${why}: it was left as it is`)
}
