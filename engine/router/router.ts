/** Router: what a request's operation means: which tier or worker answers it, and what it costs the connection when it is wrong.
 *  Owns:   the table from operation to action.   Not here: the socket (server/session.ts), the tiers (cache_ops.ts, sql_ops.ts).
 *  Thread: main.
 *  Holds:  (1) a request that was taken gets exactly one closing reply.  (2) a malformed frame throws PROTOCOL to the
 *          session; every other error becomes a reply.  (3) false means: no room now, nothing has happened. */

import { HearthError, toHearthError } from '../errors.ts'
import type { Access } from '../guard/access.ts'
import { RateLimits } from '../guard/rate_limit.ts'
import { BodyReader } from '../protocol/body.ts'
import { encodeValue } from '../protocol/payload.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import { ByteQuotas } from './byte_quotas.ts'
import type { Cache } from './cache.ts'
import { InsightOps } from './insight_ops.ts'
import { KeyChanges } from './key_changes.ts'
import { LimitGate } from './limit_gate.ts'
import { checkNames, checkRight } from './permit.ts'
import { PubSub } from './pub_sub.ts'
import type { QueryCache } from './query_cache.ts'
import type { ReplyWriter } from './reply.ts'
import type { SqlAccess } from './sql_access.ts'
import type { SqlOps } from './sql_ops.ts'

/** Figures and health come from all over the engine; the router is handed functions that gather them. */
export interface Overview {
  stats(): Promise<unknown>
  health(): Promise<unknown>
  metrics(): Promise<unknown>
  series(sinceMs: number): Promise<unknown>
  alerts(): Promise<unknown>
  testAlerts(channel: string): Promise<unknown>
}

/** HTTP services, loaded when some are configured. */
export interface ServiceOps {
  take(
    op: number,
    replies: ReplyWriter,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void
}

export class Router {
  readonly pubSub = new PubSub()
  services: ServiceOps | undefined
  private readonly cache: Cache
  private readonly sql: SqlOps
  private readonly queryCache: QueryCache
  private readonly overview: Overview
  private readonly sqlAccess: SqlAccess
  private readonly byteQuotas: ByteQuotas
  private readonly insight: InsightOps
  private readonly limits: LimitGate
  private readonly keyChanges = new KeyChanges(this.pubSub)

  constructor(
    cache: Cache,
    sql: SqlOps,
    queryCache: QueryCache,
    overview: Overview,
    sqlAccess: SqlAccess,
    limits = new RateLimits(),
    insight = new InsightOps(sql, false),
  ) {
    this.sqlAccess = sqlAccess
    this.byteQuotas = new ByteQuotas(cache.state)
    this.insight = insight
    this.cache = cache
    this.sql = sql
    this.queryCache = queryCache
    this.overview = overview
    this.limits = new LimitGate(limits)
  }

  /** Takes one request: its body is bytes[start, end), valid only during the call. */
  route(
    replies: ReplyWriter,
    op: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): boolean {
    try {
      if (replies.access.stops[op] !== 0)
        return this.takeLimited(replies, op, id, bytes, start, end)
      const isCounted = this.limits.admit(replies, op, bytes, start, end)
      const isTaken = this.take(replies, op, id, bytes, start, end)
      if (isCounted && !isTaken) this.limits.takeBack()
      return isTaken
    } catch (error) {
      const known = toHearthError(error)
      replies.changes?.drop(id)
      if (known.code === 'PROTOCOL') throw known
      replies.error(id, known)
      return true
    }
  }

  /** What a client's role may not ask, or only within limits. What is refused counts under no limit of how often. */
  private takeLimited(
    replies: ReplyWriter,
    op: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): boolean {
    const { access } = replies
    checkRight(access, op)
    if (access.prefixes !== undefined) checkNames(access, op, bytes, start, end)
    if (access.hasByteQuota) this.byteQuotas.check(access, op, end - start)
    const isOwnSql = access.hasOwnSql && this.sqlAccess.names(op)
    const body = isOwnSql ? this.sqlAccess.bodyFor(access, op, bytes, start, end) : undefined
    const isCounted = this.limits.admit(replies, op, bytes, start, end)
    let isTaken: boolean
    if (body !== undefined) isTaken = this.take(replies, op, id, body, 0, body.length)
    else if (op === OPS.STATS.code) {
      const own = this.overview.stats().then(stats => statsFor(access, stats))
      isTaken = this.answerLater(replies, id, own)
    } else isTaken = this.take(replies, op, id, bytes, start, end)
    if (isCounted && !isTaken) this.limits.takeBack()
    if (isTaken && access.hasByteQuota) this.byteQuotas.took(access, op, end - start)
    return isTaken
  }

