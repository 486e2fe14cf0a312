/** crash_load: every kind of write to a cache whose engine is killed at some moment, and what may be found of each key then.
 *  Owns:   what is known of its keys.   Not here: the engine and its death (90.crash.kill).
 *  Thread: main of a test process, which is also one of those that read in place.
 *  Holds:  (1) only one stream writes a key, one request after another: what was acknowledged is known, what was on its way at the
 *          kill may have happened or not, and a batch as a whole.  (2) what was acknowledged with durability memory may be lost to
 *          what was acknowledged before it, and to nothing older.  (3) times are the wall clock's, as they are the engine's. */

import assert from 'node:assert/strict'
import type { SetOptions } from '../../engine/client/cache.ts'
import type { Hearth, HearthError } from '../../engine/client/index.ts'
import type { Random } from './random.ts'

/** A value that a key may have, and when it ends: not before `fromMs`, nor after `byMs`. */
interface Held {
  readonly text: string
  readonly fromMs: number
  readonly byMs: number
  readonly isTagged: boolean
}
const MISS = undefined
type Outcome = Held | typeof MISS

interface Known {
  /** What a reader may be given now: more than one while a write is on its way. */
  live: Outcome[]
  /** What the file may have in its place, once the engine has died. */
  onDisk: Outcome[]
}

const KEYS_PER_STREAM = 20
const BATCH = 5
const PEEKS_PER_STEP = 20
/** Clocks are cut to milliseconds. */
const CLOCK_MS = 3

/** Counts what was acknowledged, and which value had which version. */
export class CrashLedger {
  readonly acknowledged = new Map<string, number>()
  peekHits = 0
  private readonly ofVersion = new Map<number, string>()

  get total(): number {
    return [...this.acknowledged.values()].reduce((sum, count) => sum + count, 0)
  }

  count(what: string): void {
    this.acknowledged.set(what, (this.acknowledged.get(what) ?? 0) + 1)
  }

  sawVersion(version: number, key: string, value: unknown): void {
    const what = `${key} ${String(value).slice(0, 40)}`
    const before = this.ofVersion.get(version)
    assert.ok(before === undefined || before === what, `${version} is ${before}, and ${what}`)
    this.ofVersion.set(version, what)
  }
}

/** One stream's own keys, tag and counter. */
export class CrashStream {
  /** The engine is being killed, or is dead: requests fail from now on, and not before. */
  isOver = false
  private readonly name: string
  private readonly ledger: CrashLedger
  private readonly known = new Map<string, Known>()
  private batch: { keys: readonly string[]; texts: ReadonlySet<string> } | undefined
  private sum = 0
  private isSumSure = true
  private nextValue = 1
  private client!: Hearth
  private random!: Random

  constructor(number: number, ledger: CrashLedger) {
    this.name = `s${number}`
    this.ledger = ledger
    for (let i = 0; i < KEYS_PER_STREAM; i++)
      this.known.set(`${this.name}:${i}`, { live: [MISS], onDisk: [] })
  }

  /** Works until the engine is gone. `reader`: another client, that reads every stream's keys in place. */
  async run(
    client: Hearth,
    reader: Hearth,
    all: readonly CrashStream[],
    random: Random,
  ): Promise<void> {
    this.client = client
    this.random = random
    this.isOver = false
    this.batch = undefined
    try {
      for (;;) {
        await this.step()
        for (let i = 0; i < PEEKS_PER_STEP; i++) random.pick(all).peek(reader, random)
      }
    } catch (error) {
      if (!/^(UNAVAILABLE|TIMEOUT|CLOSED)$/.test((error as HearthError).code)) throw error
      assert.ok(this.isOver, `an error before the kill: ${error}`)
    }
  }

  /** Nothing is read in place from an engine that is dead. */
  checkNothingInPlace(reader: Hearth): void {
    for (const key of this.known.keys()) assert.equal(reader.cache.peek(key), undefined, key)
  }

  /** Compares what the next engine has with what may be there, and takes it as known from then on. */
  async check(client: Hearth): Promise<void> {
    const { cache } = client
    const keys = [...this.known.keys()]
    const startMs = Date.now()
    const found = await cache.getMany<string>(keys)
    for (const [i, key] of keys.entries()) {
      const known = this.known.get(key)!
      const may = [...known.live, ...known.onDisk]
      known.live = this.admit(key, found[i], startMs, may)
      known.onDisk = []
    }
    this.checkBatch(keys, found)
    await this.checkSum(client)
    const key = this.random.pick(keys)
    const entry = await cache.lookup<string>(key)
    if (entry !== undefined) this.ledger.sawVersion(entry.version, key, entry.value)
  }

