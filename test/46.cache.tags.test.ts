/** Tags, grace and versions in the segment: what an entry carries beside its value, seen by main and by whoever maps it.
 *  Owns:   nothing.   Thread: main of a test process, on a clock of its own.
 *  Holds:  the model has what was stored with which tags; a tag that shares a counter may end more, never less. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { areTagsCurrent, FLAG, TAG_COUNT_MAX, versionOf } from '../engine/cache/segment.ts'
import { Extras, TagCounters } from '../engine/cache/tags.ts'
import { hashKey } from '../engine/hash.ts'
import { FULL, randomTest } from './helpers/random.ts'
import { Tier1, walk } from './helpers/tier1.ts'

interface With {
  readonly tags?: readonly string[]
  readonly graceMs?: number
  readonly expiresAtMs?: number
  readonly version?: number
}

class Tagged extends Tier1 {
  readonly counters = new TagCounters(this.segment)
  private readonly extras = new Extras()

  put(key: string, value: Buffer, given: With = {}): boolean {
    const { tags = [], graceMs = 0, expiresAtMs = Infinity, version = 1 } = given
    const extras = this.extras.reset()
    extras.graceMs = graceMs
    for (const tag of tags) extras.addTag(this.counters, hashOf(tag))
    const { memory } = this
    const bytes = Buffer.from(key)
    const hash = memory.hash(bytes, 0, bytes.length)
    const end = value.length
    return memory.set(hash, bytes, 0, bytes.length, value, 0, end, expiresAtMs, version, extras)
  }

  /** The entry of a key, fresh or in its grace, as another process would look at it. */
  look(key: string): number {
    const bytes = Buffer.from(key)
    const { memory, nowMs } = this
    return memory.look(memory.hash(bytes, 0, bytes.length), bytes, 0, bytes.length, nowMs)
  }

  invalidate(tag: string): void {
    this.counters.bump(hashOf(tag))
  }
}

function hashOf(tag: string): number {
  const bytes = Buffer.from(tag)
  return hashKey(0, bytes, 0, bytes.length)
}

const VALUE = Buffer.from('value')

describe('a tag', () => {
  test('ends its entries at once, and those stored afterwards are there', () => {
    const tier = new Tagged(65_536)
    tier.put('a', VALUE, { tags: ['x', 'y'] })
    tier.put('b', VALUE, { tags: ['y'] })
    tier.put('c', VALUE)
    tier.invalidate('x')
    assert.equal(tier.get('a'), undefined)
    assert.deepEqual(tier.get('b'), VALUE)
    tier.put('a', VALUE, { tags: ['x'] })
    tier.invalidate('y')
    assert.deepEqual(tier.get('a'), VALUE)
    assert.equal(tier.get('b'), undefined)
    assert.deepEqual(tier.get('c'), VALUE)
    assert.equal(tier.memory.stats().invalidations, 2)
    assert.equal(walk(tier).size, 2, 'what was met is gone')
  })

  test('is checked in memory that another process maps, whatever stands there', () => {
    const tier = new Tagged(65_536)
    tier.put('a', Buffer.alloc(7), { tags: ['x', 'y', 'z'] })
    const entry = tier.look('a')
    const mapped = new Int32Array(tier.segment.words.buffer)
    assert.equal(areTagsCurrent(mapped, entry), true)
    tier.invalidate('y')
    assert.equal(areTagsCurrent(mapped, entry), false)
    const torn = mapped.slice()
    for (let at = entry >> 2; at < (entry >> 2) + 24; at++) {
      for (const junk of [-1, 0x7fff_ffff, -0x8000_0000, 1 << 20]) {
        torn[at] = junk
        areTagsCurrent(torn, entry)
      }
    }
    for (const place of [0, -8, 65_528, 2 ** 31 - 8]) areTagsCurrent(torn, place)
  })

  test('that is invalidated is removed by the sweep', () => {
    const tier = new Tagged(65_536)
    for (let i = 0; i < 50; i++) tier.put(`k${i}`, VALUE, { tags: [i % 2 === 0 ? 'even' : 'odd'] })
    tier.invalidate('odd')
    assert.equal(tier.memory.sweep(1_000, tier.nowMs), 25)
    assert.equal(walk(tier).size, 25)
  })

  test('costs an entry without tags nothing: not a byte, not a flag', () => {
    const plain = new Tagged(65_536)
    plain.set('a', VALUE)
    const { bytes } = plain.memory.stats()
    const tagged = new Tagged(65_536)
    tagged.put('a', VALUE, { tags: [] })
    assert.equal(tagged.memory.stats().bytes, bytes)
    assert.equal(tagged.segment.words[(tagged.look('a') + 8) >> 2]! & FLAG.all, 0)
    tagged.put('a', VALUE, { tags: ['x'] })
    assert.ok(tagged.memory.stats().bytes > bytes)
  })

  test('may be one of many on an entry', () => {
    const tier = new Tagged(65_536)
    const tags = Array.from({ length: TAG_COUNT_MAX }, (_, i) => `t${i}`)
    tier.put('a', VALUE, { tags })
    assert.deepEqual(tier.get('a'), VALUE)
    tier.invalidate(tags.at(-1)!)
    assert.equal(tier.get('a'), undefined)
  })
})

