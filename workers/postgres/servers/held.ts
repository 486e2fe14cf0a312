/** Held: statements that did not run, and wait for a server that may have them: a failover in their middle is a pause to them.
 *  Owns:   the jobs until they are placed or refused.   Thread: postgres worker.
 *  Holds:  (1) a job is here only when it is known not to have run, or only reads.  (2) each leaves by its own deadline, and within
 *          HELD_MS_MAX: whoever waits longer is better told.  (3) at most HELD_COUNT_MAX. */

import { monotonicMs } from '../../../engine/clock.ts'
import type { HearthError } from '../../../engine/errors.ts'
import { copyOf, type SharedJob } from '../shared_job.ts'

const HELD_COUNT_MAX = 10_000
const HELD_MS_MAX = 10_000
const TICK_MS = 100

interface Waiting {
  readonly job: SharedJob
  readonly untilMs: number
  readonly error: HearthError
}

export class Held {
  private waiting: Waiting[] = []
  private timer: NodeJS.Timeout | undefined
  /** Gives a job to a server that is fit for it now; false: there is none. */
  private readonly place: (job: SharedJob) => boolean
  /** Has every server looked at. */
  private readonly look: () => void

  constructor(place: (job: SharedJob) => boolean, look: () => void) {
    this.place = place
    this.look = look
  }

  get count(): number {
    return this.waiting.length
  }

  /** Takes a job over from a server that cannot have it; `error` is what its requester is told if nobody can. False: no room. */
  hold(job: SharedJob, error: HearthError): boolean {
    const nowMs = monotonicMs()
    const untilMs = Math.min(job.acquireUntilMs, nowMs + HELD_MS_MAX)
    if (this.waiting.length >= HELD_COUNT_MAX || nowMs >= untilMs) return false
    this.waiting.push({ job: copyOf(job), untilMs, error })
    if (this.timer === undefined) {
      this.timer = setInterval(() => this.tick(), TICK_MS).unref()
      setImmediate(this.look)
    }
    return true
  }

  /** Something is known now that was not before. */
  tryAll(): void {
    if (this.waiting.length === 0) return
    const nowMs = monotonicMs()
    const waiting = this.waiting
    this.waiting = []
    for (const each of waiting) {
      const { job, untilMs, error } = each
      if (job.isUnwanted || nowMs >= untilMs) this.refuse(job, error)
      else if (!this.place(job)) this.waiting.push(each)
    }
    if (this.waiting.length > 0) return
    clearInterval(this.timer)
    this.timer = undefined
  }

  /** Gives one up whose requester has had enough; false: it is not here. */
  cancel(ticket: number): boolean {
    const found = this.waiting.find(({ job }) => job.ticket === ticket)
    if (found === undefined) return false
    this.waiting = this.waiting.filter(each => each !== found)
    this.refuse(found.job, found.error)
    return true
  }

  close(error: HearthError): void {
    clearInterval(this.timer)
    for (const { job } of this.waiting.splice(0)) this.refuse(job, error)
  }

  private tick(): void {
    this.look()
    this.tryAll()
  }

  private refuse(job: SharedJob, error: HearthError): void {
    job.isDone = true
    job.replies.fail(job.ticket, error)
  }
}
