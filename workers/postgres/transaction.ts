/** Transaction: a loan of a connection from BEGIN to COMMIT or ROLLBACK, and the statements in between, one after the other.
 *  Owns:   the statements that wait for their turn, the limits of the whole.   Not here: handles and frames (session_ops.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) every step is answered once.  (2) nothing is sent twice, and nothing after an end: a statement behind one that
 *          ended the transaction is refused.  (3) the connection goes back only when the transaction is over at the server.
 *          (4) when it ends by itself (a limit, a lost connection), `ended` says why, once.
 *
 *      waiting ──lent──▶ open ──commit, close, a limit──▶ ending ──what was out is answered──▶ leaving ──ROLLBACK──▶ over
 *                                                            └──COMMIT answered──▶ over             any ──lost──▶ over */

import { monotonicMs } from '../../engine/clock.ts'
import { HearthError } from '../../engine/errors.ts'
import { type Outcome, TRANSACTION_STATUS } from './connection.ts'
import type { Cancelable } from './database.ts'
import {
  busyError,
  cancelledError,
  closedError,
  databaseError,
  endedError,
  expiredError,
  failedTransactionError,
  givenUpError,
  leftError,
  rolledBackError,
  silentError,
  tooLargeError,
  unknownCommitError,
} from './errors.ts'
import type { Member } from './lists.ts'
import type { Pool } from './pool.ts'
import type { Borrower } from './queue.ts'
import type { ReadResult } from './results.ts'
import { COMMIT, PING, plain, ROLLBACK, serverIdleMs } from './session.ts'
import type { Statement } from './statement.ts'
import { noteStatement } from './statement_log.ts'
import { type Queued, type Step, stepOf } from './step.ts'

export interface TransactionLimits {
  readonly correlationId: string
  /** Of the whole, from now; 0: unlimited. */
  readonly timeoutMs: number
  /** Of a pause in which nothing is asked; 0: the pool's. */
  readonly idleTimeoutMs: number
}

export interface TransactionEvents {
  /** A connection was lent; BEGIN is on its way, and statements may come. */
  opened(): void
  /** None was. */
  refused(error: HearthError): void
  /** It ended by itself, and this is why. */
  ended(reason: HearthError): void
}

/** Statements of one transaction that may wait for their turn. */
const STEP_COUNT_MAX = 256
const ROLLBACK_MS_MAX = 5_000
/** How long what speaks with the server itself may take to come to an end: its client waits for that, beyond its deadline. */
const STOP_MS_MAX = 1_000

export class Transaction implements Borrower {
  readonly correlationId: string
  readonly startedMs = monotonicMs()
  readonly acquireUntilMs: number
  readonly pool: Pool
  private readonly begin: Statement
  private readonly events: TransactionEvents
  private readonly untilMs: number
  private readonly idleTimeoutMs: number
  private state: 'waiting' | 'open' | 'ending' | 'leaving' | 'over' = 'waiting'
  private member: Member | undefined
  private readonly steps: Queued[] = []
  private current: Queued | undefined
  /** Why it ended, when nobody asked for it. */
  private reason: HearthError | undefined
  private readonly closers: (() => void)[] = []

  constructor(pool: Pool, begin: string, limits: TransactionLimits, events: TransactionEvents) {
    const { acquireTimeoutMs, idleInTransactionTimeoutMs } = pool.spec
    const { timeoutMs, idleTimeoutMs, correlationId } = limits
    this.pool = pool
    this.begin = plain(begin)
    this.events = events
    this.correlationId = correlationId
    this.untilMs = timeoutMs > 0 ? this.startedMs + timeoutMs : Infinity
    this.idleTimeoutMs = idleTimeoutMs || idleInTransactionTimeoutMs
    this.acquireUntilMs = Math.min(this.untilMs, this.startedMs + acquireTimeoutMs)
  }

  /** Asks for the connection. */
  open(): void {
    this.pool.lend(this)
  }

  /** Does it when all that was asked before is done. */
  run(step: Step): Cancelable {
    const queued: Queued = { ...step, startedMs: monotonicMs(), stopReason: undefined }
    if (this.state !== 'open') {
      step.reject(this.reason ?? endedError(step.correlationId))
    } else if (this.steps.length >= STEP_COUNT_MAX) {
      step.reject(busyError(this.pool.spec.name, step.correlationId))
    } else {
      this.steps.push(queued)
      this.advance()
    }
    return { cancel: () => this.giveUp(queued) }
  }

  /** Commits, when all that was asked before is done. However it ends, the transaction is over then. */
  commit(correlationId: string, resolve: () => void, reject: (error: HearthError) => void): void {
    if (this.state !== 'open') return reject(this.reason ?? endedError(correlationId))
    this.steps.push(stepOf(COMMIT, correlationId, resolve, reject))
    this.state = 'ending'
    this.advance()
  }

