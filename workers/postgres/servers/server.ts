/** Server: one Postgres server of a database: its two pools, and what is known of it.
 *  Owns:   both pools.   Not here: which server a statement goes to (../postgres_database.ts, server_choice.ts), how its health
 *          is told (health_check.ts).
 *  Thread: postgres worker.
 *  Holds:  what may leave something behind in its session, or may not stand between others, has a connection to itself.
 *
 *      select, insert, update … ──▶ SharedPool: many in flight on each connection
 *      create, vacuum, do, temporary tables … ──▶ Pool: a connection each */

import type { ServerMetrics } from '../../../engine/figures.ts'
import { Admission } from '../admission.ts'
import { BREAKER_DEFAULTS, type BreakerOptions } from '../breaker_options.ts'
import { Budget } from '../budget.ts'
import type { CloseReason, DatabaseFigures, Origin, PoolSpec } from '../database.ts'
import { LANE_DEPTH_MAX } from '../lane.ts'
import { Pool } from '../pool.ts'
import { PoolFigures } from '../pool_figures.ts'
import type { SharedJob } from '../shared_job.ts'
import { SharedPool } from '../shared_pool.ts'
import { UtilizationWatch } from '../utilization.ts'
import { Cpu } from './cpu.ts'
import type { Observation } from './observation.ts'

/** unknown ─▶ up ⇄ suspect ─▶ down ─▶ up          any ─▶ fenced: an old primary, which nothing is sent to */
export type ServerState = 'unknown' | 'up' | 'suspect' | 'down' | 'fenced'

export class Server {
  /** 'url' for the one that postgres.<name>.url names, else the replica's name. */
  readonly name: string
  readonly weight: number
  readonly spec: PoolSpec
  readonly shared: SharedPool | undefined
  readonly pool: Pool
  readonly origin: Origin
  /** Before its pools: its breakers. */
  readonly admission: Admission
  state: ServerState = 'unknown'
  /** What it said of itself last. */
  seen: Observation | undefined
  /** Why it is not up. */
  reason: string | undefined
  lagMs = 0
  /** Of its host, where that can tell. */
  readonly cpu = new Cpu()
  /** A standby on an older timeline than the primary's: it may have what the primary has not. */
  isAstray = false
  /** Statements that were given to it and have no answer yet; counted where there is a choice of servers. */
  open = 0
  /** What an answer took lately, in milliseconds. */
  latencyMs = 0
  lastEndMs = 0
  private readonly poolName: string
  private readonly figures: PoolFigures
  private readonly budget: Budget
  private readonly watch: UtilizationWatch

  constructor(
    spec: PoolSpec,
    name: string,
    weight = 1,
    breaker: BreakerOptions = BREAKER_DEFAULTS,
    onLost: (reason: CloseReason) => void = () => {},
  ) {
    this.name = name
    this.weight = weight
    this.origin = spec.origin ?? { source: 'primary' }
    this.spec = { ...spec, origin: this.origin }
    this.figures = new PoolFigures(onLost)
    this.budget = new Budget(spec.size)
    // A single connection cannot be of both kinds.
    if (spec.size > 1) this.shared = new SharedPool(this.spec, this.budget, this.figures)
    const min = this.shared === undefined ? spec.min : 0
    this.pool = new Pool({ ...this.spec, min }, this.budget, this.figures)
    this.poolName = isOnly(name) ? spec.name : `${spec.name}.${name}`
    this.admission = new Admission(this.poolName, breaker)
    if (this.shared !== undefined) this.shared.dialer.onConnected = () => this.admission.connected()
    this.pool.dialer.onConnected = () => this.admission.connected()
    this.budget.onWanted = () => this.shared?.shed()
    this.budget.onLaneWanted = () => this.pool.giveUpIdle()
    this.budget.onRoom = () => this.pool.grow()
    this.watch = new UtilizationWatch(spec.name, () => this.utilization())
  }

  get isStandby(): boolean {
    return this.origin.source !== 'primary'
  }

  /** Its role has changed: results say so from now on, on connections made anew. */
  becomes(source: Origin['source']): void {
    if (this.origin.source === source) return
    this.origin.source = source
    this.shared?.renew()
  }

  /** A job that it had is another server's now. */
  left(job: SharedJob): void {
    if (this.open > 0) this.open--
    this.admission.left(job)
  }

  /** An answer came after so many milliseconds. */
  noteLatency(tookMs: number, nowMs: number): void {
    this.lastEndMs = nowMs
    // A slow answer counts at once, many quick ones make up for it.
    const share = tookMs > this.latencyMs ? 0.3 : 0.1
    this.latencyMs += (tookMs - this.latencyMs) * share
  }

  stats(): Omit<DatabaseFigures, 'retries' | 'listen' | 'outside'> {
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
      down: count === 0 ? (shared ?? pool).dialer.lastFailure : undefined,
    }
  }

  metrics(database: string): ServerMetrics {
    const { acquire, read, write } = this.figures
    const { connecting, idle, inUse, waiting, utilization, breakers, down } = this.stats()
    return {
      pool: this.poolName,
      database,
      role: this.isStandby ? 'replica' : 'primary',
      state: this.state,
      lagMs: this.isStandby ? this.lagMs : null,
      connecting,
      idle,
      inUse,
      waiting,
      utilization,
      isUp: down === undefined,
      breakers,
      acquire: acquire.figures(),
      read: read.figures(),
      write: write.figures(),
    }
  }

  async close(): Promise<void> {
    this.watch.close()
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

/** The server of a database's url: its breakers are called as if there were no other. */
function isOnly(name: string): boolean {
  return name === 'url'
}

/** A lane with so many in flight counts as fully used. */
const BUSY_DEPTH = LANE_DEPTH_MAX / 2
