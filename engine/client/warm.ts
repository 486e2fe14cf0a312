/** warm: `cache.warm(loader)`: fills the cache from what a program can list, in batches, with progress.
 *  Owns:   the batches on their way.   Not here: storing (cache.ts); what the engine warms by itself (router/warming.ts).
 *  Thread: the client's.
 *  Holds:  (1) at most `concurrency` batches are on their way, each of `batchSize` entries and about 256 KiB at most; the loader is
 *          asked for no more before one has come back.  (2) an entry that cannot be stored is counted and stops nothing; a loader
 *          that fails, and an abort, end it when what is on its way has come back.  (3) each entry is counted once. */

import { monotonicMs } from '../clock.ts'
import { isHearthError, toHearthError } from '../errors.ts'
import { encodeValue } from '../protocol/payload.ts'
import type { Cache, Entry } from './cache.ts'
import { storeOptions } from './set_options.ts'

/** Where entries come from: the signal is the one in the options. */
export type WarmLoader =
  | Iterable<Entry>
  | AsyncIterable<Entry>
  | ((
      signal: AbortSignal | undefined,
    ) => Iterable<Entry> | AsyncIterable<Entry> | Promise<Iterable<Entry> | AsyncIterable<Entry>>)

export interface WarmOptions {
  /** Leaves alone what is there already (default): a tier that has the key is asked, which counts as no read. */
  readonly onlyMissing?: boolean
  /** Entries of one batch, 1 to 1 000; default 200. */
  readonly batchSize?: number
  /** Batches on their way at a time, 1 to 64; default 4. */
  readonly concurrency?: number
  /** Ends it: no more entries are taken, and the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal
  /** Called after each batch. */
  readonly onProgress?: (progress: WarmProgress) => void
}

export interface WarmProgress {
  /** Entries that were stored. */
  readonly loaded: number
  /** Entries that were there already, or not of the version that their `ifVersion` says. */
  readonly skipped: number
  /** Entries that could not be stored. */
  readonly failed: number
  /** Of the values that were stored, encoded. */
  readonly bytes: number
  readonly elapsedMs: number
  /** Why the first of those that failed did. */
  readonly firstError?: Error
}

const NAMES = ['onlyMissing', 'batchSize', 'concurrency', 'signal', 'onProgress']
const BATCH_BYTES_MAX = 256 * 1024
/** Errors that are no entry's fault: trying each by itself would meet them again. */
const OF_ENGINE = new Set(['UNAVAILABLE', 'TIMEOUT', 'CLOSED', 'BUSY', 'PROTOCOL'])

interface Sized {
  readonly entry: Entry
  readonly bytes: number
}

/** Stores what the loader gives; resolves with the totals. `cache` says of each request what became of it (no failOpen). */
export async function warm(
  cache: Cache,
  loader: WarmLoader,
  options: WarmOptions,
): Promise<WarmProgress> {
  const warmer = new Warmer(cache, options)
  return await warmer.run(loader)
}

class Warmer {
  private readonly cache: Cache
  private readonly onlyMissing: boolean
  private readonly batchSize: number
  private readonly concurrency: number
  private readonly signal: AbortSignal | undefined
  private readonly onProgress: ((progress: WarmProgress) => void) | undefined
  private readonly startMs = monotonicMs()
  private readonly underway = new Set<Promise<void>>()
  private batch: Sized[] = []
  private batchBytes = 0
  private loaded = 0
  private skipped = 0
  private failed = 0
  private bytes = 0
  private firstError: Error | undefined
  /** What a listener to progress threw. */
  private broken: { readonly error: unknown } | undefined
  private giveUp: (reason: unknown) => void = () => undefined

  constructor(cache: Cache, options: WarmOptions) {
    for (const name in options)
      if (!NAMES.includes(name))
        throw new TypeError(`unknown option '${name}'; there are ${NAMES.join(', ')}`)
    this.cache = cache
    this.onlyMissing = options.onlyMissing ?? true
    this.batchSize = countOf('batchSize', options.batchSize ?? 200, 1_000)
    this.concurrency = countOf('concurrency', options.concurrency ?? 4, 64)
    this.signal = options.signal
    this.onProgress = options.onProgress
  }

  async run(loader: WarmLoader): Promise<WarmProgress> {
    const { signal } = this
    signal?.throwIfAborted()
    const abort = (): void => this.giveUp(signal!.reason)
    signal?.addEventListener('abort', abort, { once: true })
    try {
      await this.takeAll(loader)
      await this.send()
    } finally {
      signal?.removeEventListener('abort', abort)
      await Promise.all(this.underway)
    }
    signal?.throwIfAborted()
    if (this.broken !== undefined) throw this.broken.error
    return this.progress()
  }

