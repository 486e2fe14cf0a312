/** Cache: `hearth.cache`, and each namespace of it.
 *  Owns:   the prefix of its keys.   Not here: bytes (requests.ts, …_requests.ts), the socket (connection.ts), reading in
 *          place (shared_memory.ts).
 *  Thread: the client's.
 *  Holds:  with failOpen (the default) an engine that is down is a miss or a dropped write, never an exception; deleting and
 *          invalidating are an exception then, since what was to go may still be there; a request that is wrong in itself (key too
 *          long, unknown policy …) is one always. */

import { wallMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import type { ReadFigures } from '../figures.ts'
import { KEYS_COUNT_MAX } from '../limits.ts'
import { encodeValue } from '../protocol/payload.ts'
import { REPLIES } from '../protocol/spec.ts'
import type { Connection } from './connection.ts'
import {
  ExplainRequest,
  HasRequest,
  IncrementRequest,
  InvalidatePatternRequest,
  InvalidateTagsRequest,
  LookupRequest,
  StoreRequest,
  TouchRequest,
  TtlRequest,
} from './entry_requests.ts'
import {
  EntryFrame,
  type FoundMany,
  GetManyRequest,
  keyFrames,
  SetManyRequest,
} from './many_requests.ts'
import { Reads } from './reads.ts'
import {
  DelRequest,
  failOpen,
  GetRequest,
  KeysRequest,
  OpenGetRequest,
  OpenSetRequest,
  SetRequest,
} from './requests.ts'
import {
  checkTags,
  type SetOptions,
  type StoreOptions,
  storeOptions,
  ttlOf,
} from './set_options.ts'
import type { SharedMemory } from './shared_memory.ts'

export type { SetOptions } from './set_options.ts'

export interface Entry extends SetOptions {
  readonly key: string
  readonly value: unknown
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

export class Cache {
  /** Of a namespace: the name it is counted under; empty for the whole cache. */
  readonly name: string
  private readonly connection: Connection
  private readonly sharedMemory: SharedMemory
  private readonly isFailOpen: boolean
  private readonly prefix: string
  private readonly reads: Reads
  private inPlaceCount = 0

  constructor(
    connection: Connection,
    sharedMemory: SharedMemory,
    isFailOpen: boolean,
    name = '',
    reads?: Reads,
  ) {
    this.connection = connection
    this.sharedMemory = sharedMemory
    this.isFailOpen = isFailOpen
    this.name = name
    this.prefix = name === '' ? '' : `${name}:`
    this.reads = reads ?? new Reads(connection)
  }

  /** The value of a key, or undefined when no tier has it. A hit of tier 1 is read in place, in this process, where the engine
   *  shares its memory with this client; everything else goes over the socket. */
  get<T = unknown>(key: string): Promise<T | undefined> {
    const full = this.full(key)
    const found = this.sharedMemory.get(full)
    if (found !== undefined) {
      if (this.prefix !== '') this.count('memory')
      return this.settled(found as T)
    }
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

  /** Stores a value. True once it is stored; false when the engine is down and the write was dropped (failOpen), or when the entry
   *  is not of the version that `ifVersion` says. */
  set(key: string, value: unknown, options: SetOptions = {}): Promise<boolean> {
    const store = storeOptions(options, value)
    return this.connection.request(
      this.setRequest(this.full(key), value, store),
    ) as Promise<boolean>
  }

  /** Stores many, in their order; resolves once all are stored. Those that follow each other and live equally long go in one frame
   *  and one write, all or none. */
  async setMany(entries: readonly Entry[]): Promise<void> {
    const sent: Promise<unknown>[] = []
    let frame = new EntryFrame()
    let options: StoreOptions | undefined
    const send = (): void => {
      if (frame.entries.length === 0) return
      const { ttl, durability } = options!
      const request = new SetManyRequest(frame.entries, ttl, durability, this.isFailOpen)
      sent.push(this.connection.request(request))
      frame = new EntryFrame()
    }
    for (const { key, value, ...rest } of entries) {
      const store = storeOptions(rest, value)
      const full = this.full(key)
      const encoded = encodeValue(value)
      const isOfFrame =
        options !== undefined &&
        options.ttl === store.ttl &&
        options.durability === store.durability
      if (!store.isPlain || EntryFrame.isTooLarge(encoded)) {
        send()
        sent.push(this.connection.request(this.setRequest(full, value, store)))
        continue
      }
      if (!isOfFrame) send()
      options = store
      if (frame.add({ key: full, value: encoded })) continue
      send()
      frame.add({ key: full, value: encoded })
    }
    send()
    await Promise.all(sent)
  }

  /** Deletes keys; resolves with how many were there. An engine that is down is an error: the key may still be there. */
  async delete(...keys: string[]): Promise<number> {
    const all = keys.map(key => this.full(key))
    const counts = await Promise.all(all.map(key => this.connection.request(new DelRequest(key))))
    return counts.reduce<number>((sum, count) => sum + (count as number), 0)
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

  /** Gives a key a new time to live from now on (milliseconds, or a policy's name; left out: the default); false when it is not
   *  there. Its value and version stay. */
  async touch(key: string, ttl?: number | string): Promise<boolean> {
    const checked = ttlOf(typeof ttl === 'string' ? { policy: ttl } : ttlOption(ttl))
    const request = new TouchRequest(this.full(key), this.isFailOpen, checked)
    return (await this.connection.request(request)) as boolean
  }

  /** Adds to a number, one client at a time, and resolves with the sum once it is committed. A key that is not there begins at `by`
   *  and lives for the time given; one that is there keeps its own. BAD_REQUEST when it holds something else. Undefined when the
   *  engine is down (failOpen): then nothing is known of it. */
  async increment(
    key: string,
    by = 1,
    options: Pick<SetOptions, 'ttlMs' | 'policy'> = {},
  ): Promise<number | undefined> {
    if (typeof by !== 'number' || !Number.isFinite(by))
      throw new TypeError('by must be a finite number')
    const request = new IncrementRequest(this.full(key), this.isFailOpen, by, ttlOf(options))
    return (await this.connection.request(request)) as number | undefined
  }

  /** Ends every entry that has one of the tags, in one step however many they are; resolves with how many went, once no restart
   *  can bring them back. Tags are of the whole cache, whatever the namespace. */
  async invalidateTags(tags: readonly string[]): Promise<number> {
    checkTags(tags)
    if (tags.length === 0) return 0
    return (await this.connection.request(new InvalidateTagsRequest(tags))) as number
  }

  /** Deletes every key that matches a glob and was stored before; resolves with how many went. */
  async invalidatePattern(glob: string): Promise<number> {
    if (typeof glob !== 'string') throw new TypeError('a glob must be a string')
    const request = new InvalidatePatternRequest(this.globOf(glob))
    return (await this.connection.request(request)) as number
  }

  /** Deletes all keys: of a namespace its own alone. */
  clear(): Promise<number> {
    return this.invalidatePattern('*')
  }

  /** Keys that match a glob (`*`, `?`, `[ab]`, `[^a]`, `\` before one of them), in order; fetched as they are consumed. */
  async *keys(glob = '*'): AsyncGenerator<string> {
    if (typeof glob !== 'string') throw new TypeError('a glob must be a string')
    let after = ''
    for (;;) {
      const request = new KeysRequest(this.globOf(glob), after, KEYS_COUNT_MAX)
      const keys = (await this.connection.request(request)) as string[]
      for (const key of keys) yield key.slice(this.prefix.length)
      if (keys.length < KEYS_COUNT_MAX) return
      after = keys.at(-1)!
    }
  }

  /** A part of the cache, whose keys stand behind `name:` for everybody else, with figures of its own in `stats().namespaces`. */
  namespace(name: string): Cache {
    if (typeof name !== 'string' || name === '' || name.length > 64)
      throw new TypeError('a namespace must be a text of 1 to 64 characters')
    const { connection, sharedMemory, isFailOpen, prefix, reads } = this
    return new Cache(connection, sharedMemory, isFailOpen, prefix + name, reads)
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

  private setRequest(key: string, value: unknown, options: StoreOptions) {
    if (!options.isPlain) return new StoreRequest(key, this.isFailOpen, value, options)
    const { ttl, durability } = options
    return this.isFailOpen
      ? new OpenSetRequest(key, value, ttl, durability)
      : new SetRequest(key, value, ttl, durability)
  }

  private full(key: string): string {
    if (typeof key !== 'string') throw wrongKey(key)
    return this.prefix === '' ? key : this.prefix + key
  }

  /** The prefix stands for itself, whatever characters it has. */
  private globOf(glob: string): string {
    return this.prefix.replace(/[*?[\]^\\]/g, '\\$&') + glob
  }

  private count(tier: 'memory' | 'sqlite' | undefined): void {
    const counts: ReadFigures = this.reads.of(this.name)
    if (tier === 'memory') counts.memoryHits++
    else if (tier === 'sqlite') counts.sqliteHits++
    else counts.misses++
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

function ttlOption(ttlMs: number | undefined): { ttlMs?: number } {
  return ttlMs === undefined ? {} : { ttlMs }
}

function wrongKey(key: unknown): HearthError {
  return new HearthError(
    'BAD_REQUEST',
    `a key must be a string, not ${key === null ? 'null' : typeof key}`,
  )
}
