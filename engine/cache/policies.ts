/** policies: how long an entry lives.
 *  Owns:   the named TTLs and the default.   Thread: main.
 *  Holds:  an unknown name is BAD_REQUEST, and says which names there are. */

import { HearthError } from '../errors.ts'

export interface TtlPolicies {
  readonly defaultTtlMs: number
  /** Named policies, in milliseconds: `session`, `auth`, … */
  readonly named: Readonly<Record<string, number>>
}

/** When an entry that is stored now expires, in milliseconds since 1970. A ttl of 0 is none: the entry stays until evicted. */
export function expiryOf(
  policies: TtlPolicies,
  ttl: number | string | undefined,
  nowMs: number,
): number {
  const ttlMs = ttlOf(policies, ttl)
  return ttlMs === 0 ? Infinity : nowMs + ttlMs
}

/** The time to live that is meant, in milliseconds; 0: until evicted. */
export function ttlOf(policies: TtlPolicies, ttl: number | string | undefined): number {
  return typeof ttl === 'string' ? namedTtl(policies, ttl) : (ttl ?? policies.defaultTtlMs)
}

function namedTtl(policies: TtlPolicies, name: string): number {
  const ttlMs = Object.hasOwn(policies.named, name) ? policies.named[name] : undefined
  if (ttlMs !== undefined) return ttlMs
  const known = Object.keys(policies.named).join(', ')
  throw new HearthError('BAD_REQUEST', `no ttl policy '${name}' is configured; there are ${known}`)
}
