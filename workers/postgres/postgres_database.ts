/** PostgresDatabase: one configured database: which of its servers and pools a statement goes to, and what they show of
 *  themselves.
 *  Owns:   its servers, the table of known statements.   Not here: pools (servers/server.ts), health (servers/cluster.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) with one server nothing is asked but its pools.  (2) a statement that may have run is never given to another server,
 *          unless it is a proven read.  (3) every statement is answered once, whichever servers it went through. */

import { monotonicMs } from '../../engine/clock.ts'
import { HearthError, toHearthError } from '../../engine/errors.ts'
import type { ServerMetrics } from '../../engine/figures.ts'
import { decodeValue } from '../../engine/protocol/payload.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies } from '../handler.ts'
import type { Admission } from './admission.ts'
import { Analysis } from './analysis/analysis.ts'
import { isProvenRead } from './analysis/facts.ts'
import { BREAKER_DEFAULTS, type BreakerOptions } from './breaker_options.ts'
import {
  CLUSTER_DEFAULTS,
  type DatabaseFigures,
  type DatabaseSpec,
  type PoolSpec,
} from './database.ts'
import { closedError, isDownFailure } from './errors.ts'
import { isTransportFault, knownOf } from './fault.ts'
import type { Insight } from './insight/insight.ts'
import { Listener } from './listener.ts'
import { OutsideWrites } from './outside_writes.ts'
import { ParamsStore } from './params_store.ts'
import type { Pool } from './pool.ts'
import type { QueryFrame } from './query_frame.ts'
import { Retries } from './retries.ts'
import { ServerHealth } from './server_health.ts'
import type { Cluster } from './servers/cluster.ts'
import type { Held } from './servers/held.ts'
import { clusterPart } from './servers/part.ts'
import { Server } from './servers/server.ts'
import { copyOf, jobOf, type SharedJob } from './shared_job.ts'
import { type Statement, Statements } from './statement.ts'
import type { Underway } from './underway.ts'

/** How often a statement may be given to another server: each time one fewer is fit for it. */
const MOVE_COUNT_MAX = 3

export class PostgresDatabase {
  readonly listener: Listener
  readonly statements: Statements
  readonly analysis: Analysis
  /** Started with the first result that is to be cached. */
  readonly outside: OutsideWrites
  private readonly spec: DatabaseSpec
  private readonly params = new ParamsStore()
  private readonly servers: readonly Server[]
  private readonly relatives: Set<PostgresDatabase>
  private readonly cluster: Cluster | undefined
  private readonly health: ServerHealth | undefined
  /** Where all goes when there is one server, and writes when there are several. */
  private primary: Server
  private readonly underway: Underway
  private readonly retries: Retries
  /** Ends every cached result of this database. */
  private readonly written: () => void
  private held: Held | undefined
  /** Proven reads, as of the last time that the primary was asked. */
  private readonly readsLast = new WeakSet<Statement>()
  private readonly listenerSpec: { url: string } & DatabaseSpec
  private readonly insight: Insight | undefined

