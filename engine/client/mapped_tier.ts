/** MappedTier: one engine's tier 1, mapped into this process, and the page in which its use is reported.
 *  Owns:   both mappings, which go when they are collected.   Not here: when it may be used (shared_memory.ts), look-ups
 *          (segment_reader.ts).
 *  Thread: the client's.
 *  Holds:  (1) nothing is served once the engine has closed the segment or its main thread has died: the guard's word tells, at
 *          each read, without a system call.  (2) the page is the only memory that is written. */

import { markCountOf, READER_PAGE, READER_PAGE_MAGIC } from '../cache/reader_page.ts'
import {
  engineIdWords,
  GUARD_OWNER_DIED,
  HEADER,
  SEGMENT_BYTES_MIN,
  SEGMENT_LAYOUT,
  SEGMENT_MAGIC,
  SLOT,
  STATE,
} from '../cache/segment.ts'
import { wallMs } from '../clock.ts'
import { decodeValue } from '../protocol/payload.ts'
import { readRows } from '../protocol/rows.ts'
import type { QueryResult } from './database.ts'
import { RecentValues } from './recent_values.ts'
import { SegmentReader } from './segment_reader.ts'

/** Longer values are decoded each time. */
const RECENT_BYTES_MAX = 512

export class MappedTier {
  private readonly words: Int32Array
  private readonly guard: number
  private readonly guardValue: number
  private readonly recent = new RecentValues()
  private readonly reader: SegmentReader
  private readonly page: Int32Array
  private readonly markCount: number

  /** Throws what is wrong with it when this is not the live segment of that engine, or not a page. */
  constructor(segment: ArrayBuffer, page: ArrayBuffer, engineId: string, keyBytesMax: number) {
    this.words = new Int32Array(segment, 0, segment.byteLength >> 2)
    checkSegment(this.words, engineId)
    this.guard = this.words[HEADER.guard]!
    this.guardValue = Atomics.load(this.words, this.guard)
    if (this.guardValue === 0 || (this.guardValue & GUARD_OWNER_DIED) !== 0)
      throw new Error('the engine of the segment is gone')
    this.reader = new SegmentReader(segment, keyBytesMax, this.recent)
    this.page = new Int32Array(page, 0, page.byteLength >> 2)
    if (this.page[READER_PAGE.magic] !== READER_PAGE_MAGIC) throw new Error('the page is none')
    this.markCount = markCountOf(page.byteLength)
    this.page[READER_PAGE.mapped] = 1
  }

  /** Whether the engine lives, as far as shared memory tells. Plain loads: the order in which a reader learns of the engine's end
   *  and reads a value does not matter within one call. */
  isLive(): boolean {
    const { words } = this
    return words[HEADER.state] === STATE.live && words[this.guard] === this.guardValue
  }

  /** The value of a key, decoded; undefined for a miss. A miss is counted only when nobody else will be asked. */
  read(key: string, isMissCounted: boolean): unknown {
    if (!this.isLive()) return undefined
    const { reader, page } = this
    if (reader.find(key)) {
      const value = reader.recentAt >= 0 ? this.recent.copyOf(reader.recentAt) : this.decoded()
      if (value !== undefined) {
        page[READER_PAGE.hits]!++
        this.mark(reader.slot)
        return value
      }
    }
    if (isMissCounted) page[READER_PAGE.misses]!++
    return undefined
  }

  /** The result of a statement under its key, see protocol/query_key.ts, unless it expires within `eagerMs`. A miss is
   *  counted by the engine, which is asked. */
  rows(
    prefix: Uint8Array,
    params: Uint8Array,
    paramsEnd: number,
    eagerMs: number,
  ): QueryResult | undefined {
    const { reader, page, recent } = this
    if (!this.isLive() || !reader.findParts(prefix, params, paramsEnd)) return undefined
    if (eagerMs > 0 && reader.expiresAtMs - wallMs() < eagerMs) return undefined
    const { recentAt, bytes, start, end, slot, sequence } = reader
    let rows: QueryResult
    if (recentAt >= 0) rows = recent.copyOfRows(recentAt)
    else {
      rows = { ...readRows(bytes, start, end), source: 'memory' }
      if (end - start <= RECENT_BYTES_MAX) recent.noteRows(slot, sequence, rows)
    }
    page[READER_PAGE.hits]!++
    this.mark(slot)
    return rows
  }

  /** What was stored may be no msgpack, if a client of another kind stored it: the request over the socket tells how. */
  private decoded(): unknown {
    const { bytes, start, end, slot, sequence } = this.reader
    try {
      const value = decodeValue(bytes, start, end)
      if (end - start <= RECENT_BYTES_MAX) this.recent.note(slot, sequence, value)
      return value
    } catch {
      return undefined
    }
  }

  private mark(slot: number): void {
    const { page, markCount } = this
    const mark = slot < markCount ? slot : slot % markCount
    const word = READER_PAGE.marks + (mark >> 5)
    const bit = 1 << (mark & 31)
    // Main clears marks: a word that need not change is not written, so its cache line stays with both.
    if ((page[word]! & bit) === 0) page[word]! |= bit
  }
}

function checkSegment(words: Int32Array, engineId: string): void {
  const bytes = words.byteLength
  const totalBytes = words[HEADER.totalBytes]!
  const slotCount = words[HEADER.slotCount]!
  const slotsAt = words[HEADER.slotsAt]!
  const tagCount = words[HEADER.tagCount]!
  const guardAt = words[HEADER.guard]! * 4
  const isWhole =
    bytes >= SEGMENT_BYTES_MIN &&
    words[HEADER.magic] === SEGMENT_MAGIC &&
    words[HEADER.layout] === SEGMENT_LAYOUT &&
    totalBytes <= bytes &&
    totalBytes >= SEGMENT_BYTES_MIN &&
    slotCount > 0 &&
    (slotCount & (slotCount - 1)) === 0 &&
    slotsAt === HEADER.bytes &&
    words[HEADER.tagsAt] === slotsAt + slotCount * SLOT.bytes &&
    tagCount > 0 &&
    (tagCount & (tagCount - 1)) === 0 &&
    words[HEADER.storageAt] === words[HEADER.tagsAt]! + tagCount * 4 &&
    words[HEADER.storageAt]! < totalBytes &&
    guardAt >= HEADER.guardAt &&
    guardAt < HEADER.bytes
  if (!isWhole) throw new Error('the file is no segment of this layout')
  const isOfEngine = engineIdWords(engineId).every((word, i) => words[HEADER.engineId + i] === word)
  if (!isOfEngine) throw new Error('the segment is another engine’s')
}
