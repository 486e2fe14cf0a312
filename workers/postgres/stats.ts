/** Stats: durations counted in buckets whose bounds grow by a fifth, so that percentiles cost no memory.
 *  Owns:   one histogram each.   Thread: postgres worker.
 *  Holds:  a percentile is at most 20 % above the true one. */

const SMALLEST_MS = 0.01
const GROWTH = 1.2
const BUCKET_COUNT = 96 // 0.01 ms × 1.2^95 is over four days
const LOG_GROWTH = Math.log(GROWTH)

export class Durations {
  private readonly counts = new Uint32Array(BUCKET_COUNT)
  private total = 0

  add(durationMs: number): void {
    const index =
      durationMs <= SMALLEST_MS ? 0 : Math.ceil(Math.log(durationMs / SMALLEST_MS) / LOG_GROWTH)
    this.counts[Math.min(index, BUCKET_COUNT - 1)]!++
    if (++this.total >= DECAY_COUNT) this.decay()
  }

  /** The upper bound of the bucket in which the share `rank` (0…1) of all durations is reached; 0 without any. */
  percentile(rank: number): number {
    const wanted = Math.ceil(this.total * rank)
    if (wanted === 0) return 0
    let seen = 0
    for (let index = 0; index < BUCKET_COUNT; index++) {
      seen += this.counts[index]!
      if (seen >= wanted) return Number((SMALLEST_MS * GROWTH ** index).toPrecision(3))
    }
    return 0
  }

  /** Halves everything now and then: what `stats` shows is about the last hundred thousand, not about last month. */
  private decay(): void {
    this.total = 0
    for (let index = 0; index < BUCKET_COUNT; index++) {
      this.counts[index]! >>>= 1
      this.total += this.counts[index]!
    }
  }
}

const DECAY_COUNT = 100_000
