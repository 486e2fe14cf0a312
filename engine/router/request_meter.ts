/** RequestMeter: how many requests came, what became of them, and how long the engine took, by operation.
 *  Owns:   the counts of one engine.   Not here: who shows them (observe/metrics.ts).
 *  Thread: main.
 *  Holds:  (1) a request is counted once, with its first closing reply.  (2) its time is from the read that brought it to the write
 *          that takes its reply away.  (3) nothing is allocated for a request that is answered in its turn.
 *
 *  The clock is read once a turn, not once a request: what one read brought is answered by one write, so all of it took as long as
 *  the turn, which is what is counted for each. An answer that comes later is timed when the batch that brings it is taken. So a time
 *  is never shorter than the true one by more than that batch's own. What clients read in place never comes here. */

import { monotonicMs } from '../clock.ts'
import { Histogram, type HistogramFigures } from '../histogram.ts'
import { OpenRequests } from './open_requests.ts'

/** Requests have codes below this. */
const OP_COUNT = 0x80
/** Stands for an error's wire number: the connection ended before the answer. */
export const WIRE_GONE = 0xff

export class RequestMeter {
  private readonly durations: (Histogram | undefined)[] = new Array(OP_COUNT).fill(undefined)
  /** By op << 8 | the error's wire number. */
  private readonly failures = new Map<number, number>()
  /** Requests answered in this turn, by op, and which ops have any. */
  private readonly turn = new Uint32Array(OP_COUNT)
  private readonly touched: number[] = []
  private readonly open = new OpenRequests()
  private turnMs = 0
  private answerMs = 0

  /** When the turn began, on the monotonic clock. */
  get beganMs(): number {
    return this.turnMs
  }

  /** A read is gone through; one that had to wait began when it came (`sinceMs`). */
  turnBegins(sinceMs = 0): void {
    if (this.touched.length === 0) this.turnMs = sinceMs || monotonicMs()
  }

  /** The replies of the turn have been written out. */
  turnEnds(): void {
    const { touched, turn } = this
    if (touched.length === 0) return
    const tookMs = monotonicMs() - this.turnMs
    for (let i = 0; i < touched.length; i++) {
      const op = touched[i]!
      this.durationOf(op).add(tookMs, turn[op])
      turn[op] = 0
    }
    touched.length = 0
  }

  /** A request of this turn has its answer; `wire`: the error's number, 0 for none. */
  answered(op: number, wire: number): void {
    if (op >= OP_COUNT) return
    if (this.turn[op]!++ === 0) this.touched.push(op)
    if (wire !== 0) this.failed(op, wire)
  }

  /** A request of this turn is answered later. */
  opened(client: number, id: number, op: number): void {
    this.open.add(client, id, op, this.turnMs)
  }

  /** The later answer. */
  closed(client: number, id: number, wire: number): void {
    const { open } = this
    if (!open.take(client, id)) return
    if (this.answerMs === 0) this.answerMs = monotonicMs()
    this.durationOf(open.op).add(this.answerMs - open.startMs)
    if (wire !== 0) this.failed(open.op, wire)
  }

  /** Replies have been handed over: whatever comes next comes later. */
  flushed(): void {
    this.answerMs = 0
  }

  /** A connection has ended: what it asked stays without an answer. */
  gone(client: number): void {
    this.open.takeAll(client, (op, startMs) => {
      this.durationOf(op).add(monotonicMs() - startMs)
      this.failed(op, WIRE_GONE)
    })
  }

  /** Requests without an answer yet. */
  get openCount(): number {
    return this.open.count
  }

  /** By op code: all requests that have ended, and what failed of them, by wire number. */
  figures(): RequestFigures[] {
    const found: RequestFigures[] = []
    for (let op = 0; op < OP_COUNT; op++) {
      const durations = this.durations[op]?.figures()
      if (durations !== undefined) found.push({ op, durations, failures: new Map() })
    }
    for (const [key, count] of this.failures)
      found.find(({ op }) => op === key >> 8)?.failures.set(key & 0xff, count)
    return found
  }

  private failed(op: number, wire: number): void {
    const key = (op << 8) | wire
    this.failures.set(key, (this.failures.get(key) ?? 0) + 1)
  }

  private durationOf(op: number): Histogram {
    return (this.durations[op] ??= new Histogram())
  }
}

export interface RequestFigures {
  readonly op: number
  readonly durations: HistogramFigures
  readonly failures: Map<number, number>
}
