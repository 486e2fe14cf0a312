/** Tier 2 keeps entries: round trips, expiry, large values by parts, keys, and all of it over a restart.
 *  Owns:   temporary folders.   Thread: main of a test process.
 *  Holds:  every handler is closed. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { wallMs } from '../engine/clock.ts'
import { PART_BYTES } from '../engine/limits.ts'
import { BodyReader } from '../engine/protocol/body.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { bodyOf, optionsFor, Tier, temporaryFolder } from './helpers/sqlite.ts'

function withTier(work: (tier: Tier) => void | Promise<void>, frameBytes?: number) {
  return async () => {
    const tier = new Tier(optionsFor(temporaryFolder()), frameBytes)
    try {
      await work(tier)
      assert.equal(tier.health().state, 'ok')
    } finally {
      tier.close()
    }
  }
}

describe('an entry', () => {
  const KEYS = ['k', 'device:42', 'ü→𝄞', 'nul\0inside', 'x'.repeat(1_024), 'ü'.repeat(100)]
  const LENGTHS = [1, 25, 4_000, 5_000, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, PART_BYTES * 3]
  for (const [number, key] of KEYS.entries()) {
    test(`comes back under key shape ${number} with values of every length`, () =>
      withTier(tier => {
        for (const length of LENGTHS) {
          const value = Buffer.alloc(length, `${length}:`)
          assert.equal(tier.putNow(key, value).name, 'OK')
          assert.deepEqual(tier.getNow(key), value)
        }
        assert.equal(tier.delNow(key), 1)
        assert.equal(tier.getNow(key), undefined)
        assert.equal(tier.delNow(key), 0)
      })())
  }

  test(
    'is found by its exact key alone',
    withTier(tier => {
      tier.putNow('a\0b', Buffer.from([1]))
      assert.equal(tier.getNow('a'), undefined)
      assert.equal(tier.getNow('A\0B'), undefined)
      assert.deepEqual(tier.getNow('a\0b'), Buffer.from([1]))
    }),
  )

  test(
    'carries its expiry to tier 1, whole or fractional or never',
    withTier(tier => {
      for (const expiresAtMs of [wallMs() + 60_000, wallMs() + 0.5 + 60_000, Infinity]) {
        tier.putNow('k', Buffer.from([1]), expiresAtMs)
        const { body } = tier.ended(tier.get('k'))
        const reader = new BodyReader().reset(body, 0, body.length)
        reader.text()
        assert.equal(reader.time(), expiresAtMs)
      }
    }),
  )

  test(
    'is a miss, not deletable and not listed once it has expired',
    withTier(async tier => {
      tier.putNow('short', Buffer.from([1]), wallMs() + 200)
      tier.putNow('past', Buffer.from([1]), wallMs() - 1)
      tier.putNow('long', Buffer.from([1]), wallMs() + 60_000)
      assert.notEqual(tier.getNow('short'), undefined)
      assert.equal(tier.getNow('past'), undefined)
      await sleep(205)
      assert.equal(tier.getNow('short'), undefined)
      assert.deepEqual(tier.keysNow('*'), ['long'])
      assert.equal(tier.delNow('short'), 0)
    }),
  )

  test('is there after closing and opening, and so are its pieces', () => {
    const options = optionsFor(temporaryFolder())
    const large = Buffer.alloc(PART_BYTES * 2 + 17, 'large')
    const first = new Tier(options)
    first.putNow('small', Buffer.from('small'), wallMs() + 60_000)
    first.putNow('large', large)
    first.close()
    const second = new Tier(options)
    assert.deepEqual(second.getNow('small'), Buffer.from('small'))
    assert.deepEqual(second.getNow('large'), large)
    assert.equal(second.stats().entries, 2)
    second.putNow('large', Buffer.from('small now'))
    assert.deepEqual(second.getNow('large'), Buffer.from('small now'))
    second.close()
  })
})

describe('a large value', () => {
  const value = Buffer.alloc(PART_BYTES * 2 + 1_000, 0)
  for (let i = 0; i < value.length; i++) value[i] = (i * 31) >> 3

  test(
    'is read from any offset, in pieces of any length',
    withTier(tier => {
      tier.putNow('k', value)
      const { version, bytes } = tier.largeNow('k')
      assert.equal(bytes, value.length)
      for (const offset of [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES * 2, bytes - 1, bytes]) {
        for (const limit of [1, 1_000, PART_BYTES - 1, PART_BYTES]) {
          assert.deepEqual(
            tier.partNow('k', version, offset, limit),
            value.subarray(offset, offset + limit),
          )
        }
      }
    }),
  )

  test(
    'is absent under its old version once it was written, shrunk or deleted',
    withTier(tier => {
      for (const change of [
        () => tier.put('k', value),
        () => tier.put('k', Buffer.from('short')),
        () => tier.del('k'),
      ]) {
        tier.putNow('k', value)
        const { version } = tier.largeNow('k')
        assert.ok(tier.partNow('k', version, 0, 10))
        tier.ended(change())
        assert.equal(tier.partNow('k', version, 0, 10), undefined)
      }
    }),
  )

  test(
    'leaves no pieces behind',
    withTier(async tier => {
      for (let i = 0; i < 12; i++) tier.putNow('k', value)
      tier.putNow('k', Buffer.from('short'))
      tier.putNow('gone', value)
      tier.delNow('gone')
      await tier.settle()
      assert.ok(tier.stats().bytes! < PART_BYTES * 3, `${tier.stats().bytes} bytes`)
    }),
  )

  test('of 8 MiB goes through a bound of 16 MiB', () =>
    withTier(
      tier => {
        const huge = Buffer.alloc(8 * 1024 * 1024, 'huge')
        for (let i = 0; i < 3; i++) assert.equal(tier.putNow(`k${i}`, huge).name, 'OK')
        assert.equal(Buffer.compare(tier.getNow('k2')!, huge), 0)
        assert.ok(tier.stats().bytes! < 16 * 1024 * 1024)
      },
      9 * 1024 * 1024,
    )())

  test('that cannot fit is VALUE_TOO_LARGE, and leaves what there was', () => {
    const tier = new Tier(optionsFor(temporaryFolder(), { maxBytes: 1024 * 1024 }))
    tier.putNow('k', Buffer.from('small'))
    assert.equal(tier.putNow('k', value).error?.code, 'VALUE_TOO_LARGE')
    assert.deepEqual(tier.getNow('k'), Buffer.from('small'))
    tier.close()
  })
})

describe('keys', () => {
  test(
    'come in order, in pages, through more rows than one look takes',
    withTier(tier => {
      const all = Array.from({ length: 1_000 }, (_, i) => `device:${String(i).padStart(4, '0')}`)
      for (const key of [...all].reverse()) tier.put(key, Buffer.from([1]))
      tier.put('other', Buffer.from([1]))
      tier.put('devicf', Buffer.from([1]))
      tier.flush()
      const paged: string[] = []
      for (;;) {
        const page = tier.keysNow('device:*', paged.at(-1), 300)
        paged.push(...page)
        if (page.length < 300) break
      }
      assert.deepEqual(paged, all)
      assert.deepEqual(
        tier.keysNow('*:09?9', 'device:0949'),
        all.filter(key => /09[5-9]9$/.test(key)),
      )
      assert.deepEqual(tier.keysNow('other'), ['other'])
      assert.deepEqual(tier.keysNow('z*'), [])
    }),
  )

  test(
    'beyond the Basic Multilingual Plane page in the order of their bytes',
    withTier(tier => {
      const all = ['a', 'z', '\uff5e', '\u{1f600}', '\u{1f601}x']
      for (const key of all) tier.put(key, Buffer.from([1]))
      const paged: string[] = []
      for (let page = tier.keysNow('*', '', 1); page.length > 0; ) {
        paged.push(...page)
        page = tier.keysNow('*', page[0], 1)
      }
      assert.deepEqual(paged, all)
    }),
  )
})

test(
  'frames that are not what the table says are answered, and change nothing',
  withTier(tier => {
    for (const op of [OPS.GET, OPS.PUT, OPS.DEL, OPS.KEYS, OPS.READ_PART]) {
      for (const body of [
        Buffer.alloc(0),
        Buffer.from([0xc1]),
        Buffer.from([0xdb, 0xff]),
        bodyOf('k', 'k', 'k', 'k', 'k'),
      ]) {
        assert.equal(tier.ended(tier.sendBody(op.code, body)).error?.code, 'PROTOCOL', op.doc)
      }
    }
    assert.equal(tier.ended(tier.sendBody(0x7f, bodyOf('k'))).error?.code, 'BAD_REQUEST')
    assert.deepEqual(tier.keysNow('*'), [])
  }),
)
