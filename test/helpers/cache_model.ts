/** cache_model: takes random steps on both tiers, and compares all that is read with what is known of each key (cache_facts.ts).
 *  Owns:   Date while it runs, a stand, a folder.   Not here: which steps there are and how often (cache_steps.ts).
 *  Thread: main of a test process.
 *  Holds:  (1) a step ends before the next begins, but for those of a crowd.  (2) a request fails with UNAVAILABLE or not at all. */

import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Cache } from '../../engine/client/cache.ts'
import type { HearthError } from '../../engine/errors.ts'
import { CacheFacts, type Held, type Value } from './cache_facts.ts'
import { CacheStand } from './cache_stand.ts'
import { type Fate, KEYS, type Key, type SetStep, type Step, type Tag } from './cache_steps.ts'
import { temporaryFolder } from './sqlite.ts'

const Database = createRequire(import.meta.url)('better-sqlite3') as typeof import('better-sqlite3')

const INCREMENT = 1_000_000

export class CacheModel {
  stand: CacheStand
  readonly folder = temporaryFolder()
  private readonly facts = new CacheFacts()
  private locker: import('better-sqlite3').Database | undefined
  /** Since when versions must have grown. */
  private lastVersion = 0

  constructor() {
    mock.timers.enable({ apis: ['Date'], now: this.facts.nowMs })
    this.stand = this.open()
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case 'set':
        return this.set(step.key, step)
      case 'crowd':
        return this.crowd(step.sets, step.fate)
      case 'cas':
        return this.compareAndSet(step.key, step.isRight, step.tags)
      case 'setMany':
        return this.setMany(step.sets)
      case 'delete':
        return this.delete(step.key)
      case 'deleteMany':
        return this.delete('a', 'c:1')
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
        this.facts.invalidated(
          held => held.tags.some(tag => step.tags.includes(tag)),
          await this.attempt(() => this.cache.invalidateTags(step.tags)),
        )
        return
      case 'invalidatePattern': {
        const { glob } = step
        const isMeant = (name: Key) => glob === '*' || name.startsWith(glob.replace('*', ''))
        // A namespace is cleared by a pattern of its own.
        const ask = () =>
          glob === 'c:*' ? this.cache.namespace('c').clear() : this.cache.invalidatePattern(glob)
        this.facts.invalidated((_held, name) => isMeant(name), await this.attempt(ask))
        return
      }
      case 'wait':
        this.facts.nowMs += step.ms
        mock.timers.setTime(this.facts.nowMs)
        return
      case 'lock':
        this.lock()
        return
      case 'unlock':
        this.unlock()
        await this.stand.retryUnfinished()
        return
      case 'killWorker':
        this.killWorker()
        return
      case 'failCommit':
        this.failCommit()
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
    rmSync(this.folder, { recursive: true, force: true })
  }

  private get cache() {
    return this.stand.client
  }

  private open(): CacheStand {
    return new CacheStand({
      folder: this.folder,
      segmentBytes: 1 << 17,
      // No power fails here, so nothing waits for a disk.
      store: {
        busyTimeoutMs: 0,
        flushIntervalMs: 3_600_000,
        maxBytes: 4 << 20,
        synchronous: 'OFF',
      },
    })
  }

  private async set(name: Key, step: SetStep): Promise<void> {
    const { held, options } = this.facts.holdingBy(step)
    const { cache, key } = this.faceOf(name)
    const isDone = await this.attempt(() => cache.set(key, held.value, options))
    this.wrote(name, held, isDone, step.isBehind)
  }

  private async setMany(steps: readonly SetStep[]): Promise<void> {
    const written = steps.map(step => ({ step, ...this.facts.holdingBy(step) }))
    const entries = written.map(({ step, held, options }) => {
      return { key: step.key, value: held.value, ...options }
    })
    const isDone = await this.attempt(() => this.cache.setMany(entries))
    for (const { step, held } of written) this.wrote(step.key, held, isDone, step.isBehind)
  }

  /** Many at once, that meet the end of their worker, or a COMMIT that fails, before any is answered. */
  private async crowd(steps: readonly SetStep[], fate: Fate): Promise<void> {
    this.stand.isStalled = true
    const all = Promise.all(steps.map(step => this.set(step.key, step)))
    await turn()
    if (fate === 'workerDies') this.killWorker()
    else if (fate === 'commitFails') this.failCommit()
    this.stand.isStalled = false
    await all
    // Some were acknowledged only after that, by the engine alone.
    if (fate !== 'answered') this.facts.lostBehind()
  }

  private async compareAndSet(name: Key, isRight: boolean, given: Tag[]): Promise<void> {
    const { cache, key } = this.faceOf(name)
    const found = await cache.lookup<Value>(key)
    this.facts.check(name, found?.value)
    if (found !== undefined) this.noteVersion(found.version)
    const held = this.facts.holding(given, 1_000, 0)
    const ifVersion = isRight ? (found?.version ?? 0) : (found?.version ?? 0) + 1
    let isStored = false
    const isDone = await this.attempt(async () => {
      isStored = await cache.set(key, held.value, { ifVersion, ttlMs: 1_000, tags: given })
    })
    if (!isDone) return this.wrote(name, held, false, false)
    if (isStored) {
      assert.ok(isRight, `${name} was not of that version`)
      return this.wrote(name, held, true, false)
    }
    // What was a miss to the look-up may be there for the condition: only where something went wrong, or was evicted.
    assert.ok(
      !isRight || (found === undefined && !this.facts.isThere(name)),
      `${name} was of that version`,
    )
  }

