/** hosts: which worker hosts which kind, and what each kind is told of the configuration.
 *  Owns:   nothing.   Not here: starting them (pool.ts).
 *  Thread: main.   Holds: what a worker gets is plain data. */

import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import type { DatabaseOptions, Kinds } from './worker_task.ts'

/** Which worker hosts which kind: one for both by default, which is 6 MB cheaper than one each. */
export function hostsOf(config: Config): Kinds[] {
  const sqlite = {
    file: join(config.engine.stateDir, 'cache.sqlite'),
    maxBytes: config.sqlite.maxBytes,
    busyTimeoutMs: config.sqlite.busyTimeoutMs,
    synchronous: config.sqlite.synchronous,
    cacheBytes: config.sqlite.cacheBytes,
    flushIntervalMs: config.sqlite.flushIntervalMs,
    compressFromBytes: config.sqlite.compressFromBytes,
  }
  if (Object.keys(config.postgres).length === 0) return [{ sqlite }]
  const postgres = { databases: databasesOf(config), breaker: config.breaker }
  return config.engine.workers === 'separate' ? [{ sqlite }, { postgres }] : [{ sqlite, postgres }]
}

/** What the postgres worker is told of each database; health is watched where there is more than one server. */
function databasesOf(config: Config): Record<string, DatabaseOptions> {
  const found: Record<string, DatabaseOptions> = {}
  for (const [name, { url, pool, replicas = [], ...options }] of Object.entries(config.postgres)) {
    const cluster = { ...options, replicas, health: config.health }
    found[name] = { url, pool, cluster: replicas.length === 0 ? undefined : cluster }
  }
  return found
}
