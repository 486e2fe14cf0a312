/** Hot: the list of the entries read most, as main gave it, written into the file now and then and read at the next start.
 *  Owns:   the list's form on disk.   Not here: which entries those are (engine/cache/hot.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) entries are given as any read gives them: what is gone, expired, invalidated or doubted is left out.  (2) a list
 *          that is missing or makes no sense is an empty one, and its table is no part of the schema.  (3) a reply takes
 *          HOT_PART_MS_MAX at most, and one row: a slow disk holds up nobody for long.
 *
 *  An entry stands in the list by its row's id, which stays while its key does; should another key have it by now, that one is
 *  warmed in its place. On disk: per level, hottest first: level, count, and the ids' distances, in their order. So a list of
 *  entries that came together has a byte or two for each. The list of results beside it is main's (engine/router/result_form.ts), and
 *  is only kept here. */

import { monotonicMs } from '../../engine/clock.ts'
import { Collector } from '../../engine/collector.ts'
import {
  HOT_COLLECT_COUNT,
  HOT_COUNT_MAX,
  HOT_PART_BYTES_MAX,
  HOT_PART_COUNT_MAX,
  HOT_PART_MS_MAX,
} from '../../engine/limits.ts'
import { BodyReader, SCALAR_BYTES_MAX, writeUint } from '../../engine/protocol/body.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies, RequestFrame } from '../handler.ts'
import { verifyRow } from './checksum.ts'
import { recordOf } from './many.ts'
import type { Parts } from './parts.ts'
import type { Reads } from './reads.ts'
import type { Row } from './statements.ts'

/** Entries of a list: an id and a level each, by turns. */
type List = number[]

/** Their rows. */
const ENTRIES = 1
const RESULTS = 2

const count = Buffer.alloc(SCALAR_BYTES_MAX)

export class Hot {
  private readonly parts: Parts
  private readonly reader: BodyReader
  private readonly reads: Reads
  /** What has come of a list that is being saved. */
  private saving: List = []
  /** The list that is being given out, and what is next. */
  private loading: List = []
  private next = 0

  constructor(parts: Parts, reader: BodyReader, reads: Reads) {
    this.parts = parts
    this.reader = reader
    this.reads = reads
  }

  /** SAVE_HOT: takes a part of a list; the last one is answered when the list is committed. */
  save(frame: RequestFrame, replies: Replies): void {
    const { reader } = this
    if (reader.uint() === 1) this.saving = []
    const isLast = reader.uint() === 1
    this.take(replies)
    if (!isLast) {
      replies.reply(REPLIES.COUNT.code, frame.ticket, count, 0, writeUint(count, 0, 0))
      return
    }
    const list = packList(this.saving)
    this.saving = []
    this.write(ENTRIES, list, frame.ticket, replies)
  }

  /** SAVE_RESULTS: answered when the list is committed. */
  saveResults({ ticket, bytes, start, end }: RequestFrame, replies: Replies): void {
    this.write(RESULTS, bytes.subarray(start, end), ticket, replies)
  }

  /** LOAD_RESULTS: the list, empty where there is none. */
  loadResults({ ticket }: RequestFrame, replies: Replies): void {
    let list: Buffer | undefined
    try {
      if (this.parts.isReady()) list = this.read(RESULTS)
    } catch (error) {
      this.parts.group.readFailed(error, replies)
    }
    replies.reply(REPLIES.BYTES.code, ticket, list ?? EMPTY)
  }

  /** LOAD_HOT: the next entries. An error of the disk ends the list. */
  load(frame: RequestFrame, replies: Replies): void {
    const isFirst = this.reader.uint() === 1
    const valueBytesMax = this.reader.uint()
    this.reader.done()
    let records: Buffer[] = []
    try {
      if (isFirst) this.open()
      // What starting has left goes before so many entries come.
      if (isFirst && this.loading.length >= HOT_COLLECT_COUNT * 2) new Collector().idle()
      records = this.some(valueBytesMax)
    } catch (error) {
      this.loading = []
      this.parts.group.readFailed(error, replies)
    }
    const outOf = this.loading.length / 2
    const left = outOf - this.next / 2
    if (left <= 0) this.loading = []
    const head = Buffer.allocUnsafe(SCALAR_BYTES_MAX * 2)
    const headEnd = writeUint(head, writeUint(head, 0, outOf), Math.max(0, left))
    const body = Buffer.concat([head.subarray(0, headEnd), ...records])
    replies.reply(REPLIES.HOT.code, frame.ticket, body)
  }