  /** `isRepeatable`: proven to change nothing; left out, the server is asked. `base`: the same, held to no role; its relatives are. */
  constructor(
    spec: DatabaseSpec,
    underway: Underway,
    breaker: BreakerOptions = BREAKER_DEFAULTS,
    written: (database: string, oids: readonly number[]) => void = () => {},
    isRepeatable?: (statement: Statement) => boolean,
    insight?: Insight,
    base?: PostgresDatabase,
  ) {
    this.spec = spec
    this.insight = insight
    this.relatives = (base?.relatives ?? new Set<PostgresDatabase>()).add(this)
    this.statements = new Statements(spec.guard)
    this.underway = underway
    this.retries = new Retries({
      name: spec.name,
      settings: breaker,
      acquireTimeoutMs: spec.acquireTimeoutMs,
      place: (job, nowMs) => this.place(job, nowMs),
      flush: () => this.flush(),
      isRepeatable: isRepeatable ?? (statement => isProvenRead(this.analysis.of(statement))),
      prove: async statement => isProvenRead(await this.analysis.find(statement)) === true,
    })
    const { replicas = [] } = spec.cluster ?? {}
    const open = (own: PoolSpec, name: string, weight: number): Server => {
      const lost = () => setImmediate(() => this.cluster?.lost(server))
      const server: Server = new Server(own, name, weight, breaker, lost)
      return server
    }
    const own = open({ ...spec, origin: { source: 'primary' } }, 'url', 1)
    const others = replicas.map(({ name, url, weight }) =>
      open({ ...spec, url, origin: { source: `replica:${name}` } }, name, weight),
    )
    this.primary = own
    this.servers = [own, ...others]
    this.listenerSpec = { ...spec }
    this.listener = new Listener(this.listenerSpec)
    this.analysis = new Analysis(() => this.pool, {}, base?.analysis.family)
    this.written = () => written(spec.name, [])
    this.outside =
      base?.outside ??
      new OutsideWrites({
        listener: this.listener,
        pool: { query: request => this.pool.query(request) },
        written: oids => written(spec.name, oids),
        schemaChanged: () => this.refresh(),
        isDown: () => isDownFailure((this.primary.shared ?? this.pool).dialer.lastFailure),
      })
    for (const server of this.servers) this.wire(server)
    if (others.length > 0) this.cluster = this.openCluster()
    else if (spec.health !== undefined)
      this.health = new ServerHealth(own.spec, spec.health, own.admission)
  }

  /** Resolves when it is known which server is the primary, or that it will not be known soon. */
  async ready(): Promise<void> {
    await this.cluster?.settled
  }

  /** The server for what needs a connection for itself; one that says it only reads may have another than the primary. Throws
   *  UNAVAILABLE where none may have it. */
  serverFor(isReadOnly: boolean, client: number): Server {
    return this.cluster?.serverFor(isReadOnly, client, monotonicMs()) ?? this.primary
  }

  get pool(): Pool {
    return this.primary.pool
  }

  get admission(): Admission {
    return this.primary.admission
  }

  /** A client has written by other ways than query(). */
  wrote(client: number): void {
    this.cluster?.wrote(client)
  }

  get name(): string {
    return this.spec.name
  }

  /** Takes one autocommit statement; the answer goes to `replies`, under the frame's ticket. Throws BAD_REQUEST. */
  query(frame: QueryFrame, replies: Replies, nowMs: number): void {
    const statement = this.statements.of(frame.sql)
    this.insight?.see(statement, this.spec.name)
    const { ticket, correlationId, bytes, start, end } = frame
    const { params, spec } = this
    params.keep(bytes, start, end)
    const deadlineMs = nowMs + (frame.timeoutMs || spec.statementTimeoutMs)
    const job = jobOf(ticket, replies, statement, correlationId, nowMs, deadlineMs)
    job.params = params.block
    job.paramsStart = params.start
    job.paramsEnd = params.end
    job.acquireUntilMs = Math.min(deadlineMs, nowMs + spec.acquireTimeoutMs)
    if (frame.priority !== undefined) job.priority = frame.priority
    job.client = frame.client ?? 0
    if (this.cluster !== undefined) {
      job.isRead = this.mayLeave(statement)
      job.isFresh = frame.isFresh === true
    }
    this.place(job, nowMs)
  }

  /** Whether a replica may have it. While there is no primary to ask, what it said last is believed: nobody changes the schema then. */
  private mayLeave(statement: Statement): boolean {
    const facts = this.analysis.of(statement)
    if (facts !== undefined && !facts.isPassing) {
      const may = isProvenRead(facts) === true
      if (may) this.readsLast.add(statement)
      else this.readsLast.delete(statement)
      return may
    }
    if (!statement.isPreparable) return false
    if (facts === undefined) void this.analysis.find(statement)
    return this.primary.state !== 'up' && this.readsLast.has(statement)
  }

