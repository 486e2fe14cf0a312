/** CallWindow: how many of the calls of the last so many milliseconds failed.
 *  Owns:   two counts in each of BUCKET_COUNT buckets: as much memory for a million calls as for one.
 *  Thread: any; the clock is its caller's.
 *  Holds:  (1) a call counts for at least nine tenths of the window and at most all of it.  (2) the totals are those of the
 *          buckets.  (3) a clock that stands still or goes back counts into the newest bucket. */

export const BUCKET_COUNT = 10

export class CallWindow {
  callCount = 0
  failureCount = 0
  private readonly bucketMs: number
  private readonly calls = new Uint32Array(BUCKET_COUNT)
  private readonly failures = new Uint32Array(BUCKET_COUNT)
  /** Number of the newest bucket, counted from the clock's zero. */
  private newest = -1

  constructor(windowMs: number) {
    this.bucketMs = windowMs / BUCKET_COUNT
  }

  note(isFailure: boolean, nowMs: number): void {
    this.moveTo(nowMs)
    const at = this.newest % BUCKET_COUNT
    this.calls[at]!++
    this.callCount++
    if (!isFailure) return
    this.failures[at]!++
    this.failureCount++
  }

  /** Forgets what is older than the window. */
  moveTo(nowMs: number): void {
    const number = Math.floor(nowMs / this.bucketMs)
    if (number <= this.newest) return
    const steps = Math.min(number - this.newest, BUCKET_COUNT)
    for (let step = 0; step < steps; step++) this.drop((number - step) % BUCKET_COUNT)
    this.newest = number
  }

  clear(): void {
    for (let at = 0; at < BUCKET_COUNT; at++) this.drop(at)
  }

  private drop(at: number): void {
    this.callCount -= this.calls[at]!
    this.failureCount -= this.failures[at]!
    this.calls[at] = 0
    this.failures[at] = 0
  }
}
