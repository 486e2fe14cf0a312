/** Pool: the connections of one database, each lent to one borrower at a time.
 *  Owns:   its connections (lists.ts), those who wait for one (queue.ts), the attempts to connect (dial.ts).
 *  Not here: what a borrower does with it: one statement (autocommit.ts), a transaction (transaction.ts), a COPY (copy.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) every borrower is granted a connection or refused once, by its deadline and a little.  (2) whoever was granted
 *          one gives it back, or is told once that it is gone.  (3) a connection is lent only when its server is ready for a query,
 *          outside any transaction, and nothing is left on it of what was done before.
 *
 *  A borrower takes the connection used last; without one it waits, first come first served, while new ones are opened up
 *  to `size`, and up to `overflow` more once somebody has waited for OVERFLOW_AFTER_MS.
 *
 *      lend ─▶ granted ─▶ run, run, … (or hold) ─▶ giveBack          lost · overdue · deserted come in between */

import type { Parameter } from 'pg-native'
import { monotonicMs } from '../../engine/clock.ts'
import type { HearthError } from '../../engine/errors.ts'
import { Autocommit } from './autocommit.ts'
import { Budget } from './budget.ts'
import { type Connection, type Outcome, TRANSACTION_STATUS } from './connection.ts'
import { openConnection } from './connection_dial.ts'
import {
  type Cancelable,
  CLOSE_TEXT,
  type CloseReason,
  type Database,
  type DatabaseStats,
  type PoolSpec,
  type QueryRequest,
} from './database.ts'
import { Dialer } from './dial.ts'
import { busyError, closedError, exhaustedError } from './errors.ts'
import { Lists, type Member, type State } from './lists.ts'
import { PoolFigures } from './pool_figures.ts'
import { type Borrower, Queue } from './queue.ts'
import { DISCARD_ALL, PING, ROLLBACK, setupStatement } from './session.ts'
import { changesSession, type Statement, Statements } from './statement.ts'
import { PoolWatch } from './watch.ts'

/** A connection that was idle for longer is tried before a statement is risked on it. */
const PRE_PING_AFTER_MS = 30_000
const PING_MS_MAX = 2_000

/** What became of a borrower's statement; `wasCancelled`: by our doing. */
export type Answered = (outcome: Outcome, wasCancelled: boolean) => void

export class Pool implements Database {
  readonly spec: PoolSpec
  readonly lists = new Lists()
  readonly queue = new Queue()
  readonly dialer: Dialer<Connection>
  readonly budget: Budget
  readonly figures: PoolFigures
  isClosing = false
  readonly statements: Statements
  private readonly autocommit: Autocommit
  private readonly watch: PoolWatch

  constructor(spec: PoolSpec, budget = new Budget(spec.size), figures = new PoolFigures()) {
    this.spec = spec
    this.statements = new Statements(spec.guard)
    this.budget = budget
    this.figures = figures
    this.autocommit = new Autocommit(this)
    this.dialer = new Dialer(() => openConnection(spec, figures.prepared), {
      opened: connection => this.opened(connection),
      failed: () => this.refuseWaiting(),
      drop: connection => connection.close(CLOSE_TEXT.ended),
    })
    this.watch = new PoolWatch(this)
    this.grow()
  }

  query(request: QueryRequest): Promise<Buffer> {
    return new Promise((resolve, reject) => this.start(request, resolve, reject))
  }

  start(
    request: QueryRequest,
    resolve: (body: Buffer) => void,
    reject: (error: HearthError) => void,
  ): Cancelable {
    return this.autocommit.start(request, resolve, reject)
  }

  /** Lends a connection: now, or when one is free. */
  lend(borrower: Borrower): void {
    this.place(borrower, monotonicMs())
  }

  /** The same, before all others: its connection was gone before it could be used. */
  lendFirst(borrower: Borrower): void {
    this.queue.putBack(borrower)
  }

  /** Somebody who waits gives up; false when it does not wait (any more). */
  forget(borrower: Borrower): boolean {
    return this.queue.remove(borrower)
  }

  /** Runs a statement of the borrower's. It is cancelled at `untilMs`, and answered once, unless the borrower is deserted. */
  run(
    member: Member,
    statement: Statement,
    params: Parameter[],
    untilMs: number,
    answered: Answered,
    isEncoded = false,
  ): void {
    member.untilMs = untilMs
    this.watch.wake()
    const done = (outcome: Outcome) => this.answered(member, statement, outcome, answered)
    member.connection.run(statement, params, this.figures.timed(statement, done), isEncoded)
  }