  /** Rolls back at once: what waits is refused, what runs is cancelled. Calls back when it is over at the server. A COMMIT
   *  that is out already is waited for. */
  close(done: () => void): void {
    if (this.state === 'over') return done()
    this.closers.push(done)
    if (this.state === 'waiting') {
      this.pool.forget(this)
      this.events.refused(givenUpError(false, this.correlationId))
      return this.isOver()
    }
    this.end(step => endedError(step.correlationId))
    const { current } = this
    if (current !== undefined && current.statement !== COMMIT)
      this.stop(current, givenUpError(true, current.correlationId))
  }

  /** For a step that speaks with the server itself: whom it waits for now decides what limits it. */
  waitsFor(whom: 'client' | 'server'): void {
    if (this.member === undefined) return
    const idleUntilMs = whom === 'client' ? monotonicMs() + this.idleTimeoutMs : Infinity
    this.pool.hold(this.member, Math.min(idleUntilMs, this.untilMs))
  }

  granted(member: Member): void {
    this.member = member
    this.state = 'open'
    this.enter()
    this.events.opened()
  }

  refused(error: HearthError): void {
    this.pool.noteError(error)
    this.events.refused(error)
    this.isOver()
  }

  /** The time is over while no statement is out: that of a pause, of the whole, or of what speaks with the server itself. */
  overdue(nowMs: number): void {
    const member = this.member!
    // What was stopped and has not come to an end since then will not.
    if (this.current?.stopReason !== undefined) return this.pool.drop(member, 'stuck')
    this.fail(this.limitError(nowMs))
  }

  lost(why: string): void {
    this.breakOff(step => {
      const isCommit = step?.statement === COMMIT
      return (isCommit ? unknownCommitError : rolledBackError)(why, this.idOf(step))
    })
  }

  deserted(nowMs: number): void {
    this.breakOff(step => {
      const isCommit = step?.statement === COMMIT
      if (isCommit) return unknownCommitError('not even its cancellation was', this.idOf(step))
      // Whatever becomes of the statement, it is rolled back with its transaction.
      return silentError(nowMs - (step ?? this).startedMs, true, this.idOf(step))
    })
  }

  /** BEGIN, and a longer patience of the server's where ours is longer than usual. */
  private enter(): void {
    const { correlationId, idleTimeoutMs } = this
    const failed = (error: HearthError) => this.fail(error)
    this.steps.push(stepOf(this.begin, correlationId, nothing, failed))
    if (idleTimeoutMs > this.pool.spec.idleInTransactionTimeoutMs) {
      const limit = `set local idle_in_transaction_session_timeout = ${serverIdleMs(idleTimeoutMs)}`
      this.steps.push(stepOf(plain(limit), correlationId, nothing, failed))
    }
    this.advance()
  }

  /** Begins the next step; without one, waits for one or leaves. */
  private advance(): void {
    const { member } = this
    if (this.current !== undefined || member === undefined || this.state === 'leaving') return
    const step = this.steps.shift()
    if (step !== undefined) {
      this.current = step
      if (member.wasCancelled) this.ping(member, step)
      else this.send(member, step)
    } else if (this.state === 'ending') this.rollBack(member)
    else this.waitsFor('client')
  }

  /** The cancellation of the step before may arrive late: it meets this and not the next step. */
  private ping(member: Member, step: Queued): void {
    const untilMs = monotonicMs() + this.pool.spec.statementTimeoutMs
    this.pool.run(member, PING, [], untilMs, outcome => {
      member.wasCancelled = false
      if (outcome.kind === 'lost') this.lost(outcome.why)
      else if (step.stopReason !== undefined)
        this.settle(step, givenUpError(false, step.correlationId))
      else this.send(member, step)
    })
  }

  private send(member: Member, step: Queued): void {
    const { statement, params, timeoutMs, perform } = step
    const answered = (outcome: Outcome, wasCancelled: boolean) =>
      this.answered(member, step, outcome, wasCancelled)
    if (perform !== undefined) {
      this.waitsFor('server')
      return perform(member, answered)
    }
    step.sent?.()
    const untilMs = monotonicMs() + (timeoutMs || this.pool.spec.statementTimeoutMs)
    this.pool.run(member, statement, params, Math.min(untilMs, this.untilMs), answered, true)
  }

  private answered(member: Member, step: Queued, outcome: Outcome, wasCancelled: boolean): void {
    if (this.current !== step) return
    if (outcome.kind === 'lost') {
      const { why, sqlState, mayHaveRun } = outcome
      return this.breakOff(each => {
        const isUnknown = each?.statement === COMMIT && mayHaveRun
        return (isUnknown ? unknownCommitError : rolledBackError)(why, this.idOf(each), sqlState)
      })
    }
    if (outcome.kind === 'result')
      return this.settle(step, this.checked(member, step, outcome.result))
    // A plan or a name that is out of date fails the transaction; the connection starts afresh behind it.
    const sqlState = outcome.fields['sqlState']
    if (sqlState === '0A000' || sqlState === '26000') member.isDirty = true
    this.settle(step, this.refusal(step, outcome, wasCancelled))
  }

