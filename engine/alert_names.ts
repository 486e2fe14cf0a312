/** alert_names: what the engine's own alerts are called, for the configuration to check.
 *  Owns:   the names.   Not here: what they are (observe/alerts/alert_spec.ts), which is loaded only where alerts are on.
 *  Thread: any.   Holds: the names are those of alert_spec.ts: its type says so. */

export const ALERT_NAMES = [
  'database_down',
  'breaker_open',
  'breaker_flapping',
  'sql_failures',
  'sql_errors',
  'statement_latency',
  'pool_wait',
  'pool_waiting',
  'pool_use',
  'pool_use_trend',
  'statement_latency_trend',
  'replica_lag',
  'failover',
  'rate_limited',
  'hit_rate',
  'hit_rate_trend',
  'memory_share',
  'memory_evictions',
  'sqlite_evictions',
  'sqlite_full',
  'sqlite_down',
  'cache_writes_fail',
  'cache_failures',
  'cache_latency',
  'query_cache_hit_rate',
  'invalidations',
  'disk_free',
  'disk_free_trend',
  'service_down',
  'worker_restarts',
  'requests_in_flight',
  'ring_depth',
  'memory_use',
] as const

export type AlertName = (typeof ALERT_NAMES)[number]
