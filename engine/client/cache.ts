/** Cache: `hearth.cache`, get, peek, set, delete and keys.
 *  Owns:   nothing.   Not here: bytes (requests.ts), the socket (connection.ts), reading in place (shared_memory.ts).
 *  Thread: the client's.
 *  Holds:  with failOpen (the default) an engine that is down is a miss or a dropped write, never an exception; a request
 *          that is wrong in itself (key too long, unknown policy …) is an exception always. */

import { HearthError } from '../errors.ts'
import { KEYS_COUNT_MAX } from '../limits.ts'
import type { Durability } from '../protocol/spec.ts'
import type { Connection } from './connection.ts'
import {
  DelRequest,
  GetRequest,
  KeysRequest,
  LookupRequest,
  OpenGetRequest,
  OpenSetRequest,
  SetRequest,
} from './requests.ts'
import type { SharedMemory } from './shared_memory.ts'

export interface SetOptions {
  /** How long the entry lives, in milliseconds; 0: until evicted. Left out: the policy's, else the engine's default. */
  readonly ttlMs?: number
  /** A named TTL of the engine's configuration, such as `session`. */
  readonly policy?: string
  /** `commit` (default): resolved once SQLite has committed it. `memory`: at once, and lost if the engine dies soon after. */
  readonly durability?: Durability
}

export interface Entry extends SetOptions {
  readonly key: string
  readonly value: unknown
}

/** A value with the tier that had it. */
export interface Lookup<T = unknown> {
  readonly value: T
  readonly tier: 'memory' | 'sqlite'
}

export class Cache {
  private readonly connection: Connection
  private readonly sharedMemory: SharedMemory
  private readonly isFailOpen: boolean
  private inPlaceCount = 0

  constructor(connection: Connection, sharedMemory: SharedMemory, isFailOpen: boolean) {
    this.connection = connection
    this.sharedMemory = sharedMemory
    this.isFailOpen = isFailOpen
  }

  /** The value of a key, or undefined when no tier has it. A hit of tier 1 is read in place, in this process, where the engine
   *  shares its memory with this client; everything else goes over the socket. */
  get<T = unknown>(key: string): Promise<T | undefined> {
    if (typeof key !== 'string') throw wrongKey(key)
    const found = this.sharedMemory.get(key)
    if (found !== undefined) return this.settled(found as T)
    const request = this.isFailOpen ? new OpenGetRequest(key) : new GetRequest(key)
    return this.connection.request(request) as Promise<T | undefined>
  }

  /** The value of a key if tier 1 has it and can be read in place: at once, without a system call. Undefined says only that it
   *  is not to be had this way: not in tier 1, no shared memory, engine down, or a write of this key by this client is
   *  still unanswered. */
  peek<T = unknown>(key: string): T | undefined {
    if (typeof key !== 'string') throw wrongKey(key)
    return this.sharedMemory.peek(key) as T | undefined
  }

  /** As get(), and says which tier had the value: for dashboards and tests that show how the cache fares. */
  lookup<T = unknown>(key: string): Promise<Lookup<T> | undefined> {
    if (typeof key !== 'string') throw wrongKey(key)
    const found = this.sharedMemory.get(key)
    if (found !== undefined) return this.settled({ value: found as T, tier: 'memory' })
    const request = new LookupRequest(key, this.isFailOpen)
    return this.connection.request(request) as Promise<Lookup<T> | undefined>
  }

  /** The values of many keys, in their order; undefined where there is none. One write to the socket. */
  getMany<T = unknown>(keys: readonly string[]): Promise<(T | undefined)[]> {
    return Promise.all(keys.map(key => this.get<T>(key)))
  }

  /** Stores a value. True once it is stored; false when the engine is down and the write was dropped (failOpen). */
  set(key: string, value: unknown, options: SetOptions = {}): Promise<boolean> {
    if (typeof key !== 'string') throw wrongKey(key)
    const ttl = ttlOf(options)
    const durability = options.durability ?? 'commit'
    const request = this.isFailOpen
      ? new OpenSetRequest(key, value, ttl, durability)
      : new SetRequest(key, value, ttl, durability)
    return this.connection.request(request) as Promise<boolean>
  }

  /** Stores many; resolves once all are stored. */
  async setMany(entries: readonly Entry[]): Promise<void> {
    await Promise.all(entries.map(({ key, value, ...options }) => this.set(key, value, options)))
  }

  /** Deletes keys; resolves with how many were there. An engine that is down is an error: the key may still be there. */
  async delete(...keys: string[]): Promise<number> {
    for (const key of keys) if (typeof key !== 'string') throw wrongKey(key)
    const counts = await Promise.all(keys.map(key => this.connection.request(new DelRequest(key))))
    return counts.reduce<number>((sum, count) => sum + (count as number), 0)
  }

  /** Keys that match a glob (`*`, `?`, `[ab]`, `[^a]`, `\` before one of them), in order; fetched as they are consumed. */
  async *keys(glob = '*'): AsyncGenerator<string> {
    if (typeof glob !== 'string') throw new TypeError('a glob must be a string')
    let after = ''
    for (;;) {
      const request = new KeysRequest(glob, after, KEYS_COUNT_MAX)
      const keys = (await this.connection.request(request)) as string[]
      yield* keys
      if (keys.length < KEYS_COUNT_MAX) return
      after = keys.at(-1)!
    }
  }

  /** A promise of what is there already. A loop of awaits on such would never leave the microtasks, and so starve every timer
   *  and socket of the process: each so many wait for a turn of the event loop. */
  private settled<T>(value: T): Promise<T> {
    if (++this.inPlaceCount % GETS_PER_TURN !== 0) return Promise.resolve(value)
    return new Promise(resolve => setImmediate(resolve, value))
  }
}

/** About 2 ms of gets in place. */
const GETS_PER_TURN = 4_096

const SET_OPTIONS: ReadonlySet<string> = new Set(['ttlMs', 'policy', 'durability'])

function ttlOf(options: SetOptions): number | string | undefined {
  for (const name in options) {
    if (!SET_OPTIONS.has(name))
      throw new TypeError(`unknown option '${name}'; there are ${[...SET_OPTIONS].join(', ')}`)
  }
  const { ttlMs, policy, durability } = options
  if (durability !== undefined && durability !== 'commit' && durability !== 'memory') {
    throw new TypeError("durability must be 'commit' or 'memory'")
  }
  if (ttlMs === undefined) return policy
  if (policy !== undefined) throw new TypeError('ttlMs and policy exclude each other')
  if (!(ttlMs >= 0) || ttlMs > Number.MAX_SAFE_INTEGER) {
    throw new TypeError('ttlMs must be a number of milliseconds, 0 or more')
  }
  return Math.ceil(ttlMs)
}

function wrongKey(key: unknown): HearthError {
  return new HearthError(
    'BAD_REQUEST',
    `a key must be a string, not ${key === null ? 'null' : typeof key}`,
  )
}