test('a version has 53 bits, and changes with each store', () => {
  const tier = new Tagged(65_536)
  for (const version of [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 1.79e15, Number.MAX_SAFE_INTEGER]) {
    tier.put('a', VALUE, { version, tags: ['x'], graceMs: 5 })
    assert.equal(versionOf(tier.segment.words, tier.look('a')), version)
    assert.deepEqual(tier.get('a'), VALUE)
  }
})

test('grace keeps an entry past its end, for look() alone, and then it goes', () => {
  const tier = new Tagged(65_536)
  tier.put('a', VALUE, { expiresAtMs: 2_000, graceMs: 500 })
  tier.nowMs = 2_000
  assert.equal(tier.get('a'), undefined)
  assert.notEqual(tier.look('a'), 0)
  assert.equal(tier.memory.graceMs(tier.look('a')), 500)
  assert.equal(tier.memory.sweep(10, tier.nowMs), 0)
  tier.nowMs = 2_500
  assert.equal(tier.look('a'), 0)
  assert.equal(tier.memory.sweep(10, tier.nowMs), 1)
  assert.equal(walk(tier).size, 0)
})

test('retime moves the end and nothing else', () => {
  const tier = new Tagged(65_536)
  tier.put('a', VALUE, { expiresAtMs: 2_000, version: 77, tags: ['x'] })
  tier.memory.retime(tier.look('a'), 9_000)
  tier.nowMs = 8_000
  assert.deepEqual(tier.get('a'), VALUE)
  assert.equal(tier.memory.versionOf(tier.look('a')), 77)
  tier.invalidate('x')
  assert.equal(tier.get('a'), undefined)
})

test('a scan shows every entry that stays once, while others come and go', () => {
  const tier = new Tagged(1 << 18)
  for (let i = 0; i < 300; i++) tier.put(`k${i}`, VALUE, { version: i })
  const scan = tier.memory.beginScan()
  const seen = new Set<number>()
  let turn = 0
  while (
    tier.memory.scan(scan, 10, entry => {
      const version = tier.memory.versionOf(entry)
      assert.ok(!seen.has(version), `version ${version} twice`)
      seen.add(version)
      return version % 3 === 0
    })
  ) {
    // The entry that would come next goes, and a new one comes.
    tier.delete(`k${turn * 10 + 10}`)
    tier.put(`new${turn}`, VALUE, { version: 1_000 + turn })
    turn++
  }
  tier.memory.endScan(scan)
  const left = walk(tier)
  for (let i = 0; i < 300; i++) {
    const wasDeleted = i % 10 === 0 && i > 0
    if (!wasDeleted) assert.ok(seen.has(i), `k${i} was shown`)
    if (!wasDeleted) assert.equal(left.has(`k${i}`), i % 3 !== 0, `k${i}`)
  }
})

randomTest('random stores, tags, ends and evictions agree with a Map', {}, random => {
  const tier = new Tagged(65_536, { valueBytesMax: 4_000 }, random.next())
  const tags = ['x', 'y', 'z', 'u', 'v']
  const held = new Map<string, { value: Buffer; given: Required<With> }>()
  for (let step = 0; step < (FULL ? 100_000 : 6_000); step++) {
    const key = `k${random.below(200)}`
    const action = random.below(10)
    if (action < 5) {
      const value = random.bytes(random.below(random.chance(0.1) ? 4_000 : 100))
      const given = {
        tags: tags.filter(() => random.chance(0.3)),
        graceMs: random.pick([0, 0, 500]),
        expiresAtMs: random.chance(0.5) ? Infinity : tier.nowMs + random.below(1_000),
        version: step,
      }
      tier.put(key, value, given)
      held.set(key, { value, given })
    } else if (action < 8) {
      const value = tier.get(key)
      const expected = held.get(key)
      if (value !== undefined) {
        assert.deepEqual(value, expected!.value)
        assert.ok(expected!.given.expiresAtMs > tier.nowMs)
        assert.equal(tier.memory.versionOf(tier.look(key)), expected!.given.version)
      }
      const entry = tier.look(key)
      if (entry !== 0) assert.equal(tier.memory.graceMs(entry), expected!.given.graceMs)
    } else if (action < 9) {
      const tag = random.pick(tags)
      tier.invalidate(tag)
      for (const [name, { given }] of held) if (given.tags.includes(tag)) held.delete(name)
    } else tier.memory.sweep(20, tier.nowMs)
    tier.nowMs += random.below(10)
    if (step % 50 === 0) {
      for (const name of walk(tier).keys()) {
        const isGiven = tier.look(name) !== 0
        assert.ok(!isGiven || held.has(name), `${name} was invalidated`)
      }
    }
  }
})
