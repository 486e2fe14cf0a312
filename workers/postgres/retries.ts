/** Retries: statements that failed and wait to be asked again.
 *  Owns:   the jobs from their failure to their next try, and one timer.   Not here: the rules (retry.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) at most RETRY_WAITING_COUNT_MAX wait, with RETRY_WAITING_BYTES_MAX of parameters; more are told of their failure
 *          instead.  (2) each is placed again, or answered, once.  (3) nothing waits that could not be back before its deadline.
 *          (4) a job that is given up, or whose database closes, does not wait on.  (5) what was lost in flight and looks like a read
 *          is placed again only once it is proven to be one. */

import { monotonicMs } from '../../engine/clock.ts'
import type { HearthError } from '../../engine/errors.ts'
import { closedError, givenUpError } from './errors.ts'
import { knownOf } from './fault.ts'
import { type Retry, type RetrySettings, retryOf, type Tried } from './retry.ts'
import type { SharedJob } from './shared_job.ts'
import type { Statement } from './statement.ts'
import { noteStatement } from './statement_log.ts'

/** What failed asks again within these. */
export interface RetriesOptions {
  /** Of the database. */
  readonly name: string
  readonly settings: RetrySettings
  /** A fresh wait for a connection, each time. */
  readonly acquireTimeoutMs: number
  /** Takes a job to a server; it has a new life, and the old ticket. */
  readonly place: (job: SharedJob, nowMs: number) => void
  /** After each round of them. */
  readonly flush: () => void
  /** Proven to change nothing, so that it may run twice; undefined: nobody has asked. */
  readonly isRepeatable: (statement: Statement) => boolean | undefined
  /** Asks, when that matters: what looks like a read, and was lost in flight, waits for the proof. */
  readonly prove: (statement: Statement) => Promise<boolean>
}

export interface RetryFigures {
  waiting: number
  /** Statements that were asked again, times that they were, and those of them that were answered in the end. */
  retried: number
  attempts: number
  recovered: number
}

/** Some 500 bytes each, parameters apart. */
export const RETRY_WAITING_COUNT_MAX = 2_000
export const RETRY_WAITING_BYTES_MAX = 2 * 1024 * 1024
/** Jobs due within the same few milliseconds go together. */
const ROUND_MS = 5

interface Waiting {
  readonly job: SharedJob
  readonly dueMs: number
  /** What it is answered with if it turns out not to be a proven read; undefined: it needs no proof. */
  readonly doubt: HearthError | undefined
}

export class Retries {
  private readonly options: RetriesOptions
  private waiting: Waiting[] = []
  /** By ticket, those whose time has come and whose proof has not. */
  private readonly proving = new Map<number, SharedJob>()
  /** Of the parameters of those who wait. */
  private bytes = 0
  private timer: NodeJS.Timeout | undefined
  /** When the timer fires. */
  private timerMs = Infinity
  private isClosed = false
  private readonly counts = { retried: 0, attempts: 0, recovered: 0 }

  constructor(options: RetriesOptions) {
    this.options = options
  }

  /** What became of a job. True: it is asked again, and the one that ended is not to be answered. */
  ended(job: SharedJob, error: HearthError | undefined): boolean {
    if (error !== undefined && this.take(job, error, monotonicMs())) return true
    if (error === undefined && job.tried !== UNTRIED) this.counts.recovered++
    this.note(job, error)
    return false
  }

  private take(job: SharedJob, error: HearthError, nowMs: number): boolean {
    if (this.isClosed || job.isUnwanted || !this.hasRoomFor(job)) return false
    const { settings, isRepeatable, acquireTimeoutMs } = this.options
    const proven = isRepeatable(job.statement)
    const mayRepeat = proven ?? job.statement.isRead
    const isTrial = job.isTrial && job.tried === UNTRIED
    const retry = retryOf(error, job.tried, mayRepeat, settings, isTrial)
    if (retry === undefined || nowMs + retry.delayMs >= job.deadlineMs) return false
    if (job.tried === UNTRIED) this.counts.retried++
    const dueMs = Math.ceil((nowMs + retry.delayMs) / ROUND_MS) * ROUND_MS
    const acquireUntilMs = Math.min(job.deadlineMs, dueMs + acquireTimeoutMs)
    const tried = after(job.tried, retry)
    job.isDone = true
    this.bytes += bytesOf(job)
    const doubt = proven === undefined && knownOf(error).mayHaveRun ? error : undefined
    const again = { ...job, ...FRESH, ...paramsOf(job), acquireUntilMs, tried }
    this.waiting.push({ job: again, dueMs, doubt })
    this.arm(dueMs, nowMs)
    return true
  }