  private async takeAll(loader: WarmLoader): Promise<void> {
    const given = typeof loader === 'function' ? loader(this.signal) : loader
    const entries = iteratorOf(await this.orAborted(given))
    try {
      for (;;) {
        const next = await this.orAborted(entries.next())
        if (next.done === true) return
        await this.add(next.value)
        this.signal?.throwIfAborted()
        if (this.broken !== undefined) throw this.broken.error
      }
    } catch (error) {
      // Not awaited: a generator that hangs would never come to it.
      Promise.resolve(entries.return?.()).catch(() => undefined)
      throw error
    }
  }

  /** What the loader gives, or the abort if that comes first. Not by Promise.race(), which would keep a reaction for each entry. */
  private orAborted<T>(given: T | PromiseLike<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.giveUp = reject
      Promise.resolve(given).then(resolve, reject)
    })
  }

  private async add(entry: Entry): Promise<void> {
    let bytes: number
    try {
      bytes = checked(entry)
    } catch (error) {
      this.fail(error)
      return
    }
    const isFull = this.batch.length >= this.batchSize || this.batchBytes + bytes > BATCH_BYTES_MAX
    if (isFull) await this.send()
    this.batch.push({ entry, bytes })
    this.batchBytes += bytes
  }

  /** Sends the batch once there is a place for it. */
  private async send(): Promise<void> {
    const { batch, underway } = this
    this.batch = []
    this.batchBytes = 0
    if (batch.length === 0) return
    while (underway.size >= this.concurrency) await Promise.race(underway)
    const sent = this.store(batch).then(() => {
      underway.delete(sent)
    })
    underway.add(sent)
  }

  /** Never rejects. */
  private async store(batch: readonly Sized[]): Promise<void> {
    const wanted = this.onlyMissing ? await this.missing(batch) : batch
    const isAlone = ({ entry }: Sized): boolean => entry.ifVersion !== undefined
    await Promise.all([
      this.storeMany(wanted.filter(sized => !isAlone(sized))),
      ...wanted.filter(isAlone).map(sized => this.storeOne(sized)),
    ])
    try {
      this.onProgress?.(this.progress())
    } catch (error) {
      this.broken ??= { error }
    }
  }

  private async missing(batch: readonly Sized[]): Promise<readonly Sized[]> {
    // What cannot be asked for is missing: storing it will tell why.
    const isThere = await Promise.all(
      batch.map(({ entry }) => settled(() => this.cache.has(entry.key))),
    )
    const missing = batch.filter((_, i) => isThere[i] !== true)
    this.skipped += batch.length - missing.length
    return missing
  }

  private async storeMany(batch: readonly Sized[]): Promise<void> {
    if (batch.length === 0) return
    try {
      await this.cache.setMany(batch.map(({ entry }) => entry))
      for (const { bytes } of batch) this.count(bytes)
    } catch (error) {
      if (isHearthError(error) && OF_ENGINE.has(error.code)) {
        for (const _ of batch) this.fail(error)
        return
      }
      // The engine has refused one of them; a set of the others once more changes nothing.
      await Promise.all(batch.map(sized => this.storeOne(sized)))
    }
  }

  private async storeOne({ entry, bytes }: Sized): Promise<void> {
    const { key, value, ...options } = entry
    try {
      if (await this.cache.set(key, value, options)) this.count(bytes)
      else this.skipped++
    } catch (error) {
      this.fail(error)
    }
  }

  private count(bytes: number): void {
    this.loaded++
    this.bytes += bytes
  }

  private fail(error: unknown): void {
    this.failed++
    this.firstError ??= error instanceof Error ? error : toHearthError(error)
  }

  private progress(): WarmProgress {
    const { loaded, skipped, failed, bytes, firstError } = this
    const elapsedMs = Math.round(monotonicMs() - this.startMs)
    const figures = { loaded, skipped, failed, bytes, elapsedMs }
    return firstError === undefined ? figures : { ...figures, firstError }
  }
}

/** Throws what setMany() would for an entry that is wrong in itself; the bytes of its value. */
function checked({ key, value, ...options }: Entry): number {
  if (typeof key !== 'string') throw new TypeError('a key must be a string')
  storeOptions(options, value)
  return encodeValue(value).length
}

async function settled<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask()
  } catch {
    return undefined
  }
}

function iteratorOf(
  entries: Iterable<Entry> | AsyncIterable<Entry>,
): Iterator<Entry> | AsyncIterator<Entry> {
  if (Symbol.asyncIterator in Object(entries))
    return (entries as AsyncIterable<Entry>)[Symbol.asyncIterator]()
  if (typeof entries === 'object' && Symbol.iterator in entries) return entries[Symbol.iterator]()
  throw new TypeError('a loader must be an iterable of entries, or a function that gives one')
}

function countOf(name: string, value: number, max: number): number {
  if (!Number.isInteger(value) || value < 1 || value > max)
    throw new TypeError(`${name} must be a whole number from 1 to ${max}`)
  return value
}
