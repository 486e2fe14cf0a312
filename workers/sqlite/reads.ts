/** Reads: what tier 2 answers at once, in the order of the ring: one value, many, pieces of a large one, heads.
 *  Owns:   hits and misses.   Not here: writes (writes.ts), lists of keys (listing.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) a read is never answered with an error: what cannot be read is a miss.  (2) an expired or invalidated row is a
 *          miss from that moment, whoever removes it later.  (3) a value that is kept back (behind.ts) is found like any other. */

import { wallMs } from '../../engine/clock.ts'
import { MANY_BYTES_MAX } from '../../engine/limits.ts'
import { type BodyReader, textHeaderBytes, writeTextHeader } from '../../engine/protocol/body.ts'
import { encodeValue } from '../../engine/protocol/payload.ts'
import { OPS, REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies, RequestFrame } from '../handler.ts'
import { verifyRow } from './checksum.ts'
import { FoundWriter } from './found.ts'
import { readLarge } from './large.ts'
import { type FoundOne, writeMany } from './many.ts'
import { freshUntilMs, readMeta } from './meta.ts'
import type { Parts } from './parts.ts'
import type { Row } from './statements.ts'

const EMPTY = Buffer.alloc(0)

export class Reads {
  hits = 0
  misses = 0
  private readonly parts: Parts
  private readonly reader: BodyReader
  private readonly found: FoundWriter

  constructor(parts: Parts, reader: BodyReader) {
    this.parts = parts
    this.reader = reader
    this.found = new FoundWriter(parts)
  }

  /** GET, and LOOKUP, which may ask for what has expired and is within its grace. */
  get(frame: RequestFrame, replies: Replies): void {
    const key = this.reader.text()
    const keyEnd = this.reader.at
    const isStaleToo = frame.op === OPS.LOOKUP.code && this.reader.uint() === 1
    this.reader.done()
    const row = this.find(key, replies)
    if (row === undefined || !this.isGivable(row, isStaleToo)) {
      this.misses++
      replies.reply(REPLIES.MISS.code, frame.ticket, EMPTY)
      return
    }
    this.hits++
    const { found } = this
    const largeBytes = row[3] === null ? this.largeBytes(key) : 0
    found.write(frame.bytes, frame.start, keyEnd, row, largeBytes)
    replies.reply(found.op, frame.ticket, found.bytes, 0, found.end)
  }

  getMany(frame: RequestFrame, replies: Replies): void {
    const keys: string[] = []
    for (let left = this.reader.arrayHead(); left > 0; left--) keys.push(this.reader.text())
    this.reader.done()
    const found = this.findMany(keys, replies)
    const hits = found.filter(({ row }) => row !== undefined).length
    this.hits += hits
    this.misses += keys.length - found.length
    const body = writeMany(this.parts, keys, found)
    replies.reply(REPLIES.FOUND_MANY.code, frame.ticket, body)
  }

  /** INSPECT: answered as a large value is announced, whatever its length. */
  inspect(frame: RequestFrame, replies: Replies): void {
    const key = this.reader.text()
    const keyEnd = this.reader.at
    this.reader.done()
    const row = this.head(key, replies)
    if (row === undefined || !this.isGivable(row, false)) {
      replies.reply(REPLIES.MISS.code, frame.ticket, EMPTY)
      return
    }
    const { found } = this
    const [goneAtMs, version, meta] = row
    found.write(frame.bytes, frame.start, keyEnd, [goneAtMs, version, meta, null], 0)
    replies.reply(found.op, frame.ticket, found.bytes, 0, found.end)
  }

  /** All that this tier knows of a key, for people; null when it has none. */
  explain(frame: RequestFrame, replies: Replies): void {
    const key = this.reader.text()
    this.reader.done()
    const row = this.head(key, replies)
    replies.reply(
      REPLIES.RESULT.code,
      frame.ticket,
      encodeValue(row === undefined ? null : this.explained(key, row)),
    )
  }

  readPart(frame: RequestFrame, replies: Replies): void {
    const { parts, reader } = this
    const key = reader.text()
    const version = reader.uint()
    const offset = reader.uint()
    const limit = reader.uint()
    reader.done()
    const target = this.found.bytes
    let bytes = -1
    if (parts.isReady() && !parts.doubts.holds(key)) {
      try {
        parts.group.beforeRead()
        const { store, entries } = parts
        bytes = readLarge(
          store.statements!,
          entries.compression,
          key,
          version,
          offset,
          limit,
          target,
        )
      } catch (error) {
        parts.group.readFailed(error, replies)
      }
    }
    if (bytes < 0) replies.reply(REPLIES.ABSENT.code, frame.ticket, EMPTY)
    else replies.reply(REPLIES.BYTES.code, frame.ticket, target, 0, bytes)
  }

