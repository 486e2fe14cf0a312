/** result_ttl: how long the result of a statement is kept: as its caller says, or by what was seen of it.
 *  Owns:   nothing; what was seen is in cache/adaptive.ts and, of the whole statement, in workers/postgres/insight.
 *  Thread: main.
 *  Holds:  an adaptive time is within the caller's bounds, and beyond the lower one no longer than results of the statement last. */

import { ttlOf } from '../cache/policies.ts'
import type { Kept } from './cache_keep.ts'
import type { CacheState } from './cache_state.ts'
import type { QueryFlight } from './query_flight.ts'

/** For the result bytes[start, end), under these tags. */
export function keptAs(
  state: CacheState,
  flight: QueryFlight,
  tags: readonly string[],
  bytes: Buffer,
  start: number,
  end: number,
): Kept {
  const { staleMs: graceMs, bounds } = flight.keeping
  const expiresAtMs = state.expiryOf(ttlFor(state, flight, bytes, start, end))
  return { expiresAtMs, graceMs, isAdaptive: bounds !== undefined, tags }
}

/** As frames carry it, for the result bytes[start, end). One that nothing is said of begins at the time that results last, or
 *  at the lower bound while nobody knows that. */
function ttlFor(
  state: CacheState,
  { keeping, place, lastedMs }: QueryFlight,
  bytes: Buffer,
  start: number,
  end: number,
): number | string | undefined {
  const { bounds, ttl } = keeping
  if (bounds === undefined) return ttl
  const { minMs } = bounds
  const maxMs = lastedMs === 0 ? bounds.maxMs : Math.max(minMs, Math.min(bounds.maxMs, lastedMs))
  const unknownMs = lastedMs === 0 ? minMs : maxMs
  const startMs = ttl === undefined ? unknownMs : ttlOf(state.policies, ttl)
  return state.adaptive.store(place.hash, bytes, start, end, { minMs, maxMs }, startMs)
}
