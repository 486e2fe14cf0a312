/** Listing: KEYS, answered by walks in small steps, so that reads get between them however few of the keys match.
 *  Owns:   the requests that wait, and the keys found for the first of them.   Not here: what a glob means (glob.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) the order is that of the keys' UTF-8 bytes, which is SQLite's, so a page goes on where the last one ended.
 *          (2) only keys that begin with the glob's prefix are read. A glob without a prefix that matches little reads them all, about
 *          half a second for a million, in steps of STEP_MS.  (3) keys are found for one request at a time; the others are words. */

import { monotonicMs, wallMs } from '../../engine/clock.ts'
import { HearthError } from '../../engine/errors.ts'
import { Glob } from '../../engine/glob.ts'
import { KEYS_COUNT_MAX } from '../../engine/limits.ts'
import type { BodyReader } from '../../engine/protocol/body.ts'
import { encodeValue } from '../../engine/protocol/payload.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies, RequestFrame } from '../handler.ts'
import type { Parts } from './parts.ts'

const SCAN_ROWS = 256
const STEP_MS = 1

interface Walk {
  readonly ticket: number
  readonly glob: Glob
  readonly limit: number
  readonly found: string[]
  /** The last key that was looked at. */
  after: string
}

export class Listing {
  private readonly parts: Parts
  private readonly reader: BodyReader
  private readonly walks: Walk[] = []

  constructor(parts: Parts, reader: BodyReader) {
    this.parts = parts
    this.reader = reader
  }

  /** Whether a step is to be made. */
  get isDue(): boolean {
    return this.walks.length > 0
  }

  /** KEYS. What is kept back has been written before. The first step is made at once, in the order of the ring. */
  keys(frame: RequestFrame, replies: Replies): void {
    const { reader } = this
    const glob = new Glob(reader.text())
    const after = reader.text()
    const limit = Math.min(reader.uint(), KEYS_COUNT_MAX)
    reader.done()
    this.walks.push({ ticket: frame.ticket, glob, limit, found: [], after })
    if (this.walks.length === 1) this.step(replies)
  }

  /** A step of the first walk; answered if that is its end, which it is too when keys cannot be read. */
  step(replies: Replies): void {
    const { parts } = this
    const walk = this.walks[0]!
    let isOver = true
    if (parts.isReady()) {
      try {
        parts.group.beforeRead()
        isOver = this.scan(walk)
      } catch (error) {
        parts.group.readFailed(error, replies)
      }
    }
    if (!isOver) return
    this.walks.shift()
    replies.reply(REPLIES.RESULT.code, walk.ticket, encodeValue(walk.found))
  }

  /** The tier is about to be closed. */
  close(replies: Replies): void {
    const error = new HearthError('UNAVAILABLE', 'the engine stops: list the keys again later')
    for (const { ticket } of this.walks) replies.fail(ticket, error)
    this.walks.length = 0
  }

  /** Looks at keys for STEP_MS; whether the walk has come to its end. */
  private scan(walk: Walk): boolean {
    const { store, entries, doubts } = this.parts
    const { keysAfter, keysFrom } = store.statements!
    const { glob, found, limit } = walk
    const { prefix } = glob
    const nowMs = wallMs()
    const endMs = monotonicMs() + STEP_MS
    do {
      const startsAtPrefix = Buffer.compare(Buffer.from(walk.after), Buffer.from(prefix)) < 0
      const rows = startsAtPrefix
        ? keysFrom.all(prefix, SCAN_ROWS)
        : keysAfter.all(walk.after, SCAN_ROWS)
      for (const [key, goneAtMs, , meta] of rows) {
        if (found.length >= limit || !key.startsWith(prefix)) return true
        if (glob.matches(key) && entries.isLive(goneAtMs, meta, nowMs) && !doubts.holds(key))
          found.push(key)
      }
      if (rows.length < SCAN_ROWS || found.length >= limit) return true
      walk.after = rows.at(-1)![0]
    } while (monotonicMs() < endMs)
    return false
  }
}