  private async delete(...names: Key[]): Promise<void> {
    const isDone = await this.attempt(() => this.cache.delete(...names))
    for (const name of names) this.facts.deleted(name, isDone)
  }

  private async increment(name: Key): Promise<void> {
    const { cache, key } = this.faceOf(name)
    this.facts.check(name, await cache.get<Value>(key))
    const add = () => cache.increment(key, INCREMENT, { ttlMs: 1_000 })
    let sum: number | undefined
    let isRefused = false
    const isDone = await this.attempt(async () => {
      sum = await add().catch((error: HearthError) => {
        if (error.code !== 'BAD_REQUEST') throw error
        isRefused = true
        return undefined
      })
    })
    const live = this.facts.live(name)
    const sums = live.flatMap(held =>
      typeof held.value === 'number' ? [{ ...held, value: held.value + INCREMENT }] : [],
    )
    const fresh = { ...this.facts.holding([], 1_000, 0), value: INCREMENT }
    if (isRefused) {
      assert.ok(sums.length < live.length, `${name} holds a number, and was refused`)
    } else if (!isDone) {
      this.facts.mayBe(name, ...sums, fresh)
    } else {
      const held = sums.find(({ value }) => value === sum)
      assert.ok(held !== undefined || sum === INCREMENT, `${name}: the sum is ${sum}`)
      this.wrote(name, held ?? fresh, true, false)
    }
  }

  private async touch(name: Key): Promise<void> {
    const { cache, key } = this.faceOf(name)
    let wasThere = false
    const isDone = await this.attempt(async () => {
      wasThere = await cache.touch(key, 500)
    })
    const longer = this.facts.longer(name, 500)
    if (!isDone) this.facts.mayBe(name, ...longer)
    else if (wasThere) this.facts.is(name, longer)
    else assert.ok(!this.facts.isThere(name), `${name} was not there to be touched`)
  }

  private async read(name: Key): Promise<void> {
    const { cache, key } = this.faceOf(name)
    this.facts.check(name, await cache.get<Value>(key))
    const found = await cache.lookup<Value>(key)
    this.facts.check(name, found?.value)
    if (found !== undefined) this.noteVersion(found.version)
    const stale = await cache.lookup<Value>(key, { stale: true })
    if (stale !== undefined) this.facts.checkStale(name, stale.value)
    assert.equal(await cache.has(key), found !== undefined)
    const leftMs = await cache.ttl(key)
    assert.equal(leftMs !== undefined, found !== undefined)
    if (leftMs !== undefined) this.facts.checkTime(name, leftMs)
    await cache.explain(key)
  }

  private async readMany(): Promise<void> {
    const found = await this.cache.getMany<Value>([...KEYS, ...KEYS])
    for (const [i, name] of [...KEYS, ...KEYS].entries()) this.facts.check(name, found[i])
  }

  private async listKeys(): Promise<void> {
    // An invalidation that failed is honoured by reads; a list is not checked against it.
    if (this.facts.isOwing) return
    const listed = (await Array.fromAsync(this.cache.keys('[abc]*'))) as Key[]
    for (const name of listed) assert.ok(this.facts.mayBeListed(name), `${name} is listed`)
  }

  private async restart(isKilled: boolean): Promise<void> {
    this.unlock()
    if (!isKilled) await this.stand.retryUnfinished()
    if (isKilled) this.stand.killWorker()
    this.stand.close()
    this.stand = this.open()
    for (const name of this.facts.begunAnew(isKilled)) {
      // What is there after all is taken as it is.
      const found = await this.cache.lookup<Value>(name, { stale: true })
      this.facts.found(name, found?.value, found?.expiresAtMs ?? 0)
    }
  }

  private wrote(name: Key, held: Held, isDone: boolean, isBehind: boolean): void {
    const isWell = this.locker === undefined && !this.wasToFail
    this.facts.wrote(name, held, isDone, isBehind, isWell)
  }

  /** When the last request was sent, a COMMIT was to fail. */
  private wasToFail = false

  /** Some are always used through a namespace. */
  private faceOf(name: Key): { cache: Cache; key: string } {
    if (name !== 'c:2') return { cache: this.cache, key: name }
    return { cache: this.cache.namespace('c'), key: '2' }
  }

  private noteVersion(version: number): void {
    assert.ok(Number.isSafeInteger(version) && version > 0)
    this.lastVersion = Math.max(this.lastVersion, version)
  }

  /** Whether it was acknowledged. */
  private async attempt(ask: () => Promise<unknown>): Promise<boolean> {
    this.wasToFail = this.stand.isToFail
    try {
      await ask()
      return true
    } catch (error) {
      assert.equal((error as HearthError).code, 'UNAVAILABLE', String((error as Error).stack))
      if (!this.stand.isStalled) await this.stand.untilAnswered()
      return false
    }
  }

  private killWorker(): void {
    this.stand.killWorker()
    this.facts.lostBehind()
  }

  private failCommit(): void {
    this.facts.doubtKept()
    this.stand.failCommits(1)
  }

  private lock(): void {
    if (this.locker !== undefined) return
    this.facts.doubtKept()
    const locker = new Database(`${this.folder}/cache.sqlite`)
    locker.exec('begin immediate')
    this.locker = locker
  }

  private unlock(): void {
    this.stand.failCommits(0)
    this.locker?.exec('rollback')
    this.locker?.close()
    this.locker = undefined
  }
}
