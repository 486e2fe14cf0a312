/** Invalidation: many entries ended at a stroke: by tag, which is one number, or by pattern, which is a walk in small steps.
 *  Owns:   nothing.   Not here: the versions of tags (tags.ts), removing what they ended (upkeep.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) by tag: however many entries carry it, the same few writes, committed before the answer.
 *          (2) by pattern: a step looks at STEP_ROWS rows and takes about STEP_MS, so that reads get between.
 *          (3) of a tag on few entries (CARRIERS_MAX) the count is exact, for they are removed at once. Of more it is the number of
 *          rows with that tag: such as expired in the last seconds or went by another tag may be counted still. */

import { monotonicMs, wallMs } from '../../engine/clock.ts'
import { Glob } from '../../engine/glob.ts'
import type { BodyReader } from '../../engine/protocol/body.ts'
import { encodeValue } from '../../engine/protocol/payload.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies, RequestFrame } from '../handler.ts'
import type { Parts } from './parts.ts'

const CARRIERS_MAX = 64
const STEP_ROWS = 512
const STEP_MS = 1
const PAGE_ROWS = 64

export class Invalidation {
  private readonly parts: Parts
  private readonly reader: BodyReader

  constructor(parts: Parts, reader: BodyReader) {
    this.parts = parts
    this.reader = reader
  }

  /** INVALIDATE_TAGS. What is kept back has been written before. */
  tags(frame: RequestFrame, replies: Replies): void {
    const { reader, parts } = this
    const names = new Set<string>()
    for (let left = reader.arrayHead(); left > 0; left--) names.add(reader.text())
    reader.done()
    const { group } = parts
    if (!group.beforeWrite(0, replies, names.size * CARRIERS_MAX))
      return group.refuse(frame.ticket, undefined, replies)
    try {
      let count = 0
      for (const name of names) count += this.endTag(name)
      group.add(frame.ticket, count)
    } catch (error) {
      group.add(frame.ticket, 0)
      group.fail(error, replies)
    }
  }

  /** DELETE_MATCHING: one step of a pattern's walk. */
  matching(frame: RequestFrame, replies: Replies): void {
    const { reader, parts } = this
    const glob = new Glob(reader.text())
    const after = reader.text()
    const below = reader.time()
    reader.done()
    const { group } = parts
    if (!group.beforeWrite(0, replies, PAGE_ROWS))
      return group.refuse(frame.ticket, undefined, replies)
    try {
      group.addStep()
      const result = this.step(glob, after, below)
      group.addReply(frame.ticket, REPLIES.RESULT.code, encodeValue(result))
    } catch (error) {
      group.add(frame.ticket, 0)
      group.fail(error, replies)
    }
  }

  private endTag(name: string): number {
    const { tags, entries, store, upkeep } = this.parts
    const statements = store.statements!
    const tag = tags.named(statements, name)
    if (tag === undefined) return 0
    const { id, version } = tag
    let count = tag.entries
    if (count <= CARRIERS_MAX) {
      const nowMs = wallMs()
      const endMs = monotonicMs() + STEP_MS
      count = 0
      for (const [row, goneAtMs, meta] of statements.carriers.all(id, version, version, -1)) {
        if (entries.isLive(goneAtMs, meta, nowMs)) count++
        // Long values take long to remove: what is left is invalidated all the same.
        if (monotonicMs() <= endMs) entries.removeById(row, meta)
      }
    }
    const before = tags.bump(statements, name)!
    upkeep.purge(id, before.version)
    return count
  }

  /** Deletes what matches in the next few rows; how many, and the key to go on after: null at the end. */
  private step(glob: Glob, after: string, below: number): [count: number, next: string | null] {
    const { entries, store } = this.parts
    const { keysAfter, keysFrom } = store.statements!
    const nowMs = wallMs()
    const endMs = monotonicMs() + STEP_MS
    const startsAtPrefix = Buffer.compare(Buffer.from(after), Buffer.from(glob.prefix)) < 0
    let rows = startsAtPrefix
      ? keysFrom.all(glob.prefix, PAGE_ROWS)
      : keysAfter.all(after, PAGE_ROWS)
    let count = 0
    for (let seen = 0; ; ) {
      for (const [key, , version] of rows) {
        if (!key.startsWith(glob.prefix)) return [count, null]
        seen++
        if (version < below && glob.matches(key) && entries.remove(key, nowMs)) count++
        if (monotonicMs() > endMs) return [count, key]
      }
      if (rows.length < PAGE_ROWS) return [count, null]
      const last = rows.at(-1)![0]
      if (seen >= STEP_ROWS) return [count, last]
      rows = keysAfter.all(last, PAGE_ROWS)
    }
  }
}