  private async step(): Promise<void> {
    const kind = this.random.below(100)
    const key = this.pickKey()
    if (kind < 34) return this.set(key)
    if (kind < 44) return this.setMany()
    if (kind < 54) return this.delete(key)
    if (kind < 62) return this.increment()
    if (kind < 70) return this.touch(key)
    if (kind < 80) return this.compareAndSet(key)
    if (kind < 94) return this.read(key)
    if (kind < 96) return this.list()
    return this.invalidate(kind < 98)
  }

  private async set(key: string): Promise<void> {
    const { random } = this
    const isBehind = random.chance(0.35)
    const tags = random.chance(0.4) ? [this.name] : []
    const ttlMs = random.chance(0.15) ? random.between(20, 400) : 0
    const held = this.hold(key, ttlMs, tags.length > 0)
    const options: SetOptions = { ttlMs, tags, durability: isBehind ? 'memory' : 'commit' }
    const settle = this.begin(key, [held])
    await this.client.cache.set(key, held.text, options)
    settle([this.ended(held, ttlMs)], isBehind)
    this.ledger.count(isBehind ? 'sets in memory' : 'sets')
  }

  private async setMany(): Promise<void> {
    const isBehind = this.random.chance(0.2)
    const keys = [...this.known.keys()].slice(0, BATCH)
    const written = keys.map(key => this.hold(key, 0, false, this.random.pick([1, 200, 5_000])))
    const settles = keys.map((key, i) => this.begin(key, [written[i]]))
    // A batch that is kept back is written in pieces, if its keys are written again.
    if (!isBehind) this.batch = { keys, texts: new Set(written.map(({ text }) => text)) }
    const entries = keys.map((key, i) => {
      const durability = isBehind ? ('memory' as const) : ('commit' as const)
      return { key, value: written[i]!.text, ttlMs: 0, durability }
    })
    await this.client.cache.setMany(entries)
    for (const [i, settle] of settles.entries()) settle([written[i]], isBehind)
    this.batch = undefined
    this.ledger.count('batches')
  }

  private async delete(key: string): Promise<void> {
    const settle = this.begin(key, [MISS])
    await this.client.cache.delete(key)
    settle([MISS])
    this.ledger.count('deletions')
  }

  private async increment(): Promise<void> {
    this.isSumSure = false
    this.sum = (await this.client.cache.increment(`${this.name}!sum`, 1, { ttlMs: 0 }))!
    this.isSumSure = true
    this.ledger.count('increments')
  }

  private async touch(key: string): Promise<void> {
    const ttlMs = this.random.pick([30, 300, 60_000])
    const { live } = this.known.get(key)!
    const sentMs = Date.now()
    const longer = live.map(held => held && { ...held, fromMs: sentMs + ttlMs, byMs: Infinity })
    const settle = this.begin(key, longer)
    const wasThere = await this.client.cache.touch(key, ttlMs)
    if (wasThere) {
      const couldBe = live.some(held => held !== MISS && held.byMs + CLOCK_MS >= sentMs)
      assert.ok(couldBe, `${key} was touched, and is not there`)
      settle(longer.filter(held => held !== MISS).map(held => this.ended(held, ttlMs)))
    } else {
      this.admit(key, undefined, sentMs, live)
      this.known.get(key)!.live = [MISS]
    }
    this.ledger.count('touches')
  }

  private async compareAndSet(key: string): Promise<void> {
    const startMs = Date.now()
    const entry = await this.client.cache.lookup<string>(key)
    this.admit(key, entry?.value, startMs)
    if (entry !== undefined) this.ledger.sawVersion(entry.version, key, entry.value)
    const isRight = this.random.chance(0.7)
    const before = this.known.get(key)!.live
    const ifVersion = (entry?.version ?? 0) + (isRight ? 0 : 1)
    const held = this.hold(key, 0, true)
    const settle = this.begin(key, isRight ? [held] : [])
    const isStored = await this.client.cache.set(key, held.text, {
      ifVersion,
      ttlMs: 0,
      tags: [this.name],
    })
    if (!isRight) assert.equal(isStored, false, `${key} was of another version`)
    // Nobody else writes it; but it may have expired since it was looked up.
    const couldExpire = before.some(each => each !== MISS && each.fromMs <= Date.now() + CLOCK_MS)
    assert.ok(isStored || !isRight || couldExpire, `${key} was of that version`)
    if (isStored) settle([held])
    else this.known.get(key)!.live = before
    this.ledger.count('compare-and-sets')
  }

  private async read(key: string): Promise<void> {
    const startMs = Date.now()
    this.admit(key, await this.client.cache.get<string>(key), startMs)
  }

