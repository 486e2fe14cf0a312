/** cache_steps: what may be asked of a cache, or happen to it, in a random run.
 *  Owns:   the arbitraries.   Not here: what comes of it (cache_model.ts).   Thread: main of a test process.
 *  Holds:  every operation of the client's cache that writes is among them, and every option of a set. */

import fc from 'fast-check'
import type { SetOptions } from '../../engine/client/cache.ts'

export const KEYS = ['a', 'b', 'c:1', 'c:2'] as const
const TAGS = ['x', 'y', 'z'] as const
export type Key = (typeof KEYS)[number]
export type Tag = (typeof TAGS)[number]

interface Time {
  /** From now on, when it must still be there; 0: for ever. */
  readonly ttlMs?: number
  /** And how much later it may end. */
  readonly laterMs?: number
  readonly options: SetOptions
}

/** How long an entry is to live, and how that is said. */
export const TIMES = {
  ever: { ttlMs: 0, options: { ttlMs: 0 } },
  short: { ttlMs: 40, options: { ttlMs: 40 } },
  long: { ttlMs: 1_000, options: { ttlMs: 1_000 } },
  default: { options: {} },
  policy: { ttlMs: 1_800_000, options: { policy: 'session' } },
  jitter: { ttlMs: 40, laterMs: 30, options: { ttlMs: 40, ttlJitterMs: 30 } },
  adaptive: { ttlMs: 30, laterMs: 970, options: { adaptive: { minMs: 30, maxMs: 1_000 } } },
  negative: { ttlMs: 30, options: { ttlMs: 1_000, negativeTtlMs: 30 } },
} as const satisfies Record<string, Time> as Readonly<Record<TimeName, Time>>
type TimeName =
  | 'ever'
  | 'short'
  | 'long'
  | 'default'
  | 'policy'
  | 'jitter'
  | 'adaptive'
  | 'negative'

export interface SetStep {
  readonly do: 'set'
  readonly key: Key
  readonly tags: Tag[]
  readonly time: TimeName
  readonly graceMs: number
  /** Durability memory. */
  readonly isBehind: boolean
  /** 0: the value is a number. */
  readonly textBytes: number
}

export type Fate = 'answered' | 'workerDies' | 'commitFails'

export type Step =
  | SetStep
  | { do: 'setMany'; sets: SetStep[] }
  | { do: 'crowd'; sets: SetStep[]; fate: Fate }
  | { do: 'cas'; key: Key; isRight: boolean; tags: Tag[] }
  | { do: 'delete' | 'increment' | 'read' | 'touch'; key: Key }
  | { do: 'deleteMany' | 'readMany' | 'keys' | 'evict' }
  | { do: 'restart' | 'kill' | 'killWorker' | 'lock' | 'unlock' | 'failCommit' }
  | { do: 'invalidateTags'; tags: Tag[] }
  | { do: 'invalidatePattern'; glob: '*' | 'c:*' | 'a' }
  | { do: 'wait'; ms: number }

const key = fc.constantFrom(...KEYS)
const tags = fc.uniqueArray(fc.constantFrom(...TAGS), { maxLength: 2 })
const a = <Name extends string>(name: Name) => fc.constant(name)

const set: fc.Arbitrary<SetStep> = fc.record({
  do: a('set'),
  key,
  tags,
  time: fc.constantFrom<TimeName[]>(
    ...(Object.keys(TIMES) as TimeName[]),
    'ever',
    'ever',
    'short',
    'long',
  ),
  graceMs: fc.constantFrom(0, 0, 50),
  isBehind: fc.boolean(),
  // Some have no room in tier 1, and some are read in pieces.
  textBytes: fc.oneof(
    { weight: 20, arbitrary: fc.constant(0) },
    { weight: 2, arbitrary: fc.constantFrom(100, 20_000) },
    { weight: 1, arbitrary: fc.constantFrom(70_000, 300_000) },
  ),
})
const sets = fc.uniqueArray(set, { minLength: 1, maxLength: 4, selector: ({ key }) => key })

/** Their frames wait side by side, so that there must be room for all. */
const shortSets = sets.map(all => all.map(each => ({ ...each, textBytes: each.textBytes % 1_000 })))

const happening = fc.constantFrom(
  'deleteMany' as const,
  'readMany' as const,
  'readMany' as const,
  'keys' as const,
  'evict' as const,
  'evict' as const,
  'restart' as const,
  'kill' as const,
  'killWorker' as const,
  'lock' as const,
  'unlock' as const,
  'failCommit' as const,
)
const single = fc.constantFrom(
  'delete' as const,
  'increment' as const,
  'read' as const,
  'touch' as const,
)
const fate = fc.constantFrom('answered' as const, 'workerDies' as const, 'commitFails' as const)
const glob = fc.constantFrom('*' as const, 'c:*' as const, 'a' as const)

export const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: set },
  { weight: 2, arbitrary: fc.record({ do: a('setMany'), sets }) },
  { weight: 2, arbitrary: fc.record({ do: a('crowd'), sets: shortSets, fate }) },
  { weight: 3, arbitrary: fc.record({ do: a('cas'), key, isRight: fc.boolean(), tags }) },
  { weight: 10, arbitrary: fc.record({ do: single, key }) },
  { weight: 10, arbitrary: fc.record({ do: happening }) },
  { weight: 3, arbitrary: fc.record({ do: a('invalidateTags'), tags }) },
  { weight: 2, arbitrary: fc.record({ do: a('invalidatePattern'), glob }) },
  { weight: 2, arbitrary: fc.record({ do: a('wait'), ms: fc.constantFrom(1, 30, 60) }) },
)
