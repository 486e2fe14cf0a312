/** trend: how long until a figure reaches its limit, if it goes there steadily.
 *  Owns:   nothing; TrendHistory its points.   Not here: which figures (measures.ts).
 *  Thread: main.
 *  Holds:  (1) the slope is Theil's and Sen's: the median of the slopes between all pairs of points, which outliers hardly move.
 *          (2) no time is told unless the fit is good: TAU_MIN of all pairs agree with the slope, and what it explains is more than
 *          what it does not.  (3) at most POINT_COUNT_MAX points, so at most 7 140 pairs. */

export const POINT_EVERY_MS = 60_000
export const POINT_COUNT_MAX = 120
/** Fewer tell nothing: a quarter of an hour. */
export const POINT_COUNT_MIN = 15
/** Kendall's tau: 1 when each later point is further on, 0 for noise. */
const TAU_MIN = 0.6
/** What the line rises, against how far from it points lie: a step that stands on a slow rise is no line. */
const FIT_MIN = 6

export interface Points {
  readonly atMs: ArrayLike<number>
  readonly values: ArrayLike<number>
  readonly count: number
}

/** Seconds until `limit` is reached; Infinity: it is not on its way there, has passed it, or goes no steady way. */
export function secondsTo(limit: number, { atMs, values, count }: Points): number {
  if (count < POINT_COUNT_MIN) return Number.POSITIVE_INFINITY
  const slopes = new Float64Array((count * (count - 1)) / 2)
  let pairs = 0
  let agreement = 0
  for (let i = 0; i < count; i++) {
    for (let j = i + 1; j < count; j++) {
      const rise = values[j]! - values[i]!
      slopes[pairs++] = rise / (atMs[j]! - atMs[i]!)
      agreement += Math.sign(rise)
    }
  }
  const slope = medianOf(slopes)
  const isSteady = (agreement / pairs) * Math.sign(slope) >= TAU_MIN
  if (!isSteady) return Number.POSITIVE_INFINITY
  const offsets = Float64Array.from({ length: count }, (_, i) => values[i]! - slope * atMs[i]!)
  const offset = medianOf(offsets)
  const errors = Float64Array.from({ length: count }, (_, i) => {
    return Math.abs(values[i]! - offset - slope * atMs[i]!)
  })
  const risen = Math.abs(slope * (atMs[count - 1]! - atMs[0]!))
  if (risen <= FIT_MIN * medianOf(errors)) return Number.POSITIVE_INFINITY
  const now = offset + slope * atMs[count - 1]!
  const leftMs = (limit - now) / slope
  return leftMs > 0 ? leftMs / 1e3 : Number.POSITIVE_INFINITY
}

/** The points of one figure: the mean of each minute, for two hours. */
export class TrendHistory {
  private readonly atMs: number[] = []
  private readonly values: number[] = []
  private sum = 0
  private sumCount = 0
  private sinceMs = Number.NaN

  /** A value that is not known is left out; time goes on. */
  add(value: number, nowMs: number): void {
    if (Number.isNaN(this.sinceMs)) this.sinceMs = nowMs
    if (Number.isFinite(value)) {
      this.sum += value
      this.sumCount++
    }
    if (nowMs - this.sinceMs < POINT_EVERY_MS) return
    this.sinceMs = nowMs
    if (this.sumCount === 0) return
    if (this.atMs.length === POINT_COUNT_MAX) {
      this.atMs.shift()
      this.values.shift()
    }
    this.atMs.push(nowMs)
    this.values.push(this.sum / this.sumCount)
    this.sum = 0
    this.sumCount = 0
    this.known = undefined
  }

  private known: { limit: number; seconds: number } | undefined

  /** Worked out once for each point. */
  secondsTo(limit: number): number {
    if (this.known?.limit !== limit) {
      const { atMs, values } = this
      this.known = { limit, seconds: secondsTo(limit, { atMs, values, count: atMs.length }) }
    }
    return this.known.seconds
  }
}

function medianOf(numbers: Float64Array): number {
  numbers.sort()
  const half = numbers.length >> 1
  return numbers.length % 2 === 1 ? numbers[half]! : (numbers[half - 1]! + numbers[half]!) / 2
}
