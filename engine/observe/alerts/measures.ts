/** measures: what the engine measures of itself for each alert: the same as the alert's PromQL, from its own collections.
 *  Owns:   growth and trends between collections.   Not here: thresholds and words (alert_spec.ts), states (alert_state.ts).
 *  Thread: main.
 *  Holds:  (1) NaN: not known now, which neither begins nor ends an alert.  (2) a share is told only of REQUESTS_MIN requests or
 *          more, a rate only after RATE_MS_MIN. */

import type { AlertName } from '../../alert_names.ts'
import { type HistogramFigures, percentileOf, sumOf } from '../../histogram.ts'
import type { Families } from '../families.ts'
import type { MetricName } from '../metric_spec.ts'
import { Growth } from './growth.ts'
import { TrendHistory } from './trend.ts'

/** The label's value ('' where an alert is one for the engine), and what was measured. */
export type Reading = readonly [subject: string, value: number]
type Measure = (measuring: Measuring) => Iterable<Reading>

const MINUTE_MS = 60_000
const WINDOW_MS = 5 * MINUTE_MS
const RATE_MS_MIN = 30_000
const REQUESTS_MIN = 50
const TREND_COUNT_MAX = 64

const SQL = /^(query|query_cached|execute|begin|commit|stream|fetch|copy_.*)$/
const CACHE = /^(get|get_many|lookup|set|set_many|store|del|touch|increment|fill)$/
const GETS = /^(get|get_many|lookup)$/
const NO_SERVER = /^(unavailable|timeout|circuit_open|pool_exhausted|busy)$/

export class Measuring {
  families!: Families
  nowMs = 0
  /** Of other rows, which are the limits that trends head for. */
  readonly thresholdOf: (name: AlertName) => number
  private readonly growth = new Growth()
  private readonly trends = new Map<string, TrendHistory>()

  constructor(thresholdOf: (name: AlertName) => number) {
    this.thresholdOf = thresholdOf
  }

  /** All of an alert, of the collection taken at `nowMs`. */
  measure(name: AlertName, families: Families, nowMs: number): Iterable<Reading> {
    this.families = families
    this.nowMs = nowMs
    return MEASURES[name](this)
  }

  /** Each sample of a gauge, by its first label. */
  gauges(name: MetricName): Reading[] {
    return this.families.of(name).map(({ labels, value }) => [labels[0] ?? '', value as number])
  }

  /** A gauge without labels, or one sample's. */
  gauge(name: MetricName, ...labels: string[]): Reading[] {
    return [['', this.families.value(name, ...labels) ?? Number.NaN]]
  }

  /** How much each sample of a counter that fits grew, by its first label. */
  grown(name: MetricName, windowMs: number, second?: string): Reading[] {
    const fitting = this.families
      .of(name)
      .filter(({ labels }) => second === undefined || labels[1] === second)
    return fitting.map(({ labels, value }) => {
      const key = `${name} ${labels.join(' ')}`
      return [labels[0]!, this.growth.of(key, [value as number], windowMs, this.nowMs).by[0]!]
    })
  }

  /** The same in a second. */
  rates(name: MetricName): Reading[] {
    return this.families.of(name).map(({ labels, value }) => {
      return [labels[0]!, this.perSecond(`${name} ${labels.join(' ')}`, value as number)]
    })
  }

  perSecond(key: string, total: number): number {
    const { by, overMs } = this.growth.of(key, [total], WINDOW_MS, this.nowMs)
    return overMs < RATE_MS_MIN ? Number.NaN : (by[0]! * 1e3) / overMs
  }

  /** What part grew by, as a share of what the whole grew by. */
  share(key: string, part: number, whole: number, wholeMin = REQUESTS_MIN): number {
    const { by } = this.growth.of(key, [part, whole], WINDOW_MS, this.nowMs)
    return by[1]! < wholeMin ? Number.NaN : by[0]! / by[1]!
  }

  requests(op: RegExp, outcome?: RegExp): number {
    let sum = 0
    for (const { labels, value } of this.families.of('hearth_requests_total'))
      if (op.test(labels[0]!) && (outcome === undefined || outcome.test(labels[1]!)))
        sum += value as number
    return sum
  }

  /** The 99th percentile of the last minutes, in seconds, by first label; `op`: of those that fit, all as one. */
  p99(name: MetricName, op?: RegExp): Reading[] {
    const bySubject = new Map<string, HistogramFigures[]>()
    for (const { labels, value } of this.families.of(name)) {
      if (op !== undefined && !op.test(labels[0]!)) continue
      const subject = op === undefined ? labels[0]! : ''
      bySubject.set(subject, [...(bySubject.get(subject) ?? []), value as HistogramFigures])
    }
    return [...bySubject].map(([subject, figures]) => {
      const key = `${name} p99 ${subject}`
      const { by } = this.growth.of(key, sumOf(figures), WINDOW_MS, this.nowMs)
      const count = by.slice(1).reduce((sum, each) => sum + each, 0)
      return [subject, count < REQUESTS_MIN ? Number.NaN : percentileOf(by, 0.99) / 1e3]
    })
  }

  /** Hits of either tier as a share of all reads; NaN below a read a second. */
  hitShare(key: string): number {
    const { families } = this
    const hits = families.sum('hearth_cache_requests_total', 'result', 'hit')
    const misses = families.value('hearth_cache_requests_total', 'sqlite', 'miss') ?? 0
    const { by, overMs } = this.growth.of(key, [hits, misses], WINDOW_MS, this.nowMs)
    const all = by[0]! + by[1]!
    if (overMs < RATE_MS_MIN || (all * 1e3) / overMs < 1) return Number.NaN
    return by[0]! / all
  }

