/** metric_spec: every metric as a row: name, type, labels, meaning. Prometheus' text, JSON and README's table derive from it.
 *  Owns:   METRICS.   Not here: where their values come from (metrics.ts, metric_sources.ts).
 *  Thread: any; plain data.
 *  Holds:  (1) names and labels never change once released.  (2) base units: seconds and bytes, the unit last in the name but for
 *          `_total`.  (3) a label's values are few and chosen by us or by the configuration, never by what clients send. */

export interface MetricSpec {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
  readonly help: string
}

// biome-ignore format: a table is read by its columns.
export const METRICS = {
  hearth_requests_total: { type: 'counter', labels: ['op', 'outcome'], help: 'Requests over the socket that have ended; outcome: ok, gone (the client went before its answer), or the error code in small letters.' },
  hearth_request_duration_seconds: { type: 'histogram', labels: ['op'], help: 'From the read that brought a request to the write of its answer, in the engine.' },
  hearth_requests_in_flight: { type: 'gauge', labels: [], help: 'Requests without an answer yet.' },
  hearth_cache_requests_total: { type: 'counter', labels: ['tier', 'result'], help: 'Lookups by tier and result (hit, miss); those in place, in the processes of clients, among them.' },
  hearth_cache_hits_in_place_total: { type: 'counter', labels: [], help: 'Hits of tier 1 that clients read in their own process, without the engine.' },
  hearth_cache_entries: { type: 'gauge', labels: ['tier'], help: 'Entries that a tier has.' },
  hearth_cache_bytes: { type: 'gauge', labels: ['tier'], help: 'Bytes that a tier uses: of the segment, or on the disk with the write-ahead log.' },
  hearth_cache_max_bytes: { type: 'gauge', labels: ['tier'], help: 'Bytes that a tier may use.' },
  hearth_cache_evictions_total: { type: 'counter', labels: ['tier', 'reason'], help: 'Entries removed; reason: room, expired, invalidated.' },
  hearth_cache_invalidations_total: { type: 'counter', labels: ['by'], help: 'Invalidations by tag, by pattern, and by table (a write ended cached results of statements).' },
  hearth_cache_writes_total: { type: 'counter', labels: ['result'], help: 'Writes to tier 2; result: stored, failed.' },
  hearth_query_cache_requests_total: { type: 'counter', labels: ['result'], help: 'Statements asked for with cache; result: memory, sqlite, stale, miss, shared (joined one on its way).' },
  hearth_pool_connections: { type: 'gauge', labels: ['pool', 'state'], help: 'Connections to Postgres; state: connecting, idle, in_use.' },
  hearth_pool_waiting: { type: 'gauge', labels: ['pool'], help: 'Requests that wait for a connection.' },
  hearth_pool_up: { type: 'gauge', labels: ['pool'], help: '0 while it has no connection and the last attempt to open one failed, else 1.' },
  hearth_pool_utilization_ratio: { type: 'gauge', labels: ['pool'], help: 'How much of what its connections can carry is taken, 0 to 1.' },
  hearth_pool_acquire_duration_seconds: { type: 'histogram', labels: ['pool'], help: 'How long requests waited for a connection.' },
  hearth_query_duration_seconds: { type: 'histogram', labels: ['pool', 'kind'], help: 'From the send of a statement to the answer of the server, be it an error; kind: read, write.' },
  hearth_slow_statements_total: { type: 'counter', labels: ['pool'], help: 'Statements that took insight.slow_threshold or longer.' },
  hearth_n_plus_one_total: { type: 'counter', labels: ['pool'], help: 'Times that a client ran the same statement ten times within a second, with other parameters each time.' },
  hearth_replica_lag_seconds: { type: 'gauge', labels: ['replica'], help: 'How far a replica is behind the primary.' },
  hearth_failovers_total: { type: 'counter', labels: ['db'], help: 'Times that another server became the primary.' },
  hearth_breaker_state: { type: 'gauge', labels: ['breaker'], help: '0 closed, 1 half-open, 2 open.' },
  hearth_breaker_transitions_total: { type: 'counter', labels: ['breaker', 'to'], help: 'Changes of state; to: closed, half_open, open.' },
  hearth_rate_limited_total: { type: 'counter', labels: ['scope'], help: 'Requests refused by a rate limit.' },
  hearth_service_up: { type: 'gauge', labels: ['service'], help: '1 if the last look at a registered service was answered, else 0.' },
  hearth_ring_depth: { type: 'gauge', labels: ['ring'], help: 'Bytes in a ring between main and a worker that its reader has not taken; ring: <worker>.requests, <worker>.replies.' },
  hearth_worker_restarts_total: { type: 'counter', labels: ['worker'], help: 'Times that a worker was replaced.' },
  hearth_clients: { type: 'gauge', labels: [], help: 'Connections on the socket.' },
  hearth_private_bytes: { type: 'gauge', labels: [], help: 'Memory of the process’s own: RssAnon + RssShmem.' },
  hearth_private_over_node_bytes: { type: 'gauge', labels: [], help: 'The same above a bare Node process.' },
  hearth_disk_free_bytes: { type: 'gauge', labels: [], help: 'What the disk of the state folder has left for the engine’s user.' },
  hearth_uptime_seconds: { type: 'gauge', labels: [], help: 'Since the start.' },
} as const satisfies Record<string, MetricSpec>

export type MetricName = keyof typeof METRICS

/** Samples of one metric: more are dropped, so that no mistake makes a scrape grow without bound. */
export const SAMPLES_MAX = 1_000
