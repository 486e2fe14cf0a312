/** cache_advice: which reads would gain by db.query(…, { cache }), by how seldom their results change and how often they are asked.
 *  Owns:   nothing: pure functions.   Thread: the client's.
 *  Holds:  (1) nothing is advised that the engine would not keep (explainCache).  (2) what would be saved is rather too little than
 *          too much: more kinds of parameters than the sketch tells apart count as asked once each. */

import { steadyShare } from '../../steady.ts'
import type { StatementFigures } from '../insight.ts'

const HIT_RATE_MIN = 0.2
const HOUR_MS = 3_600_000
const TTL_MS_MIN = 1_000
const TTL_MS_MAX = HOUR_MS

export interface CacheAdvice {
  readonly database: string
  readonly fingerprint: string
  readonly text: string
  readonly callsPerHour: number
  readonly meanMs: number
  /** 0 to 1: looks at a result that had been seen before and found it as it was; and how many looks there were. */
  readonly unchangedShare: number
  readonly looks: number
  /** 0 to 1: how many calls could be answered from the cache, as far as can be told. */
  readonly expectedHitRate: number
  /** Of the server's time, in an hour like the ones that were seen. */
  readonly savedMsPerHour: number
  /** How long results lasted, within a second and an hour: a TTL to begin with. */
  readonly ttlMs: number
  /** Reads by what answered them, where the statement is asked for with `cache` already. */
  readonly cached: number
}

/** Undefined: there is nothing to gain, or too little is known. */
export function cacheAdviceOn(figures: StatementFigures): CacheAdvice | undefined {
  const { results, calls, meanMs, isRead, cache, firstAtMs, lastAtMs } = figures
  const unchangedShare = steadyShare(results.looks, results.changes)
  if (!isRead || unchangedShare === undefined || results.calls === 0) return undefined
  const expectedHitRate = Math.max(0, 1 - results.parameters / results.calls) * unchangedShare
  if (expectedHitRate < HIT_RATE_MIN) return undefined
  const hours = Math.max(lastAtMs - firstAtMs, 60_000) / HOUR_MS
  // Calls that came by way of the cache would not be saved once more.
  const uncached = Math.max(0, calls - cache.misses)
  if (uncached === 0) return undefined
  const callsPerHour = uncached / hours
  const lastedMs = results.spanMs / Math.max(1, results.changes)
  return {
    database: figures.database,
    fingerprint: figures.fingerprint,
    text: figures.text,
    callsPerHour,
    meanMs,
    unchangedShare,
    looks: results.looks,
    expectedHitRate,
    savedMsPerHour: callsPerHour * expectedHitRate * meanMs,
    ttlMs: Math.round(Math.min(TTL_MS_MAX, Math.max(TTL_MS_MIN, lastedMs))),
    cached: cache.memory + cache.sqlite + cache.inPlace + cache.stale + cache.shared,
  }
}
