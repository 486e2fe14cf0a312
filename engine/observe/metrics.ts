/** metrics: one collection: what main counts, what the workers tell, what parts report, as families of samples.
 *  Owns:   nothing; each part keeps its own figures.   Not here: the table (metric_spec.ts).
 *  Thread: main.
 *  Holds:  what a worker does not tell within a second is left out: a gap in a graph, not a zero. */

import { statfs } from 'node:fs'
import type { Memory } from '../cache/memory.ts'
import { ERROR_BY_WIRE } from '../errors.ts'
import type { QueryCacheFigures, ServerMetrics } from '../figures.ts'
import type { WorkerPool } from '../pool/pool.ts'
import { OP_BY_CODE } from '../protocol/spec.ts'
import type { CacheCounters } from '../router/cache_state.ts'
import type { RequestMeter } from '../router/request_meter.ts'
import { Families } from './families.ts'
import { footprint } from './footprint.ts'
import type { MetricSources } from './metric_sources.ts'

export interface MetricParts {
  readonly meter: RequestMeter
  readonly pool: WorkerPool
  readonly memory: Memory
  readonly counters: CacheCounters
  readonly queryCache: QueryCacheFigures
  readonly sources: MetricSources
  clientCount(): number
  uptimeMs(): number
  readonly stateDir: string
}

type Figures = Record<string, unknown>

/** All metrics as they are now. */
export async function collect(parts: MetricParts): Promise<Families> {
  const [workers, diskFreeBytes] = await Promise.all([
    parts.pool.metrics(),
    freeBytes(parts.stateDir),
  ])
  const families = new Families()
  addRequests(families, parts.meter)
  addCache(families, parts, workers['sqlite'])
  addQueryCache(families, parts.queryCache)
  for (const server of (workers['servers'] ?? []) as unknown as ServerMetrics[])
    addServer(families, server)
  for (const [name, figures] of Object.entries(workers['postgres'] ?? {})) {
    const { failovers, slowStatements, nPlusOne } = figures as Figures
    families.add('hearth_failovers_total', [name], Number(failovers ?? 0))
    families.add('hearth_slow_statements_total', [name], Number(slowStatements ?? 0))
    families.add('hearth_n_plus_one_total', [name], Number(nPlusOne ?? 0))
  }
  addEngine(families, parts)
  if (diskFreeBytes !== undefined) families.add('hearth_disk_free_bytes', [], diskFreeBytes)
  parts.sources.report((name, labels, value) => families.add(name, labels, value))
  return families
}

/** Of the disk that a folder is on; undefined where that cannot be told. */
function freeBytes(folder: string): Promise<number | undefined> {
  return new Promise(resolve =>
    statfs(folder, (error, found) =>
      resolve(error === null ? found.bavail * found.bsize : undefined),
    ),
  )
}

function addRequests(families: Families, meter: RequestMeter): void {
  for (const { op, durations, failures } of meter.figures()) {
    const name = (OP_BY_CODE.get(op) ?? 'unknown').toLowerCase()
    let okCount = 0
    for (let i = 1; i < durations.length; i++) okCount += durations[i]!
    for (const [wire, count] of failures) {
      okCount -= count
      const outcome = (ERROR_BY_WIRE.get(wire) ?? 'gone').toLowerCase()
      families.add('hearth_requests_total', [name, outcome], count)
    }
    families.add('hearth_requests_total', [name, 'ok'], Math.max(0, okCount))
    families.add('hearth_request_duration_seconds', [name], durations)
  }
  families.add('hearth_requests_in_flight', [], meter.openCount)
}

