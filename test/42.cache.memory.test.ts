/** Memory: against a Map with expiry times, every invariant checked after every step.
 *  Owns:   nothing.   Thread: main of a test process, on a clock of its own.
 *  Holds:  what the tier has is what the Map has; what it lacks was evicted or expired, and counted as such. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FULL, type Random, randomTest } from './helpers/random.ts'
import { type Held, Tier1, walk } from './helpers/tier1.ts'

interface Shape {
  readonly name: string
  readonly bytes: number
  readonly keyCount: number
  readonly valueBytesMax: number
  readonly entryCountMax?: number
  readonly steps: number
}

const SHAPES: readonly Shape[] = [
  {
    name: 'few small entries, no eviction',
    bytes: 65_536,
    keyCount: 40,
    valueBytesMax: 300,
    steps: 6_000,
  },
  {
    name: 'mixed sizes, eviction all the time',
    bytes: 65_536,
    keyCount: 300,
    valueBytesMax: 6_000,
    steps: 6_000,
  },
  {
    name: 'tiny entries, the index full before the storage',
    bytes: 65_536,
    keyCount: 2_000,
    valueBytesMax: 8,
    steps: 4_000,
  },
  {
    name: 'at most 10 entries',
    bytes: 65_536,
    keyCount: 50,
    valueBytesMax: 2_000,
    entryCountMax: 10,
    steps: 4_000,
  },
  {
    name: 'at most 1 entry',
    bytes: 65_536,
    keyCount: 5,
    valueBytesMax: 2_000,
    entryCountMax: 1,
    steps: 2_000,
  },
]

for (const shape of SHAPES) {
  randomTest(`random operations agree with a Map: ${shape.name}`, {}, random =>
    new Model(shape, random).run(),
  )
}

class Model {
  private readonly tier: Tier1
  private readonly held = new Map<string, Held>()
  private readonly shape: Shape
  private readonly random: Random

  constructor(shape: Shape, random: Random) {
    this.shape = shape
    this.random = random
    const { valueBytesMax, entryCountMax } = shape
    this.tier = new Tier1(shape.bytes, { valueBytesMax, entryCountMax }, random.next())
  }

  run(): void {
    for (let step = 0; step < this.shape.steps * (FULL ? 20 : 1); step++) {
      const before = this.tier.memory.stats()
      this.step()
      this.settle(before)
      this.tier.nowMs += this.random.below(20)
    }
  }

  private step(): void {
    const { random, tier, held } = this
    const key = `k${random.below(this.shape.keyCount)}`
    const action = random.below(100)
    if (action < 45) return this.set(key)
    if (action < 80) {
      const expected = held.get(key)
      const isLive = expected !== undefined && expected.expiresAtMs > tier.nowMs
      assert.deepEqual(tier.get(key), isLive ? expected.value : undefined)
      return
    }
    if (action < 90) {
      assert.equal(tier.delete(key), held.delete(key))
      return
    }
    if (action < 95) {
      assert.equal(tier.has(key), held.has(key))
      return
    }
    const removed = tier.memory.sweep(random.between(1, 50), tier.nowMs)
    assert.ok(removed >= 0)
  }

  private set(key: string): void {
    const { random, tier, held, shape } = this
    // One in a hundred is one byte too large, or more.
    const bytes = random.chance(0.01)
      ? shape.valueBytesMax + random.between(1, 60)
      : random.below(shape.valueBytesMax + 1)
    const value = random.bytes(bytes)
    const expiresAtMs = random.chance(0.3) ? Infinity : tier.nowMs + random.below(2_000)
    const isKept = tier.set(key, value, expiresAtMs)
    assert.equal(isKept, bytes <= tier.memory.valueBytesMax)
    held.delete(key)
    if (isKept) held.set(key, { value, expiresAtMs })
    assert.equal(tier.has(key), isKept, 'a value just set is there, and none when it is too large')
  }

  /** Compares all that there is; what is missing must have been counted. */
  private settle(before: { evictions: number; expirations: number }): void {
    const { tier, held, shape } = this
    const found = walk(tier)
    for (const [key, entry] of found) assert.deepEqual(entry, held.get(key), `entry ${key}`)
    let goneCount = 0
    let expiredCount = 0
    for (const [key, entry] of held) {
      if (found.has(key)) continue
      held.delete(key)
      goneCount++
      if (entry.expiresAtMs <= tier.nowMs) expiredCount++
    }
    const { evictions, expirations, entries } = tier.memory.stats()
    assert.equal(goneCount, evictions - before.evictions + expirations - before.expirations)
    assert.ok(expirations - before.expirations <= expiredCount, 'only the expired count as expired')
    if (shape.entryCountMax !== undefined) assert.ok(entries <= shape.entryCountMax)
  }
}

