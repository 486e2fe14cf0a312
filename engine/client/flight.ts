/** Flight: one load of one key, shared by all calls of this process that need it, and fenced from those of other processes.
 *  Owns:   the claim, from asking for it to filling or releasing it.   Not here: the caller's patience (get_or_set.ts).
 *  Thread: the client's.
 *  Holds:  (1) the loader runs at most once a flight, and only with a claim, unless the engine is down.
 *          (2) a claim that was granted is filled or released, whatever happens; the engine sees to it if this process dies.
 *          (3) the writer has succeeded before anything is stored. */

import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs, wallMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import { OUTCOME } from '../protocol/claim_spec.ts'
import type { Lookup } from './cache_reads.ts'
import {
  type ClaimAnswer,
  ClaimRequest,
  type ClaimTerms,
  FillRequest,
  ReleaseRequest,
} from './claim_requests.ts'
import type { Connection } from './connection.ts'
import { LookupRequest } from './entry_requests.ts'
import { type SetOptions, storeOptions } from './set_options.ts'

/** After a failure with a stale value at hand, nobody who has one tries again for so long (bentocache's graceBackoff). */
const REST_MS = 10_000
/** One wait for another's load; then it is asked for again. */
const WAIT_MS = 10_000
/** A claim ends after so long if others wait. */
const CLAIM_MS = 30_000
const CLAIM_MS_MAX = 600_000
/** No flight waits longer for others than this. */
const FLIGHT_MS_MAX = 300_000
const BUSY_PAUSE_MS = 50
/** More than waitMs, for the answer's way. */
const ANSWER_MS = 5_000

export type Writer<T> = (value: T, key: string) => unknown

export interface Load<T> {
  readonly factory: () => T | Promise<T>
  readonly write: Writer<T> | undefined
  readonly store: SetOptions
  readonly softMs: number | undefined
  readonly hardMs: number | undefined
  readonly isForced: boolean
  /** Only if nobody else does: the entry is fresh yet. */
  readonly isEager: boolean
}

export class Flight<T> {
  /** What it loaded was not stored: the key was changed or invalidated meanwhile, or the claim had gone to another. */
  isDropped = false
  private readonly connection: Connection
  private readonly isFailOpen: boolean
  private readonly key: string
  private readonly fullKey: string
  private readonly load: Load<T>
  /** What there is, if it may be given instead. */
  private found: Lookup<T> | undefined

  constructor(
    connection: Connection,
    isFailOpen: boolean,
    key: string,
    fullKey: string,
    load: Load<T>,
    found: Lookup<T> | undefined,
  ) {
    this.connection = connection
    this.isFailOpen = isFailOpen
    this.key = key
    this.fullKey = fullKey
    this.load = load
    this.found = found
  }

  /** The value: loaded here, stored by another, or stale if that is all there is. */
  async run(): Promise<T | undefined> {
    const untilMs = monotonicMs() + FLIGHT_MS_MAX
    let answer = await this.claim()
    while (answer.kind !== 'claimed') {
      if (answer.kind === 'down') return await this.loadAlone()
      if (this.load.isEager) return this.found?.value
      if (answer.kind === 'nothing') return undefined
      if (answer.kind === 'settled') {
        const fresh = await this.lookAgain()
        if (fresh !== undefined) return fresh.value
      } else if (this.found !== undefined && !this.load.isForced) return this.found.value
      if (monotonicMs() > untilMs)
        throw new HearthError('TIMEOUT', `nobody loaded the key within ${FLIGHT_MS_MAX} ms`)
      if (answer.kind === 'busy') await sleep(BUSY_PAUSE_MS * (1 + Math.random()))
      answer = await this.claim()
    }
    return await this.loadClaimed(answer.token)
  }

  private async claim(): Promise<ClaimAnswer> {
    const { softMs, hardMs = 0, isForced, isEager, store } = this.load
    const { found } = this
    const hasStale = found !== undefined && !isForced
    const terms: ClaimTerms = {
      // Who has a stale value waits for another no longer than for a load of its own.
      waitMs: isEager ? 0 : hasStale ? Math.min(softMs ?? 0, WAIT_MS) : WAIT_MS,
      limitMs: Math.min(Math.max(CLAIM_MS, Math.ceil(hardMs) * 2), CLAIM_MS_MAX),
      seen: found?.version,
      hasStale,
      isForced,
      tags: store.tags ?? [],
    }
    const request = new ClaimRequest(this.fullKey, this.isFailOpen, terms)
    return (await this.connection.request(request, terms.waitMs + ANSWER_MS)) as ClaimAnswer
  }

  /** Somebody has stored it: the fresh entry, if it is still that. */
  private async lookAgain(): Promise<Lookup<T> | undefined> {
    const request = new LookupRequest(this.fullKey, this.isFailOpen, this.found !== undefined)
    const found = (await this.connection.request(request)) as Lookup<T> | undefined
    if (found !== undefined && !found.isStale) return found
    this.found = found
    return undefined
  }

  /** The engine is down: nothing is stored, and only this process's calls share the load. */
  private async loadAlone(): Promise<T | undefined> {
    try {
      return await this.loaded()
    } catch (error) {
      if (this.found === undefined) throw error
      return this.found.value
    }
  }

  private async loadClaimed(token: number): Promise<T | undefined> {
    let value: T
    try {
      value = await this.loaded()
    } catch (error) {
      const { found } = this
      const hasStale = found !== undefined && (this.load.isEager || found.isStale)
      this.release(token, OUTCOME.failed, hasStale ? REST_MS : 0)
      if (!hasStale) throw error
      return found.value
    }
    const { store } = this.load
    if (value === undefined && store.negativeTtlMs === undefined) {
      this.release(token, OUTCOME.nothing)
      return undefined
    }
    try {
      const options = storeOptions(store, value)
      const request = new FillRequest(this.fullKey, this.isFailOpen, value, options, token)
      this.isDropped = (await this.connection.request(request)) === false
    } catch (error) {
      this.release(token, OUTCOME.failed)
      throw error
    }
    return value
  }

  private async loaded(): Promise<T> {
    const { factory, write } = this.load
    const value = await factory()
    if (write !== undefined) await write(value, this.key)
    return value
  }

  /** Not waited for: the engine takes it in turn, and a connection that is gone has released it. */
  private release(token: number, outcome: 0 | 1, restMs = 0): void {
    const request = new ReleaseRequest(this.fullKey, token, outcome, restMs)
    this.connection.request(request).catch(() => undefined)
  }
}

/** Whether an entry that has expired may still be given, by the grace that the caller allows. */
export function isWithinGrace(found: Lookup, graceMs: number): boolean {
  return graceMs > 0 && wallMs() < found.expiresAtMs + graceMs
}