function addCache(families: Families, parts: MetricParts, sqlite: Figures | undefined): void {
  const { counters } = parts
  const memory = parts.memory.stats()
  families.add('hearth_cache_requests_total', ['memory', 'hit'], memory.hits)
  families.add('hearth_cache_requests_total', ['memory', 'miss'], memory.misses)
  families.add('hearth_cache_requests_total', ['sqlite', 'hit'], counters.sqliteHits)
  families.add('hearth_cache_requests_total', ['sqlite', 'miss'], counters.misses)
  families.add('hearth_cache_hits_in_place_total', [], memory.hitsInPlace)
  families.add('hearth_cache_entries', ['memory'], memory.entries)
  families.add('hearth_cache_bytes', ['memory'], memory.bytes)
  families.add('hearth_cache_max_bytes', ['memory'], memory.maxBytes)
  families.add('hearth_cache_evictions_total', ['memory', 'room'], memory.evictions)
  families.add('hearth_cache_evictions_total', ['memory', 'expired'], memory.expirations)
  families.add('hearth_cache_evictions_total', ['memory', 'invalidated'], memory.invalidations)
  families.add('hearth_cache_invalidations_total', ['tag'], counters.invalidatedTags)
  families.add('hearth_cache_invalidations_total', ['pattern'], counters.invalidatedPatterns)
  families.add('hearth_cache_invalidations_total', ['table'], parts.queryCache.invalidations)
  const { writes, failedWrites } = counters
  families.add('hearth_cache_writes_total', ['stored'], Math.max(0, writes - failedWrites))
  families.add('hearth_cache_writes_total', ['failed'], failedWrites)
  if (sqlite === undefined) return
  families.add('hearth_cache_entries', ['sqlite'], Number(sqlite['entries']))
  families.add('hearth_cache_bytes', ['sqlite'], Number(sqlite['bytes']))
  families.add('hearth_cache_max_bytes', ['sqlite'], Number(sqlite['maxBytes']))
  families.add('hearth_cache_evictions_total', ['sqlite', 'room'], Number(sqlite['evictions']))
  families.add('hearth_cache_evictions_total', ['sqlite', 'expired'], Number(sqlite['expirations']))
}

function addQueryCache(families: Families, figures: QueryCacheFigures): void {
  const name = 'hearth_query_cache_requests_total'
  families.add(name, ['memory'], figures.memoryHits)
  families.add(name, ['sqlite'], figures.sqliteHits)
  families.add(name, ['stale'], figures.staleHits)
  families.add(name, ['miss'], figures.misses)
  families.add(name, ['shared'], figures.shared)
}

const BREAKER_STATES = ['closed', 'half-open', 'open'] as const

function addServer(families: Families, server: ServerMetrics): void {
  const { pool } = server
  families.add('hearth_pool_connections', [pool, 'connecting'], server.connecting)
  families.add('hearth_pool_connections', [pool, 'idle'], server.idle)
  families.add('hearth_pool_connections', [pool, 'in_use'], server.inUse)
  families.add('hearth_pool_waiting', [pool], server.waiting)
  families.add('hearth_pool_up', [pool], server.isUp ? 1 : 0)
  families.add('hearth_pool_utilization_ratio', [pool], server.utilization)
  families.add('hearth_pool_acquire_duration_seconds', [pool], server.acquire)
  families.add('hearth_query_duration_seconds', [pool, 'read'], server.read)
  families.add('hearth_query_duration_seconds', [pool, 'write'], server.write)
  if (server.lagMs !== null) families.add('hearth_replica_lag_seconds', [pool], server.lagMs / 1e3)
  for (const [side, { state, transitions }] of Object.entries(server.breakers)) {
    const breaker = `${pool}.${side}`
    families.add('hearth_breaker_state', [breaker], BREAKER_STATES.indexOf(state as 'open'))
    for (const [to, count] of Object.entries(transitions))
      families.add('hearth_breaker_transitions_total', [breaker, to.replace('-', '_')], count)
  }
}

function addEngine(families: Families, parts: MetricParts): void {
  for (const { name, restarts, depthBytes, replyDepthBytes } of parts.pool.state()) {
    families.add('hearth_ring_depth', [`${name}.requests`], depthBytes)
    families.add('hearth_ring_depth', [`${name}.replies`], replyDepthBytes)
    families.add('hearth_worker_restarts_total', [name], restarts)
  }
  families.add('hearth_clients', [], parts.clientCount())
  const { privateBytes, privateOverNodeBytes } = footprint()
  if (privateBytes !== null) families.add('hearth_private_bytes', [], privateBytes)
  if (privateOverNodeBytes !== null)
    families.add('hearth_private_over_node_bytes', [], privateOverNodeBytes)
  families.add('hearth_uptime_seconds', [], parts.uptimeMs() / 1e3)
}
