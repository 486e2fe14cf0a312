/** cache_facts: what each key of a cache may hold after what was asked of it, and whether what was read agrees.
 *  Owns:   the facts, and the clock they go by.   Not here: asking (cache_model.ts).   Thread: main of a test process.
 *  Holds:  (1) what is read is what was stored last, or a miss where one is allowed; what was deleted, invalidated or has expired is a
 *          miss. (2) where nothing went wrong and nothing was evicted, it is no miss.
 *  It has a set of what each key may hold: one thing after a write that was acknowledged, more after one that failed. */

import assert from 'node:assert/strict'
import type { SetOptions } from '../../engine/client/cache.ts'
import { KEYS, type Key, type SetStep, type Tag, TIMES } from './cache_steps.ts'

/** Texts are as long as their step says; null is what is known not to be there. */
export type Value = number | string | null

/** What a key may hold. */
export interface Held {
  readonly value: Value
  /** It ends between these. */
  readonly soonestMs: number
  readonly expiresAtMs: number
  readonly graceMs: number
  readonly tags: readonly Tag[]
  /** It was found after a kill, and may have had others. */
  readonly mayHaveTags?: boolean
}
const MISS = undefined

interface Known {
  /** Possible contents; a miss is one of them. */
  may: (Held | undefined)[]
  /** It must be found, if it is live: nothing has gone wrong since it was stored. */
  isSure: boolean
}

export class CacheFacts {
  private readonly known = new Map<Key, Known>(
    KEYS.map(name => [name, { may: [MISS], isSure: true }]),
  )
  nowMs = 1_700_000_000_000
  private nextValue = 1
  /** Keys whose deletion or invalidation failed: a restart may bring them back, since it was not acknowledged. */
  private readonly owed = new Set<Key>()
  isOwing = false

  private readonly behind = new Set<Key>()
  /** Since the engine was started. */
  private readonly everBehind = new Set<Key>()

  wrote(name: Key, held: Held, isDone: boolean, isBehind: boolean, isWell: boolean): void {
    const known = this.known.get(name)!
    if (isDone) {
      const isSure = isWell && !this.isOwing
      // One in memory alone may be lost with the worker, and then nothing older comes back.
      this.known.set(name, { may: isSure ? [held] : [held, MISS], isSure })
      if (!isBehind) this.owed.delete(name)
      else if (!isSure) this.owed.add(name)
      if (isBehind) this.everBehind.add(name)
      if (isBehind) this.behind.add(name)
      else this.behind.delete(name)
      return
    }
    known.may = [...known.may, held, MISS]
    known.isSure = false
    this.owed.add(name)
  }

  deleted(name: Key, isDone: boolean): void {
    // Also one that failed is not seen again while this engine lives; after it, it may be.
    this.known.set(name, { may: [MISS], isSure: isDone })
    if (!isDone) return void this.owed.add(name)
    this.owed.delete(name)
    this.behind.delete(name)
  }

  invalidated(isMeant: (held: Held, name: Key) => boolean, isDone: boolean): void {
    for (const [name, known] of this.known) {
      if (known.may.some(held => held?.mayHaveTags)) {
        known.may.push(MISS)
        known.isSure = false
      }
      const isHit = known.may.some(held => held !== undefined && isMeant(held, name))
      if (!isHit) continue
      known.may = known.may.map(held => (held === undefined || isMeant(held, name) ? MISS : held))
      // A failed one is owed: what is stored under the tag until it is done may be ended with it.
      if (!isDone) this.owed.add(name)
    }
    if (!isDone) for (const known of this.known.values()) known.isSure = false
    if (!isDone) this.isOwing = true
  }

  /** A write that failed may have been done all the same. */
  mayBe(name: Key, ...held: readonly Held[]): void {
    const known = this.known.get(name)!
    known.may.push(...held, MISS)
    known.isSure = false
  }

  /** It was found to be one of these. */
  is(name: Key, held: readonly Held[]): void {
    assert.ok(held.length > 0, `${name} was touched, and is not there`)
    const known = this.known.get(name)!
    known.may = known.isSure ? [...held] : [...held, MISS]
  }

  /** What it may hold, with another time to live. */
  longer(name: Key, ttlMs: number): Held[] {
    const expiresAtMs = this.nowMs + ttlMs
    return this.live(name).map(held => ({ ...held, soonestMs: expiresAtMs, expiresAtMs }))
  }

