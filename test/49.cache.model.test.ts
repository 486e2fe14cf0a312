/** Random operations on both tiers against a simple model, on a clock of the test's own, while tier 2 refuses writes, its worker dies
 *  and the engine is started anew.
 *  Owns:   Date while it runs.   Thread: main of a test process.
 *  Holds:  (1) what is read is what was stored last, or a miss where one is allowed; what was deleted, invalidated or has expired is a
 *          miss. (2) where nothing went wrong and nothing was evicted, it is no miss.
 *  The model has a set of what each key may hold: one thing after a write that was acknowledged, more after one that failed. */

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { mock, test } from 'node:test'
import fc from 'fast-check'
import type { SetOptions } from '../engine/client/cache.ts'
import type { HearthError } from '../engine/errors.ts'
import { CacheStand } from './helpers/cache_stand.ts'
import { FULL, runs } from './helpers/random.ts'
import { temporaryFolder } from './helpers/sqlite.ts'

const Database = createRequire(import.meta.url)('better-sqlite3') as typeof import('better-sqlite3')

const KEYS = ['a', 'b', 'c:1', 'c:2'] as const
const TAGS = ['x', 'y', 'z'] as const
type Key = (typeof KEYS)[number]
type Tag = (typeof TAGS)[number]

/** What a key may hold. */
interface Held {
  readonly value: number
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

type Step =
  | { do: 'set'; key: Key; tags: Tag[]; ttlMs: number; graceMs: number; isBehind: boolean }
  | { do: 'cas'; key: Key; isRight: boolean; tags: Tag[] }
  | { do: 'setMany'; isBehind: boolean }
  | { do: 'delete' | 'increment' | 'read' | 'touch'; key: Key }
  | { do: 'readMany' | 'keys' | 'evict' | 'restart' | 'killWorker' | 'unlock' | 'lock' | 'kill' }
  | { do: 'invalidateTags'; tags: Tag[] }
  | { do: 'invalidatePattern'; glob: '*' | 'c:*' | 'a' }
  | { do: 'wait'; ms: number }

const key = fc.constantFrom(...KEYS)
const tags = fc.uniqueArray(fc.constantFrom(...TAGS), { maxLength: 2 })
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('set' as const),
      key,
      tags,
      ttlMs: fc.constantFrom(0, 40, 1_000),
      graceMs: fc.constantFrom(0, 0, 50),
      isBehind: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('cas' as const), key, isRight: fc.boolean(), tags }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('setMany' as const), isBehind: fc.boolean() }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'delete' as const,
        'increment' as const,
        'read' as const,
        'touch' as const,
      ),
      key,
    }),
  },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'readMany' as const,
        'readMany' as const,
        'keys' as const,
        'evict' as const,
        'evict' as const,
        'restart' as const,
        'killWorker' as const,
        'lock' as const,
        'unlock' as const,
        'kill' as const,
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('invalidateTags' as const), tags }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('invalidatePattern' as const),
      glob: fc.constantFrom('*' as const, 'c:*' as const, 'a' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 30, 60) }),
  },
)

class Model {
  stand: CacheStand
  readonly folder = temporaryFolder()
  private readonly known = new Map<Key, Known>(
    KEYS.map(name => [name, { may: [MISS], isSure: true }]),
  )
  private locker: import('better-sqlite3').Database | undefined
  private nowMs = 1_700_000_000_000
  private nextValue = 1
  /** Since when versions must have grown. */
  private lastVersion = 0

