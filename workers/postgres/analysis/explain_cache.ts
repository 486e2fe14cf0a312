/** explain_cache: Facts as an answer to whoever asks why a result is not kept.
 *  Owns:   nothing: pure functions.   Thread: postgres worker.
 *  Holds:  `reason` is undefined when and only when the result of the statement with these parameters may be kept. */

import type { Facts } from './facts.ts'
import { namesMoment } from './verdict.ts'

export interface CacheExplanation {
  readonly cacheable: boolean
  /** Why not, in words. */
  readonly reason: string | undefined
  /** What the statement reads or writes, views resolved: schema-qualified names. */
  readonly tables: readonly string[]
  readonly side: Facts['side']
}

/** What `hearth.db.explainCache(sql, params)` answers. What depends on the result itself (its size) is not in it. */
export function explainCache(facts: Facts, params: readonly unknown[] = []): CacheExplanation {
  const reason = facts.cacheRefusal ?? paramRefusal(facts, params)
  return { cacheable: reason === undefined, reason, tables: facts.tables, side: facts.side }
}

/** Why the result is not kept with these parameters, when it might be with others: 'today' as a date is another one tomorrow. */
export function paramRefusal(facts: Facts, params: readonly unknown[]): string | undefined {
  if (!facts.hasTimeParameter) return undefined
  const index = params.findIndex(hasMoment)
  if (index < 0) return undefined
  return `parameter $${index + 1} may be a date or time that moves ('now', 'today' …)`
}

function hasMoment(value: unknown): boolean {
  if (typeof value === 'string') return namesMoment(value)
  return Array.isArray(value) && value.some(hasMoment)
}