  private take(
    replies: ReplyWriter,
    op: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): boolean {
    if (this.keyChanges.isWatched) this.keyChanges.expect(replies, op, id, bytes, start, end)
    if (this.cache.claims.any) this.cache.claims.observe(op, bytes, start, end)
    switch (op) {
      case OPS.GET.code:
        return this.cache.ops.get(replies, id, bytes, start, end)
      case OPS.SET.code:
        return this.cache.ops.set(replies, id, bytes, start, end)
      case OPS.DEL.code:
        return this.cache.ops.del(replies, id, bytes, start, end)
      case OPS.QUERY.code:
        return this.sql.query(replies, id, bytes, start, end)
      case OPS.QUERY_CACHED.code:
        return this.queryCache.query(replies, id, bytes, start, end)
      case OPS.EXPLAIN_CACHE.code:
      case OPS.REFRESH.code:
      case OPS.BEGIN.code:
      case OPS.EXECUTE.code:
      case OPS.COMMIT.code:
      case OPS.CLOSE.code:
      case OPS.STREAM.code:
      case OPS.FETCH.code:
      case OPS.COPY_OUT.code:
      case OPS.COPY_READ.code:
      case OPS.COPY_IN.code:
      case OPS.COPY_WRITE.code:
      case OPS.COPY_END.code:
      case OPS.LISTEN.code:
        return this.sql.send(op, replies, id, bytes, start, end)
      case OPS.INSIGHT.code:
      case OPS.INSIGHT_ADMIN.code:
        this.insight.tell()
        return this.sql.send(op, replies, id, bytes, start, end)
      case OPS.COUNT_IN_PLACE.code:
        this.insight.countInPlace(replies, id, bytes, start, end)
        return true
      case OPS.CANCEL.code:
        if (end > start) throw new HearthError('PROTOCOL', 'CANCEL has no arguments')
        if (!this.pubSub.cancel(replies, id) && !this.queryCache.cancel(replies, id))
          this.sql.cancel(replies, id)
        return true
      case OPS.PUBLISH.code:
        this.pubSub.publish(replies, id, bytes, start, end)
        return true
      case OPS.SUBSCRIBE.code:
        this.pubSub.subscribe(replies, id, bytes, start, end)
        return true
      case OPS.LIMIT_CHECK.code:
        this.limits.check(replies, id, bytes, start, end)
        return true
      case OPS.SERVICE.code:
      case OPS.REPORT_CALLS.code:
      case OPS.TRY_SERVICE.code:
        if (this.services === undefined)
          throw new HearthError(
            'NOT_CONFIGURED',
            'no service is registered: add [services.<name>] with its url to the configuration',
          )
        this.services.take(op, replies, id, bytes, start, end)
        return true
      case OPS.KEYS.code:
        return this.cache.ops.keys(replies, id, bytes, start, end)
      case OPS.PING.code:
        replies.ok(id)
        return true
      case OPS.STATS.code:
        return this.answerLater(replies, id, this.overview.stats())
      case OPS.HEALTH.code:
        return this.answerLater(replies, id, this.overview.health())
      case OPS.METRICS.code:
        return this.answerLater(replies, id, this.overview.metrics())
      case OPS.SERIES.code: {
        const request = new BodyReader().reset(bytes, start, end)
        const sinceMs = request.time()
        request.done()
        return this.answerLater(replies, id, this.overview.series(sinceMs))
      }
      case OPS.ALERTS.code:
        return this.answerLater(replies, id, this.overview.alerts())
      case OPS.ALERT_TEST.code: {
        const request = new BodyReader().reset(bytes, start, end)
        const channel = request.text()
        request.done()
        return this.answerLater(replies, id, this.overview.testAlerts(channel))
      }
      default:
        if (this.cache.handles(op)) return this.cache.handle(replies, op, id, bytes, start, end)
        throw new HearthError('PROTOCOL', `no operation has the code 0x${op.toString(16)}`)
    }
  }

  /** Calls back when a request that was not taken may be given again. */
  onceRoom(op: number, callback: () => void): void {
    const lease = isSql(op) ? this.sql.lease() : this.cache.lease()
    if (lease?.isOpen) lease.onceRoom(callback)
    else setImmediate(callback)
  }

  /** A connection is gone: nobody waits any more for what it asked, and what it held is passed on. */
  sessionEnded(replies: ReplyWriter): void {
    this.sql.sessionEnded(replies)
    this.queryCache.sessionEnded(replies)
    this.cache.claims.sessionEnded(replies)
    this.pubSub.sessionEnded(replies)
    this.keyChanges.sessionEnded(replies)
  }

  private answerLater(replies: ReplyWriter, id: number, answer: Promise<unknown>): boolean {
    replies.inflight++
    answer.then(
      value => {
        const body = encodeValue(value)
        replies.inflight--
        replies.frame(REPLIES.RESULT.code, id, body, 0, body.length)
        replies.flush()
      },
      error => {
        replies.inflight--
        replies.error(id, toHearthError(error))
        replies.flush()
      },
    )
    return true
  }
}

/** The figures without what belongs to others: namespaces and databases that the role has not. */
function statsFor(access: Access, stats: unknown): unknown {
  const { namespaces = {}, pools = {}, ...rest } = stats as Record<string, Record<string, unknown>>
  const only = (all: Record<string, unknown>, isOwn: (name: string) => boolean) =>
    Object.fromEntries(Object.entries(all).filter(([name]) => isOwn(name)))
  return {
    ...rest,
    namespaces: only(namespaces, name => access.covers(`${name}:`)),
    pools: only(pools, name => access.databases?.has(name.split(' ')[0]!) !== false),
  }
}

/** The codes from QUERY on are the postgres worker's, and those of SQL_BESIDE are. */
function isSql(op: number): boolean {
  return (op & 0xf0) === OPS.QUERY.code || SQL_BESIDE.has(op)
}

const SQL_BESIDE: ReadonlySet<number> = new Set(
  [OPS.REFRESH, OPS.INSIGHT, OPS.INSIGHT_ADMIN].map(({ code }) => code),
)