  constructor() {
    mock.timers.enable({ apis: ['Date'], now: this.nowMs })
    this.stand = this.open()
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case 'set':
        return this.set(step.key, step)
      case 'cas':
        return this.compareAndSet(step.key, step.isRight, step.tags)
      case 'setMany':
        return this.setMany(step.isBehind)
      case 'delete':
        return this.delete(step.key)
      case 'increment':
        return this.increment(step.key)
      case 'touch':
        return this.touch(step.key)
      case 'read':
        return this.read(step.key)
      case 'readMany':
        return this.readMany()
      case 'keys':
        return this.listKeys()
      case 'evict':
        this.stand.evict(...KEYS)
        return
      case 'invalidateTags':
        return this.invalidate(
          held => held.tags.some(tag => step.tags.includes(tag)),
          () => this.cache.invalidateTags(step.tags),
        )
      case 'invalidatePattern': {
        const isMeant = (name: Key) =>
          step.glob === '*' || name.startsWith(step.glob.replace('*', ''))
        return this.invalidate(
          (_held, name) => isMeant(name),
          () => this.cache.invalidatePattern(step.glob),
        )
      }
      case 'wait':
        this.nowMs += step.ms
        mock.timers.setTime(this.nowMs)
        return
      case 'lock':
        this.lock()
        return
      case 'unlock':
        this.unlock()
        await this.stand.retryUnfinished()
        return
      case 'killWorker':
        this.stand.killWorker()
        // What was kept back is gone: it, and nothing older, may be read, until the engine itself is started anew.
        for (const known of this.known.values()) known.isSure = false
        for (const name of this.behind) this.owed.add(name)
        return
      case 'restart':
        return this.restart(false)
      case 'kill':
        return this.restart(true)
    }
  }

  async end(): Promise<void> {
    this.unlock()
    await this.stand.retryUnfinished()
    for (const name of KEYS) await this.read(name)
    this.close()
  }

  close(): void {
    this.unlock()
    this.stand.close()
    mock.timers.reset()
  }

  private get cache() {
    return this.stand.client
  }

  private open(): CacheStand {
    return new CacheStand({
      folder: this.folder,
      segmentBytes: 1 << 17,
      store: { busyTimeoutMs: 0, flushIntervalMs: 3_600_000, maxBytes: 4 << 20 },
    })
  }

  private async set(name: Key, options: Extract<Step, { do: 'set' }>): Promise<void> {
    const { ttlMs, graceMs, isBehind } = options
    const held = this.holding(options.tags, ttlMs, graceMs)
    const setOptions: SetOptions = {
      ttlMs,
      graceMs,
      tags: options.tags,
      durability: isBehind ? 'memory' : 'commit',
    }
    const isDone = await this.attempt(() => this.cache.set(name, held.value, setOptions))
    this.wrote(name, held, isDone, isBehind)
  }

  private async setMany(isBehind: boolean): Promise<void> {
    const written = KEYS.slice(1).map(name => ({ name, held: this.holding([], 1_000, 0) }))
    const durability = isBehind ? 'memory' : 'commit'
    const entries = written.map(({ name, held }) => ({
      key: name,
      value: held.value,
      ttlMs: 1_000,
      durability,
    })) as Parameters<typeof this.cache.setMany>[0]
    const isDone = await this.attempt(() => this.cache.setMany(entries))
    for (const { name, held } of written) this.wrote(name, held, isDone, isBehind)
  }

  private async compareAndSet(name: Key, isRight: boolean, given: Tag[]): Promise<void> {
    const found = await this.cache.lookup<number>(name)
    this.check(name, found?.value)
    if (found !== undefined) this.noteVersion(found.version)
    const held = this.holding(given, 1_000, 0)
    const ifVersion = isRight ? (found?.version ?? 0) : (found?.version ?? 0) + 1
    let isStored = false
    const isDone = await this.attempt(async () => {
      isStored = await this.cache.set(name, held.value, { ifVersion, ttlMs: 1_000, tags: given })
    })
    const known = this.known.get(name)!
    if (!isDone) return this.wrote(name, held, false, false)
    if (isStored) {
      assert.ok(isRight, `${name} was not of that version`)
      return this.wrote(name, held, true, false)
    }
    // What was a miss to the look-up may be there for the condition: only where something went wrong, or was evicted.
    assert.ok(!isRight || (found === undefined && !known.isSure), `${name} was of that version`)
  }

  private async delete(name: Key): Promise<void> {
    const isDone = await this.attempt(() => this.cache.delete(name))
    // Also one that failed is not seen again while this engine lives; after it, it may be.
    this.known.set(name, { may: [MISS], isSure: isDone })
    if (!isDone) this.owed.add(name)
    else {
      this.owed.delete(name)
      this.behind.delete(name)
    }
  }

  private async increment(name: Key): Promise<void> {
    const before = await this.cache.get<number>(name)
    this.check(name, before)
    let sum: number | undefined
    const isDone = await this.attempt(async () => {
      sum = await this.cache.increment(name, 1_000_000, { ttlMs: 1_000 })
    })
    const known = this.known.get(name)!
    const live = this.live(name)
    if (!isDone) {
      known.may.push(...live.map(held => ({ ...held, value: held.value + 1_000_000 })))
      known.may.push({ ...this.holding([], 1_000, 0), value: 1_000_000 }, MISS)
      known.isSure = false
      return
    }
    const base = live.find(held => held.value + 1_000_000 === sum)
    const fresh = { ...this.holding([], 1_000, 0), value: 1_000_000 }
    assert.ok(base !== undefined || sum === 1_000_000, `${name}: the sum is ${sum}`)
    this.wrote(name, base === undefined ? fresh : { ...base, value: sum! }, true, false)
  }

  private async touch(name: Key): Promise<void> {
    let wasThere = false
    const isDone = await this.attempt(async () => {
      wasThere = await this.cache.touch(name, 500)
    })
    const known = this.known.get(name)!
    const live = this.live(name)
    const longer = live.map(held => ({ ...held, expiresAtMs: this.nowMs + 500 }))
    if (!isDone) {
      known.may.push(...longer, MISS)
      known.isSure = false
    } else if (wasThere) {
      assert.ok(longer.length > 0, `${name} was touched, and is not there`)
      known.may = known.isSure ? longer : [...longer, MISS]
    } else {
      assert.ok(!known.isSure || live.length === 0, `${name} was not there to be touched`)
    }
  }

  private async read(name: Key): Promise<void> {
    this.check(name, await this.cache.get<number>(name))
    const found = await this.cache.lookup<number>(name)
    this.check(name, found?.value)
    if (found !== undefined) this.noteVersion(found.version)
    const stale = await this.cache.lookup<number>(name, { stale: true })
    if (stale !== undefined) {
      const may = this.known.get(name)!.may
      const isAllowed = may.some(
        held => held?.value === stale.value && held!.expiresAtMs + held!.graceMs > this.nowMs,
      )
      assert.ok(isAllowed, `${name} is ${stale.value}, stale`)
    }
    assert.equal(await this.cache.has(name), found !== undefined)
  }

  private async readMany(): Promise<void> {
    const found = await this.cache.getMany<number>([...KEYS, ...KEYS])
    for (const [i, name] of [...KEYS, ...KEYS].entries()) this.check(name, found[i])
  }

  private async listKeys(): Promise<void> {
    // An invalidation that failed is honoured by reads; a list is not checked against it.
    if (this.isOwing) return
    const listed = (await Array.fromAsync(this.cache.keys('[abc]*'))) as Key[]
    for (const name of listed)
      assert.ok(this.owed.has(name) || this.live(name).length > 0, `${name} is listed`)
  }

  private async invalidate(
    isMeant: (held: Held, name: Key) => boolean,
    ask: () => Promise<unknown>,
  ): Promise<void> {
    const isDone = await this.attempt(ask)
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

  /** Keys whose deletion or invalidation failed: a restart may bring them back, since it was not acknowledged. */
  private readonly owed = new Set<Key>()
  private isOwing = false

  private async restart(isKilled: boolean): Promise<void> {
    this.unlock()
    if (!isKilled) await this.stand.retryUnfinished()
    if (isKilled) this.stand.killWorker()
    this.stand.close()
    this.stand = this.open()
    // What was acknowledged in memory alone may be lost, and what it stood over be back: a kill is where that is allowed.
    if (isKilled) for (const name of this.behind) this.owed.add(name)
    this.behind.clear()
    for (const [name, known] of this.known) {
      if (isKilled) known.isSure = false
      // Without an acknowledgement nothing was promised over a restart.
      if (this.owed.has(name)) this.known.set(name, { may: [], isSure: false })
    }
    for (const name of this.owed) {
      // What is there after all is taken as it is.
      const found = await this.cache.lookup<number>(name, { stale: true })
      const may: Known['may'] = [MISS]
      if (found !== undefined) {
        const { value, expiresAtMs } = found
        may.push({ value, expiresAtMs, graceMs: 50, tags: [], mayHaveTags: true })
      }
      this.known.set(name, { may, isSure: false })
    }
    this.owed.clear()
    this.isOwing = false
  }

  private wrote(name: Key, held: Held, isDone: boolean, isBehind: boolean): void {
    const known = this.known.get(name)!
    if (isDone) {
      const isSure = !this.isOwing && this.locker === undefined
      // One in memory alone may be lost with the worker, and then nothing older comes back.
      this.known.set(name, { may: isSure ? [held] : [held, MISS], isSure })
      if (!isBehind) this.owed.delete(name)
      else if (!isSure) this.owed.add(name)
      if (isBehind) this.behind.add(name)
      else this.behind.delete(name)
      return
    }
    known.may = [...known.may, held, MISS]
    known.isSure = false
    this.owed.add(name)
  }

  private readonly behind = new Set<Key>()

  private check(name: Key, value: number | undefined): void {
    const known = this.known.get(name)!
    const live = this.live(name)
    if (value === undefined) {
      assert.ok(!known.isSure || live.length === 0, `${name} is a miss, and should be found`)
      return
    }
    assert.ok(
      live.some(held => held.value === value),
      `${name} is ${value}, and may be ${JSON.stringify(known.may)} at ${this.nowMs}`,
    )
  }

  private live(name: Key): Held[] {
    return this.known
      .get(name)!
      .may.filter(held => held !== undefined && held.expiresAtMs > this.nowMs) as Held[]
  }

  private holding(given: readonly Tag[], ttlMs: number, graceMs: number): Held {
    const expiresAtMs = ttlMs === 0 ? Infinity : this.nowMs + ttlMs
    return { value: this.nextValue++, expiresAtMs, graceMs, tags: given }
  }

  private noteVersion(version: number): void {
    assert.ok(Number.isSafeInteger(version) && version > 0)
    this.lastVersion = Math.max(this.lastVersion, version)
  }

  /** Whether it was acknowledged. */
  private async attempt(ask: () => Promise<unknown>): Promise<boolean> {
    try {
      await ask()
      return true
    } catch (error) {
      assert.equal((error as HearthError).code, 'UNAVAILABLE', String((error as Error).stack))
      return false
    }
  }

  private lock(): void {
    if (this.locker !== undefined) return
    // What is kept back may now fail to be written, and is lost then.
    for (const name of this.behind) this.known.get(name)!.isSure = false
    const locker = new Database(`${this.folder}/cache.sqlite`)
    locker.exec('begin immediate')
    this.locker = locker
  }

  private unlock(): void {
    this.locker?.exec('rollback')
    this.locker?.close()
    this.locker = undefined
  }
}

const OPTIONS = { ...runs(60, 10_000), endOnFailure: false }

test(`${OPTIONS.numRuns} random runs agree with the model`, {
  timeout: FULL ? 3_600_000 : 120_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async steps => {
      const model = new Model()
      try {
        for (const each of steps) await model.take(each)
        await model.end()
      } finally {
        model.close()
      }
    }),
    OPTIONS,
  )
})
