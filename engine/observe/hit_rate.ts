/** hit_rate: the share of reads that either tier answered, over windows of time, against the target.
 *  Owns:   the window.   Not here: counting reads (each tier does).
 *  Thread: main.
 *  Holds:  (1) a window is judged only when it had READS_MIN reads.  (2) a warning is logged once for each window that missed
 *          the target; it is a warning and no fault: health stays ok. */

import type { ReadFigures } from '../figures.ts'
import { log } from '../log.ts'

const WINDOW_MS = 60_000
const READS_MIN = 100

export class HitRate {
  /** 0 to 1; 0: nothing is warned of. */
  target: number
  /** Of the last window that had enough reads; null before the first. */
  recent: number | null = null
  private since: ReadFigures = { memoryHits: 0, sqliteHits: 0, misses: 0 }
  private windowEndMs = 0

  constructor(target: number) {
    this.target = target
  }

  /** What there is to warn of, in words. */
  get warning(): string | undefined {
    if (this.recent === null || this.recent >= this.target) return undefined
    return `${percent(this.recent)} of gets were answered from the cache, ${percent(this.target)} is the target`
  }

  /** Looks at the sums of all reads so far; closes the window when it is over. To be called about once a second. */
  look(reads: ReadFigures, nowMs: number): void {
    if (this.windowEndMs === 0) this.begin(reads, nowMs)
    if (nowMs < this.windowEndMs) return
    const hits = reads.memoryHits + reads.sqliteHits - this.since.memoryHits - this.since.sqliteHits
    const all = hits + reads.misses - this.since.misses
    if (all < READS_MIN) return
    this.recent = hits / all
    this.begin(reads, nowMs)
    if (this.warning !== undefined)
      log('warn', 'the hit rate is below its target', {
        hitRate: Number(this.recent.toFixed(4)),
        target: this.target,
        reads: all,
      })
  }

  private begin(reads: ReadFigures, nowMs: number): void {
    this.since = { ...reads }
    this.windowEndMs = nowMs + WINDOW_MS
  }
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}