  /** A job that a breaker did not let pass: waits on, if it has waited before, or is answered with that. */
  refused(job: SharedJob, refusal: HearthError, nowMs: number): void {
    if (this.take(job, refusal, nowMs)) return
    this.note(job, refusal)
    job.replies.fail(job.ticket, refusal)
  }

  private note(job: SharedJob, error: HearthError | undefined): void {
    const { statement, correlationId, startedMs } = job
    noteStatement(this.options.name, statement.word, correlationId, startedMs, error)
  }

  /** The requester of a ticket has had enough. False: it does not wait here. */
  cancel(ticket: number): boolean {
    const proving = this.proving.get(ticket)
    if (proving !== undefined) {
      proving.isUnwanted = true
      return true
    }
    const index = this.waiting.findIndex(({ job }) => job.ticket === ticket)
    if (index < 0) return false
    const [found] = this.waiting.splice(index, 1)
    const { job } = found!
    this.bytes -= bytesOf(job)
    job.replies.fail(ticket, givenUpError(false, job.correlationId))
    return true
  }

  figures(): RetryFigures {
    return { waiting: this.waiting.length, ...this.counts }
  }

  close(): void {
    this.isClosed = true
    clearTimeout(this.timer)
    const left = this.waiting
    this.waiting = []
    for (const { job } of left) job.replies.fail(job.ticket, closedError(this.options.name))
  }

  private hasRoomFor(job: SharedJob): boolean {
    if (this.waiting.length >= RETRY_WAITING_COUNT_MAX) return false
    return this.bytes + bytesOf(job) <= RETRY_WAITING_BYTES_MAX
  }

  private arm(dueMs: number, nowMs: number): void {
    if (dueMs >= this.timerMs) return
    clearTimeout(this.timer)
    this.timerMs = dueMs
    this.timer = setTimeout(this.round, Math.max(0, dueMs - nowMs))
  }

  private readonly round = (): void => {
    this.timerMs = Infinity
    const nowMs = monotonicMs()
    // One that fails at once comes back to `waiting` meanwhile.
    const due = this.waiting.filter(each => each.dueMs <= nowMs)
    if (due.length > 0) this.waiting = this.waiting.filter(each => each.dueMs > nowMs)
    for (const { job, doubt } of due) {
      this.bytes -= bytesOf(job)
      if (doubt === undefined) this.again(job, nowMs)
      else this.prove(job, doubt)
    }
    if (due.length > 0) this.options.flush()
    let nextMs = Infinity
    for (const each of this.waiting) if (each.dueMs < nextMs) nextMs = each.dueMs
    if (nextMs < Infinity) this.arm(nextMs, nowMs)
  }

  private again(job: SharedJob, nowMs: number): void {
    this.counts.attempts++
    this.options.place(job, nowMs)
  }

  private prove(job: SharedJob, doubt: HearthError): void {
    const { ticket, replies, correlationId } = job
    this.proving.set(ticket, job)
    this.options.prove(job.statement).then(isProven => {
      this.proving.delete(ticket)
      if (job.isUnwanted) return replies.fail(ticket, givenUpError(false, correlationId))
      if (!isProven || this.isClosed) return replies.fail(ticket, doubt)
      this.again(job, monotonicMs())
      this.options.flush()
    })
  }
}

/** Not tried again yet. */
export const UNTRIED: Tried = { retries: 0, wasMoved: false, conflicts: 0 }

function after({ retries, conflicts, wasMoved }: Tried, { kind }: Retry): Tried {
  return {
    retries: retries + (kind === 'pause' ? 1 : 0),
    conflicts: conflicts + (kind === 'conflict' ? 1 : 0),
    wasMoved: wasMoved || kind === 'move',
  }
}

function bytesOf({ paramsStart, paramsEnd }: SharedJob): number {
  return paramsEnd - paramsStart
}

/** A copy of its own: the block that they are in serves hundreds of others, and would stay as long as this one waits. */
function paramsOf(job: SharedJob) {
  const paramsEnd = bytesOf(job)
  const params = Buffer.allocUnsafeSlow(paramsEnd)
  job.params.copy(params, 0, job.paramsStart, job.paramsEnd)
  return { params, paramsStart: 0, paramsEnd }
}

/** What the last try has left on a job. */
const FRESH = {
  slot: undefined,
  repeats: 0,
  isMended: false,
  cancelledMs: 0,
  isDone: false,
}
