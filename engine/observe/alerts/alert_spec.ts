/** alert_spec: every alert as a row: its words, its threshold, its expression for Prometheus. Rules files and README derive from it.
 *  Owns:   ALERTS.   Not here: what the engine itself measures for a row (measures.ts), an alert's states (alert_state.ts).
 *  Thread: any; plain data.
 *  Holds:  (1) an alert says the same words by Prometheus and by itself.  (2) thresholds are in base units: seconds, bytes, shares
 *          from 0 to 1.  (3) in `expr` `$t` is the threshold, and where the comparison stands; in texts `{subject}` is the label's
 *          value and `{value}` what was measured. */

import type { AlertName } from '../../alert_names.ts'

export type AlertGroup = 'database' | 'cache' | 'engine'
export type AlertSeverity = 'critical' | 'warning'
/** How a value is shown; `left`: seconds until a limit is reached. */
export type AlertUnit = 'share' | 'seconds' | 'left' | 'bytes' | 'count' | 'per second'

export interface AlertSpec {
  readonly group: AlertGroup
  readonly severity: AlertSeverity
  /** Fires when the value is above, or below, the threshold. */
  readonly when: 'above' | 'below'
  readonly threshold: number
  /** By itself: ends only beyond this, so that a value at the threshold does not fire again and again. */
  readonly clear: number
  /** How long it must be so before it fires. */
  readonly forMs: number
  readonly unit: AlertUnit
  /** The label whose values have an alert each; '': one for the engine. */
  readonly by: string
  readonly summary: string
  /** What to do. */
  readonly advice: string
  /** PromQL. */
  readonly expr: string
}

const SECOND = 1_000
const MINUTE = 60 * SECOND
const MIB = 1024 * 1024

const SQL = 'op=~"query|query_cached|execute|begin|commit|stream|fetch|copy_.*"'
const CACHE = 'op=~"get|get_many|lookup|set|set_many|store|del|touch|increment|fill"'
const NO_SERVER = 'outcome=~"unavailable|timeout|circuit_open|pool_exhausted|busy"'
const EACH = 'sum by (job, instance)'

function shareOf(part: string, whole: string, by = EACH): string {
  return `${by} (rate(${part}[5m])) / ${by} (rate(${whole}[5m]))`
}

function p99(metric: string, labels: string): string {
  return `histogram_quantile(0.99, sum by (job, instance${labels}, le) (rate(${metric}[5m])))`
}

const READ_HITS = 'hearth_cache_requests_total{result="hit"}'
const READ_MISSES = 'hearth_cache_requests_total{tier="sqlite", result="miss"}'
const READS = `(${EACH} (rate(${READ_HITS}[5m])) + ${EACH} (rate(${READ_MISSES}[5m])))`
const HIT_SHARE = `${EACH} (rate(${READ_HITS}[5m])) / ${READS}`

