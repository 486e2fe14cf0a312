/** Ops: the postgres worker's answers to frames: which database a request means, and what it asks of it.
 *  Owns:   one PostgresDatabase for each configured one.   Not here: rings and loops (../loop.ts), transactions and all else
 *          that needs a connection for itself (session_ops.ts).
 *  Thread: postgres worker.
 *  Holds:  every frame gets one closing reply; rows leave as msgpack, encoded once. */

import { monotonicMs } from '../../engine/clock.ts'
import { HearthError, isHearthError, toHearthError } from '../../engine/errors.ts'
import { type LogLevel, setLogLevel } from '../../engine/log.ts'
import { BodyReader } from '../../engine/protocol/body.ts'
import { OPS, REPLIES } from '../../engine/protocol/spec.ts'
import type { Handler, Replies, RequestFrame } from '../handler.ts'
import { BREAKER_DEFAULTS, type BreakerOptions } from './breaker_options.ts'
import { CachedOps } from './cached_ops.ts'
import {
  type ClusterOptions,
  type DatabaseSpec,
  type HealthOptions,
  POOL_DEFAULTS,
  type PoolOptions,
} from './database.ts'
import { INSIGHT_OPS, Insight, type InsightOptions } from './insight/insight.ts'
import { PostgresDatabase } from './postgres_database.ts'
import { ROLE_DATABASE_COUNT_MAX, type RoleName, roleNameOf, specFor } from './role_databases.ts'
import { loadClusterPart } from './servers/part.ts'
import { SessionOps } from './session_ops.ts'
import { SessionWrites } from './session_writes.ts'
import { setSlowStatementMs } from './statement_log.ts'
import { Underway } from './underway.ts'
import { WriteWatch } from './write_watch.ts'

export interface DatabaseConfig {
  /** A libpq URI or keyword string. */
  readonly url: string
  readonly pool?: Partial<PoolOptions> | undefined
  readonly cluster?: Partial<ClusterOptions> | undefined
  readonly health?: HealthOptions | undefined
}

export interface PostgresConfig {
  /** In the name of a database: what follows is what its clients are held to. */
  readonly roleMark?: string | undefined
  /** By name; `main` is what a query without a name means. */
  readonly databases: Readonly<Record<string, DatabaseConfig>>
  readonly breaker?: Partial<BreakerOptions> | undefined
  /** Left out: nothing is recorded. */
  readonly insight?: InsightOptions | undefined
  readonly log?: { readonly level: LogLevel; readonly slowStatementMs: number } | undefined
}

const DEFAULT_DATABASE = 'main'
/** How soon housekeeping wants its next turn. */
const INSIGHT_TURN_MS = 10_000
const OWN_OPS: readonly number[] = [
  OPS.QUERY,
  OPS.QUERY_TO_CACHE,
  OPS.EXPLAIN_CACHE,
  OPS.WATCH_WRITES,
  OPS.REFRESH,
  OPS.ADVISE_RESULT,
  OPS.CANCEL,
].map(op => op.code)

/** Loads what these databases need besides; to be awaited before createPostgresHandler(). */
export async function loadPostgresParts({ databases }: PostgresConfig): Promise<void> {
  const hasReplicas = Object.values(databases).some(each => each.cluster?.replicas?.length)
  if (hasReplicas) await loadClusterPart()
}

