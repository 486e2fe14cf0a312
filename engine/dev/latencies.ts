/** Latencies: the last thousand durations of one kind, and their percentiles.
 *  Owns:   a ring of numbers.   Thread: any.
 *  Holds:  memory is fixed; a percentile is one of the durations that were recorded, not an estimate. */

const KEPT_COUNT = 1_000

export class Latencies {
  /** All that were recorded, not only those that are kept. */
  count = 0
  private readonly kept = new Float64Array(KEPT_COUNT)

  add(durationMs: number): void {
    this.kept[this.count++ % KEPT_COUNT] = durationMs
  }

  /** The durations at these ranks (0…1), in milliseconds; undefined without any. Nearest-rank. */
  percentiles(...ranks: number[]): number[] | undefined {
    const size = Math.min(this.count, KEPT_COUNT)
    if (size === 0) return undefined
    const sorted = this.kept.slice(0, size).sort()
    return ranks.map(rank => sorted[Math.max(0, Math.ceil(rank * size) - 1)]!)
  }
}