// biome-ignore format: a table is read by its columns.
export const ALERTS = {
  database_down: { group: 'database', severity: 'critical', when: 'below', threshold: 1, clear: 0.5, forMs: 30 * SECOND, unit: 'count', by: 'pool', summary: 'Postgres {subject} cannot be reached', advice: 'The pool has no connection and its last attempt to open one failed. hearth health says why; look whether the server runs, and whether its url and password still hold.', expr: 'hearth_pool_up < $t' },
  breaker_open: { group: 'database', severity: 'critical', when: 'above', threshold: 1, clear: 0.5, forMs: 10 * SECOND, unit: 'count', by: 'breaker', summary: 'the breaker {subject} is open', advice: 'Calls are refused without being sent, since too many failed. It closes by itself once calls succeed; look at the target.', expr: 'hearth_breaker_state > $t' },
  breaker_flapping: { group: 'database', severity: 'warning', when: 'above', threshold: 3, clear: 1, forMs: 0, unit: 'count', by: 'breaker', summary: 'the breaker {subject} opened {value} times in 30 minutes', advice: 'The target fails now and then: look at its load, its log, and the network between.', expr: 'increase(hearth_breaker_transitions_total{to="open"}[30m]) > $t' },
  sql_failures: { group: 'database', severity: 'critical', when: 'above', threshold: 0.05, clear: 0.02, forMs: 2 * MINUTE, unit: 'share', by: '', summary: '{value} of SQL requests are not served', advice: 'No server, no connection or no answer in time. hearth health names the part that is in trouble.', expr: `${shareOf(`hearth_requests_total{${SQL}, ${NO_SERVER}}`, `hearth_requests_total{${SQL}}`)} > $t` },
  sql_errors: { group: 'database', severity: 'warning', when: 'above', threshold: 0.2, clear: 0.1, forMs: 5 * MINUTE, unit: 'share', by: '', summary: 'Postgres refuses {value} of the statements', advice: 'Most often a release that does not fit the schema, or a constraint that is met again and again. The log of Postgres has the statements.', expr: `${shareOf(`hearth_requests_total{${SQL}, outcome="database"}`, `hearth_requests_total{${SQL}}`)} > $t` },
  statement_latency: { group: 'database', severity: 'warning', when: 'above', threshold: 1, clear: 0.8, forMs: 5 * MINUTE, unit: 'seconds', by: 'pool', summary: 'one statement in a hundred on {subject} takes {value} or longer', advice: 'Look for slow statements, locks, and the load of the server.', expr: `${p99('hearth_query_duration_seconds_bucket', ', pool')} > $t` },
  pool_wait: { group: 'database', severity: 'warning', when: 'above', threshold: 0.25, clear: 0.1, forMs: 5 * MINUTE, unit: 'seconds', by: 'pool', summary: 'one request in a hundred waits {value} or longer for a connection to {subject}', advice: 'Shorten what holds connections (transactions, streams), or raise postgres.<name>.pool.size.', expr: `${p99('hearth_pool_acquire_duration_seconds_bucket', ', pool')} > $t` },
  pool_waiting: { group: 'database', severity: 'warning', when: 'above', threshold: 20, clear: 5, forMs: MINUTE, unit: 'count', by: 'pool', summary: '{value} requests wait for a connection to {subject}', advice: 'More is asked than the pool can carry: shorten transactions, cache more, or raise postgres.<name>.pool.size.', expr: 'hearth_pool_waiting > $t' },
  pool_use: { group: 'database', severity: 'warning', when: 'above', threshold: 0.9, clear: 0.8, forMs: 5 * MINUTE, unit: 'share', by: 'pool', summary: '{value} of the pool {subject} is taken', advice: 'Soon requests will wait: shorten transactions, cache more, or raise postgres.<name>.pool.size.', expr: 'hearth_pool_utilization_ratio > $t' },
  pool_use_trend: { group: 'database', severity: 'warning', when: 'below', threshold: 3_600, clear: 7_200, forMs: 5 * MINUTE, unit: 'left', by: 'pool', summary: 'the pool {subject} will be taken whole in {value}', advice: 'Its use has risen steadily. See pool_use.', expr: '(1 - hearth_pool_utilization_ratio) / (deriv(hearth_pool_utilization_ratio[30m]) > 0) < $t and hearth_pool_utilization_ratio > 0.5' },
  statement_latency_trend: { group: 'database', severity: 'warning', when: 'below', threshold: 3_600, clear: 7_200, forMs: 5 * MINUTE, unit: 'left', by: '', summary: 'statements will take longer than their limit in {value}', advice: 'The 99th percentile has risen steadily. See statement_latency.', expr: `(1 - ${p99('hearth_query_duration_seconds_bucket', '')}) / (deriv(${p99('hearth_query_duration_seconds_bucket', '')}[30m:1m]) > 0) < $t and ${p99('hearth_query_duration_seconds_bucket', '')} > 0.1` },
  replica_lag: { group: 'database', severity: 'warning', when: 'above', threshold: 5, clear: 2, forMs: MINUTE, unit: 'seconds', by: 'replica', summary: 'the replica {subject} is {value} behind', advice: 'Reads go elsewhere meanwhile. Look for long queries on it, its disk, and the network.', expr: 'hearth_replica_lag_seconds > $t' },
  failover: { group: 'database', severity: 'warning', when: 'above', threshold: 0, clear: 0, forMs: 0, unit: 'count', by: 'db', summary: 'another server became the primary of {subject}', advice: 'Look what became of the one before, and bring it back as a replica.', expr: 'increase(hearth_failovers_total[10m]) > $t' },
  rate_limited: { group: 'database', severity: 'warning', when: 'above', threshold: 1, clear: 0.5, forMs: 5 * MINUTE, unit: 'per second', by: 'scope', summary: 'the rate limit {subject} refuses {value} requests a second', advice: 'A service asks more than it may: mend it, or raise limits.*.', expr: 'rate(hearth_rate_limited_total[5m]) > $t' },

  hit_rate: { group: 'cache', severity: 'warning', when: 'below', threshold: 0.8, clear: 0.82, forMs: 15 * MINUTE, unit: 'share', by: '', summary: 'the cache answers {value} of the reads', advice: 'Look at hearth stats: short TTLs, broad invalidations, or a cache too small for what is asked.', expr: `${HIT_SHARE} < $t and ${READS} > 1` },
  hit_rate_trend: { group: 'cache', severity: 'warning', when: 'below', threshold: 3_600, clear: 7_200, forMs: 5 * MINUTE, unit: 'left', by: '', summary: 'the hit rate will be below its limit in {value}', advice: 'It has fallen steadily. See hit_rate.', expr: `(${HIT_SHARE} - 0.8) / -(deriv((${HIT_SHARE})[30m:1m]) < 0) < $t and ${HIT_SHARE} > 0.8 and ${READS} > 1` },
  memory_share: { group: 'cache', severity: 'warning', when: 'below', threshold: 0.3, clear: 0.4, forMs: 30 * MINUTE, unit: 'share', by: '', summary: 'tier 1 has {value} of the hits', advice: 'What is asked for most does not fit in it: raise memory.max_bytes.', expr: `${shareOf('hearth_cache_requests_total{tier="memory", result="hit"}', READ_HITS)} < $t and ${READS} > 1` },
  memory_evictions: { group: 'cache', severity: 'warning', when: 'above', threshold: 100, clear: 50, forMs: 10 * MINUTE, unit: 'per second', by: '', summary: 'tier 1 gives up {value} entries a second for want of room', advice: 'Raise memory.max_bytes, or keep large values out of it (memory.max_value_bytes).', expr: `${EACH} (rate(hearth_cache_evictions_total{tier="memory", reason="room"}[5m])) > $t` },
  sqlite_evictions: { group: 'cache', severity: 'warning', when: 'above', threshold: 10, clear: 5, forMs: 10 * MINUTE, unit: 'per second', by: '', summary: 'tier 2 gives up {value} entries a second for want of room', advice: 'Raise sqlite.max_bytes, or shorten TTLs.', expr: `${EACH} (rate(hearth_cache_evictions_total{tier="sqlite", reason="room"}[5m])) > $t` },
  sqlite_full: { group: 'cache', severity: 'warning', when: 'above', threshold: 0.97, clear: 0.9, forMs: 30 * MINUTE, unit: 'share', by: '', summary: 'tier 2 is {value} full', advice: 'It makes room by giving up what is used least. Raise sqlite.max_bytes if the hit rate suffers.', expr: `${EACH} (hearth_cache_bytes{tier="sqlite"}) / ${EACH} (hearth_cache_max_bytes{tier="sqlite"}) > $t` },
  sqlite_down: { group: 'cache', severity: 'critical', when: 'above', threshold: 0, clear: 0, forMs: MINUTE, unit: 'count', by: '', summary: 'tier 2 does not answer', advice: 'The cache goes on with tier 1 alone. The log says why its worker fails; look at the disk.', expr: '(hearth_uptime_seconds unless on (job, instance) hearth_cache_bytes{tier="sqlite"}) > $t' },
  cache_writes_fail: { group: 'cache', severity: 'critical', when: 'above', threshold: 0, clear: 0, forMs: MINUTE, unit: 'per second', by: '', summary: 'tier 2 fails to store {value} entries a second', advice: 'Most often a full disk or a file that may not be written. The log says which.', expr: `${EACH} (rate(hearth_cache_writes_total{result="failed"}[5m])) > $t` },
  cache_failures: { group: 'cache', severity: 'critical', when: 'above', threshold: 0.01, clear: 0.005, forMs: 2 * MINUTE, unit: 'share', by: '', summary: '{value} of cache requests fail', advice: 'hearth health names the part that is in trouble.', expr: `${shareOf(`hearth_requests_total{${CACHE}, outcome=~"unavailable|timeout|busy"}`, `hearth_requests_total{${CACHE}}`)} > $t` },
  cache_latency: { group: 'cache', severity: 'warning', when: 'above', threshold: 0.05, clear: 0.025, forMs: 5 * MINUTE, unit: 'seconds', by: '', summary: 'one get in a hundred takes {value} or longer', advice: 'Tier 2 waits for its disk, or the host has no CPU to spare.', expr: `${p99('hearth_request_duration_seconds_bucket{op=~"get|get_many|lookup"}', '')} > $t` },
  query_cache_hit_rate: { group: 'cache', severity: 'warning', when: 'below', threshold: 0.3, clear: 0.4, forMs: 30 * MINUTE, unit: 'share', by: '', summary: '{value} of cached statements are answered from the cache', advice: 'Their tables are written too often for it, or the time they are kept is too short. db.explainCache() says which.', expr: `${shareOf('hearth_query_cache_requests_total{result=~"memory|sqlite|stale|shared"}', 'hearth_query_cache_requests_total')} < $t and ${EACH} (rate(hearth_query_cache_requests_total[5m])) > 1` },
  invalidations: { group: 'cache', severity: 'warning', when: 'above', threshold: 100, clear: 50, forMs: 10 * MINUTE, unit: 'per second', by: 'by', summary: '{value} invalidations a second by {subject}', advice: 'Each ends what may be many entries: use narrower tags, or cache less of what is written so often.', expr: 'rate(hearth_cache_invalidations_total[5m]) > $t' },
  disk_free: { group: 'cache', severity: 'critical', when: 'below', threshold: 256 * MIB, clear: 512 * MIB, forMs: MINUTE, unit: 'bytes', by: '', summary: 'the disk of the state folder has {value} left', advice: 'Tier 2 stops to store when it is full. Make room, or move engine.state_dir.', expr: 'hearth_disk_free_bytes < $t' },
  disk_free_trend: { group: 'cache', severity: 'warning', when: 'below', threshold: 4 * 3_600, clear: 8 * 3_600, forMs: 10 * MINUTE, unit: 'left', by: '', summary: 'the disk of the state folder will be full in {value}', advice: 'Something fills it steadily; it need not be Hearth.', expr: 'hearth_disk_free_bytes / -(deriv(hearth_disk_free_bytes[1h]) < 0) < $t' },

  service_down: { group: 'engine', severity: 'critical', when: 'below', threshold: 1, clear: 0.5, forMs: MINUTE, unit: 'count', by: 'service', summary: 'the service {subject} does not answer', advice: 'Its breaker keeps calls from it meanwhile. Look at its own log.', expr: 'hearth_service_up < $t' },
  worker_restarts: { group: 'engine', severity: 'warning', when: 'above', threshold: 0, clear: 0, forMs: 0, unit: 'count', by: 'worker', summary: 'the worker {subject} was replaced', advice: 'The log says why it died. What it held was answered with UNAVAILABLE.', expr: 'increase(hearth_worker_restarts_total[15m]) > $t' },
  requests_in_flight: { group: 'engine', severity: 'warning', when: 'above', threshold: 2_000, clear: 1_000, forMs: MINUTE, unit: 'count', by: '', summary: '{value} requests have no answer yet', advice: 'More comes than is answered: look at latencies and pools.', expr: 'hearth_requests_in_flight > $t' },
  ring_depth: { group: 'engine', severity: 'warning', when: 'above', threshold: 96 * 1024, clear: 64 * 1024, forMs: 30 * SECOND, unit: 'bytes', by: 'ring', summary: '{value} wait in the ring {subject}', advice: 'Its reader does not keep up: the worker is busy or blocked, most often by its disk.', expr: 'hearth_ring_depth > $t' },
  memory_use: { group: 'engine', severity: 'warning', when: 'above', threshold: 64 * MIB, clear: 56 * MIB, forMs: 10 * MINUTE, unit: 'bytes', by: '', summary: 'the engine has {value} more memory than a bare Node', advice: 'Tier 1 is in it: with a large memory.max_bytes raise this threshold as well. Otherwise report it.', expr: 'hearth_private_over_node_bytes > $t' },
} as const satisfies Record<AlertName, AlertSpec>

/** What an engine cannot say of itself; Prometheus can. */
export const FROM_OUTSIDE: Readonly<Record<string, AlertSpec>> = {
  down: {
    group: 'engine',
    severity: 'critical',
    when: 'below',
    threshold: 1,
    clear: 1,
    forMs: MINUTE,
    unit: 'count',
    by: 'instance',
    summary: 'Hearth on {subject} does not answer',
    advice: 'systemctl status hearth.service says whether it runs.',
    expr: 'up{job="hearth"} < $t',
  },
  restarts: {
    group: 'engine',
    severity: 'warning',
    when: 'above',
    threshold: 3,
    clear: 3,
    forMs: 0,
    unit: 'count',
    by: 'instance',
    summary: 'Hearth on {subject} started {value} times in 30 minutes',
    advice: 'journalctl -u hearth.service says why it ended.',
    expr: 'resets(hearth_uptime_seconds[30m]) > $t',
  },
}
