/** Room: what fits, what is evicted for it, and how much of the storage mixed sizes can use.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  the bounds stated in the tests' names. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ENTRY } from '../engine/cache/segment.ts'
import { FULL, type Random, randomTest } from './helpers/random.ts'
import { Tier1, walk } from './helpers/tier1.ts'

/** Entries that SIEVE may choose before neighbours are taken: VICTIM_COUNT_MAX and the one the neighbours surround. */
const SIEVE_VICTIMS_MAX = 9

interface Mix {
  readonly sizeOf: (random: Random, step: number) => number
  /** Of the storage that is in use once entries are evicted: at the worst moment, and half of the time. */
  readonly leastUsed: number
  readonly medianUsed: number
}

const MIXES: Record<string, Mix> = {
  'all alike': { sizeOf: () => 100, leastUsed: 0.99, medianUsed: 0.99 },
  'nine small for one large': {
    sizeOf: random => (random.chance(0.9) ? random.below(200) : random.below(30_000)),
    leastUsed: 0.96,
    medianUsed: 0.98,
  },
  'even over the whole range': {
    sizeOf: random => random.below(60_000),
    leastUsed: 0.75,
    medianUsed: 0.92,
  },
  'in turns of small and large': {
    sizeOf: (random, step) =>
      (step >> 12) % 2 === 0 ? random.below(64) : random.between(10_000, 60_000),
    leastUsed: 0.75,
    medianUsed: 0.92,
  },
}

for (const [name, mix] of Object.entries(MIXES)) {
  const sentence = `sizes ${name}: ${mix.leastUsed * 100} % of a full storage of 4 MiB is in use at every moment`
  randomTest(sentence, {}, random => {
    const tier = new Tier1(4 << 20, { valueBytesMax: 65_536 })
    const used = usedShares(tier, mix, random).toSorted((a, b) => a - b)
    walk(tier)
    assert.ok(used.length > 100)
    assert.ok(used[0]! >= mix.leastUsed, `${used[0]} in use at the least`)
    assert.ok(
      used[used.length >> 1]! >= mix.medianUsed,
      `${used[used.length >> 1]} in use half of the time`,
    )
  })
}

function usedShares(tier: Tier1, mix: Mix, random: Random): number[] {
  const { index, storage } = tier.insides
  const used: number[] = []
  for (let step = 0; step < (FULL ? 400_000 : 40_000); step++) {
    assert.ok(tier.set(`k${step}`, Buffer.alloc(mix.sizeOf(random, step))))
    const { evictions, bytes, entries } = tier.memory.stats()
    const isFullByCount = entries >= index.countMax - 64
    if (evictions > 0 && !isFullByCount && step % 32 === 0) used.push(bytes / storage.capacityBytes)
  }
  return used
}

randomTest(
  'a value of the largest size always fits, and takes its own room, one entry and SIEVE’s nine at most',
  {},
  random => {
    const tier = new Tier1(1 << 20, { valueBytesMax: 1 << 20 })
    const { valueBytesMax } = tier.memory
    assert.equal(valueBytesMax, tier.insides.storage.capacityBytes >> 3, 'an eighth of the storage')
    for (let round = 0; round < (FULL ? 300 : 10); round++) {
      for (let i = 0; i < 4_000; i++) {
        const bytes = random.chance(0.97) ? random.below(200) : random.below(5_000)
        tier.set(`r${random.below(20_000)}`, Buffer.alloc(bytes))
      }
      const before = walk(tier)
      const evictionsBefore = tier.memory.stats().evictions
      assert.ok(tier.set('largest', Buffer.alloc(valueBytesMax, round)))
      const after = walk(tier)
      const gone = [...before].filter(([key]) => key !== 'largest' && !after.has(key))
      assert.equal(gone.length, tier.memory.stats().evictions - evictionsBefore)
      const goneBytes = gone.map(([key, { value }]) => ENTRY.keyAt + key.length + value.length)
      const sum = goneBytes.reduce((a, b) => a + b, 0)
      const need = ENTRY.keyAt + 'largest'.length + valueBytesMax
      const bound = need + need / 8 + 64 + (SIEVE_VICTIMS_MAX + 1) * Math.max(0, ...goneBytes)
      assert.ok(sum <= bound, `${sum} bytes went for ${need}`)
      tier.delete('largest')
    }
  },
)

test('an entry that a quarter of the storage cannot hold is refused, and leaves no older value behind', () => {
  const tier = new Tier1(65_536)
  const key = 'k'.repeat(60_000)
  assert.equal(tier.set(key, Buffer.alloc(1)), false)
  assert.ok(tier.set('k', Buffer.alloc(6_000)))
  assert.equal(tier.set('k', Buffer.alloc(6_700)), false)
  assert.equal(tier.has('k'), false)
})

test('a value one byte over the limit is refused, also where it would fit in place', () => {
  const tier = new Tier1(65_536, { valueBytesMax: 100 })
  assert.ok(tier.set('k', Buffer.alloc(100)))
  assert.equal(tier.set('k', Buffer.alloc(101)), false)
  assert.equal(tier.has('k'), false)
})

test('a value that shrinks to less than half gives its room back', () => {
  const tier = new Tier1(65_536)
  tier.set('k', Buffer.alloc(6_000))
  const before = tier.memory.stats().bytes
  tier.set('k', Buffer.alloc(100))
  assert.ok(tier.memory.stats().bytes < before / 10)
  assert.equal(walk(tier).size, 1)
})

test('one value of the largest size after another: the tier keeps at least six', () => {
  const tier = new Tier1(1 << 20, { valueBytesMax: 1 << 20 })
  for (let i = 0; i < 50; i++) {
    tier.set(`k${i}`, Buffer.alloc(tier.memory.valueBytesMax))
    if (i >= 7) assert.ok(tier.memory.stats().entries >= 6)
  }
})
