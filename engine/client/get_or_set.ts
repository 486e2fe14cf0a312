/** GetOrSet: a value from the cache, or from the caller's factory, which one client of the host runs at a time.
 *  Owns:   the flights of this client by key, the options and their meaning.   Not here: claiming and loading (flight.ts).
 *  Thread: the client's.
 *  Holds:  (1) calls for one key share one flight.  (2) a caller that gives up waiting ends no flight: what it brings is stored.
 *          (3) nothing is kept of a key without a flight. */

import { wallMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import type { Lookup } from './cache_reads.ts'
import type { Connection } from './connection.ts'
import { Flight, isWithinGrace, type Load, type Writer } from './flight.ts'
import { milliseconds, type SetOptions, storeOptions } from './set_options.ts'

export interface GetOrSetOptions<T = unknown> extends Omit<SetOptions, 'ifVersion'> {
  /** Soft: with a stale value at hand (`graceMs`), wait so long for a fresh one, in milliseconds; 0: not at all. Left out: as long
   *  as this client's own factory takes, and not at all for another's. */
  readonly timeoutMs?: number
  /** Rejects with TIMEOUT after so long, in milliseconds, or gives the stale value if there is one; the factory goes on, and what
   *  it brings is stored. */
  readonly hardTimeoutMs?: number
  /** A fraction of `ttlMs`, best 0.8 to 0.95: who asks later than that gets the value, and one caller refreshes it meanwhile. */
  readonly eagerAt?: number
  /** Runs the factory whatever is stored. */
  readonly forceFresh?: boolean
  /** Write-through: is given the new value and the key before it is stored. If it fails, so does the call, and nothing is stored. */
  readonly write?: Writer<T>
}

const OWN_NAMES = ['timeoutMs', 'hardTimeoutMs', 'eagerAt', 'forceFresh', 'write'] as const

interface Airborne {
  readonly flight: { readonly isDropped: boolean }
  readonly landing: Promise<unknown>
}

/** Looks a key up, also when it is stale. */
type LookUp<T> = () => Promise<Lookup<T> | undefined>

export class GetOrSet {
  private readonly connection: Connection
  private readonly isFailOpen: boolean
  private readonly flights = new Map<string, Airborne>()
  /** Keys that this client refreshes ahead. */
  private readonly eager = new Set<string>()

  constructor(connection: Connection, isFailOpen: boolean) {
    this.connection = connection
    this.isFailOpen = isFailOpen
  }

  async run<T>(
    key: string,
    fullKey: string,
    factory: () => T | Promise<T>,
    options: GetOrSetOptions<T>,
    lookUp: LookUp<T>,
  ): Promise<T> {
    const load = loadOf(factory, options)
    const found = await lookUp()
    if (!load.isForced && found !== undefined && !found.isStale) {
      if (isDue(found, options)) this.refresh(key, fullKey, load, found)
      return found.value
    }
    const isUsable = found?.isStale === true && isWithinGrace(found, load.store.graceMs ?? 0)
    const stale = isUsable ? found : undefined
    const value = this.fly(key, fullKey, load, stale, lookUp)
    return (await settled(value, stale, load)) as T
  }

  /** What the key's flight brings. One that began before this call, and whose value may have been loaded before the key was last
   *  changed or invalidated, is not enough for it. */
  private async fly<T>(
    key: string,
    fullKey: string,
    load: Load<T>,
    stale: Lookup<T> | undefined,
    lookUp: LookUp<T>,
  ): Promise<unknown> {
    const known = load.isForced ? undefined : this.flights.get(fullKey)
    if (known === undefined) return await this.begin(key, fullKey, load, stale)
    const value = await known.landing
    if (!known.flight.isDropped) return value
    const found = await lookUp()
    if (found !== undefined && !found.isStale) return found.value
    return await (this.flights.get(fullKey)?.landing ?? this.begin(key, fullKey, load, stale))
  }

  private begin<T>(
    key: string,
    fullKey: string,
    load: Load<T>,
    stale: Lookup<T> | undefined,
  ): Promise<unknown> {
    const flight = new Flight(this.connection, this.isFailOpen, key, fullKey, load, stale)
    const landing = flight.run()
    // A fresh one that is demanded is for its caller alone.
    if (load.isForced) return landing
    this.flights.set(fullKey, { flight, landing })
    const forget = (): void => void this.flights.delete(fullKey)
    landing.then(forget, forget)
    return landing
  }

  private refresh<T>(key: string, fullKey: string, load: Load<T>, found: Lookup<T>): void {
    if (this.eager.has(fullKey) || this.flights.has(fullKey)) return
    this.eager.add(fullKey)
    const ahead = { ...load, isEager: true }
    const forget = (): void => void this.eager.delete(fullKey)
    new Flight(this.connection, this.isFailOpen, key, fullKey, ahead, found)
      .run()
      .then(forget, forget)
  }
}

/** What a flight brings, as far as the caller's patience reaches. */
async function settled<T>(
  flight: Promise<unknown>,
  stale: Lookup<T> | undefined,
  { softMs, hardMs }: Load<T>,
): Promise<unknown> {
  const isSoft = stale !== undefined && softMs !== undefined && !(hardMs! < softMs)
  const waitMs = isSoft ? softMs : hardMs
  if (waitMs === undefined) return await flight
  flight.catch(() => undefined)
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  const timer = setTimeout(() => {
    if (stale !== undefined) resolve(stale.value)
    else
      reject(new HearthError('TIMEOUT', `the factory had no value within ${waitMs} ms; it goes on`))
  }, waitMs)
  try {
    return await Promise.race([flight, promise])
  } finally {
    clearTimeout(timer)
  }
}

/** Whether it is time to refresh an entry ahead. */
function isDue(
  { expiresAtMs }: Lookup,
  { eagerAt, ttlMs }: Pick<GetOrSetOptions, 'eagerAt' | 'ttlMs'>,
): boolean {
  if (eagerAt === undefined || ttlMs === undefined) return false
  return expiresAtMs - wallMs() <= ttlMs * (1 - eagerAt)
}

function loadOf<T>(factory: () => T | Promise<T>, options: GetOrSetOptions<T>): Load<T> {
  if (typeof factory !== 'function') throw new TypeError('factory must be a function')
  const { timeoutMs, hardTimeoutMs, eagerAt, forceFresh = false, write, ...store } = options
  if (write !== undefined && typeof write !== 'function')
    throw new TypeError('write must be a function of the value and the key')
  if (eagerAt !== undefined) {
    if (!(eagerAt > 0 && eagerAt < 1)) throw new TypeError('eagerAt must be between 0 and 1')
    if (!(store.ttlMs! > 0)) throw new TypeError('eagerAt is a fraction of ttlMs: give that too')
  }
  if ('ifVersion' in store) throw new TypeError('getOrSet decides by itself what may be stored')
  storeOptions(store, 0, OWN_NAMES)
  milliseconds('negativeTtlMs', store.negativeTtlMs)
  return {
    factory,
    write,
    store,
    softMs: milliseconds('timeoutMs', timeoutMs),
    hardMs: milliseconds('hardTimeoutMs', hardTimeoutMs),
    isForced: forceFresh,
    isEager: false,
  }
}