  /** To the server that is to have it: also when it is asked again. */
  private place(job: SharedJob, nowMs: number): void {
    if (this.cluster === undefined) return this.give(this.primary, job, nowMs)
    try {
      this.give(this.cluster.serverOf(job, nowMs), job, nowMs)
    } catch (error) {
      job.isDone = true
      job.replies.fail(job.ticket, toHearthError(error))
    }
  }

  /** To one server, if its breaker lets it pass; ended() follows. */
  private give(server: Server, job: SharedJob, nowMs: number): void {
    const refusal = server.admission.admit(job, nowMs)
    if (refusal !== undefined) return this.retries.refused(job, refusal, nowMs)
    this.cluster?.begun(server, nowMs)
    const { shared } = server
    const { isPreparable, leavesTraces } = job.statement
    const canShare = shared !== undefined && !shared.isUnsupported
    if (canShare && isPreparable && !leavesTraces) shared.place(job, nowMs)
    else this.sendAlone(server, job)
  }

  /** The schema was changed elsewhere. Lanes mend their plans themselves: no statement there is part of a transaction. */
  refresh(): void {
    this.analysis.forgetAll()
    for (const { servers } of this.relatives) for (const { pool } of servers) pool.lists.outdate()
  }

  /** The requester of a ticket is gone or has had enough. False: it is not on a shared connection of this database. */
  cancel(ticket: number): boolean {
    if (this.retries.cancel(ticket) || this.held?.cancel(ticket)) return true
    return this.servers.some(server => server.shared?.cancel(ticket) === true)
  }

  /** Sends what query() has gathered. */
  flush(): void {
    for (const server of this.servers) server.shared?.flush()
  }

  stats(): DatabaseFigures {
    const outside = this.outside.isStarted ? this.outside.state() : undefined
    const others = { retries: this.retries.figures(), listen: this.listener.stats(), outside }
    const figures = { ...this.primary.stats(), ...others }
    if (this.cluster === undefined) return { ...figures, down: this.health?.down ?? figures.down }
    const servers = this.cluster.stats()
    const sum = (name: 'queries' | 'errors') => servers.reduce((all, each) => all + each[name], 0)
    return {
      ...figures,
      queries: sum('queries'),
      errors: sum('errors'),
      servers,
      problem: this.cluster.problem(),
      failovers: this.cluster.topology.failovers,
    }
  }

  metrics(): ServerMetrics[] {
    return this.servers.map(server => server.metrics(this.spec.name))
  }

  async close(): Promise<void> {
    this.cluster?.close()
    this.health?.close()
    this.listener.close()
    this.retries.close()
    if (this.spec.held === undefined) this.outside.stop()
    this.held?.close(closedError(this.spec.name))
    await Promise.all(this.servers.map(server => server.close()))
  }

  private wire(server: Server): void {
    const { shared } = server
    if (shared === undefined) return
    shared.onUnsupported = job => this.sendAlone(server, job)
    shared.onEnd = (job, error) => this.ended(server, job, error)
  }

  private openCluster(): Cluster {
    const options = { ...CLUSTER_DEFAULTS, ...this.spec.cluster }
    const { Held, Cluster } = clusterPart()
    this.held = new Held(
      job => this.placeHeld(job),
      () => this.cluster!.lookAround(monotonicMs()),
    )
    return new Cluster(this.spec.name, this.servers, options, {
      primaryChanged: (primary, before) => {
        this.primary = primary
        this.listenerSpec.url = primary.spec.url
        this.listener.move()
        // What was read from the old one may hold what the new one never had.
        this.written()
        this.moveWaiting(before, () => true)
      },
      // Behind whatever has found it out, which may be in the middle of its own books.
      unfit: server => setImmediate(() => this.evacuate(server)),
      looked: () => this.held?.tryAll(),
    })
  }

