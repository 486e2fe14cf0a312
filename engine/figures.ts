/** figures: the shapes of `stats()` and `health()`, as the engine gathers them and the client hands them on.
 *  Owns:   the types.   Thread: any.   Holds: every number has its unit in its name; a count has none. */

import type { BreakerFigures } from './breaker/breaker.ts'

import type { HistogramFigures } from './histogram.ts'

export interface EngineStats {
  memory: MemoryFigures & {
    /** Null when nothing was, or cache.warm is off. */
    warmed: WarmedFigures | null
  }
  sqlite: SqliteFigures
  cache: CacheFigures
  queryCache: QueryCacheFigures
  limits: LimitFigures
  /** By namespace, as its clients have counted. */
  namespaces: Record<string, ReadFigures & { hitRate: number | null }>
  /** By database name; empty when none is configured. */
  pools: Record<string, Record<string, unknown>>
  /** By name, of the registered HTTP services. */
  services: Record<string, ServiceFigures>
  workers: WorkerFigures[]
  clients: number
  uptimeMs: number
  /** RssAnon + RssShmem of the engine's process; null where the system does not tell. */
  privateBytes: number | null
  /** The same above a bare Node process of this version; null when that was never measured here. */
  privateOverNodeBytes: number | null
}

export interface MemoryFigures {
  entries: number
  bytes: number
  maxBytes: number
  /** All hits: through the engine and in place. */
  hits: number
  /** Those of clients that read tier 1 in their own process, as far as they have been looked at. */
  hitsInPlace: number
  misses: number
  evictions: number
  expirations: number
  /** Entries found to be invalidated, by tag or pattern, and removed. */
  invalidations: number
}

/** What the start brought back into tier 1: the entries read most before it. */
export interface WarmedFigures {
  entries: number
  /** Keys and values. */
  bytes: number
  /** Entries that the list of those read most had: the rest was gone, or there was no room or no time for it. */
  outOf: number
  tookMs: number
  /** Results of statements that were fetched anew after it, so far; null when there were none to fetch. */
  results: WarmedResultFigures | null
}

export interface WarmedResultFigures {
  entries: number
  /** Keys and values. */
  bytes: number
  /** Results that the list of those read most had: of the rest too little is known, or they change too often, somebody had asked
   *  already, the statement is no proven read any more, or the database did not answer in time. */
  outOf: number
  tookMs: number
}

export interface SqliteFigures {
  hits: number
  misses: number
  writes: number
  failedWrites: number
  /** What the worker adds about its file: entries, bytes, commits … */
  [figure: string]: unknown
}

/** Reads by what answered them. */
export interface ReadFigures {
  memoryHits: number
  sqliteHits: number
  misses: number
}

/** How the cache fares as a whole. */
export interface CacheFigures {
  /** Shares of all reads, 0 to 1; null before the first. */
  hitRate: number | null
  memoryHitRate: number | null
  sqliteHitRate: number | null
  /** The same over the last window that had enough reads to tell, against `cache.hit_rate_target`. */
  recentHitRate: number | null
  hitRateTarget: number
  invalidatedTags: number
  invalidatedPatterns: number
}

/** Results of statements, asked for with `cache`. Hits in place, in a client's own process, are among those of tier 1 alone. */
export interface QueryCacheFigures {
  memoryHits: number
  sqliteHits: number
  /** Given within `maxStaleMs` after they expired. */
  staleHits: number
  /** Statements that went to Postgres, and requests that shared one on its way. */
  misses: number
  shared: number
  stored: number
  /** Not kept: a table was written meanwhile. */
  overtaken: number
  /** Not kept: they may not be, see explainCache(). */
  refused: number
  /** Writes that were reported: each ends the results of its tables. */
  invalidations: number
}

/** Rate limits, as configured, and what they have refused. */
export interface LimitFigures {
  perClient: string
  global: string
  cachePerClient: string
  /** Refused requests, by the limit that was used up; `subject`: of limits.check(). */
  limited: { client: number; global: number; cache: number; subject: number }
  /** Users that have asked within their window. */
  clients: number
  checks: number
  /** Named subjects that are counted now, and how many may be. */
  subjects: number
  maxSubjects: number
  /** Checks of subjects beyond that, which shared one limit. */
  sharedChecks: number
}