  /** Seconds until each figure is at the limit, `wanted` while it is of interest. */
  left(
    name: AlertName,
    readings: readonly Reading[],
    limit: number,
    wanted: (value: number) => boolean,
  ): Reading[] {
    return readings.map(([subject, value]) => {
      const key = `${name} ${subject}`
      let trend = this.trends.get(key)
      if (trend === undefined) {
        trend = new TrendHistory()
        if (this.trends.size < TREND_COUNT_MAX) this.trends.set(key, trend)
      }
      trend.add(value, this.nowMs)
      if (Number.isNaN(value)) return [subject, Number.NaN]
      return [subject, wanted(value) ? trend.secondsTo(limit) : Number.POSITIVE_INFINITY]
    })
  }
}

const always = (): boolean => true

const MEASURES: Readonly<Record<AlertName, Measure>> = {
  database_down: m => m.gauges('hearth_pool_up'),
  breaker_open: m => m.gauges('hearth_breaker_state'),
  breaker_flapping: m => m.grown('hearth_breaker_transitions_total', 30 * MINUTE_MS, 'open'),
  sql_failures: m => [['', m.share('sql failures', m.requests(SQL, NO_SERVER), m.requests(SQL))]],
  sql_errors: m => [['', m.share('sql errors', m.requests(SQL, /^database$/), m.requests(SQL))]],
  statement_latency: m => m.p99('hearth_query_duration_seconds'),
  pool_wait: m => m.p99('hearth_pool_acquire_duration_seconds'),
  pool_waiting: m => m.gauges('hearth_pool_waiting'),
  pool_use: m => m.gauges('hearth_pool_utilization_ratio'),
  pool_use_trend: m =>
    m.left('pool_use_trend', m.gauges('hearth_pool_utilization_ratio'), 1, use => use > 0.5),
  statement_latency_trend: m => {
    const limit = m.thresholdOf('statement_latency')
    const worst = m
      .p99('hearth_query_duration_seconds')
      .reduce((most, [, value]) => (value > most ? value : most), 0)
    return m.left('statement_latency_trend', [['', worst]], limit, value => value > limit / 10)
  },
  replica_lag: m => m.gauges('hearth_replica_lag_seconds'),
  failover: m => m.grown('hearth_failovers_total', 10 * MINUTE_MS),
  rate_limited: m => m.rates('hearth_rate_limited_total'),
  hit_rate: m => [['', m.hitShare('hit rate')]],
  hit_rate_trend: m => {
    const limit = m.thresholdOf('hit_rate')
    const share = m.hitShare('hit rate trend')
    return m.left('hit_rate_trend', [['', share]], limit, value => value > limit)
  },
  memory_share: m => {
    const hits = m.families.sum('hearth_cache_requests_total', 'result', 'hit')
    const memory = m.families.value('hearth_cache_requests_total', 'memory', 'hit') ?? 0
    return [['', m.share('memory share', memory, hits, WINDOW_MS / 1e3)]]
  },
  memory_evictions: m => evictions(m, 'memory'),
  sqlite_evictions: m => evictions(m, 'sqlite'),
  sqlite_full: m => {
    const bytes = m.families.value('hearth_cache_bytes', 'sqlite') ?? Number.NaN
    return [['', bytes / (m.families.value('hearth_cache_max_bytes', 'sqlite') ?? Number.NaN)]]
  },
  sqlite_down: m => [['', m.families.value('hearth_cache_bytes', 'sqlite') === undefined ? 1 : 0]],
  cache_writes_fail: m => [
    ['', m.perSecond('writes fail', m.families.value('hearth_cache_writes_total', 'failed') ?? 0)],
  ],
  cache_failures: m => [
    [
      '',
      m.share(
        'cache failures',
        m.requests(CACHE, /^(unavailable|timeout|busy)$/),
        m.requests(CACHE),
      ),
    ],
  ],
  cache_latency: m => m.p99('hearth_request_duration_seconds', GETS),
  query_cache_hit_rate: m => {
    const all = m.families.sum('hearth_query_cache_requests_total')
    const misses = m.families.value('hearth_query_cache_requests_total', 'miss') ?? 0
    return [['', m.share('query cache', all - misses, all, WINDOW_MS / 1e3)]]
  },
  invalidations: m => m.rates('hearth_cache_invalidations_total'),
  disk_free: m => m.gauge('hearth_disk_free_bytes'),
  disk_free_trend: m => m.left('disk_free_trend', m.gauge('hearth_disk_free_bytes'), 0, always),
  service_down: m => m.gauges('hearth_service_up'),
  worker_restarts: m => m.grown('hearth_worker_restarts_total', 15 * MINUTE_MS),
  requests_in_flight: m => m.gauge('hearth_requests_in_flight'),
  ring_depth: m => m.gauges('hearth_ring_depth'),
  memory_use: m => m.gauge('hearth_private_over_node_bytes'),
}

function evictions(m: Measuring, tier: string): Reading[] {
  const total = m.families.value('hearth_cache_evictions_total', tier, 'room')
  return [['', total === undefined ? Number.NaN : m.perSecond(`evictions ${tier}`, total)]]
}
