/** settings: what parts are told of the configuration, in their own words.
 *  Owns:   nothing.   Thread: main.   Holds: asked again after a reload, it gives what is in force then. */

import { join } from 'node:path'
import type { Kinds } from '../pool/worker_task.ts'
import type { Config } from './config.ts'
import { formatRate, rateOf } from './units.ts'

interface Rate {
  readonly max: number
  readonly windowMs: number
  readonly text: string
}

/** For cache/policies.ts: the times to live by name. */
export function policiesOf({ cache, ttl }: Config): { defaultTtlMs: number; named: Config['ttl'] } {
  return { defaultTtlMs: cache.defaultTtlMs, named: ttl }
}

/** For pool/pool.ts: which worker hosts which kind: one for both by default, which is 6 MB cheaper than one each. */
export function hostsOf(config: Config, roleMark: string): Kinds[] {
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
  const log = { level: config.engine.logLevel, slowStatementMs: config.log.slowStatementMs }
  const insight = { ...config.insight, file: join(config.engine.stateDir, 'insight.json') }
  const { breaker } = config
  const postgres = { roleMark, databases: databasesOf(config), breaker, log, insight }
  return config.engine.workers === 'separate' ? [{ sqlite }, { postgres }] : [{ sqlite, postgres }]
}

/** For pool/worker_task.ts: what is told of each database. */
function databasesOf({ postgres, health }: Config) {
  const told = Object.entries(postgres).map(([name, { url, pool, replicas = [], ...options }]) => {
    const cluster = replicas.length === 0 ? undefined : { ...options, replicas, health }
    return [name, { url, pool, cluster, health }] as const
  })
  return Object.fromEntries(told)
}

/** For guard/rate_limit.ts: undefined is unlimited. */
export function ratesOf({ limits }: Config) {
  const { perClient, global, cachePerClient, maxSubjects } = limits
  return {
    perClient: limitOf(perClient),
    global: limitOf(global),
    cachePerClient: limitOf(cachePerClient),
    maxSubjects,
  }
}

function limitOf(text: string): Rate | undefined {
  const rate = rateOf(text)
  if (rate === undefined || rate.max === Infinity) return undefined
  return { ...rate, text: formatRate(rate) }
}
