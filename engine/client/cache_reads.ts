/** CacheReads: the half of `hearth.cache` that changes nothing.
 *  Owns:   the prefix of its keys, and the counts of a namespace's reads.   Not here: bytes (requests.ts, …_requests.ts), the socket
 *          (connection.ts), reading in place (shared_memory.ts), what changes the cache (cache.ts).
 *  Thread: the client's.
 *  Holds:  with failOpen (the default) an engine that is down is a miss, never an exception; a request that is wrong in itself (key
 *          too long …) is one always. */

import { wallMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import type { ReadFigures } from '../figures.ts'
import { literalGlob } from '../glob.ts'
import { KEYS_COUNT_MAX } from '../limits.ts'
import { RESERVED } from '../protocol/query_key.ts'
import { REPLIES } from '../protocol/spec.ts'
import type { Connection } from './connection.ts'
import { ExplainRequest, HasRequest, LookupRequest, TtlRequest } from './entry_requests.ts'
import type { GetOrSet } from './get_or_set.ts'
import { type FoundMany, GetManyRequest, keyFrames } from './many_requests.ts'
import type { Reads } from './reads.ts'
import { failOpen, GetRequest, KeysRequest, OpenGetRequest } from './requests.ts'
import { settled } from './settled.ts'
import type { SharedMemory } from './shared_memory.ts'

/** What every namespace of one client shares. */
export interface CacheParts {
  readonly connection: Connection
  readonly sharedMemory: SharedMemory
  readonly isFailOpen: boolean
  readonly reads: Reads
  readonly loads: GetOrSet
}

/** A value with all that is known of its entry. */
export interface Lookup<T = unknown> {
  readonly value: T
  readonly tier: 'memory' | 'sqlite'
  /** Another with each set: for `ifVersion`. */
  readonly version: number
  /** Milliseconds since 1970; Infinity: never. */
  readonly expiresAtMs: number
  /** It has expired, and is within its grace. */
  readonly isStale: boolean
}

export class CacheReads {
  /** Of a namespace: the name it is counted under; empty for the whole cache. */
  readonly name: string
  protected readonly parts: CacheParts
  protected readonly connection: Connection
  protected readonly isFailOpen: boolean
  protected readonly prefix: string
  private readonly sharedMemory: SharedMemory
  private readonly reads: Reads

  constructor(parts: CacheParts, name = '') {
    this.parts = parts
    this.connection = parts.connection
    this.isFailOpen = parts.isFailOpen
    this.sharedMemory = parts.sharedMemory
    this.reads = parts.reads
    this.name = name
    this.prefix = name === '' ? '' : `${name}:`
  }

  /** The value of a key, or undefined when no tier has it. A hit of tier 1 is read in place, in this process, where the engine
   *  shares its memory with this client; everything else goes over the socket. */
  get<T = unknown>(key: string): Promise<T | undefined> {
    const full = this.full(key)
    const found = this.inPlace<T>(full)
    if (found !== undefined) return settled(found)
    if (this.prefix !== '') return this.countedGet(key)
    const request = this.isFailOpen ? new OpenGetRequest(full) : new GetRequest(full)
    return this.connection.request(request) as Promise<T | undefined>
  }

  /** The value of a key if tier 1 has it and can be read in place: at once, without a system call. Undefined says only that it
   *  is not to be had this way: not in tier 1, no shared memory, engine down, or a write of this key by this client is
   *  still unanswered. */
  peek<T = unknown>(key: string): T | undefined {
    const found = this.sharedMemory.peek(this.full(key)) as T | undefined
    if (this.prefix !== '' && found !== undefined) this.count('memory')
    return found
  }

  /** As get(), with the entry's version, its end and the tier that had it. `stale`: also one that has expired and is within its
   *  grace. An entry that holds undefined is found, unlike with get(). */
  async lookup<T = unknown>(
    key: string,
    options: { readonly stale?: boolean } = {},
  ): Promise<Lookup<T> | undefined> {
    const request = new LookupRequest(this.full(key), this.isFailOpen, options.stale === true)
    const found = (await this.connection.request(request)) as Lookup<T> | undefined
    if (this.prefix !== '') this.count(found?.tier)
    return found
  }

  /** The values of many keys, in their order; undefined where there is none. One frame and one look into each tier, unless there
   *  is too much for one. */
  async getMany<T = unknown>(keys: readonly string[]): Promise<(T | undefined)[]> {
    const all = keys.map(key => this.full(key))
    const values: unknown[] = all.map(key => this.sharedMemory.get(key))
    let places: readonly number[] = [...all.keys()].filter(place => values[place] === undefined)
    for (let hits = places.length; this.prefix !== '' && hits < all.length; hits++)
      this.count('memory')
    while (places.length > 0) places = await this.getSome(all, places, values)
    return values as (T | undefined)[]
  }

  /** Whether a key is there. Counts as no read. */
  async has(key: string): Promise<boolean> {
    return (await this.connection.request(
      new HasRequest(this.full(key), this.isFailOpen),
    )) as boolean
  }

  /** How long a key lives yet, in milliseconds: Infinity until it is evicted, undefined when it is not there. */
  async ttl(key: string): Promise<number | undefined> {
    const request = new TtlRequest(this.full(key), this.isFailOpen, wallMs)
    return (await this.connection.request(request)) as number | undefined
  }

  /** Keys that match a glob (`*`, `?`, `[ab]`, `[^a]`, `\` before one of them), in order; fetched as they are consumed. */
  async *keys(glob = '*'): AsyncGenerator<string> {
    if (typeof glob !== 'string') throw new TypeError('a glob must be a string')
    let after = ''
    for (;;) {
      const request = new KeysRequest(this.globOf(glob), after, KEYS_COUNT_MAX)
      const keys = (await this.connection.request(request)) as string[]
      for (const key of keys) if (!key.startsWith(RESERVED)) yield key.slice(this.prefix.length)
      if (keys.length < KEYS_COUNT_MAX) return
      after = keys.at(-1)!
    }
  }

  /** All that is known of a key, for people: what each tier has, its tags, and why it lives as long as it does. */
  async explain(key: string): Promise<Record<string, unknown>> {
    return (await this.connection.request(new ExplainRequest(this.full(key)))) as Record<
      string,
      unknown
    >
  }

  /** Tells the engine of the reads it does not know of yet; `stats()` does it by itself. */
  reportReads(): void {
    this.reads.report()
  }

  /** The value that tier 1 has of a full key, counted and marked as read. */
  protected inPlace<T>(full: string): T | undefined {
    const found = this.sharedMemory.get(full) as T | undefined
    if (found !== undefined && this.prefix !== '') this.count('memory')
    return found
  }

  private countedGet<T>(key: string): Promise<T | undefined> {
    const request = new CountedGetRequest(this.prefix + key, this.isFailOpen, tier =>
      this.count(tier),
    )
    return this.connection.request(request) as Promise<T | undefined>
  }

  /** Asks for the keys at `places`; those that are to be asked for again. */
  private async getSome(
    keys: readonly string[],
    places: readonly number[],
    values: unknown[],
  ): Promise<readonly number[]> {
    const asked = [...keyFrames(keys, places)].map(frame =>
      this.connection.request(new GetManyRequest(keys, frame, values, this.isFailOpen)),
    )
    const found = (await Promise.all(asked)) as FoundMany[]
    const later = found.flatMap(each => each.later)
    const alone = found.flatMap(each => each.alone)
    if (this.prefix !== '') {
      const counts = this.reads.of(this.name)
      const sum = (tier: 'memory' | 'sqlite') => found.reduce((all, each) => all + each[tier], 0)
      counts.memoryHits += sum('memory')
      counts.sqliteHits += sum('sqlite')
      counts.misses += places.length - later.length - alone.length - sum('memory') - sum('sqlite')
    }
    const singles = await Promise.all(
      alone.map(place => this.get(keys[place]!.slice(this.prefix.length))),
    )
    for (const [i, place] of alone.entries()) values[place] = singles[i]
    return later
  }

  protected full(key: string): string {
    if (typeof key !== 'string') throw wrongKey(key)
    return this.prefix === '' ? key : this.prefix + key
  }

  /** The prefix stands for itself, whatever characters it has. */
  protected globOf(glob: string): string {
    return literalGlob(this.prefix) + glob
  }

  private count(tier: 'memory' | 'sqlite' | undefined): void {
    const counts: ReadFigures = this.reads.of(this.name)
    if (tier === 'memory') counts.memoryHits++
    else if (tier === 'sqlite') counts.sqliteHits++
    else counts.misses++
  }
}

/** A get in a namespace, which is counted there. */
class CountedGetRequest extends GetRequest {
  private readonly isFailOpen: boolean
  private readonly count: (tier: 'memory' | 'sqlite' | undefined) => void

  constructor(
    key: string,
    isFailOpen: boolean,
    count: (tier: 'memory' | 'sqlite' | undefined) => void,
  ) {
    super(key)
    this.isFailOpen = isFailOpen
    this.count = count
  }

  override read(op: number, bytes: Buffer, start: number, end: number): unknown {
    if (op === REPLIES.MISS.code) this.count(undefined)
    else this.count(op === REPLIES.VALUE_MEMORY.code ? 'memory' : 'sqlite')
    return super.read(op, bytes, start, end)
  }

  giveUp(error: HearthError): unknown {
    if (!this.isFailOpen) throw error
    return failOpen(error, undefined)
  }
}

function wrongKey(key: unknown): HearthError {
  return new HearthError(
    'BAD_REQUEST',
    `a key must be a string, not ${key === null ? 'null' : typeof key}`,
  )
}
