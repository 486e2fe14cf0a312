/** History: the series of the last ten minutes as whoever shows it keeps it: what is new is added, what is old goes.
 *  Owns:   the columns.   Not here: taking samples (../series.ts).
 *  Thread: any, a browser's too.
 *  Holds:  (1) at most SAMPLE_COUNT_MAX samples, however long it runs.  (2) a stretch without samples has one of nulls in it, so
 *          that no line is drawn across it.  (3) times only grow: a clock that was put back begins anew. */

import type { SeriesJson } from '../../figures.ts'

export const SAMPLE_COUNT_MAX = 300
/** So many intervals without a sample are a gap. */
const GAP_COUNT = 3

export class History {
  /** Since 1970. */
  atMs: number[] = []
  private columns = new Map<string, (number | null)[]>()

  /** The newest sample's time, to ask for what came later; 0 before the first. */
  get lastAtMs(): number {
    return this.atMs.at(-1) ?? 0
  }

  /** Takes in what the engine gave for `lastAtMs`; says whether there was anything new. */
  add({ everyMs, atMs, values }: SeriesJson): boolean {
    const first = atMs[0]
    if (first === undefined) return false
    if (first <= this.lastAtMs) this.clear()
    const before = this.atMs.length
    const isGap = before > 0 && first - this.lastAtMs > GAP_COUNT * everyMs
    if (isGap) this.atMs.push(this.lastAtMs + everyMs)
    this.atMs.push(...atMs)
    const surplus = Math.max(0, this.atMs.length - SAMPLE_COUNT_MAX)
    this.atMs.splice(0, surplus)
    for (const [name, added] of Object.entries(values)) {
      const column = this.columns.get(name) ?? Array<null>(before).fill(null)
      if (isGap) column.push(null)
      column.push(...added)
      column.splice(0, surplus)
      this.columns.set(name, column)
    }
    return true
  }

  /** A figure's values, in the order of `atMs`; all null for one that this engine does not have. */
  column(name: string): (number | null)[] {
    return this.columns.get(name) ?? Array<null>(this.atMs.length).fill(null)
  }

  latest(name: string): number | null {
    return this.columns.get(name)?.at(-1) ?? null
  }

  clear(): void {
    this.atMs = []
    this.columns.clear()
  }
}
