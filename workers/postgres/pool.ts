/** Pool: the connections of one database, lent for one statement each.
 *  Owns:   its connections (lists.ts), the requests that wait (queue.ts), the attempts to connect (dial.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) every request is answered once, by its deadline and a little.  (2) a statement goes to the server a second
 *          time only if the first time it cannot have run.  (3) a connection is lent only when its server is ready for a
 *          query, outside any transaction.
 *
 *  A request takes the connection used last; without one it waits, first come first served, while new ones are opened up
 *  to `size`, and up to `overflow` more once somebody has waited for OVERFLOW_AFTER_MS. */

import { monotonicMs } from '../../engine/clock.ts'
import type { HearthError } from '../../engine/errors.ts'
import { type Connection, type Outcome, TRANSACTION_STATUS } from './connection.ts'
import type {
  CloseReason,
  Database,
  DatabaseStats,
  PoolOptions,
  QueryRequest,
  Result,
} from './database.ts'
import { Dialer } from './dial.ts'
import {
  busyError,
  cancelledError,
  closedError,
  databaseError,
  exhaustedError,
  lostError,
  openError,
  tooLargeError,
  unreachableError,
} from './errors.ts'
import { Lists, type Member, type State } from './lists.ts'
import { toParameters } from './parameters.ts'
import { type Job, Queue } from './queue.ts'
import { DISCARD_ALL, PING, ROLLBACK, setupStatement } from './session.ts'
import { changesSession, type Statement, Statements } from './statement.ts'
import { Durations } from './stats.ts'
import { PoolWatch } from './watch.ts'

/** A connection that was idle for longer is tried before a statement is risked on it. */
const PRE_PING_AFTER_MS = 30_000
const PING_MS_MAX = 2_000

export interface PoolSpec extends PoolOptions {
  readonly name: string
  readonly url: string
}

export class Pool implements Database {
  readonly spec: PoolSpec
  readonly lists = new Lists()
  readonly queue = new Queue()
  readonly dialer: Dialer
  isClosing = false
  timeouts = 0
  private readonly watch: PoolWatch
  private readonly statements = new Statements()
  private readonly acquired = new Durations()
  private readonly closed: Record<CloseReason, number> = {
    idle: 0,
    recycled: 0,
    overflow: 0,
    lost: 0,
    stuck: 0,
    ended: 0,
  }
  private queries = 0
  private errors = 0

  constructor(spec: PoolSpec) {
    this.spec = spec
    this.dialer = new Dialer(spec.url, spec.statementTimeoutMs, {
      opened: connection => this.opened(connection),
      failed: () => this.refuseWaiting(),
    })
    this.watch = new PoolWatch(this)
    this.grow()
  }

