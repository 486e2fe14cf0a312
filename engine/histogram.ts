/** Histogram: durations counted in a few buckets, for ever: what Prometheus takes rates of.
 *  Owns:   the counts of one histogram.   Not here: which durations (router/request_meter.ts, workers/postgres/pool_figures.ts).
 *  Thread: any, one at a time.
 *  Holds:  (1) counts only grow.  (2) every histogram of the engine has the same bounds, so that they add up. */

/** Upper bounds of the buckets, in milliseconds; above the last there is one more. */
export const DURATION_BOUNDS_MS: readonly number[] = [
  0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000,
]
const BUCKET_COUNT = DURATION_BOUNDS_MS.length + 1

/** A histogram as plain numbers, to be sent or kept: the sum in milliseconds, then the count of each bucket. */
export type HistogramFigures = readonly number[]

export class Histogram {
  private readonly counts = new Float64Array(BUCKET_COUNT)
  private sumMs = 0

  /** Counts `count` durations of so many milliseconds each. */
  add(durationMs: number, count = 1): void {
    let bucket = 0
    while (bucket < BUCKET_COUNT - 1 && durationMs > DURATION_BOUNDS_MS[bucket]!) bucket++
    this.counts[bucket]! += count
    this.sumMs += durationMs * count
  }

  figures(): HistogramFigures {
    return [this.sumMs, ...this.counts]
  }
}

/** How many durations were counted. */
export function countOf(figures: HistogramFigures): number {
  let count = 0
  for (let i = 1; i < figures.length; i++) count += figures[i]!
  return count
}

/** Several histograms as one; `less`, if given, is taken off: what came since. */
export function sumOf(
  histograms: readonly HistogramFigures[],
  less?: HistogramFigures,
): HistogramFigures {
  const sum: number[] = new Array(BUCKET_COUNT + 1).fill(0)
  for (const each of histograms) for (let i = 0; i < sum.length; i++) sum[i]! += each[i]!
  if (less !== undefined) for (let i = 0; i < sum.length; i++) sum[i]! -= less[i]!
  return sum
}

/** Where the share `rank` (0…1) of the durations is reached, in milliseconds, taking those of a bucket as spread evenly over it,
 *  as Prometheus' histogram_quantile() does; NaN without any. Above the last bound: that bound. */
export function percentileOf(figures: HistogramFigures, rank: number): number {
  const wanted = countOf(figures) * rank
  if (wanted === 0) return Number.NaN
  let seen = 0
  for (let i = 0; i < DURATION_BOUNDS_MS.length; i++) {
    const count = figures[i + 1]!
    if (seen + count >= wanted) {
      const lowerMs = i === 0 ? 0 : DURATION_BOUNDS_MS[i - 1]!
      return lowerMs + ((DURATION_BOUNDS_MS[i]! - lowerMs) * (wanted - seen)) / count
    }
    seen += count
  }
  return DURATION_BOUNDS_MS.at(-1)!
}
