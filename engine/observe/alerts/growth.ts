/** Growth: how much counters grew within a window of time, from totals that are told again and again.
 *  Owns:   a ring of totals for each counter or histogram.   Not here: which counters (measures.ts).
 *  Thread: main.
 *  Holds:  (1) a total that fell began anew, and so does its window.  (2) at most SERIES_COUNT_MAX of them, of KEPT_COUNT totals. */

const KEPT_COUNT = 31
const SERIES_COUNT_MAX = 512

export interface Grown {
  readonly by: readonly number[]
  /** How much of the window has been seen. */
  readonly overMs: number
}

interface Kept {
  readonly atMs: number[]
  readonly totals: (readonly number[])[]
}

export class Growth {
  private readonly kept = new Map<string, Kept>()

  /** Takes the totals of now, and gives their growth within the last `windowMs`. The first time there is none. */
  of(key: string, totals: readonly number[], windowMs: number, nowMs: number): Grown {
    let kept = this.kept.get(key)
    if (kept === undefined) {
      kept = { atMs: [], totals: [] }
      if (this.kept.size < SERIES_COUNT_MAX) this.kept.set(key, kept)
    }
    const last = kept.totals.at(-1)
    if (last !== undefined && totals.some((total, i) => total < last[i]!)) {
      kept.atMs.length = 0
      kept.totals.length = 0
    }
    while (kept.atMs.length > 1 && kept.atMs[1]! <= nowMs - windowMs) {
      kept.atMs.shift()
      kept.totals.shift()
    }
    const lastMs = kept.atMs.at(-1)
    if (lastMs === undefined || nowMs - lastMs >= windowMs / (KEPT_COUNT - 1)) {
      kept.atMs.push(nowMs)
      kept.totals.push([...totals])
    }
    const base = kept.totals[0]!
    return { by: totals.map((total, i) => total - base[i]!), overMs: nowMs - kept.atMs[0]! }
  }
}