export function createPostgresHandler(config: PostgresConfig): Handler {
  if (config.log !== undefined) {
    setLogLevel(config.log.level)
    setSlowStatementMs(config.log.slowStatementMs)
  }
  const underway = new Underway()
  const writes = new WriteWatch()
  const written = (database: string, oids: readonly number[]) =>
    writes.tell(database, oids.length === 0 ? 'everything' : oids)
  const breaker = { ...BREAKER_DEFAULTS, ...config.breaker }
  const databases = new Map<string, PostgresDatabase>()
  const specs = new Map<string, DatabaseSpec>()
  const insight = new Insight(config.insight, databases)
  // Insight asks for plans as the database's own login, by which nothing of a role's may run.
  const open = (spec: DatabaseSpec, base?: PostgresDatabase) => {
    const watched = base === undefined ? insight : undefined
    return new PostgresDatabase(spec, underway, breaker, written, undefined, watched, base)
  }
  for (const [name, { url, pool, cluster, health }] of Object.entries(config.databases)) {
    const spec = { name, url, ...POOL_DEFAULTS, ...pool, cluster, health }
    specs.set(name, spec)
    databases.set(name, open(spec))
  }
  const openFor: OpenFor = held => {
    const base = databases.get(held.database)
    if (base === undefined || databases.size - specs.size >= ROLE_DATABASE_COUNT_MAX)
      return undefined
    return open(specFor(specs.get(held.database)!, held), base)
  }
  const roleOf = (name: string) => roleNameOf(name, config.roleMark)
  return new PostgresHandler(databases, underway, writes, insight, roleOf, openFor)
}

/** Opens a database's connections for a role; undefined where there is no such database. */
type OpenFor = (held: RoleName) => PostgresDatabase | undefined

class PostgresHandler implements Handler {
  readonly ops: readonly number[]
  private readonly databases: Map<string, PostgresDatabase>
  private readonly roleOf: (name: string) => RoleName | undefined
  private readonly openFor: OpenFor
  private readonly underway: Underway
  private readonly sessions: SessionOps
  private readonly cached: CachedOps
  private readonly writes: WriteWatch
  private readonly insight: Insight
  private readonly reader = new BodyReader()
  /** Read once a drain. */
  private nowMs = 0

  constructor(
    databases: Map<string, PostgresDatabase>,
    underway: Underway,
    writes: WriteWatch,
    insight: Insight,
    roleOf: (name: string) => RoleName | undefined,
    openFor: OpenFor,
  ) {
    this.roleOf = roleOf
    this.openFor = openFor
    this.databases = databases
    this.insight = insight
    this.underway = underway
    this.writes = writes
    this.cached = new CachedOps(this.writes, underway)
    this.sessions = new SessionOps(
      (name, id) => this.database(name, id),
      underway,
      new SessionWrites(this.writes),
      insight,
    )
    this.ops = [...OWN_OPS, ...this.sessions.ops, ...INSIGHT_OPS]
  }

  async ready(): Promise<void> {
    await Promise.all([...this.databases.values()].map(database => database.ready()))
    await this.insight.ready()
  }

  handle(frame: RequestFrame, replies: Replies): void {
    const { op, ticket } = frame
    if (op === OPS.CANCEL.code) return this.cancel(ticket)
    const { writes } = this
    writes.through(replies).begun(ticket)
    if (op === OPS.QUERY.code || op === OPS.QUERY_TO_CACHE.code) this.query(frame)
    else if (op === OPS.WATCH_WRITES.code) writes.watch(ticket)
    else if (op === OPS.EXPLAIN_CACHE.code) this.explain(frame)
    else if (op === OPS.REFRESH.code) this.refresh(frame)
    else if (op === OPS.ADVISE_RESULT.code) this.advise(frame)
    else if (INSIGHT_OPS.includes(op)) this.insight.handle(frame, writes)
    else this.session(frame)
  }

  flush(): void {
    this.nowMs = 0
    for (const database of this.databases.values()) database.flush()
  }

  stats(): Record<string, unknown> {
    return Object.fromEntries(
      [...this.databases].map(([name, database]) => [
        this.roleOf(name)?.shown ?? name,
        { ...database.stats(), ...this.insight.figures(name) },
      ]),
    )
  }

  idle(): number {
    this.insight.idle()
    return INSIGHT_TURN_MS
  }

  metrics(): Record<string, unknown> {
    return { servers: [...this.databases.values()].flatMap(database => database.metrics()) }
  }

  async close(): Promise<void> {
    await this.insight.close()
    await Promise.all([...this.databases.values()].map(database => database.close()))
  }

