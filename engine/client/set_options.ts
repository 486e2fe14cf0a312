/** set_options: how a value is to be stored, as its caller says it and as STORE carries it.
 *  Owns:   the options of set().   Thread: the client's.
 *  Holds:  an option that is unknown or makes no sense is a TypeError at once, before anything is sent. */

import type { Durability } from '../protocol/spec.ts'

export interface SetOptions {
  /** How long the entry lives, in milliseconds; 0: until evicted. Left out: the policy's, else the engine's default. */
  readonly ttlMs?: number
  /** A named TTL of the engine's configuration, such as `session`. */
  readonly policy?: string
  /** `commit` (default): resolved once SQLite has committed it. `memory`: at once, and lost if the engine dies soon after. */
  readonly durability?: Durability
  /** Names under which the entry can be invalidated, at most 32 of up to 256 bytes. */
  readonly tags?: readonly string[]
  /** How long the entry is kept after it has expired, in milliseconds: for when no fresh value can be had. */
  readonly graceMs?: number
  /** A random part of this many milliseconds is added to the time to live, so that what was stored together does not expire so. */
  readonly ttlJitterMs?: number
  /** The time to live follows what is seen of the key, within bounds: twice as long when the value was the same again and had
   *  been read, half as long when it had changed. `ttlMs` is where it begins; left out, at the lower bound. */
  readonly adaptive?: { readonly minMs: number; readonly maxMs: number }
  /** The time to live if the value is undefined or null: that something is not there is known for a shorter time. */
  readonly negativeTtlMs?: number
  /** Stores only if the entry still is of this version (`lookup()` tells it); 0: only if there is none. */
  readonly ifVersion?: number
}

/** The options, checked, with what is left out filled in. */
export interface StoreOptions {
  readonly ttl: number | string | undefined
  readonly durability: Durability
  /** None of what follows is used: SET says it all. */
  readonly isPlain: boolean
  readonly ifVersion: number | undefined
  readonly graceMs: number
  readonly jitterMs: number
  readonly adaptiveMinMs: number
  readonly adaptiveMaxMs: number
  readonly tags: readonly string[]
}

const NAMES = [
  'ttlMs',
  'policy',
  'durability',
  'tags',
  'graceMs',
  'ttlJitterMs',
  'adaptive',
  'negativeTtlMs',
  'ifVersion',
] as const
const KNOWN: ReadonlySet<string> = new Set(NAMES)
const NO_TAGS: readonly string[] = []

/** `others`: names that its caller knows besides, and has taken out. */
export function storeOptions(
  options: SetOptions,
  value: unknown,
  others: readonly string[] = [],
): StoreOptions {
  for (const name in options) {
    if (!KNOWN.has(name))
      throw new TypeError(`unknown option '${name}'; there are ${[...NAMES, ...others].join(', ')}`)
  }
  const { durability = 'commit', tags = NO_TAGS, adaptive, ifVersion } = options
  if (durability !== 'commit' && durability !== 'memory')
    throw new TypeError("durability must be 'commit' or 'memory'")
  checkTags(tags)
  if (ifVersion !== undefined && !(Number.isSafeInteger(ifVersion) && ifVersion >= 0))
    throw new TypeError('ifVersion must be a version that lookup() gave, or 0')
  const isNegative = (value === undefined || value === null) && options.negativeTtlMs !== undefined
  const graceMs = milliseconds('graceMs', options.graceMs) ?? 0
  const jitterMs = milliseconds('ttlJitterMs', options.ttlJitterMs) ?? 0
  const isAdaptive = adaptive !== undefined && !isNegative
  if (adaptive !== undefined) checkBounds(adaptive)
  return {
    ttl: isNegative ? milliseconds('negativeTtlMs', options.negativeTtlMs) : ttlOf(options),
    durability,
    isPlain:
      tags.length === 0 &&
      graceMs === 0 &&
      jitterMs === 0 &&
      !isAdaptive &&
      ifVersion === undefined,
    ifVersion,
    graceMs,
    jitterMs,
    adaptiveMinMs: isAdaptive ? Math.ceil(adaptive.minMs) : 0,
    adaptiveMaxMs: isAdaptive ? Math.ceil(adaptive.maxMs) : 0,
    tags,
  }
}

/** The time to live as frames carry it: milliseconds, a policy's name, or undefined for the default. */
export function ttlOf(options: Pick<SetOptions, 'ttlMs' | 'policy'>): number | string | undefined {
  const { ttlMs, policy } = options
  if (ttlMs === undefined) return policy
  if (policy !== undefined) throw new TypeError('ttlMs and policy exclude each other')
  return milliseconds('ttlMs', ttlMs)
}

/** A list of tags that could be some. */
export function checkTags(tags: readonly string[]): void {
  if (!Array.isArray(tags) || !tags.every(tag => typeof tag === 'string' && tag !== ''))
    throw new TypeError('tags must be an array of texts, none of them empty')
}

/** Bounds of an adaptive time to live that make sense, else a TypeError. */
export function checkBounds({ minMs, maxMs }: { minMs: number; maxMs: number }): void {
  if (!(minMs > 0 && minMs <= maxMs && maxMs <= Number.MAX_SAFE_INTEGER))
    throw new TypeError('adaptive needs a minMs above 0 and a maxMs that is not less')
}

export function milliseconds(name: string, value: number | undefined): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !(value >= 0) || value > Number.MAX_SAFE_INTEGER)
    throw new TypeError(`${name} must be a number of milliseconds, 0 or more`)
  return Math.ceil(value)
}
