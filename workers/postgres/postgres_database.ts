/** PostgresDatabase: one configured database: which of its two pools a statement goes to, and what both show of themselves.
 *  Owns:   both pools, and the table of known statements.   Thread: postgres worker.
 *  Holds:  what may leave something behind in its session, or may not stand between others, has a connection to itself.
 *
 *      select, insert, update … ──▶ SharedPool: many in flight on each connection
 *      create, vacuum, do, temporary tables … ──▶ Pool: a connection each */

import { monotonicMs } from '../../engine/clock.ts'
import { HearthError, toHearthError } from '../../engine/errors.ts'
import { decodeValue } from '../../engine/protocol/payload.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies } from '../handler.ts'
import { Admission } from './admission.ts'
import { Analysis } from './analysis/analysis.ts'
import type { Facts } from './analysis/facts.ts'
import { BREAKER_DEFAULTS, type BreakerOptions } from './breaker_options.ts'
import { Budget } from './budget.ts'
import type { DatabaseFigures, PoolSpec } from './database.ts'
import { LANE_DEPTH_MAX } from './lane.ts'
import { Listener } from './listener.ts'
import { OutsideWrites } from './outside_writes.ts'
import { ParamsStore } from './params_store.ts'
import { Pool } from './pool.ts'
import { PoolFigures } from './pool_figures.ts'
import { Retries, UNTRIED } from './retries.ts'
import type { SharedJob } from './shared_job.ts'
import { SharedPool } from './shared_pool.ts'
import { type Statement, Statements } from './statement.ts'
import type { Underway } from './underway.ts'
import { UtilizationWatch } from './utilization.ts'

/** One request, its parameters still in the frame it came in: bytes[start, end) are valid only during the call. */
export interface QueryFrame {
  readonly ticket: number
  readonly sql: string
  /** From now, the wait for a connection included. 0: the pool's statement timeout. */
  readonly timeoutMs: number
  readonly correlationId: string
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
}

export class PostgresDatabase {
  private readonly spec: PoolSpec
  readonly statements = new Statements()
  readonly analysis: Analysis
  /** Started with the first result that is to be cached. */
  readonly outside: OutsideWrites
  private readonly params = new ParamsStore()
  private readonly shared: SharedPool | undefined
  readonly pool: Pool
  private readonly figures = new PoolFigures()
  private readonly budget: Budget
  readonly listener: Listener
  private readonly underway: Underway
  private readonly watch: UtilizationWatch
  /** Before the one server there is. */
  readonly admission: Admission
  private readonly retries: Retries

  /** `isRepeatable`: proven to change nothing. Functions may write, and no text says which: left out, the server is asked. */
  constructor(
    spec: PoolSpec,
    underway: Underway,
    breaker: BreakerOptions = BREAKER_DEFAULTS,
    written: (database: string, oids: readonly number[]) => void = () => {},
    isRepeatable?: (statement: Statement) => boolean,
  ) {
    this.spec = spec
    this.retries = new Retries({
      name: spec.name,
      settings: breaker,
      acquireTimeoutMs: spec.acquireTimeoutMs,
      place: (job, nowMs) => this.place(job, nowMs),
      flush: () => this.flush(),
      isRepeatable: isRepeatable ?? (statement => isProvenRead(this.analysis.of(statement))),
      prove: async statement => isProvenRead(await this.analysis.find(statement)) === true,
    })
    this.admission = new Admission(spec.name, breaker)
    this.underway = underway
    this.listener = new Listener(spec)
    this.budget = new Budget(spec.size)
    // A single connection cannot be of both kinds.
    if (spec.size > 1) this.shared = new SharedPool(spec, this.budget, this.figures)
    const min = this.shared === undefined ? spec.min : 0
    this.pool = new Pool({ ...spec, min }, this.budget, this.figures)
    this.analysis = new Analysis(this.pool)
    this.outside = new OutsideWrites({
      listener: this.listener,
      pool: this.pool,
      written: oids => written(spec.name, oids),
      schemaChanged: () => this.analysis.forgetAll(),
      isDown: () => isDown((this.shared ?? this.pool).dialer.lastFailure),
    })
    if (this.shared !== undefined) {
      this.shared.onUnsupported = job => this.sendAlone(job)
      this.shared.onEnd = (job, error) => this.ended(job, error)
      this.shared.dialer.onConnected = () => this.admission.connected()
    }
    this.pool.dialer.onConnected = () => this.admission.connected()
    this.budget.onWanted = () => this.shared?.shed()
    this.budget.onLaneWanted = () => this.pool.giveUpIdle()
    this.budget.onRoom = () => this.pool.grow()
    this.watch = new UtilizationWatch(spec.name, () => this.utilization())
  }

  get name(): string {
    return this.spec.name
  }

  /** Takes one autocommit statement; the answer goes to `replies`, under the frame's ticket. Throws BAD_REQUEST. */
  query(frame: QueryFrame, replies: Replies, nowMs: number): void {
    const statement = this.statements.of(frame.sql)
    const { ticket, correlationId, bytes, start, end } = frame
    const { params, spec } = this
    params.keep(bytes, start, end)
    const deadlineMs = nowMs + (frame.timeoutMs || spec.statementTimeoutMs)
    const job: SharedJob = {
      ticket,
      replies,
      statement,
      correlationId,
      params: params.block,
      paramsStart: params.start,
      paramsEnd: params.end,
      startedMs: nowMs,
      deadlineMs,
      acquireUntilMs: Math.min(deadlineMs, nowMs + spec.acquireTimeoutMs),
      pass: 0,
      tried: UNTRIED,
      slot: undefined,
      isUnwanted: false,
      repeats: 0,
      isMended: false,
      cancelledMs: 0,
      isDone: false,
    }
    this.place(job, nowMs)
  }

