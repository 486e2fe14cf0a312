/** Times to live that adapt: twice as long for what is read and stays, half for what changes, always within bounds.
 *  Owns:   nothing.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AdaptiveTtl } from '../engine/cache/adaptive.ts'
import { randomTest } from './helpers/random.ts'

const BOUNDS = { minMs: 1_000, maxMs: 16_000 }

function store(ttls: AdaptiveTtl, value: string | Buffer, ttlMs = 2_000, hash = 1): number {
  const bytes = Buffer.from(value)
  return ttls.store(hash, bytes, 0, bytes.length, BOUNDS, ttlMs)
}

test('begins where it is told, and doubles only if the value stayed and was read', () => {
  const ttls = new AdaptiveTtl()
  assert.equal(store(ttls, 'a'), 2_000)
  assert.equal(store(ttls, 'a'), 2_000)
  ttls.read(1)
  assert.equal(store(ttls, 'a'), 2_000, 'one read is not often')
  for (const expected of [4_000, 8_000, 16_000, 16_000]) {
    ttls.read(1)
    ttls.read(1)
    assert.equal(store(ttls, 'a'), expected)
  }
  assert.match(ttls.explain(1)!.reason, /doubled.*upper bound/)
})

test('halves with each change, down to its bound', () => {
  const ttls = new AdaptiveTtl()
  store(ttls, '0')
  for (const [i, expected] of [1_000, 1_000].entries()) {
    ttls.read(1)
    ttls.read(1)
    assert.equal(store(ttls, `${i + 1}`), expected)
  }
  assert.equal(ttls.explain(1)!.changes, 2)
  assert.match(ttls.explain(1)!.reason, /halved.*lower bound/)
})

test('a start outside of the bounds is brought within', () => {
  assert.equal(store(new AdaptiveTtl(), 'a', 1), 1_000)
  assert.equal(store(new AdaptiveTtl(), 'a', 10 ** 9), 16_000)
  assert.equal(store(new AdaptiveTtl(), 'a', 0), 16_000, 'for ever is the most there is')
})

test('a long value is compared by its length and both ends', () => {
  const ttls = new AdaptiveTtl()
  const value = Buffer.alloc(100_000, 1)
  store(ttls, value)
  store(ttls, value)
  assert.equal(ttls.explain(1)!.changes, 0)
  value[99_999] = 2
  store(ttls, value)
  value[0] = 2
  store(ttls, value)
  store(ttls, Buffer.alloc(100_001, 1))
  assert.equal(ttls.explain(1)!.changes, 3)
})

randomTest('never leaves its bounds, and remembers a bounded number of keys', {}, random => {
  const ttls = new AdaptiveTtl()
  for (let i = 0; i < 20_000; i++) {
    const hash = random.below(5_000)
    const ttlMs = store(ttls, random.pick(['a', 'b']), random.below(50_000), hash)
    assert.ok(ttlMs >= BOUNDS.minMs && ttlMs <= BOUNDS.maxMs)
    for (let reads = random.below(4); reads > 0; reads--) ttls.read(hash)
  }
  const { states } = ttls as unknown as { states: Map<number, unknown> }
  assert.equal(states.size, 2_048)
})