  /** Takes the keys of a part, by their ids. Those that are not in the file are left out. */
  private take(replies: Replies): void {
    const { reader, parts, saving } = this
    const levels: number[] = []
    const keys: string[] = []
    while (reader.at < reader.end) {
      levels.push(reader.uint())
      keys.push(reader.text())
    }
    if (!parts.isReady() || keys.length === 0) return
    try {
      parts.group.beforeRead()
      for (const [index, id] of parts.store.statements!.ids.iterate(JSON.stringify(keys)))
        if (saving.length < HOT_COUNT_MAX * 2) saving.push(id, levels[index]!)
    } catch (error) {
      parts.group.readFailed(error, replies)
    }
  }

  private write(id: number, list: Buffer, ticket: number, replies: Replies): void {
    const { group, room, store } = this.parts
    if (!group.beforeWrite(list.length, replies)) return group.refuse(ticket, undefined, replies)
    group.add(ticket, list.length)
    try {
      room.reserve(0, list.length)
      store.statements!.hot.write(id, list)
    } catch (error) {
      group.fail(error, replies)
    }
  }

  /** Throws for what is wrong with the file, not for a list that makes no sense. */
  private read(id: number): Buffer | undefined {
    return this.parts.store.statements!.hot.read(id)
  }

  private open(): void {
    this.loading = []
    this.next = 0
    if (!this.parts.isReady()) return
    const list = this.read(ENTRIES)
    try {
      this.loading = unpackList(list ?? EMPTY)
    } catch {
      // It makes no sense.
    }
  }

  private some(valueBytesMax: number): Buffer[] {
    const { parts, loading } = this
    const records: Buffer[] = []
    if (!parts.isReady()) this.next = loading.length
    const from = this.next
    const endMs = monotonicMs() + HOT_PART_MS_MAX
    let bytes = 0
    while (
      this.next < loading.length &&
      this.next - from < HOT_PART_COUNT_MAX * 2 &&
      bytes < HOT_PART_BYTES_MAX &&
      monotonicMs() < endMs
    ) {
      const id = loading[this.next++]!
      const level = loading[this.next++]!
      parts.group.beforeRead()
      const found = parts.store.statements!.hotRow.get(valueBytesMax, id)
      if (found === undefined) continue
      const [key, ...row] = found
      verifyRow(row)
      if (!this.isFit(key, row)) continue
      bytes += row[3]!.length
      records.push(...recordOf(parts, level, key, row, row[3]!))
    }
    return records
  }

  private isFit(key: string, row: Row): boolean {
    const { behind, doubts } = this.parts
    if (row[3] === null || behind.has(key) || doubts.holds(key)) return false
    return this.reads.isGivable(row, false)
  }
}

const EMPTY = Buffer.alloc(0)

/** The list as it stands in the file. */
export function packList(list: List): Buffer {
  const byLevel: number[][] = []
  for (let i = 0; i < list.length; i += 2) (byLevel[list[i + 1]!] ??= []).push(list[i]!)
  const bytes = Buffer.allocUnsafe((byLevel.length * 2 + list.length / 2) * SCALAR_BYTES_MAX)
  let at = 0
  for (let level = byLevel.length - 1; level >= 0; level--) {
    const ids = byLevel[level]
    if (ids === undefined) continue
    ids.sort((one, other) => one - other)
    at = writeUint(bytes, writeUint(bytes, at, level), ids.length)
    let before = 0
    for (const id of ids) {
      at = writeUint(bytes, at, id - before)
      before = id
    }
  }
  return bytes.subarray(0, at)
}

/** Throws for what packList() never wrote. */
export function unpackList(bytes: Buffer): List {
  const list: List = []
  const reader = new BodyReader().reset(bytes, 0, bytes.length)
  while (reader.at < reader.end) {
    const level = reader.uint()
    let id = 0
    for (let left = reader.uint(); left > 0 && list.length < HOT_COUNT_MAX * 2; left--) {
      id += reader.uint()
      list.push(id, level)
    }
    if (list.length >= HOT_COUNT_MAX * 2) break
  }
  return list
}