  private async list(): Promise<void> {
    const listed = new Set(await Array.fromAsync(this.client.cache.keys(`${this.name}:*`)))
    for (const [key, { live }] of this.known) {
      if (live.every(held => held !== MISS && held.fromMs === Infinity))
        assert.ok(listed.has(key), `${key} is not listed`)
      if (live.every(held => held === MISS)) assert.ok(!listed.has(key), `${key} is listed`)
    }
  }

  private async invalidate(isByTag: boolean): Promise<void> {
    const isMeant = (held: Outcome) => held !== MISS && (!isByTag || held.isTagged)
    const sure = [...this.known.values()].filter(({ live }) =>
      live.every(held => isMeant(held) && held!.fromMs === Infinity),
    )
    const settles = [...this.known].map(([key, { live, onDisk }]) => {
      const left = (outcomes: Outcome[]) => outcomes.map(held => (isMeant(held) ? MISS : held))
      const after = left(live)
      return { settle: this.begin(key, after), after, onDisk: left(onDisk) }
    })
    const count = isByTag
      ? await this.client.cache.invalidateTags([this.name])
      : await this.client.cache.invalidatePattern(`${this.name}:*`)
    assert.ok(count >= sure.length, `${count} of ${sure.length} went`)
    for (const { settle, after, onDisk } of settles) settle(after, false, onDisk)
    this.ledger.count(isByTag ? 'invalidated tags' : 'invalidated patterns')
  }

  /** A write is on its way: until it settles, what was and what will be are both right. */
  private begin(
    key: string,
    after: readonly Outcome[],
  ): (live: Outcome[], isBehind?: boolean, onDisk?: Outcome[]) => void {
    const known = this.known.get(key)!
    const before = known.live
    known.live = [...before, ...after]
    return (live, isBehind = false, onDisk = []) => {
      known.live = live
      known.onDisk = isBehind ? [...known.onDisk, ...before] : onDisk
    }
  }

  /** What a key was found with, or without, by a read that began then: its outcomes of which that can be. */
  private admit(
    key: string,
    found: string | undefined,
    startMs: number,
    may: readonly Outcome[] = this.known.get(key)!.live,
  ): Outcome[] {
    const nowMs = Date.now()
    const right = may.filter(held =>
      found === undefined
        ? held === MISS || held.fromMs <= nowMs + CLOCK_MS
        : held?.text === found && held.byMs + CLOCK_MS >= startMs,
    )
    assert.ok(right.length > 0, `${key} is ${short(found)}, and may be ${describe(may)}`)
    return found === undefined ? [MISS] : right
  }

  private peek(reader: Hearth, random: Random): void {
    if (this.isOver) return
    const key = `${this.name}:${random.below(KEYS_PER_STREAM)}`
    const startMs = Date.now()
    const found = reader.cache.peek<string>(key)
    if (found === undefined) return
    this.ledger.peekHits++
    this.admit(key, found, startMs)
  }

  private checkBatch(keys: readonly string[], found: readonly (string | undefined)[]): void {
    if (this.batch === undefined) return
    const { texts } = this.batch
    const stored = this.batch.keys.filter(key => {
      const value = found[keys.indexOf(key)]
      return value !== undefined && texts.has(value)
    })
    assert.ok([0, BATCH].includes(stored.length), `${stored} of ${BATCH} stored together`)
    this.batch = undefined
  }

  private async checkSum({ cache }: Hearth): Promise<void> {
    const sum = (await cache.get<number>(`${this.name}!sum`)) ?? 0
    if (this.isSumSure) assert.equal(sum, this.sum, `${this.name}!sum`)
    else assert.ok(sum === this.sum || sum === this.sum + 1, `${sum} after ${this.sum}`)
    this.sum = sum
    this.isSumSure = true
  }

  private pickKey(): string {
    return `${this.name}:${this.random.below(KEYS_PER_STREAM)}`
  }

  private hold(key: string, ttlMs: number, isTagged: boolean, bytes = this.anyLength()): Held {
    const fromMs = ttlMs === 0 ? Infinity : Date.now() + ttlMs
    const text = `${key} ${this.nextValue++} ${'x'.repeat(bytes)}`
    return { text, fromMs, byMs: Infinity, isTagged }
  }

  /** Some are too long for tier 1. */
  private anyLength(): number {
    return this.random.chance(0.01) ? 70_000 : this.random.pick([1, 200, 5_000])
  }

  /** The same, acknowledged: its time runs. */
  private ended(held: Held, ttlMs: number): Held {
    return ttlMs === 0 ? held : { ...held, byMs: Date.now() + ttlMs }
  }
}

function describe(may: readonly Outcome[]): string {
  return may
    .map(held => (held === MISS ? 'a miss' : `${short(held.text)} (${held.fromMs}…${held.byMs})`))
    .join(' or ')
}

function short(text: string | undefined): string {
  return text === undefined ? 'a miss' : `'${text.slice(0, 16).trim()}'`
}
