/** Cache: `hearth.cache`, and each namespace of it: what stores, changes and deletes.
 *  Owns:   nothing more than its reads (cache_reads.ts).   Not here: bytes (requests.ts, …_requests.ts), the socket
 *          (connection.ts), loading what is missing (get_or_set.ts).
 *  Thread: the client's.
 *  Holds:  with failOpen (the default) an engine that is down is a dropped write, never an exception; deleting and
 *          invalidating are an exception then, since what was to go may still be there; a request that is wrong in itself (key too
 *          long, unknown policy …) is one always. */

import { encodeValue } from '../protocol/payload.ts'
import { CacheReads } from './cache_reads.ts'
import {
  IncrementRequest,
  InvalidatePatternRequest,
  InvalidateTagsRequest,
  StoreRequest,
  TouchRequest,
} from './entry_requests.ts'
import type { GetOrSetOptions } from './get_or_set.ts'
import type { Request } from './inflight.ts'
import { type KeyChange, watchKeys } from './key_watch.ts'
import { EntryFrame, SetManyRequest } from './many_requests.ts'
import type { SubscribeOptions } from './pattern_subscription.ts'
import { DelRequest, OpenSetRequest, SetRequest } from './requests.ts'
import {
  checkTags,
  type SetOptions,
  type StoreOptions,
  storeOptions,
  ttlOf,
} from './set_options.ts'
import { settled } from './settled.ts'
import { type WarmLoader, type WarmOptions, type WarmProgress, warm } from './warm.ts'

export type { Lookup } from './cache_reads.ts'
export type { GetOrSetOptions } from './get_or_set.ts'
export type { SetOptions } from './set_options.ts'

export interface Entry extends SetOptions {
  readonly key: string
  readonly value: unknown
}

export class Cache extends CacheReads {
  /** Stores a value. True once it is stored; false when the engine is down and the write was dropped (failOpen), or when the entry
   *  is not of the version that `ifVersion` says. `write` (write-through) is given the value and the key first: if it fails, so
   *  does the call, and the cache is untouched. */
  set<T>(
    key: string,
    value: T,
    options: SetOptions & Pick<GetOrSetOptions<T>, 'write'> = {},
  ): Promise<boolean> {
    if (options.write !== undefined) return this.writeThrough(key, value, options)
    const store = storeOptions(options, value)
    return this.connection.request(
      this.setRequest(this.full(key), value, store),
    ) as Promise<boolean>
  }

  /** The value of a key, or what `factory` gives, which is stored then. Of all clients of the engine that miss a key one runs its
   *  factory; the others wait for what it brings, or get the stale value within `graceMs`. If it fails, dies or is invalidated
   *  meanwhile, exactly one other takes over, and what the first may still bring is not stored. Calls of one client share one
   *  run, also with the engine down (failOpen).
   *  A factory's error goes to its own caller, unless there is a stale value: then that is given, and nobody who has one tries
   *  again for 10 s. A factory that gives undefined stores it only with `negativeTtlMs`. */
  getOrSet<T>(
    key: string,
    factory: () => T | Promise<T>,
    options: GetOrSetOptions<T> = {},
  ): Promise<T> {
    const full = this.full(key)
    if (options.eagerAt === undefined && options.forceFresh !== true) {
      const found = this.inPlace<T>(full)
      if (found !== undefined) return settled(found)
    }
    const lookUp = () => this.lookup<T>(key, { stale: true })
    return this.parts.loads.run(key, full, factory, options, lookUp)
  }

  /** Stores many, in their order; resolves once all are stored. Those that follow each other and live equally long go in one frame
   *  and one write, all or none. */
  async setMany(entries: readonly Entry[]): Promise<void> {
    // All of them are made before the first is sent: what is wrong with one is known before anything is stored.
    const requests: Request[] = []
    let frame = new EntryFrame()
    let options: StoreOptions | undefined
    const send = (): void => {
      if (frame.entries.length === 0) return
      const { ttl, durability } = options!
      requests.push(new SetManyRequest(frame.entries, ttl, durability, this.isFailOpen))
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
        requests.push(this.setRequest(full, value, store))
        continue
      }
      if (!isOfFrame) send()
      options = store
      if (frame.add({ key: full, value: encoded })) continue
      send()
      frame.add({ key: full, value: encoded })
    }
    send()
    await Promise.all(requests.map(request => this.connection.request(request)))
  }

  /** Stores what the loader gives, in batches, and resolves with how many were stored, there already, and not to be stored. */
  async warm(loader: WarmLoader, options: WarmOptions = {}): Promise<WarmProgress> {
    const strict = new Cache({ ...this.parts, isFailOpen: false }, this.name)
    return await warm(strict, loader, options)
  }

  /** Deletes keys; resolves with how many were there. An engine that is down is an error: the key may still be there. */
  async delete(...keys: string[]): Promise<number> {
    const all = keys.map(key => this.full(key))
    const counts = await Promise.all(all.map(key => this.connection.request(new DelRequest(key))))
    return counts.reduce<number>((sum, count) => sum + (count as number), 0)
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

  /** A part of the cache, whose keys stand behind `name:` for everybody else, with figures of its own in `stats().namespaces`. */
  namespace(name: string): Cache {
    if (typeof name !== 'string' || name === '' || name.length > 64)
      throw new TypeError('a namespace must be a text of 1 to 64 characters')
    return new Cache(this.parts, this.prefix + name)
  }

  /** Tells of every set, deletion and invalidation of keys that match a glob, whoever does it; looped over without a callback. */
  watch(glob: string, onChange?: (change: KeyChange) => void, options: SubscribeOptions = {}) {
    return watchKeys(this.connection, this.prefix, glob, onChange, options)
  }

  private async writeThrough<T>(
    key: string,
    value: T,
    { write, ...options }: SetOptions & Pick<GetOrSetOptions<T>, 'write'>,
  ): Promise<boolean> {
    const full = this.full(key)
    if (typeof write !== 'function') throw new TypeError('write must be a function')
    // What is wrong with the request is known before anything is written.
    const store = storeOptions(options, value)
    const request = this.setRequest(full, value, store)
    await write(value, key)
    return (await this.connection.request(request)) as boolean
  }

  private setRequest(key: string, value: unknown, options: StoreOptions) {
    if (!options.isPlain) return new StoreRequest(key, this.isFailOpen, value, options)
    const { ttl, durability } = options
    return this.isFailOpen
      ? new OpenSetRequest(key, value, ttl, durability)
      : new SetRequest(key, value, ttl, durability)
  }
}

function ttlOption(ttlMs: number | undefined): { ttlMs?: number } {
  return ttlMs === undefined ? {} : { ttlMs }
}