  query(request: QueryRequest): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.queries++
      const statement = this.statements.of(request.sql)
      const params = toParameters(request.params)
      const startedMs = monotonicMs()
      const { statementTimeoutMs, acquireTimeoutMs } = this.spec
      const deadlineMs = startedMs + (request.timeoutMs || statementTimeoutMs)
      const acquireUntilMs = Math.min(deadlineMs, startedMs + acquireTimeoutMs)
      const { correlationId } = request
      const isSecondTry = false
      const limits = { startedMs, deadlineMs, acquireUntilMs }
      this.place(
        { statement, params, correlationId, ...limits, isSecondTry, resolve, reject },
        startedMs,
      )
    })
  }

  stats(): DatabaseStats {
    const { size, overflow } = this.spec
    const { dialer, lists, queue } = this
    return {
      size,
      overflow,
      connecting: dialer.attemptCount,
      idle: lists.idle.length,
      busy: lists.busy.length,
      mending: lists.mending.length,
      waiting: queue.count,
      waitingMost: queue.countMost,
      acquireP50Ms: this.acquired.percentile(0.5),
      acquireP99Ms: this.acquired.percentile(0.99),
      queries: this.queries,
      errors: this.errors,
      timeouts: this.timeouts,
      connects: dialer.connects,
      connectFailures: dialer.connectFailures,
      closed: { ...this.closed },
      prepared: { ...dialer.prepared },
      down: lists.count === 0 ? dialer.lastFailure : undefined,
    }
  }

  close(): Promise<void> {
    this.isClosing = true
    this.dialer.close()
    for (const job of this.queue.takeAll()) this.reject(job, closedError(this.spec.name))
    for (const member of [...this.lists.idle]) this.drop(member, 'ended')
    return this.watch.drained()
  }

  /** Opens what is missing for those who wait, and for `min`. */
  grow(): void {
    if (this.isClosing) return
    const { size, min } = this.spec
    const { dialer, lists, queue } = this
    const coming = () => dialer.attemptCount + lists.mending.length
    while (lists.count + dialer.attemptCount < size) {
      const isWanted = queue.count > coming() || lists.count + dialer.attemptCount < min
      if (!isWanted || !dialer.dial()) return
    }
  }

  /** One beyond `size`, for the head of the queue has waited too long. */
  overflow(): void {
    const { size, overflow } = this.spec
    const { dialer, lists, queue } = this
    if (this.isClosing || queue.count <= dialer.attemptCount) return
    if (lists.count + dialer.attemptCount < size + overflow) dialer.dial()
  }

  /** Answers those whose wait is hopeless: a refused login, a database that has been down for a while. */
  refuseWaiting(): void {
    if (this.lists.count > 0 || this.dialer.refusal('') === undefined) return
    for (const job of this.queue.takeAll())
      this.reject(job, this.dialer.refusal(job.correlationId)!)
  }

  /** Closes a connection, whatever it is doing; its request is answered. */
  drop(member: Member, reason: CloseReason): void {
    const state = this.lists.stateOf(member)
    if (state === undefined) return
    member.closeReason = reason
    // close() tells whoever runs something on it, as if it had been lost; an idle one has nobody.
    if (state === 'idle') this.leave(member, 'idle')
    member.connection.close(CLOSE_TEXT[reason])
  }

  /** Its wait for a connection is over, without one. */
  expire(job: Job, nowMs: number): void {
    const { lists, dialer, queue } = this
    const isDown = lists.count === 0 && dialer.lastFailure !== undefined
    const why = isDown
      ? `Postgres cannot be reached: ${dialer.lastFailure}`
      : `${lists.busy.length} are busy, ${queue.count} requests still wait`
    const { correlationId, startedMs } = job
    this.reject(job, exhaustedError(this.spec.name, nowMs - startedMs, why, isDown, correlationId))
  }

  reject(job: Job, error: HearthError): void {
    this.errors++
    if (error.code === 'TIMEOUT') this.timeouts++
    job.reject(error)
  }

  private place(job: Job, nowMs: number) {
    if (this.isClosing) return this.reject(job, closedError(this.spec.name))
    const member = this.queue.count === 0 ? this.takeIdle(nowMs) : undefined
    if (member !== undefined) return this.start(member, job, nowMs)
    const refusal = this.lists.count === 0 ? this.dialer.refusal(job.correlationId) : undefined
    if (refusal !== undefined) return this.reject(job, refusal)
    if (this.queue.isFull) return this.reject(job, busyError(this.spec.name, job.correlationId))
    this.queue.push(job)
    this.grow()
    this.watch.wake()
  }

  /** The idle connection used last, or none; those that were idle for long are tried first, and come back by themselves. */
  private takeIdle(nowMs: number): Member | undefined {
    const { idle } = this.lists
    for (let member = idle.at(-1); member !== undefined; member = idle.at(-1)) {
      if (member.expiresAtMs <= nowMs) {
        this.drop(member, 'recycled')
      } else if (this.spec.prePing && nowMs - member.idleSinceMs > PRE_PING_AFTER_MS) {
        this.lists.move(member, 'idle', 'mending')
        this.mend(member, [PING], PING_MS_MAX)
      } else {
        this.lists.move(member, 'idle', 'busy')
        return member
      }
    }
  }

  private start(member: Member, job: Job, nowMs: number): void {
    member.job = job
    member.sinceMs = 0
    this.acquired.add(nowMs - job.startedMs)
    this.watch.wake()
    member.connection.run(job.statement, job.params, outcome => this.answered(member, outcome))
  }

  private answered(member: Member, outcome: Outcome) {
    const job = member.job
    member.job = undefined
    const nowMs = monotonicMs()
    if (outcome.kind === 'lost') {
      this.leave(member, 'busy')
      if (job !== undefined) this.lost(job, outcome)
      this.serve(nowMs)
      return this.grow()
    }
    const status = member.connection.transactionStatus
    if (job !== undefined) this.deliver(job, outcome, status, member.sinceMs > 0, nowMs)
    const isClean = status === TRANSACTION_STATUS.idle && !leavesTraces(job?.statement, outcome)
    if (isClean && member.sinceMs === 0) return this.release(member, nowMs)
    this.lists.move(member, 'busy', 'mending')
    // After a cancel, too: one that arrives late meets the ping and not somebody's statement.
    this.mend(member, isClean ? [PING] : this.reset(status), PING_MS_MAX)
  }

  /** Next request or idle. */
  private release(member: Member, nowMs: number) {
    if (this.isClosing || member.expiresAtMs <= nowMs) {
      this.lists.move(member, 'busy', 'idle')
      this.drop(member, this.isClosing ? 'ended' : 'recycled')
      return this.grow()
    }
    const job = this.nextJob(nowMs)
    if (job !== undefined) return this.start(member, job, nowMs)
    member.idleSinceMs = nowMs
    this.lists.move(member, 'busy', 'idle')
  }

  private serve(nowMs: number): void {
    while (this.queue.count > 0) {
      const member = this.takeIdle(nowMs)
      if (member === undefined) return
      this.release(member, nowMs)
    }
  }

  /** The head of the queue; those whose time ran out since the last tick are not worth sending. */
  private nextJob(nowMs: number): Job | undefined {
    for (let job = this.queue.take(); job !== undefined; job = this.queue.take()) {
      if (job.acquireUntilMs > nowMs) return job
      this.expire(job, nowMs)
    }
  }

  private deliver(job: Job, outcome: Answer, status: number, wasCancelled: boolean, nowMs: number) {
    const { correlationId, startedMs } = job
    if (outcome.kind === 'refused') {
      const tookMs = nowMs - startedMs
      const isOurs = wasCancelled || tookMs >= this.spec.statementTimeoutMs
      const sqlState = outcome.fields['sqlState']
      if (sqlState === '57014' && isOurs)
        return this.reject(job, cancelledError(tookMs, correlationId))
      const isOpen = status !== TRANSACTION_STATUS.idle && sqlState === undefined
      if (!isOpen)
        return this.reject(job, databaseError(outcome.fields, outcome.text, correlationId))
    }
    if (status !== TRANSACTION_STATUS.idle || outcome.kind === 'refused') {
      return this.reject(job, openError(correlationId))
    }
    if (outcome.result.isTooLarge) return this.reject(job, tooLargeError(correlationId))
    const { rows, rowCount, fields, command } = outcome.result
    job.resolve({ rows, rowCount, fields, command })
  }

  private lost(job: Job, { why, sqlState, mayHaveRun }: Outcome & { kind: 'lost' }) {
    const { statement, correlationId } = job
    if (mayHaveRun)
      return this.reject(job, lostError(statement.isRead, why, sqlState, correlationId))
    if (job.isSecondTry || this.isClosing)
      return this.reject(job, unreachableError(why, correlationId))
    job.isSecondTry = true
    this.queue.putBack(job)
  }

  private reset(status: number): Statement[] {
    const back = [DISCARD_ALL, setupStatement(this.spec.statementTimeoutMs)]
    return status === TRANSACTION_STATUS.idle ? back : [ROLLBACK, ...back]
  }

  /** Runs our own statements on a connection in `mending`, then lends it again. */
  private mend(member: Member, statements: Statement[], withinMs: number) {
    const { connection } = member
    if (connection.transactionStatus === TRANSACTION_STATUS.active) {
      // In the middle of a COPY: only the end of the connection ends that.
      member.closeReason = 'stuck'
      this.leave(member, 'mending')
      connection.close(CLOSE_TEXT.stuck)
      return this.grow()
    }
    member.sinceMs = monotonicMs() + withinMs
    this.watch.wake()
    const [statement, ...rest] = statements
    if (statement === DISCARD_ALL) connection.prepared.clear()
    connection.run(statement!, [], outcome => {
      if (outcome.kind === 'lost') {
        this.leave(member, 'mending')
        return this.grow()
      }
      if (rest.length > 0) return this.mend(member, rest, withinMs)
      member.sinceMs = 0
      this.lists.move(member, 'mending', 'idle')
      this.lists.move(member, 'idle', 'busy')
      this.release(member, monotonicMs())
    })
  }

  private leave(member: Member, state: State): void {
    this.lists.remove(member, state)
    this.closed[member.closeReason]++
  }

  private opened(connection: Connection): void {
    const nowMs = monotonicMs()
    const expiresAtMs = nowMs + this.spec.recycleMs * (1 - Math.random() / 4)
    const member: Member = {
      connection,
      expiresAtMs,
      idleSinceMs: nowMs,
      job: undefined,
      sinceMs: 0,
      closeReason: 'lost',
    }
    connection.onLost = () => {
      if (!this.lists.idle.includes(member)) return // drop() has taken it out
      this.leave(member, 'idle')
      this.grow()
    }
    this.lists.add(member)
    this.serve(nowMs)
    this.grow()
  }
}

type Answer = Outcome & { kind: 'result' | 'refused' }

const CLOSE_TEXT: Record<CloseReason, string> = {
  idle: 'idle for too long',
  recycled: 'due for replacement',
  overflow: 'no longer needed',
  lost: 'lost',
  stuck: 'the server does not answer',
  ended: 'the pool is closed',
}

function leavesTraces(statement: Statement | undefined, outcome: Outcome): boolean {
  if (statement?.leavesTraces) return true
  return outcome.kind === 'result' && changesSession(outcome.result.command)
}