  /** The borrower keeps the connection without a statement until then; is it still so, it is told (`overdue`). */
  hold(member: Member, untilMs: number): void {
    member.untilMs = untilMs
    this.watch.wake()
  }

  /** Cancels the statement that is out; its answer comes as ever. */
  cancel(member: Member): void {
    if (member.sinceMs > 0 || !member.connection.isRunning) return
    member.sinceMs = monotonicMs()
    member.wasCancelled = true
    member.connection.cancel(() => {})
  }

  /** Ends the loan. What was left open is rolled back, what was changed is reset before the next borrower has it. */
  giveBack(member: Member): void {
    member.borrower = undefined
    member.untilMs = Infinity
    const steps: Statement[] = []
    if (member.connection.transactionStatus !== TRANSACTION_STATUS.idle) steps.push(ROLLBACK)
    if (member.isDirty) steps.push(DISCARD_ALL, setupStatement(this.spec))
    // One that arrives late meets the ping and not somebody's statement.
    else if (member.wasCancelled && steps.length === 0) steps.push(PING)
    member.isDirty = false
    member.wasCancelled = false
    if (steps.length === 0) return this.release(member, monotonicMs())
    this.lists.move(member, 'busy', 'mending')
    this.mend(member, steps, PING_MS_MAX)
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
      acquireP50Ms: this.figures.acquired.percentile(0.5),
      acquireP99Ms: this.figures.acquired.percentile(0.99),
      queries: this.figures.queries,
      errors: this.figures.errors,
      timeouts: this.figures.timeouts,
      connects: dialer.connects,
      connectFailures: dialer.connectFailures,
      closed: { ...this.figures.closed },
      prepared: { ...this.figures.prepared },
      down: lists.count === 0 ? dialer.lastFailure : undefined,
    }
  }

  close(): Promise<void> {
    this.isClosing = true
    this.dialer.close()
    for (const borrower of this.queue.takeAll()) borrower.refused(closedError(this.spec.name))
    for (const member of [...this.lists.idle]) this.drop(member, 'ended')
    return this.watch.drained()
  }

  /** Opens what is missing for those who wait, and for `min`. */
  grow(): void {
    if (this.isClosing) return
    const { min } = this.spec
    const { budget, dialer, lists, queue } = this
    const coming = () => dialer.attemptCount + lists.mending.length
    for (;;) {
      const isWanted = queue.count > coming() || lists.count + dialer.attemptCount < min
      this.noteCount()
      if (!isWanted) return
      if (!budget.hasRoomForExclusive(budget.exclusive)) return budget.onWanted()
      if (!dialer.dial()) return
    }
  }

  /** Closes a connection that nobody uses, for others of this database need the room. */
  giveUpIdle(): void {
    const [member] = this.lists.idle
    if (member !== undefined) this.drop(member, 'overflow')
  }

  /** What shared connections may not take: those that are there or coming, and one for whoever waits. */
  private noteCount(): void {
    const { budget, dialer, lists, queue } = this
    budget.exclusive = lists.count + dialer.attemptCount
    budget.isExclusiveWanted = queue.count > dialer.attemptCount + lists.mending.length
  }

  /** One beyond `size`, for the head of the queue has waited too long. */
  overflow(): void {
    const { size, overflow } = this.spec
    const { dialer, lists, queue } = this
    if (this.isClosing || queue.count <= dialer.attemptCount) return
    const count = lists.count + dialer.attemptCount + this.budget.lanes
    if (count < size + overflow) dialer.dial()
  }

  /** Answers those whose wait is hopeless: a refused login, a database that has been down for a while. */
  refuseWaiting(): void {
    if (this.lists.count > 0 || this.dialer.refusal('') === undefined) return
    for (const borrower of this.queue.takeAll())
      borrower.refused(this.dialer.refusal(borrower.correlationId)!)
  }

  /** Closes a connection, whatever it is doing; its borrower is told. */
  drop(member: Member, reason: CloseReason): void {
    const state = this.lists.stateOf(member)
    if (state === undefined) return
    member.closeReason = reason
    // close() tells whoever runs something on it, as if it had been lost; an idle one has nobody.
    if (state === 'idle') this.leave(member, 'idle')
    member.connection.close(CLOSE_TEXT[reason])
  }

  /** Its wait for a connection is over, without one. */
  expire(borrower: Borrower, nowMs: number): void {
    const { lists, dialer, queue } = this
    const isDown = lists.count === 0 && dialer.lastFailure !== undefined
    const why = isDown
      ? `Postgres cannot be reached: ${dialer.lastFailure}`
      : `${lists.busy.length} are busy, ${queue.count} requests still wait`
    const { correlationId, startedMs } = borrower
    const waitedMs = nowMs - startedMs
    borrower.refused(exhaustedError(this.spec.name, waitedMs, why, isDown, correlationId))
  }

  /** What the figures count. */
  noteError(error: HearthError): void {
    this.figures.errors++
    if (error.code === 'TIMEOUT') this.figures.timeouts++
  }

  private place(borrower: Borrower, nowMs: number) {
    if (this.isClosing) return borrower.refused(closedError(this.spec.name))
    const member = this.queue.count === 0 ? this.takeIdle(nowMs) : undefined
    if (member !== undefined) return this.grant(member, borrower, nowMs)
    const { correlationId } = borrower
    const refusal = this.lists.count === 0 ? this.dialer.refusal(correlationId) : undefined
    if (refusal !== undefined) return borrower.refused(refusal)
    if (this.queue.isFull) return borrower.refused(busyError(this.spec.name, correlationId))
    this.queue.push(borrower)
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

  private grant(member: Member, borrower: Borrower, nowMs: number): void {
    member.borrower = borrower
    member.sinceMs = 0
    this.figures.noteAcquired(nowMs - borrower.startedMs)
    borrower.granted(member, nowMs)
  }

  private answered(member: Member, statement: Statement, outcome: Outcome, answered: Answered) {
    const wasCancelled = member.sinceMs > 0
    const isDeserted = member.borrower === undefined
    if (outcome.kind === 'lost') {
      this.leave(member, 'busy')
      member.borrower = undefined
      if (!isDeserted) answered(outcome, wasCancelled)
      this.serve(monotonicMs())
      return this.grow()
    }
    member.sinceMs = 0
    if (leavesTraces(statement, outcome)) member.isDirty = true
    if (isDeserted) this.giveBack(member)
    else answered(outcome, wasCancelled)
  }

  /** Next request or idle. */
  private release(member: Member, nowMs: number) {
    if (this.isClosing || member.expiresAtMs <= nowMs) {
      this.lists.move(member, 'busy', 'idle')
      this.drop(member, this.isClosing ? 'ended' : 'recycled')
      return this.grow()
    }
    const borrower = this.nextBorrower(nowMs)
    if (borrower !== undefined) return this.grant(member, borrower, nowMs)
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
  private nextBorrower(nowMs: number): Borrower | undefined {
    for (let head = this.queue.take(); head !== undefined; head = this.queue.take()) {
      if (head.acquireUntilMs > nowMs) return head
      this.expire(head, nowMs)
    }
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
    this.figures.noteClosed(member.closeReason)
    this.noteCount()
  }

  private opened(connection: Connection): void {
    this.figures.noteOpened()
    const nowMs = monotonicMs()
    const expiresAtMs = nowMs + this.spec.recycleMs * (1 - Math.random() / 4)
    const member: Member = {
      connection,
      expiresAtMs,
      idleSinceMs: nowMs,
      borrower: undefined,
      untilMs: Infinity,
      sinceMs: 0,
      isDirty: false,
      wasCancelled: false,
      closeReason: 'lost',
    }
    connection.onLost = why => this.lostAtRest(member, why)
    this.lists.add(member)
    this.serve(nowMs)
    this.grow()
  }

  /** It was lost while no statement was out: idle, or in the hands of a borrower. */
  private lostAtRest(member: Member, why: string): void {
    const state = this.lists.stateOf(member)
    if (state !== 'idle' && state !== 'busy') return // drop() has taken it out
    this.leave(member, state)
    const { borrower } = member
    member.borrower = undefined
    borrower?.lost(why)
    this.grow()
  }
}

function leavesTraces(statement: Statement, outcome: Outcome): boolean {
  if (statement.leavesTraces) return true
  return outcome.kind === 'result' && changesSession(outcome.result.command)
}
