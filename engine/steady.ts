/** steady: the one rule by which results change seldom enough for a cache to gain by them.
 *  Owns:   nothing: a pure function.   Not here: who advises what by it (client/insight/cache_advice.ts, and
 *          workers/postgres/insight/worth.ts, for results that are fetched ahead).
 *  Thread: any.   Holds: too few looks say nothing. */

const LOOKS_MIN = 5
const UNCHANGED_MIN = 0.5

/** 0 to 1: of looks at results that had been seen before, how many found them as they were. Undefined: too few looks to tell, or
 *  results change too often. */
export function steadyShare(looks: number, changes: number): number | undefined {
  if (looks < LOOKS_MIN) return undefined
  const share = 1 - changes / looks
  return share < UNCHANGED_MIN ? undefined : share
}