  private query({ op, ticket, bytes, start, end, client = 0 }: RequestFrame): void {
    if (this.nowMs === 0) this.nowMs = monotonicMs()
    try {
      const reader = this.reader.reset(bytes, start, end)
      const name = reader.text()
      const timeoutMs = reader.uint()
      const priority = reader.uint()
      const correlationId = reader.text()
      const sql = reader.text()
      const place = { bytes, start: reader.raw(), end }
      const isToCache = op === OPS.QUERY_TO_CACHE.code
      const asked = { ticket, sql, timeoutMs, priority, correlationId, client }
      const frame = { ...asked, isFresh: isToCache, ...place }
      const database = this.database(name, correlationId)
      if (isToCache || this.writes.isOn) this.cached.query(database, frame, isToCache, this.nowMs)
      else database.query(frame, this.writes, this.nowMs)
    } catch (error) {
      this.writes.fail(ticket, asRefusal(error))
    }
  }

  private explain({ ticket, bytes, start, end }: RequestFrame): void {
    try {
      const reader = this.reader.reset(bytes, start, end)
      const name = reader.text()
      const database = this.database(name, reader.text())
      this.cached.explain(database, ticket, reader.text())
    } catch (error) {
      this.writes.fail(ticket, asRefusal(error))
    }
  }

  /** On the ring the news goes before the reply, so main has ended what was cached before it answers. */
  private refresh({ ticket, bytes, start, end }: RequestFrame): void {
    const { writes } = this
    try {
      const reader = this.reader.reset(bytes, start, end)
      const name = reader.text()
      const database = this.database(name, reader.text())
      database.refresh()
      writes.tell(database.name, 'everything')
      writes.reply(REPLIES.OK.code, ticket, NO_BODY)
    } catch (error) {
      writes.fail(ticket, asRefusal(error))
    }
  }

  private advise({ ticket, bytes, start, end }: RequestFrame): void {
    const { writes } = this
    try {
      const reader = this.reader.reset(bytes, start, end)
      const database = this.database(reader.text(), 'warming')
      this.insight.isWorthFetching(database, reader.text()).then(
        isWorth => writes.reply(REPLIES.COUNT.code, ticket, isWorth ? ONE : ZERO),
        error => writes.fail(ticket, asRefusal(error)),
      )
    } catch (error) {
      writes.fail(ticket, asRefusal(error))
    }
  }

  private session(frame: RequestFrame): void {
    const { ticket } = frame
    this.underway.begin(ticket)
    try {
      this.sessions.handle(frame, this.writes)
    } catch (error) {
      if (this.underway.end(ticket)) this.writes.fail(ticket, asRefusal(error))
    }
  }

  /** What has a connection to itself is in `underway`; what shares one is known to its pool. */
  private cancel(ticket: number): void {
    if (this.underway.cancel(ticket)) return
    for (const database of this.databases.values()) if (database.cancel(ticket)) return
  }

  private database(name: string, correlationId: string): PostgresDatabase {
    const database = this.databases.get(name || DEFAULT_DATABASE)
    if (database !== undefined) return database
    const held = this.roleOf(name)
    const own = held === undefined ? undefined : this.openFor(held)
    if (own !== undefined) {
      this.databases.set(name, own)
      return own
    }
    const known = [...this.databases.keys()].filter(each => !this.roleOf(each)).join(', ')
    throw new HearthError(
      'NOT_CONFIGURED',
      `there is no database "${held?.shown ?? (name || DEFAULT_DATABASE)}" (configured: ${known || 'none'}); set postgres.<name>.url`,
      { correlationId },
    )
  }
}

const NO_BODY = Buffer.alloc(0)
/** As msgpack. */
const ZERO = Buffer.of(0)
const ONE = Buffer.of(1)

/** What msgpackr throws on bytes that are no msgpack is the sender's mistake. */
function asRefusal(error: unknown): HearthError {
  return isHearthError(error) ? error : toHearthError(error, 'PROTOCOL')
}