  /** Another engine has the file. Gives the keys of which nothing is known then. */
  begunAnew(isKilled: boolean): Key[] {
    // What was acknowledged in memory alone may be lost, and what it stood over be back: a kill is where that is allowed.
    if (isKilled) for (const name of this.behind) this.owed.add(name)
    this.behind.clear()
    this.everBehind.clear()
    if (isKilled) for (const known of this.known.values()) known.isSure = false
    // Without an acknowledgement nothing was promised over a restart.
    const owed = [...this.owed]
    this.owed.clear()
    this.isOwing = false
    return owed
  }

  /** What a key of which nothing is known was found to hold. */
  found(name: Key, value: Value | undefined, expiresAtMs: number): void {
    const may: Known['may'] = [MISS]
    if (value !== undefined)
      may.push({
        value,
        soonestMs: expiresAtMs,
        expiresAtMs,
        graceMs: 50,
        tags: [],
        mayHaveTags: true,
      })
    this.known.set(name, { may, isSure: false })
  }

  /** What was kept back is gone: it, and nothing older, may be read, until the engine itself is started anew. */
  lostBehind(): void {
    for (const known of this.known.values()) known.isSure = false
    for (const name of this.behind) this.owed.add(name)
  }

  /** What is kept back may now fail to be written. It is lost then, and so may be what was stored over it in the meantime: the engine
   *  knows only what it has kept since it was last told that all is written. */
  doubtKept(): void {
    for (const name of this.everBehind) this.known.get(name)!.isSure = false
  }

  checkStale(name: Key, value: Value): void {
    const isAllowed = this.known
      .get(name)!
      .may.some(held => held?.value === value && held!.expiresAtMs + held!.graceMs > this.nowMs)
    assert.ok(isAllowed, `${name} is ${shown(value)}, stale`)
  }

  checkTime(name: Key, leftMs: number): void {
    const endMs = this.nowMs + leftMs
    const isRight = this.live(name).some(
      ({ soonestMs, expiresAtMs }) => endMs >= soonestMs && endMs <= expiresAtMs,
    )
    assert.ok(isRight, `${name} lives for ${leftMs} ms more`)
  }

  mayBeListed(name: Key): boolean {
    return this.owed.has(name) || this.live(name).length > 0
  }

  check(name: Key, value: Value | undefined): void {
    if (value === undefined) {
      assert.ok(!this.isThere(name), `${name} is a miss, and should be found`)
      return
    }
    const isAllowed = this.live(name).some(held => held.value === value)
    const may = () => this.known.get(name)!.may.map(held => shown(held?.value))
    assert.ok(isAllowed, `${name} is ${shown(value)}, and may be ${may()}`)
  }

  /** It must be found. */
  isThere(name: Key): boolean {
    return this.known.get(name)!.isSure && this.live(name).some(held => held.soonestMs > this.nowMs)
  }

  live(name: Key): Held[] {
    return this.known
      .get(name)!
      .may.filter(held => held !== undefined && held.expiresAtMs > this.nowMs) as Held[]
  }

  holding(given: readonly Tag[], ttlMs: number, graceMs: number): Held {
    const expiresAtMs = ttlMs === 0 ? Infinity : this.nowMs + ttlMs
    const value = this.nextValue++
    return { value, soonestMs: expiresAtMs, expiresAtMs, graceMs, tags: given }
  }

  holdingBy({ tags, time, graceMs, isBehind, textBytes }: SetStep): {
    held: Held
    options: SetOptions
  } {
    const { ttlMs = 3_600_000, laterMs = 0, options } = TIMES[time]
    const plain = this.holding(tags, ttlMs, graceMs)
    let { value } = plain
    if (time === 'negative') value = null
    else if (textBytes > 0) value = `${value}:`.padEnd(textBytes, 'x')
    const held = { ...plain, value, expiresAtMs: plain.expiresAtMs + laterMs }
    const durability = isBehind ? ('memory' as const) : ('commit' as const)
    return { held, options: { ...options, graceMs, tags, durability } }
  }
}

function shown(value: Value | undefined): string {
  return value === undefined ? 'a miss' : String(value).slice(0, 12)
}