  /** What became of a job. True: it goes on, at another server or later. */
  private ended(server: Server, job: SharedJob, error: HearthError | undefined): boolean {
    if (job.ticket < 0) return false // a question of our own
    server.admission.ended(job, error)
    if (this.cluster !== undefined) {
      this.cluster.ended(server, job, error)
      if (error !== undefined && this.goesOn(server, job, error)) return true
    }
    const isLeft = this.retries.ended(job, error)
    if (!isLeft && error !== undefined)
      job.statement.mark?.recorder.failed(job, error, monotonicMs() - job.sentMs)
    return isLeft
  }

  private goesOn(server: Server, job: SharedJob, error: HearthError): boolean {
    if (job.isUnwanted || job.moves >= MOVE_COUNT_MAX) return false
    if (error.code === 'READ_ONLY' && !job.isRead && !this.spec.held?.isReadOnly)
      return this.held!.hold(job, error)
    if (!isTransportFault(error) || (knownOf(error).mayHaveRun && !job.isRead)) return false
    return this.move(server, job) || this.held!.hold(job, error)
  }

  /** Gives a job that is out of its server's books to another one; false when there is none. */
  private move(from: Server, job: SharedJob): boolean {
    const nowMs = monotonicMs()
    if (nowMs >= job.acquireUntilMs) return false
    let server: Server
    try {
      server = this.cluster!.serverOf(job, nowMs, from)
    } catch {
      return false
    }
    if (server === from) return false
    this.give(server, copyOf(job), nowMs)
    server.shared?.flush()
    return true
  }

  /** Gives a held job to a server that is known to be fit for it now; false: there is none. */
  private placeHeld(job: SharedJob): boolean {
    const nowMs = monotonicMs()
    try {
      const server = this.cluster!.serverOf(job, nowMs)
      const isFit = server.state === 'up' && (job.isRead || server.seen?.isStandby === false)
      if (!isFit) return false
      this.give(server, job, nowMs)
      server.shared?.flush()
      return true
    } catch {
      return false
    }
  }

  /** Reads that wait at a server, or are out at it, go to others: an answer that still comes goes nowhere. */
  private evacuate(server: Server): void {
    const { shared, state } = server
    if (shared === undefined || (state === 'up' && !server.isAstray)) return
    this.moveWaiting(server, job => job.isRead)
    // One failed look may be a stall; a second question costs less than waiting for its end.
    for (const lane of [...shared.lanes]) {
      const jobs = lane.overdueBehind(Number.POSITIVE_INFINITY)
      if (lane.head !== undefined && !lane.head.isDone) jobs.unshift(lane.head)
      for (const job of jobs) {
        if (!job.isRead || job.isUnwanted || job.moves >= MOVE_COUNT_MAX) continue
        if (!this.move(server, job)) continue
        job.isUnwanted = true
        server.left(job)
      }
    }
  }

  private moveWaiting(from: Server, isMeant: (job: SharedJob) => boolean): void {
    const waiting = from.shared?.queue.takeWhere(job => job.ticket >= 0 && isMeant(job)) ?? []
    for (const job of waiting) {
      if (job.moves < MOVE_COUNT_MAX && this.move(from, job)) from.left(job)
      else from.shared!.queue.push(job)
    }
  }

  /** A job that cannot share a connection has one to itself. */
  private sendAlone(server: Server, job: SharedJob): void {
    const { underway } = this
    const { ticket, correlationId, deadlineMs, replies, statement } = job
    const failed = (error: HearthError) => {
      if (underway.end(ticket) && !this.ended(server, job, error)) replies.fail(ticket, error)
    }
    underway.begin(ticket)
    try {
      const params = decodeValue(job.params, job.paramsStart, job.paramsEnd)
      if (!Array.isArray(params))
        throw new HearthError('BAD_REQUEST', 'params must be an array', { correlationId })
      const timeoutMs = Math.max(1, deadlineMs - monotonicMs())
      const asked = { sql: statement.sql, params, timeoutMs, correlationId, priority: job.priority }
      const task = server.pool.start(
        { ...asked, onSent: nowMs => (job.sentMs = nowMs) },
        body => {
          statement.mark?.recorder.ranAlone(job, body)
          if (!underway.end(ticket)) return
          this.ended(server, job, undefined)
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
}
