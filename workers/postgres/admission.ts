/** Admission: stands before one server: its two breakers, for what reads and for what writes, and what each outcome means to them.
 *  Owns:   both breakers.   Not here: connections (shared_pool.ts, pool.ts), what is asked again (retries.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) every job that was admitted is handed back once, answered, failed or taken elsewhere.  (2) an error of the
 *          statement is the server's answer, and so a success.  (3) on the way of a job that is answered nothing is allocated.
 *
 *  A failure: no connection could be made within the dialer's patience, or the login was refused; the connection was lost with the
 *  statement on it (57P01 to 57P03 among the reasons); the deadline passed, the server was silent to the cancellation too, and
 *  nothing came from it on any other connection since the statement was asked.
 *  None: whatever the server answers, an answer to a cancellation included; given up, or refused for our own load (BUSY,
 *  POOL_EXHAUSTED); the deadline of a statement that stood behind another. Those waiting for a server that restarts are no
 *  failures before they are refused, and their refusal together is one (breaker.ts).
 *
 *  A transaction, a stream or a COPY counts by its opening: whether it was lent a connection. */

import {
  Breaker,
  type BreakerFigures,
  type BreakerSettings,
  NO_PASS,
} from '../../engine/breaker/breaker.ts'
import { monotonicMs } from '../../engine/clock.ts'
import type { HearthError } from '../../engine/errors.ts'
import { log } from '../../engine/log.ts'
import { circuitOpenError } from './errors.ts'
import { type Fault, isAnswer, knownOf } from './fault.ts'
import type { SharedJob } from './shared_job.ts'

const SIDES = ['reads', 'writes'] as const
export type Side = (typeof SIDES)[number]

export interface SideFigures extends BreakerFigures {
  /** In the words of the error that was counted; undefined before the first. */
  lastFailure: string | undefined
}

export class Admission {
  readonly reads: Breaker
  readonly writes: Breaker
  /** Of the newest admission: successes count as of then, for one more look at the clock would cost as much as the rest. */
  private nowMs = 0
  /** When the server was last heard, by the same clock. */
  private heardMs = -Infinity
  /** What a breaker counted last. */
  private readonly last: Partial<
    Record<Side, { readonly fault: Fault; readonly message: string }>
  > = {}

  /** `name` of the server: its breakers are `<name>.reads` and `<name>.writes`. */
  constructor(name: string, settings: BreakerSettings) {
    const turned = (breaker: Breaker) => this.turned(breaker)
    this.reads = new Breaker(`${name}.reads`, settings, turned)
    this.writes = new Breaker(`${name}.writes`, settings, turned)
  }

  /** Whether this server would take a statement of that side: for a choice among several. Changes nothing. */
  admits(side: Side, nowMs: number): boolean {
    return this[side].admits(nowMs)
  }

  /** Lets a job pass, which is then to be placed; it comes back by ended(). Or CIRCUIT_OPEN. */
  admit(job: SharedJob, nowMs: number): HearthError | undefined {
    const breaker = this.of(job)
    this.nowMs = nowMs
    job.pass = breaker.admit(nowMs)
    job.isTrial = breaker.state !== 'closed'
    if (job.pass === NO_PASS) return this.refusal(breaker, nowMs, job.correlationId)
  }

  /** What became of a job that was admitted; `error`: undefined for rows. */
  ended(job: SharedJob, error: HearthError | undefined): void {
    const breaker = this.of(job)
    if (error !== undefined)
      return this.judge(breaker, job.pass, job.startedMs, error, monotonicMs())
    breaker.succeeded(job.pass, this.nowMs)
    this.heardMs = this.nowMs
  }

  /** A job that was admitted is given to another server, without an outcome here. */
  left(job: SharedJob): void {
    this.of(job).spared(job.pass)
  }

  /** Lets something pass that begins with a connection of its own; tell() of its outcome, once. Throws CIRCUIT_OPEN. */
  open(side: Side, correlationId: string): (error?: HearthError) => void {
    const breaker = this[side]
    const admittedMs = monotonicMs()
    this.nowMs = admittedMs
    const pass = breaker.admit(admittedMs)
    if (pass === NO_PASS) throw this.refusal(breaker, admittedMs, correlationId)
    return error => {
      if (error === undefined) breaker.succeeded(pass, this.nowMs)
      else this.judge(breaker, pass, admittedMs, error, monotonicMs())
    }
  }

  /** A check of this server's health was passed. */
  probeSucceeded(): void {
    this.reads.probeSucceeded()
    this.writes.probeSucceeded()
  }

  /** A connection was made: the opposite of what opened a breaker, if that was that none could be. */
  connected(): void {
    for (const side of SIDES) {
      const fault = this.last[side]?.fault
      if (fault === 'unreachable' || fault === 'refused') this[side].probeSucceeded()
    }
  }

  figures(): Record<Side, SideFigures> {
    const nowMs = monotonicMs()
    const of = (side: Side) => {
      return { ...this[side].figures(nowMs), lastFailure: this.last[side]?.message }
    }
    return { reads: of('reads'), writes: of('writes') }
  }

  private of(job: SharedJob): Breaker {
    return job.statement.isRead ? this.reads : this.writes
  }

  private judge(
    breaker: Breaker,
    pass: number,
    askedMs: number,
    error: HearthError,
    nowMs: number,
  ): void {
    if (isAnswer(error)) {
      this.heardMs = nowMs
      return breaker.succeeded(pass, nowMs)
    }
    const { fault } = knownOf(error)
    const isBusyElsewhere = fault === 'silent' && this.heardMs >= askedMs
    if (fault === undefined || isBusyElsewhere) return breaker.spared(pass)
    this.last[this.sideOf(breaker)] = { fault, message: error.message }
    breaker.failed(pass, nowMs)
  }

  private refusal(breaker: Breaker, nowMs: number, correlationId: string): HearthError {
    const retryAfterMs = breaker.retryAfterMs(nowMs)
    const last = this.last[this.sideOf(breaker)]?.message ?? 'unknown'
    return circuitOpenError(breaker.name, retryAfterMs, last, correlationId)
  }

  private sideOf(breaker: Breaker): Side {
    return breaker === this.reads ? 'reads' : 'writes'
  }

  private turned(breaker: Breaker): void {
    const { name, state, settings } = breaker
    if (state !== 'open') return log('info', `the breaker "${name}" is ${state}`, { breaker: name })
    log('warn', `the breaker "${name}" is open: statements are refused without being sent`, {
      breaker: name,
      openMs: settings.openMs,
      last: this.last[this.sideOf(breaker)]?.message,
    })
  }
}
