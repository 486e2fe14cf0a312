/** keys: the live keys that match a glob, in order.
 *  Owns:   nothing.   Not here: what a glob means (glob.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) the order is that of the keys' UTF-8 bytes, which is SQLite's, so a page goes on where the last one ended.
 *          (2) only keys that begin with the glob's prefix are read, a few hundred at a time. A glob without a prefix that
 *          matches little reads them all before it answers, about a second for a million. */

import { wallMs } from '../../engine/clock.ts'
import type { Glob } from '../../engine/glob.ts'
import type { Doubts } from './doubts.ts'
import type { Entries } from './entries.ts'
import type { Statements } from './statements.ts'

const SCAN_ROWS = 256

/** Appends at most `limit` keys that come after `after` to `found`. */
export function scanKeys(
  statements: Statements,
  entries: Entries,
  doubts: Doubts,
  glob: Glob,
  after: string,
  limit: number,
  found: string[],
): void {
  const nowMs = wallMs()
  const { keysAfter, keysFrom } = statements
  const startsAtPrefix = Buffer.compare(Buffer.from(after), Buffer.from(glob.prefix)) < 0
  let rows = startsAtPrefix ? keysFrom.all(glob.prefix, SCAN_ROWS) : keysAfter.all(after, SCAN_ROWS)
  for (;;) {
    for (const [key, goneAtMs, , meta] of rows) {
      if (found.length >= limit || !key.startsWith(glob.prefix)) return
      if (glob.matches(key) && entries.isLive(goneAtMs, meta, nowMs) && !doubts.holds(key))
        found.push(key)
    }
    if (rows.length < SCAN_ROWS) return
    rows = keysAfter.all(rows.at(-1)![0], SCAN_ROWS)
  }
}
