/** Sampler: turns two collections, one after another, into a row of the series: rates, shares and percentiles of what came between.
 *  Owns:   the sums of the collection before.   Not here: the ring that keeps the rows (series.ts).
 *  Thread: main.
 *  Holds:  (1) a rate is over the time that has passed, however late the timer was.  (2) the first row has no rates: NaN. */

import { type HistogramFigures, percentileOf, sumOf } from '../histogram.ts'
import type { Families } from './families.ts'
import type { MetricName } from './metric_spec.ts'
import type { SeriesRow } from './series.ts'

interface Sums {
  readonly atMs: number
  readonly counts: Readonly<Record<CountName, number>>
  readonly times: Readonly<Record<TimeName, HistogramFigures>>
}

type CountName = keyof typeof COUNTS
type TimeName = keyof typeof TIMES

/** What is counted, from one collection. */
const COUNTS = {
  requests: (families: Families) => families.sum('hearth_requests_total'),
  okRequests: (families: Families) => families.sum('hearth_requests_total', 'outcome', 'ok'),
  memoryHits: (families: Families) =>
    families.value('hearth_cache_requests_total', 'memory', 'hit')!,
  sqliteHits: (families: Families) =>
    families.value('hearth_cache_requests_total', 'sqlite', 'hit')!,
  misses: (families: Families) => families.value('hearth_cache_requests_total', 'sqlite', 'miss')!,
  evictions: (families: Families) => families.sum('hearth_cache_evictions_total', 'reason', 'room'),
  rateLimited: (families: Families) => families.sum('hearth_rate_limited_total'),
}

/** What is timed, by the operations or pools that count as one. */
const TIMES = {
  get: timesOf('hearth_request_duration_seconds', /^(get|get_many|look|has)/),
  set: timesOf('hearth_request_duration_seconds', /^(set|set_many|store|fill|del)/),
  query: timesOf('hearth_request_duration_seconds', /^(query|query_cached|execute)$/),
  statement: timesOf('hearth_query_duration_seconds'),
  acquire: timesOf('hearth_pool_acquire_duration_seconds'),
}

export class Sampler {
  private before: Sums | undefined

  row(families: Families, atMs: number): SeriesRow {
    const { before } = this
    const now: Sums = { atMs, counts: each(COUNTS, families), times: each(TIMES, families) }
    this.before = now
    const rate = (count: number, countBefore: number) =>
      ((count - countBefore) * 1e3) / (atMs - before!.atMs)
    const perSecond = (name: CountName) =>
      before === undefined ? Number.NaN : rate(now.counts[name], before.counts[name])
    const since = (name: TimeName) => sumOf([now.times[name]], before?.times[name])
    const ms = (name: TimeName, rank: number) =>
      before === undefined ? Number.NaN : percentileOf(since(name), rank)
    const requests = perSecond('requests')
    const [memory, sqlite, missed] = [
      perSecond('memoryHits'),
      perSecond('sqliteHits'),
      perSecond('misses'),
    ]
    const reads = memory + sqlite + missed
    const statements = before === undefined ? Number.NaN : rate(countIn(since('statement')), 0)
    return {
      requestsPerSecond: requests,
      errorsPerSecond: requests - perSecond('okRequests'),
      inFlightCount: families.sum('hearth_requests_in_flight'),
      getP50Ms: ms('get', 0.5),
      getP99Ms: ms('get', 0.99),
      setP50Ms: ms('set', 0.5),
      setP99Ms: ms('set', 0.99),
      queryP50Ms: ms('query', 0.5),
      queryP99Ms: ms('query', 0.99),
      readsPerSecond: reads,
      memoryHitShare: memory / reads,
      sqliteHitShare: sqlite / reads,
      missShare: missed / reads,
      evictionsPerSecond: perSecond('evictions'),
      memoryBytes: known(families.value('hearth_cache_bytes', 'memory')),
      sqliteBytes: known(families.value('hearth_cache_bytes', 'sqlite')),
      statementsPerSecond: statements,
      statementP50Ms: ms('statement', 0.5),
      statementP99Ms: ms('statement', 0.99),
      acquireP99Ms: ms('acquire', 0.99),
      poolInUseCount: families.sum('hearth_pool_connections', 'state', 'in_use'),
      poolIdleCount: families.sum('hearth_pool_connections', 'state', 'idle'),
      poolWaitingCount: families.sum('hearth_pool_waiting'),
      breakersOpenCount: matching(families, 'hearth_breaker_state', state => state !== 0),
      replicaLagMs: greatest(families, 'hearth_replica_lag_seconds') * 1e3,
      rateLimitedPerSecond: perSecond('rateLimited'),
      servicesDownCount: matching(families, 'hearth_service_up', up => up === 0),
      clientCount: families.sum('hearth_clients'),
      ringDepthBytes: families.sum('hearth_ring_depth'),
      workerRestartCount: families.sum('hearth_worker_restarts_total'),
      privateBytes: known(families.value('hearth_private_bytes')),
      privateOverNodeBytes: known(families.value('hearth_private_over_node_bytes')),
    }
  }
}

/** All histograms of a metric as one; of those alone whose first label fits. */
function timesOf(name: MetricName, first?: RegExp): (families: Families) => HistogramFigures {
  return families =>
    sumOf(
      families
        .of(name)
        .filter(({ labels }) => first === undefined || first.test(labels[0]!))
        .map(({ value }) => value as HistogramFigures),
    )
}

function each<Name extends string, Value>(
  table: Record<Name, (families: Families) => Value>,
  families: Families,
): Record<Name, Value> {
  const entries = Object.entries<(families: Families) => Value>(table)
  return Object.fromEntries(entries.map(([name, of]) => [name, of(families)])) as Record<
    Name,
    Value
  >
}

function countIn(figures: HistogramFigures): number {
  return figures.slice(1).reduce((sum, count) => sum + count, 0)
}

function matching(families: Families, name: MetricName, fits: (value: number) => boolean): number {
  return families.of(name).filter(({ value }) => fits(value as number)).length
}

function greatest(families: Families, name: MetricName): number {
  return families.of(name).reduce((most, { value }) => Math.max(most, value as number), 0)
}

function known(value: number | undefined): number {
  return value ?? Number.NaN
}
