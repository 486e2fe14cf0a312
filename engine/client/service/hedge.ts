/** Hedging: whether, and when, a call that gets no answer is sent a second time.
 *  Owns:   the latest latencies of one service, and the budget.   Thread: the client's.
 *  Holds:  of a hundred calls, at most ten and HEDGES_AT_ONCE more are hedged: a service that has become slow is not given twice the
 *          load. */

const LATENCY_COUNT = 200
/** Fewer say nothing of a 95th percentile. */
const LATENCY_COUNT_MIN = 20
const SHARE = 0.1
const HEDGES_AT_ONCE = 5
/** The percentile is found anew after so many answers. */
const RENEW_COUNT = 20

export class Hedging {
  private readonly latenciesMs = new Float64Array(LATENCY_COUNT)
  private count = 0
  private p95Ms: number | undefined
  private budget = HEDGES_AT_ONCE

  /** A call begins. */
  begun(): void {
    this.budget = Math.min(this.budget + SHARE, HEDGES_AT_ONCE)
  }

  answered(latencyMs: number): void {
    this.latenciesMs[this.count++ % LATENCY_COUNT] = latencyMs
    if (this.count >= LATENCY_COUNT_MIN && this.count % RENEW_COUNT === 0) this.renew()
  }

  /** How long to wait for an answer before the second attempt; undefined: for ever. */
  delayMs(after: number | 'p95' | undefined): number | undefined {
    return after === 'p95' ? this.p95Ms : after
  }

  /** Takes one out of the budget; false when there is none. */
  take(): boolean {
    if (this.budget < 1) return false
    this.budget--
    return true
  }

  private renew(): void {
    const known = this.latenciesMs.slice(0, Math.min(this.count, LATENCY_COUNT)).sort()
    this.p95Ms = known[Math.floor(known.length * 0.95)]!
  }
}

/** What the first of two attempts brings that is good enough, whichever it is; the other is aborted. `start` begins one. The second
 *  begins after `delayMs`, if `mayHedge` then allows it. If the first fails before that, there is no second; if both fail, the first's
 *  outcome stands. */
export async function firstOf<Result>(
  start: (signal: AbortSignal) => Promise<Result>,
  delayMs: number,
  mayHedge: () => boolean,
  isGood: (result: Result) => boolean,
): Promise<Result> {
  const aborts = [new AbortController(), new AbortController()] as const
  const first = start(aborts[0].signal)
  try {
    if (await settlesWithin(first, delayMs)) return await first
    if (!mayHedge()) return await first
    const second = start(aborts[1].signal)
    const good = [first, second].map(async attempt => {
      const result = await attempt
      if (!isGood(result)) throw new Error('not good enough')
      return result
    })
    return await Promise.any(good).catch(() => first)
  } finally {
    for (const abort of aborts) abort.abort(LOST)
  }
}

const LOST = new Error('another attempt was answered first')

async function settlesWithin(promise: Promise<unknown>, delayMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>(resolve => {
    timer = setTimeout(() => resolve(false), delayMs)
  })
  const settled = promise.then(
    () => true,
    () => true,
  )
  const isSettled = await Promise.race([settled, late])
  clearTimeout(timer)
  return isSettled
}