  /** Answers the step that was out, and goes on. */
  private settle(step: Queued, answer: ReadResult | HearthError): void {
    this.current = undefined
    if (step.statement === COMMIT) this.giveBack()
    const error = answer instanceof HearthError ? answer : undefined
    const { statement, correlationId, startedMs } = step
    noteStatement(this.pool.spec.name, statement.word, correlationId, startedMs, error)
    if (answer instanceof HearthError) {
      this.pool.noteError(answer)
      step.reject(answer)
    } else step.resolve(answer)
    this.advance()
  }

  private refusal(
    step: Queued,
    { fields, text }: Outcome & { kind: 'refused' },
    wasCancelled: boolean,
  ): HearthError {
    const { correlationId, stopReason } = step
    const tookMs = monotonicMs() - step.startedMs
    const sqlState = fields['sqlState']
    const isStopped = sqlState === '57014' || step.perform !== undefined
    if (isStopped && stopReason !== undefined) return stopReason
    if (sqlState === '57014' && (wasCancelled || tookMs >= this.pool.spec.statementTimeoutMs))
      return cancelledError(tookMs, correlationId)
    if (sqlState === '40003' || sqlState === '08007')
      return unknownCommitError(text, correlationId, sqlState)
    return databaseError(fields, text, correlationId)
  }

  /** The result, unless it cannot be delivered or the statement has ended the transaction behind our back. */
  private checked(member: Member, step: Queued, result: ReadResult): ReadResult | HearthError {
    const { statement, correlationId } = step
    const { command } = result
    if (statement === COMMIT) {
      return command === 'COMMIT' ? result : failedTransactionError(correlationId)
    }
    const isOpen = member.connection.transactionStatus >= TRANSACTION_STATUS.open
    const isLeft =
      !isOpen || command === 'COMMIT' || (command === 'ROLLBACK' && statement.word !== 'rollback')
    if (!isLeft) return result.isTooLarge ? tooLargeError(correlationId) : result
    const error = leftError(correlationId)
    member.isDirty = true
    this.fail(error)
    return error
  }

  private giveUp(step: Queued): void {
    if (step === this.current) {
      if (step.statement !== COMMIT) this.stop(step, givenUpError(true, step.correlationId))
      return
    }
    const index = this.steps.indexOf(step)
    if (index < 0) return
    this.steps.splice(index, 1)
    step.reject(givenUpError(false, step.correlationId))
  }

  /** Stops the step that is out; it is answered as ever. */
  private stop(step: Queued, reason: HearthError): void {
    const { member } = this
    if (member === undefined) return
    step.stopReason ??= reason
    if (step.stop === undefined) return this.pool.cancel(member)
    this.pool.hold(member, monotonicMs() + STOP_MS_MAX)
    step.stop(member)
  }

  /** It ends by itself, and this is why: told to whoever waits and to whoever comes later. */
  private fail(reason: HearthError): void {
    if (this.reason === undefined) {
      this.reason = reason
      this.pool.noteError(reason)
      this.events.ended(reason)
    }
    this.end(() => reason)
    if (this.current?.perform !== undefined) this.stop(this.current, reason)
  }

  /** Nothing more is begun; the connection is left when what is out is answered. */
  private end(errorOf: (step: Queued) => HearthError): void {
    for (const step of this.steps.splice(0)) step.reject(errorOf(step))
    if (this.state === 'open') this.state = 'ending'
    this.advance()
  }

  private rollBack(member: Member): void {
    if (member.connection.transactionStatus === TRANSACTION_STATUS.idle) return this.giveBack()
    this.state = 'leaving'
    const untilMs = monotonicMs() + ROLLBACK_MS_MAX
    this.pool.run(member, ROLLBACK, [], untilMs, outcome => {
      if (outcome.kind === 'lost') this.member = undefined
      this.giveBack()
    })
  }

  private giveBack(): void {
    const { member } = this
    this.member = undefined
    if (member !== undefined) this.pool.giveBack(member)
    this.isOver()
  }

  /** The connection is gone, and everything with it. */
  private breakOff(errorOf: (step: Queued | undefined) => HearthError): void {
    const { current } = this
    this.current = undefined
    this.member = undefined
    // A COPY that was stopped and came to no end ends with its connection, for the reason for which it was stopped.
    const stopReason = current?.perform === undefined ? undefined : current.stopReason
    const error = stopReason ?? errorOf(current)
    if (this.state === 'open' || this.state === 'ending') this.fail(error)
    current?.reject(error)
    this.isOver()
  }

  private isOver(): void {
    this.state = 'over'
    for (const done of this.closers.splice(0)) done()
  }

  private limitError(nowMs: number): HearthError {
    const { correlationId } = this
    if (this.pool.isClosing) return closedError(this.pool.spec.name)
    const tookMs = Math.round(nowMs - this.startedMs)
    if (nowMs >= this.untilMs)
      return expiredError(`the whole took longer than it may (${tookMs} ms)`, correlationId)
    const idleMs = Math.round(this.idleTimeoutMs)
    return expiredError(`nothing was asked for ${idleMs} ms (idleTimeoutMs)`, correlationId)
  }

  private idOf(step: Queued | undefined): string {
    return (step ?? this).correlationId
  }
}

function nothing(): void {}
