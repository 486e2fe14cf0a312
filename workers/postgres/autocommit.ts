/** Autocommit: one statement by itself: a loan that lasts as long as the statement.
 *  Owns:   the jobs, from their request to their answer.   Not here: connections (pool.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) every request is answered once, by its deadline and a little.  (2) a statement goes to the server a second
 *          time only if the first time it cannot have run. */

import type { Parameter } from 'pg-native'
import { monotonicMs } from '../../engine/clock.ts'
import type { HearthError } from '../../engine/errors.ts'
import { type Outcome, TRANSACTION_STATUS } from './connection.ts'
import type { Cancelable, QueryRequest } from './database.ts'
import {
  cancelledError,
  databaseError,
  givenUpError,
  lostError,
  openError,
  silentError,
  tooLargeError,
  unreachableError,
} from './errors.ts'
import type { Member } from './lists.ts'
import { toParameters } from './parameters.ts'
import type { Pool } from './pool.ts'
import type { Borrower } from './queue.ts'
import { commented, type Statement } from './statement.ts'

export class Autocommit {
  private readonly pool: Pool

  constructor(pool: Pool) {
    this.pool = pool
  }

  /** Calls back once, be it before it returns. Throws BAD_REQUEST for what cannot be sent. */
  start(
    request: QueryRequest,
    resolve: (body: Buffer) => void,
    reject: (error: HearthError) => void,
  ): Cancelable {
    const { pool } = this
    pool.figures.queries++
    const known = pool.statements.of(request.sql)
    const statement = commented(known, request.correlationId)
    const job = new Job(pool, statement, toParameters(request.params), request, resolve, reject)
    pool.lend(job)
    return job
  }
}

/** One request on its way. */
class Job implements Borrower, Cancelable {
  readonly correlationId: string
  readonly priority: number | undefined
  readonly startedMs = monotonicMs()
  readonly acquireUntilMs: number
  private readonly pool: Pool
  private readonly statement: Statement
  private readonly params: Parameter[]
  private readonly deadlineMs: number
  private readonly resolve: (body: Buffer) => void
  private readonly reject: (error: HearthError) => void
  private readonly onSent: ((nowMs: number) => void) | undefined
  private member: Member | undefined
  private isGivenUp = false
  /** It was handed to a connection that turned out to be dead before it could run. */
  private isSecondTry = false

  constructor(
    pool: Pool,
    statement: Statement,
    params: Parameter[],
    { timeoutMs, correlationId, priority, onSent }: QueryRequest,
    resolve: (body: Buffer) => void,
    reject: (error: HearthError) => void,
  ) {
    const { statementTimeoutMs, acquireTimeoutMs } = pool.spec
    this.pool = pool
    this.statement = statement
    this.params = params
    this.correlationId = correlationId
    this.priority = priority
    this.onSent = onSent
    this.deadlineMs = this.startedMs + (timeoutMs || statementTimeoutMs)
    this.acquireUntilMs = Math.min(this.deadlineMs, this.startedMs + acquireTimeoutMs)
    this.resolve = resolve
    this.reject = reject
  }

  granted(member: Member): void {
    this.member = member
    this.onSent?.(monotonicMs())
    this.pool.run(member, this.statement, this.params, this.deadlineMs, this.answered, true)
  }

  refused(error: HearthError): void {
    this.pool.noteError(error)
    this.reject(error)
  }

  cancel(): void {
    if (this.member !== undefined) {
      this.isGivenUp = true
      this.pool.cancel(this.member)
    } else if (this.pool.forget(this)) {
      this.refused(givenUpError(false, this.correlationId))
    }
  }

  deserted(nowMs: number): void {
    this.member = undefined
    const { correlationId, startedMs, statement } = this
    this.refused(silentError(nowMs - startedMs, statement.isRead, correlationId))
  }

  /** Not told: its connection is never without its statement. */
  lost(): void {}
  overdue(): void {}

  private readonly answered = (outcome: Outcome, wasCancelled: boolean): void => {
    const member = this.member!
    this.member = undefined
    if (outcome.kind === 'lost') return this.wasLost(outcome)
    const isOpen = member.connection.transactionStatus !== TRANSACTION_STATUS.idle
    this.deliver(outcome, isOpen, wasCancelled)
    if (isOpen) member.isDirty = true
    this.pool.giveBack(member)
  }

  private deliver(outcome: Answer, isOpen: boolean, wasCancelled: boolean): void {
    const { correlationId } = this
    if (outcome.kind === 'result') {
      if (isOpen) return this.refused(openError(correlationId))
      const { body } = outcome.result
      if (body === undefined) return this.refused(tooLargeError(correlationId))
      return this.resolve(body)
    }
    const tookMs = monotonicMs() - this.startedMs
    const sqlState = outcome.fields['sqlState']
    if (sqlState === '57014') {
      if (this.isGivenUp) return this.refused(givenUpError(true, correlationId))
      if (wasCancelled || tookMs >= this.pool.spec.statementTimeoutMs)
        return this.refused(cancelledError(tookMs, correlationId))
    }
    if (isOpen && sqlState === undefined) return this.refused(openError(correlationId))
    this.refused(databaseError(outcome.fields, outcome.text, correlationId))
  }

  private wasLost({ why, sqlState, mayHaveRun }: Outcome & { kind: 'lost' }): void {
    const { statement, correlationId, pool } = this
    if (mayHaveRun) return this.refused(lostError(statement.isRead, why, sqlState, correlationId))
    if (this.isSecondTry || this.isGivenUp || pool.isClosing)
      return this.refused(unreachableError(why, correlationId))
    this.isSecondTry = true
    pool.lendFirst(this)
  }
}

type Answer = Outcome & { kind: 'result' | 'refused' }