  /** The reply that gives a row to main, as a buffer of its own: of an entry that was just written. */
  foundBody(key: string, row: Row): { op: number; body: Buffer } {
    const bytes = Buffer.byteLength(key)
    const head = Buffer.allocUnsafe(textHeaderBytes(bytes) + bytes)
    head.write(key, writeTextHeader(head, 0, bytes))
    this.found.write(head, 0, head.length, row, 0)
    const { op, end } = this.found
    return { op, body: Buffer.from(this.found.bytes.subarray(0, end)) }
  }

  /** The entry of a key, whatever its state; undefined when there is none or it cannot be trusted. */
  private find(key: string, replies: Replies): Row | undefined {
    const { parts } = this
    const kept = parts.behind.get(key)
    if (kept !== undefined) return parts.isReady() || kept[2] === null ? kept : undefined
    if (!parts.isReady() || parts.doubts.holds(key)) return undefined
    try {
      parts.group.beforeRead()
      const row = parts.store.statements!.get.get(key)
      if (row !== undefined) verifyRow(row)
      return row
    } catch (error) {
      parts.group.readFailed(error, replies)
      return undefined
    }
  }

  /** The same without the value. */
  private head(key: string, replies: Replies): Row | undefined {
    const { parts } = this
    if (parts.behind.has(key)) return this.find(key, replies)
    if (!parts.isReady() || parts.doubts.holds(key)) return undefined
    try {
      parts.group.beforeRead()
      const head = parts.store.statements!.head.get(key)
      return head === undefined ? undefined : [head[1], head[2], head[3], null]
    } catch (error) {
      parts.group.readFailed(error, replies)
      return undefined
    }
  }

  private findMany(keys: readonly string[], replies: Replies): FoundOne[] {
    const { parts } = this
    const found: FoundOne[] = []
    const seen = new Set<number>()
    for (let i = 0; parts.behind.size > 0 && i < keys.length; i++) {
      const row = parts.behind.get(keys[i]!)
      if (row === undefined) continue
      seen.add(i)
      // Kept values share one buffer, so together they are within bounds.
      if (this.isGivable(row, false)) found.push({ index: i, row })
    }
    if (!parts.isReady()) return found
    try {
      parts.group.beforeRead()
      let bytes = 0
      // One statement, stepped through in the order of the keys: what is past the bound is not loaded.
      for (const [index, ...row] of parts.store.statements!.getMany.iterate(JSON.stringify(keys))) {
        if (seen.has(index) || parts.doubts.holds(keys[index]!)) continue
        if (bytes > MANY_BYTES_MAX) {
          for (let i = index; i < keys.length; i++) if (!seen.has(i)) found.push({ index: i })
          break
        }
        if (!this.isGivable(row, false)) continue
        verifyRow(row)
        bytes += row[3]?.length ?? 0
        found.push({ index, row })
      }
    } catch (error) {
      parts.group.readFailed(error, replies)
    }
    return found
  }

  /** Whether a row may be given now: not expired, its tags as they were. */
  isGivable(row: Row, isStaleToo: boolean): boolean {
    // By index: taking a row apart by pattern goes through an iterator, which shows in a get.
    const goneAtMs = row[0]
    const metaText = row[2]
    const nowMs = wallMs()
    if (goneAtMs <= nowMs) return false
    if (metaText === null) return true
    const { tags, store } = this.parts
    const meta = readMeta(metaText)
    if (!isStaleToo && freshUntilMs(goneAtMs, meta) <= nowMs) return false
    return tags.isCurrent(store.statements!, meta)
  }

  private largeBytes(key: string): number {
    return this.parts.store.statements!.getLarge.get(key)![2]!
  }

  private explained(key: string, [goneAtMs, version, metaText]: Row): Record<string, unknown> {
    const { tags, store, behind } = this.parts
    const meta = readMeta(metaText)
    const nowMs = wallMs()
    return {
      version,
      expiresAtMs: freshUntilMs(goneAtMs, meta),
      graceMs: meta.g ?? 0,
      isExpired: freshUntilMs(goneAtMs, meta) <= nowMs,
      isInvalidated: store.statements !== undefined && !tags.isCurrent(store.statements, meta),
      isCompressed: meta.z === 1,
      isAdaptive: meta.a === 1,
      isWritten: !behind.has(key),
      tags: store.statements === undefined ? [] : tags.explain(store.statements, meta),
    }
  }
}