  /** To the server, if its breaker lets it pass; ended() follows. */
  private place(job: SharedJob, nowMs: number): void {
    const refusal = this.admission.admit(job, nowMs)
    if (refusal !== undefined) return this.retries.refused(job, refusal, nowMs)
    const { shared } = this
    const { isPreparable, leavesTraces } = job.statement
    const canShare = shared !== undefined && !shared.isUnsupported
    if (canShare && isPreparable && !leavesTraces) shared.place(job, nowMs)
    else this.sendAlone(job)
  }

  /** What became of a job. True: it is asked again. */
  private ended(job: SharedJob, error: HearthError | undefined): boolean {
    this.admission.ended(job, error)
    return this.retries.ended(job, error)
  }

  /** The requester of a ticket is gone or has had enough. False: it is not on a shared connection of this database. */
  cancel(ticket: number): boolean {
    return this.retries.cancel(ticket) || this.shared?.cancel(ticket) === true
  }

  /** Sends what query() has gathered. */
  flush(): void {
    this.shared?.flush()
  }

  /** A job that cannot share a connection has one to itself. */
  private sendAlone(job: SharedJob): void {
    const { underway } = this
    const { ticket, correlationId, deadlineMs, replies, statement } = job
    const failed = (error: HearthError) => {
      if (underway.end(ticket) && !this.ended(job, error)) replies.fail(ticket, error)
    }
    underway.begin(ticket)
    try {
      const params = decodeValue(job.params, job.paramsStart, job.paramsEnd)
      if (!Array.isArray(params))
        throw new HearthError('BAD_REQUEST', 'params must be an array', { correlationId })
      const timeoutMs = Math.max(1, deadlineMs - monotonicMs())
      const task = this.pool.start(
        { sql: statement.sql, params, timeoutMs, correlationId },
        body => {
          if (!underway.end(ticket)) return
          this.ended(job, undefined)
          replies.reply(REPLIES.ROWS.code, ticket, body)
        },
        failed,
      )
      const cancel = () => {
        job.isUnwanted = true
        task.cancel()
      }
      underway.set(ticket, { cancel })
    } catch (error) {
      failed(toHearthError(error, 'PROTOCOL'))
    }
  }

  stats(): DatabaseFigures {
    const { pool, figures, shared, spec } = this
    const lanes = shared?.lanes ?? []
    const own = pool.stats()
    const attempts = own.connecting + (shared?.dialer.attemptCount ?? 0)
    const inUse = own.busy + own.mending + lanes.filter(lane => lane.inflight > 0).length
    const count = lanes.length + own.idle + own.busy + own.mending
    const { prepared, closed, acquired } = figures
    return {
      size: spec.size,
      overflow: spec.overflow,
      connecting: attempts,
      idle: count - inUse,
      inUse,
      inFlight: lanes.map(lane => lane.inflight),
      utilization: this.utilization(),
      waiting: own.waiting + (shared?.queue.count ?? 0),
      waitingMost: Math.max(own.waitingMost, shared?.queue.countMost ?? 0),
      acquireP50Ms: acquired.percentile(0.5),
      acquireP99Ms: acquired.percentile(0.99),
      queries: figures.queries,
      errors: figures.errors,
      timeouts: figures.timeouts,
      connects: pool.dialer.connects + (shared?.dialer.connects ?? 0),
      reconnects: figures.reconnects,
      connectFailures: pool.dialer.connectFailures + (shared?.dialer.connectFailures ?? 0),
      closed: { ...closed },
      prepared: { ...prepared },
      breakers: this.admission.figures(),
      retries: this.retries.figures(),
      listen: this.listener.stats(),
      outside: this.outside.isStarted ? this.outside.state() : undefined,
      down: count === 0 ? (shared ?? pool).dialer.lastFailure : undefined,
    }
  }

  async close(): Promise<void> {
    this.watch.close()
    this.retries.close()
    this.outside.stop()
    this.listener.close()
    await Promise.all([this.shared?.close(), this.pool.close()])
  }

  /** 0 to 1: how much of what `size` connections can carry is taken. A connection that somebody has to himself is taken whole. */
  private utilization(): number {
    const { busy, mending } = this.pool.stats()
    let taken = busy + mending
    for (const lane of this.shared?.lanes ?? [])
      taken += lane.purpose === 'alone' ? 1 : Math.min(1, lane.inflight / BUSY_DEPTH)
    return Math.min(1, taken / this.spec.size)
  }
}

/** Whether a server that refuses a connection so takes nobody's. */
function isDown(failure: string | undefined): boolean {
  return failure !== undefined && /refused|No such file|starting up|recovery/.test(failure)
}

/** Proven to change nothing: functions may write, and no text says which. Undefined: nobody has asked the server yet. */
function isProvenRead(facts: Facts | undefined): boolean | undefined {
  return facts === undefined ? undefined : facts.side === 'read' && facts.mayUseReplica
}

/** A lane with so many in flight counts as fully used. */
const BUSY_DEPTH = LANE_DEPTH_MAX / 2
