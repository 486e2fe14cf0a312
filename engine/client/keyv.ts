/** hearth/keyv: Hearth's cache as a storage adapter for Keyv, and so for cacheable and cache-manager.
 *  Owns:   its client, unless it was given one.   Thread: the client's.
 *  Holds:  (1) its keys stand in a namespace of the cache, so that clear() never reaches anybody else's.  (2) what Keyv gives no time
 *          to live has none: it lives until it is evicted.
 *
 *      new Keyv({ store: new KeyvHearth(), namespace: 'users' }) */

import { EventEmitter } from 'node:events'
import { literalGlob } from '../glob.ts'
import { type Cache, type ConnectOptions, connect, type Hearth } from './index.ts'

export interface KeyvHearthOptions extends ConnectOptions {
  /** The namespace of the cache in which the keys stand; default `keyv`. Keyv's own namespaces are within it. */
  readonly cacheNamespace?: string
  /** What Keyv sets by itself: a namespace within that one. */
  readonly namespace?: string
}

interface KeyvEntry {
  readonly key: string
  readonly value: unknown
  readonly ttl?: number | undefined
}

/** Entries fetched at a time while one iterates. */
const ITERATED_COUNT = 500

export class KeyvHearth extends EventEmitter {
  /** Keyv offers `iterator()` to stores whose dialect it knows, and tier 2 is this one. */
  readonly opts = { dialect: 'sqlite', url: 'hearth' }
  /** Set by Keyv, whose keys come with it in front. */
  namespace: string | undefined
  private readonly opened: Promise<Hearth>
  private readonly cache: Promise<Cache>
  private readonly isOwner: boolean

  /** With options it connects by itself, and disconnect() ends that; a client that is given stays its owner's. */
  constructor(options: KeyvHearthOptions | Hearth = {}) {
    super()
    this.setMaxListeners(0) // Each Keyv on it listens for errors.
    this.isOwner = !isClient(options)
    if (isClient(options)) {
      this.opened = Promise.resolve(options)
      this.cache = Promise.resolve(options.cache.namespace('keyv'))
      return
    }
    const { cacheNamespace = 'keyv', namespace, ...connectOptions } = options
    this.namespace = namespace
    this.opened = connect(connectOptions)
    this.cache = this.opened.then(({ cache }) => cache.namespace(cacheNamespace))
    this.cache.catch(() => undefined) // It is told by each call.
  }

  async get<Value>(key: string): Promise<Value | undefined> {
    return (await this.cache).get<Value>(key)
  }

  async getMany<Value>(keys: string[]): Promise<(Value | undefined)[]> {
    return (await this.cache).getMany<Value>(keys)
  }

  /** False when the engine is down and the write was dropped. */
  async set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    return (await this.cache).set(key, value, { ttlMs: ttl ?? 0 })
  }

  async setMany(entries: KeyvEntry[]): Promise<boolean[]> {
    await (await this.cache).setMany(
      entries.map(({ key, value, ttl }) => ({ key, value, ttlMs: ttl ?? 0 })),
    )
    return entries.map(() => true)
  }

  /** Whether it was there. */
  async delete(key: string): Promise<boolean> {
    return (await (await this.cache).delete(key)) > 0
  }

  /** Whether one of them was there. */
  async deleteMany(keys: string[]): Promise<boolean> {
    return (await (await this.cache).delete(...keys)) > 0
  }

  async has(key: string): Promise<boolean> {
    return (await this.cache).has(key)
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    const cache = await this.cache
    return Promise.all(keys.map(key => cache.has(key)))
  }

  /** Deletes all keys of Keyv's namespace; without one, all of this adapter's. */
  async clear(): Promise<void> {
    await (await this.cache).invalidatePattern(globOf(this.namespace))
  }

  /** Keys and values, a few hundred at a time, in the order of the keys. */
  async *iterator<Value>(namespace?: string): AsyncGenerator<[string, Value], void> {
    const cache = await this.cache
    let keys: string[] = []
    for await (const key of cache.keys(globOf(namespace))) {
      if (keys.push(key) < ITERATED_COUNT) continue
      yield* await present<Value>(cache, keys)
      keys = []
    }
    yield* await present<Value>(cache, keys)
  }

  async disconnect(): Promise<void> {
    if (this.isOwner) await (await this.opened).close()
  }
}

function isClient(options: KeyvHearthOptions | Hearth): options is Hearth {
  return 'cache' in options
}

function globOf(namespace: string | undefined): string {
  return namespace ? `${literalGlob(namespace)}:*` : '*'
}

/** Those of the keys that are still there. */
async function present<Value>(cache: Cache, keys: string[]): Promise<[string, Value][]> {
  const values = await cache.getMany<Value>(keys)
  return keys
    .map((key, place): [string, Value] => [key, values[place] as Value])
    .filter(([, value]) => value !== undefined)
}

export default KeyvHearth