describe('expiry', () => {
  test('an entry is there up to its time, and not at it', () => {
    const tier = new Tier1(65_536)
    tier.set('a', Buffer.from('1'), 2_000)
    tier.nowMs = 1_999
    assert.ok(tier.get('a'))
    tier.nowMs = 2_000
    assert.equal(tier.get('a'), undefined)
    assert.equal(tier.has('a'), false, 'the get took it away')
    assert.equal(tier.memory.stats().expirations, 1)
  })

  test('the sweep goes round all entries in bounded steps, and removes the expired alone', () => {
    const tier = new Tier1(1 << 20)
    for (let i = 0; i < 1_000; i++)
      tier.set(`k${i}`, Buffer.alloc(10), i % 3 === 0 ? 500 : Infinity)
    let removed = 0
    for (let turn = 0; turn < 20; turn++) {
      const found = tier.memory.sweep(50, tier.nowMs)
      assert.ok(found <= 50)
      removed += found
    }
    assert.equal(removed, 334)
    assert.equal(walk(tier).size, 666)
    assert.equal(tier.memory.sweep(10_000, tier.nowMs), 0)
  })

  test('the sweep goes on when the entry it would look at next is removed', () => {
    const tier = new Tier1(65_536)
    for (const key of ['a', 'b', 'c', 'd']) tier.set(key, Buffer.alloc(4), 500)
    assert.equal(tier.memory.sweep(1, tier.nowMs), 1)
    tier.delete('b')
    tier.set('b', Buffer.alloc(4), 500)
    assert.equal(tier.memory.sweep(10, tier.nowMs), 3)
    assert.equal(walk(tier).size, 0)
  })

  test('a sweep of an empty tier finds nothing', () => {
    assert.equal(new Tier1(65_536).memory.sweep(10, 1), 0)
  })
})

describe('sequences', () => {
  test('grow with every change of a slot, and are even between operations, past 2^31 too', () => {
    const tier = new Tier1(65_536)
    const first = tier.segment.slotsAt >> 2
    for (let slot = 0; slot < tier.segment.slotCount; slot++)
      tier.segment.words[first + slot * 4] = 0x7fff_fff8
    for (let i = 0; i < 40; i++) {
      tier.set('a', Buffer.alloc(i))
      walk(tier)
      if (i % 3 === 0) tier.delete('a')
      walk(tier)
    }
    const changed = tier.segment.words.filter(
      (word, at) => at >= first && (at - first) % 4 === 0 && word < 0,
    )
    assert.ok(changed.length > 0, 'the sequence went over')
  })
})

test('two keys with the same hash live side by side, and deleteHash takes both', () => {
  const { memory, segment } = new Tier1(65_536)
  const value = Buffer.from('v')
  const keys = [Buffer.from('one'), Buffer.from('two')]
  for (const key of keys) memory.set(42, key, 0, 3, value, 0, 1, Infinity)
  for (const key of keys) assert.notEqual(memory.get(42, key, 0, 3, 0), 0)
  assert.equal(memory.get(42, Buffer.from('six'), 0, 3, 0), 0)
  assert.ok(segment.slotCount > 2)
  memory.deleteHash(42)
  assert.equal(memory.stats().entries, 0)
})

test('the seed of a boot changes where keys stand, not what is found', () => {
  const places = [1, 2, 0xffff_ffff, -1].map(seed => {
    const tier = new Tier1(65_536, {}, seed)
    for (let i = 0; i < 100; i++) tier.set(`key${i}`, Buffer.from([i]))
    for (let i = 0; i < 100; i++) assert.deepEqual(tier.get(`key${i}`), Buffer.from([i]))
    walk(tier)
    return tier.memory.hash(Buffer.from('key0'), 0, 4)
  })
  assert.equal(new Set(places).size, 3, '2^32 - 1 and -1 are the same seed')
})