export interface WorkerFigures {
  name: string
  state: string
  restarts: number
  inflight: number
  depthBytes: number
  /** Of the replies that main has not read yet. */
  replyDepthBytes: number
}

/** What the postgres worker tells of one server, for metrics. */
export interface ServerMetrics {
  /** As its breakers are called: the database's name, and for a replica `<database>.<replica>`. */
  pool: string
  database: string
  role: 'primary' | 'replica'
  state: string
  /** Behind the primary; null of the primary itself. */
  lagMs: number | null
  connecting: number
  idle: number
  inUse: number
  waiting: number
  /** 0 to 1: how much of what its connections can carry is taken. */
  utilization: number
  /** It has a connection, or no attempt to open one has failed since it had. */
  isUp: boolean
  breakers: Record<string, { state: string; transitions: Record<string, number> }>
  /** Waits for a connection, and statements from the send to the answer. */
  acquire: HistogramFigures
  read: HistogramFigures
  write: HistogramFigures
}

/** What `hearth.metrics()` and `GET /metrics/json` give: every metric by its name, in Prometheus' base units. */
export interface MetricsJson {
  /** Since 1970. */
  atMs: number
  metrics: Record<string, { type: string; help: string; samples: JsonSample[] }>
}

export interface JsonSample {
  labels: Record<string, string>
  /** Of a counter or gauge; null: infinite. */
  value?: number | null
  /** Of a histogram: in seconds; percentiles null without any, buckets by upper bound (null: none), each with all below it. */
  count?: number
  sum?: number
  p50?: number | null
  p99?: number | null
  buckets?: [number | null, number][]
}

/** What `hearth.series()` and `GET /series` give: one column of samples for each figure. */
export interface SeriesJson {
  everyMs: number
  /** When each sample was taken, since 1970. */
  atMs: number[]
  /** By figure, in the order of atMs; null: not known then. The unit is the name's last word. */
  values: Record<string, (number | null)[]>
}

/** One registered HTTP service, as its checks and the calls of all clients have found it. */
export interface ServiceFigures {
  url: string
  /** By its latest check; null before the first, or without checks. */
  up: boolean | null
  failedTries: number
  latencyMs: number | null
  checkedAtMs: number | null
  problem: string | null
  /** Attempts that clients reported, retries among them. */
  calls: number
  failedCalls: number
  breaker: BreakerFigures
}

/** One alert of the engine's own. */
export interface AlertFigures {
  alert: string
  /** Which pool, breaker, replica …; '' for the engine. */
  subject: string
  severity: 'critical' | 'warning'
  summary: string
  advice: string
  /** Base units; null: not known. */
  value: number | null
  threshold: number
  /** Since 1970. */
  sinceMs: number
  /** When it was over; null: it is not. */
  untilMs: number | null
  /** When it was last sent; null: it was not, since the daily cap was reached or no channel is configured. */
  sentMs: number | null
}

/** What `hearth.alerts()` and `GET /alerts` give. */
export interface AlertsJson {
  /** False: alerts are not configured. */
  isOn: boolean
  /** The worst first. */
  active: AlertFigures[]
  /** Those that are over, the newest first. */
  recent: AlertFigures[]
  channels: string[]
  /** Sent within the last 24 hours, against alerts.daily_cap. */
  sentToday: number
  dailyCap: number
}

/** What one channel answered to a test message. */
export interface ChannelAnswer {
  channel: string
  isSent: boolean
  answer: string
}

export type Status = 'ok' | 'degraded' | 'down'

export interface PartHealth {
  status: Status
  reason?: string
  /** What is worth a look, though nothing is wrong. */
  warning?: string
  /** Of a database with replicas: each server's role, state, lag, and what is to be done about it. */
  servers?: Record<string, unknown>[]
  /** Of a service: what it depends on. */
  dependencies?: Record<string, Status>
  /** Of a service: that of all its callers. */
  breaker?: BreakerFigures
  /** Of the cache: its hit rate of late, beside its target. */
  hitRate?: number | null
  hitRateTarget?: number
}

export interface Health {
  status: Status
  parts: Record<string, PartHealth>
}
