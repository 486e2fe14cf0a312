/** The cache's operations, each as its users know it: over the socket, inside the process, and both tiers in turn.
 *  Owns:   one embedded engine a kind of client.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../engine/client/index.ts'
import { type Embedded, embed } from './helpers/engine.ts'

/** Tier 1 of 24 entries: what is not asked for at once is in tier 2 alone. */
const SMALL = { memory: { maxEntries: 24 }, sqlite: { maxBytes: 64 << 20 } }

const KINDS: Record<string, (embedded: Embedded) => Promise<Hearth>> = {
  'over the socket': embedded => embedded.connect(),
  'inside the process': async embedded => {
    const client = embedded.local()
    await client.untilOpen()
    return client
  },
}

for (const [kind, clientOf] of Object.entries(KINDS)) {
  describe(`a client ${kind}`, () => {
    const endings: (() => Promise<void>)[] = []
    let hearth: Hearth
    let cache: Hearth['cache']
    before(async () => {
      const embedded = await embed({ after: end => endings.push(end) }, SMALL)
      hearth = await clientOf(embedded)
      cache = hearth.cache
    })
    beforeEach(async () => {
      await cache.clear()
    })
    after(async () => {
      for (const end of endings) await end()
    })

    /** Pushes everything out of tier 1. */
    async function evict(): Promise<void> {
      for (let i = 0; i < 60; i++) await cache.set(`filler:${i}`, i)
    }

    /** Runs a check with the key in both tiers, and again with it in tier 2 alone. */
    async function inBothTiers(
      set: () => Promise<unknown>,
      check: (tier: string) => Promise<void>,
    ) {
      await set()
      await check('memory')
      await cache.delete('k')
      await set()
      await evict()
      await check('sqlite')
    }

    test('lookup tells value, tier, version and end, and a miss is undefined', async () => {
      assert.equal(await cache.lookup('k'), undefined)
      let last = 0
      await inBothTiers(
        () => cache.set('k', { a: 1 }, { ttlMs: 60_000 }),
        async tier => {
          const found = await cache.lookup<{ a: number }>('k')
          assert.deepEqual(found?.value, { a: 1 })
          assert.equal(found?.tier, tier)
          assert.equal(found.isStale, false)
          assert.ok(Math.abs(found.expiresAtMs - Date.now() - 60_000) < 5_000)
          assert.ok(Number.isSafeInteger(found.version) && found.version > last, 'a new version')
          last = found.version
        },
      )
    })

    test('lookup gives a value of several megabytes, with its version', async () => {
      const value = Buffer.alloc(3_000_001, 7)
      await cache.set('large', value)
      const found = await cache.lookup<Buffer>('large')
      assert.ok(found!.value.equals(value))
      assert.equal(found!.tier, 'sqlite')
      assert.equal(await cache.set('large', 1, { ifVersion: found!.version }), true)
    })

    test('a cached undefined or null is found by lookup, and is no miss', async () => {
      for (const value of [undefined, null]) {
        await cache.set('nothing', value)
        const found = await cache.lookup('nothing')
        assert.notEqual(found, undefined)
        assert.equal(found!.value, value)
      }
    })

    test('negativeTtlMs is the time to live of undefined and null alone', async () => {
      await cache.set('none', undefined, { ttlMs: 60_000, negativeTtlMs: 5_000 })
      await cache.set('null', null, { policy: 'session', negativeTtlMs: 5_000 })
      await cache.set('some', 0, { ttlMs: 60_000, negativeTtlMs: 5_000 })
      assert.ok((await cache.ttl('none'))! <= 5_000)
      assert.ok((await cache.ttl('null'))! <= 5_000)
      assert.ok((await cache.ttl('some'))! > 50_000)
    })

    test('has and ttl tell of a key in either tier, and count as no read', async () => {
      const before = await hearth.stats()
      assert.equal(await cache.has('k'), false)
      assert.equal(await cache.ttl('k'), undefined)
      await inBothTiers(
        () => cache.set('k', 1, { ttlMs: 60_000 }),
        async () => {
          assert.equal(await cache.has('k'), true)
          const ttlMs = (await cache.ttl('k'))!
          assert.ok(ttlMs > 50_000 && ttlMs <= 60_000, `${ttlMs} ms`)
        },
      )
      await cache.set('for ever', 1, { ttlMs: 0 })
      assert.equal(await cache.ttl('for ever'), Infinity)
      await cache.set('brief', 1, { ttlMs: 20 })
      await sleep(30)
      assert.equal(await cache.has('brief'), false)
      const after = await hearth.stats()
      assert.equal(after.memory.hits, before.memory.hits)
      assert.equal(after.sqlite.hits, before.sqlite.hits)
    })

    test('touch gives a new time to live, and leaves value and version', async () => {
      assert.equal(await cache.touch('k', 1_000), false)
      await inBothTiers(
        () => cache.set('k', 'v', { ttlMs: 5_000 }),
        async () => {
          const before = await cache.lookup('k')
          assert.equal(await cache.touch('k', 60_000), true)
          assert.ok((await cache.ttl('k'))! > 50_000)
          await evict()
          assert.ok((await cache.ttl('k'))! > 50_000, 'in tier 2 as well')
          const after = await cache.lookup('k')
          assert.equal(after?.value, 'v')
          assert.equal(after?.version, before?.version)
          assert.equal(await cache.touch('k', 'session'), true)
          assert.ok((await cache.ttl('k'))! > 1_700_000)
          assert.equal(await cache.touch('k', 20), true)
          await sleep(30)
          assert.equal(await cache.get('k'), undefined)
          assert.equal(await cache.touch('k', 60_000), false, 'what has expired is not there')
        },
      )
    })

    test('increment begins at `by`, adds, keeps the time to live, and is one after the other', async () => {
      assert.equal(await cache.increment('n', 5, { ttlMs: 30_000 }), 5)
      assert.equal(await cache.increment('n'), 6)
      assert.equal(await cache.increment('n', -2.5, { ttlMs: 1 }), 3.5)
      assert.ok((await cache.ttl('n'))! > 20_000, 'its first time to live stays')
      assert.equal(await cache.get('n'), 3.5)
      await evict()
      assert.equal(await cache.increment('n', 0.5), 4)
      const sums = await Promise.all(Array.from({ length: 200 }, () => cache.increment('m')))
      assert.deepEqual(
        sums.toSorted((a, b) => a! - b!),
        Array.from({ length: 200 }, (_, i) => i + 1),
      )
      assert.equal(await cache.get('m'), 200)
    })

    test('increment of something else than a number is BAD_REQUEST, and changes nothing', async () => {
      for (const value of ['5', null, 5n, [1], new Date(5)]) {
        await cache.set('text', value)
        await assert.rejects(cache.increment('text'), { code: 'BAD_REQUEST' })
        assert.deepEqual(await cache.get('text'), value)
      }
      await cache.set('n', Number.MAX_VALUE)
      await assert.rejects(cache.increment('n', Number.MAX_VALUE), { code: 'BAD_REQUEST' })
      assert.equal(await cache.get('n'), Number.MAX_VALUE)
      await assert.rejects(async () => cache.increment('n', NaN), TypeError)
    })

    test('ifVersion stores over that version alone, and 0 only where nothing is', async () => {
      assert.equal(await cache.set('k', 1, { ifVersion: 5 }), false)
      assert.equal(await cache.get('k'), undefined)
      assert.equal(await cache.set('k', 1, { ifVersion: 0 }), true)
      assert.equal(await cache.set('k', 2, { ifVersion: 0 }), false)
      assert.equal(await cache.get('k'), 1)
      await inBothTiers(
        () => cache.set('k', 'old'),
        async () => {
          const { version } = (await cache.lookup('k'))!
          await evict()
          assert.equal(await cache.set('k', 'no', { ifVersion: version + 1 }), false)
          assert.equal(await cache.set('k', 'new', { ifVersion: version, tags: ['t'] }), true)
          assert.equal(await cache.get('k'), 'new')
          assert.equal(await cache.set('k', 'newer', { ifVersion: version }), false)
          assert.equal(await cache.get('k'), 'new')
        },
      )
      await cache.set('brief', 1, { ttlMs: 150 })
      const { version } = (await cache.lookup('brief'))!
      await sleep(160)
      assert.equal(await cache.set('brief', 2, { ifVersion: version }), false)
      assert.equal(await cache.set('brief', 2, { ifVersion: 0 }), true)
    })

    test('of many that compare and set at once, each round has one winner', async () => {
      await cache.set('k', 0)
      for (let round = 1; round <= 20; round++) {
        if (round % 5 === 0) await evict()
        const { version } = (await cache.lookup('k'))!
        const won = await Promise.all(
          Array.from({ length: 10 }, (_, i) => cache.set('k', [round, i], { ifVersion: version })),
        )
        assert.equal(won.filter(Boolean).length, 1, `round ${round}`)
        assert.deepEqual(await cache.get('k'), [round, won.indexOf(true)])
      }
    })

    test('getMany keeps order and doubles, with some in each tier, some large and some nowhere', async () => {
      const large = Buffer.alloc(400_000, 3)
      await cache.setMany([
        { key: 'a', value: 1 },
        { key: 'b', value: undefined },
        { key: 'nul\0inside', value: 3 },
        { key: 'large', value: large },
      ])
      await evict()
      await cache.setMany([
        { key: 'c', value: 4 },
        { key: 'ü→𝄞', value: 5 },
      ])
      const found = await cache.getMany([
        'c',
        'x',
        'a',
        'large',
        'c',
        'nul\0inside',
        'b',
        'ü→𝄞',
        'a',
        'c',
      ])
      assert.ok((found[3] as Buffer).equals(large))
      found[3] = 'large'
      assert.deepEqual(found, [4, undefined, 1, 'large', 4, 3, undefined, 5, 1, 4])
      assert.deepEqual(await cache.getMany([]), [])
      await assert.rejects(cache.getMany(['a', '']), { code: 'BAD_REQUEST' })
    })

    test('getMany of more than fits one reply gives all of it', async () => {
      const values = Array.from({ length: 40 }, (_, i) => Buffer.alloc(60_000, i))
      await cache.setMany(values.map((value, i) => ({ key: `wide:${i}`, value })))
      const keys = [...values.keys(), 3, 3].map(i => `wide:${i}`)
      for (const _ of [1, 2]) {
        const found = await cache.getMany<Buffer>(keys)
        for (const [i, value] of [...values, values[3]!, values[3]!].entries())
          assert.ok(value.equals(found[i]!), `value ${i}`)
      }
    })

    test('setMany keeps the order of one key, whatever lies between', async () => {
      await cache.setMany([
        { key: 'k', value: 1, ttlMs: 5_000 },
        { key: 'k', value: 2, ttlMs: 6_000 },
        { key: 'k', value: Buffer.alloc(100_000) },
        { key: 'k', value: 3, tags: ['t'] },
        { key: 'l', value: 1, ttlMs: 5_000 },
        { key: 'k', value: 4, ttlMs: 5_000 },
        { key: 'k', value: 5, ttlMs: 5_000 },
      ])
      assert.equal(await cache.get('k'), 5)
      await evict()
      assert.equal(await cache.get('k'), 5)
      assert.equal(await cache.invalidateTags(['t']), 0, 'the last one has no tag')
      await assert.rejects(
        cache.setMany([
          { key: 'good', value: 1 },
          { key: '', value: 1 },
        ]),
        { code: 'BAD_REQUEST' },
      )
      assert.equal(await cache.get('good'), undefined, 'a frame is stored whole or not at all')
    })

    test('a tag ends what carries it, in both tiers, and says how many', async () => {
      await cache.set('a', 1, { tags: ['x', 'y'] })
      await cache.set('b', 1, { tags: ['y'] })
      await cache.set('c', 1, { tags: ['z'] })
      await cache.set('d', 1)
      assert.equal(await cache.invalidateTags(['x']), 1)
      assert.equal(await cache.get('a'), undefined)
      assert.equal(await cache.get('b'), 1)
      await evict()
      assert.equal(await cache.get('a'), undefined)
      assert.equal(await cache.get('b'), 1)
      assert.equal(await cache.invalidateTags(['y', 'x', 'y']), 1, 'a went before')
      assert.equal(await cache.get('b'), undefined)
      assert.equal(await cache.invalidateTags(['y', 'never used']), 0)
      assert.equal(await cache.has('b'), false)
      assert.equal(await cache.ttl('b'), undefined)
      assert.deepEqual(await cache.getMany(['a', 'b', 'c', 'd']), [undefined, undefined, 1, 1])
      await cache.set('b', 2, { tags: ['y'] })
      assert.equal(await cache.get('b'), 2, 'what is stored afterwards is there')
      await evict()
      assert.equal(await cache.get('b'), 2)
      assert.deepEqual((await Array.fromAsync(cache.keys('[a-d]'))).toSorted(), ['b', 'c', 'd'])
    })

    test('a tag that was taken off an entry does not end it', async () => {
      await cache.set('k', 1, { tags: ['old'] })
      await cache.set('k', 2, { tags: ['new'] })
      assert.equal(await cache.invalidateTags(['old']), 0)
      assert.equal(await cache.get('k'), 2)
      await cache.set('k', 3)
      assert.equal(await cache.invalidateTags(['new']), 0)
      assert.equal(await cache.get('k'), 3)
    })

    test('what has expired does not count as ended', async () => {
      await cache.set('a', 1, { tags: ['t'], ttlMs: 10 })
      await cache.set('b', 1, { tags: ['t'] })
      await sleep(20)
      assert.equal(await cache.invalidateTags(['t']), 1)
    })

    test('a pattern ends what matches, in both tiers, and says how many', async () => {
      await cache.setMany(['dev:1', 'dev:2', 'dav:1', 'other'].map(key => ({ key, value: 1 })))
      await evict()
      await cache.set('dev:3', 1)
      assert.equal(await cache.invalidatePattern('dev:*'), 3)
      assert.deepEqual(await cache.getMany(['dev:1', 'dev:2', 'dev:3', 'dav:1', 'other']), [
        undefined,
        undefined,
        undefined,
        1,
        1,
      ])
      assert.equal(await cache.invalidatePattern('d[ae]v:?'), 1)
      assert.equal(await cache.invalidatePattern('no such *'), 0)
    })

    test('a namespace has keys, figures and a clear of its own', async () => {
      const home = cache.namespace('home')
      const odd = cache.namespace('h*')
      assert.equal(await home.set('a', 1), true)
      await odd.set('a', 2)
      await cache.set('a', 3)
      assert.equal(await home.get('a'), 1)
      assert.equal(await odd.get('a'), 2)
      assert.equal(await cache.get('home:a'), 1)
      assert.equal(await home.get('b'), undefined)
      assert.deepEqual(await home.getMany(['a', 'b', 'a']), [1, undefined, 1])
      assert.equal((await home.lookup('a'))!.value, 1)
      assert.deepEqual(await Array.fromAsync(home.keys()), ['a'])
      assert.equal(await home.namespace('inner').increment('n'), 1)
      const { namespaces } = await hearth.stats()
      assert.deepEqual(namespaces['home'], {
        memoryHits: 4,
        sqliteHits: 0,
        misses: 2,
        hitRate: 4 / 6,
      })
      assert.equal(await odd.clear(), 1)
      assert.equal(await home.clear(), 2, 'with its inner one')
      assert.equal(await cache.get('a'), 3)
      assert.equal(await home.get('a'), undefined)
    })

    test('grace keeps an entry past its end for those who ask for it', async () => {
      await inBothTiers(
        () => cache.set('k', 'v', { ttlMs: 25, graceMs: 60_000, tags: ['t'] }),
        async () => {
          await sleep(30)
          assert.equal(await cache.get('k'), undefined)
          assert.equal(await cache.has('k'), false)
          assert.equal(await cache.lookup('k'), undefined)
          assert.deepEqual(await cache.getMany(['k']), [undefined])
          assert.deepEqual(await Array.fromAsync(cache.keys('k')), [])
          const found = await cache.lookup('k', { stale: true })
          assert.equal(found?.value, 'v')
          assert.equal(found.isStale, true)
          assert.equal(await cache.set('k', 2, { ifVersion: found.version }), false)
        },
      )
      await cache.set('k', 'v', { ttlMs: 10, graceMs: 60_000, tags: ['t'] })
      await sleep(20)
      await cache.invalidateTags(['t'])
      assert.equal(await cache.lookup('k', { stale: true }), undefined, 'a tag ends its grace too')
      await cache.set('short', 1, { ttlMs: 10, graceMs: 15 })
      await sleep(40)
      assert.equal(await cache.lookup('short', { stale: true }), undefined)
    })

    test('jitter adds to the time to live, differently for each', async () => {
      const ttls: number[] = []
      for (let i = 0; i < 20; i++) {
        await cache.set(`j${i}`, 1, { ttlMs: 60_000, ttlJitterMs: 60_000 })
        ttls.push((await cache.ttl(`j${i}`))!)
      }
      assert.ok(Math.min(...ttls) > 59_000 && Math.max(...ttls) <= 120_000)
      assert.ok(Math.max(...ttls) - Math.min(...ttls) > 1_000)
    })

    test('an adaptive time to live grows with reads, falls with changes, and explains itself', async () => {
      const adaptive = { minMs: 10_000, maxMs: 80_000 }
      const ttlAfterSet = async (value: unknown) => {
        await cache.set('k', value, { adaptive })
        return Math.ceil((await cache.ttl('k'))! / 1_000)
      }
      assert.equal(await ttlAfterSet('same'), 10)
      assert.equal(await ttlAfterSet('same'), 10, 'nobody read it')
      for (const expected of [20, 40, 80, 80]) {
        // Not get(): what is read in place the engine learns a moment later.
        for (let i = 0; i < 3; i++) await cache.lookup('k')
        assert.equal(await ttlAfterSet('same'), expected)
      }
      const known = (await cache.explain('k')) as Record<string, Record<string, unknown>>
      assert.match(
        String(known['adaptive']!['reason']),
        /doubled: unchanged, and read 3 times.*upper bound/,
      )
      assert.equal(await ttlAfterSet('another'), 40)
      assert.equal(await ttlAfterSet('and another'), 20)
    })

    test('explain tells what both tiers know', async () => {
      await cache.set('k', 'v', { tags: ['t'], graceMs: 1_000, ttlMs: 5_000 })
      const known = (await cache.explain('k')) as Record<string, Record<string, unknown> | null>
      assert.equal(known['memory']!['graceMs'], 1_000)
      assert.equal(known['sqlite']!['version'], known['memory']!['version'])
      assert.deepEqual(
        (known['sqlite']!['tags'] as { tag: string }[]).map(({ tag }) => tag),
        ['t'],
      )
      const none = await cache.explain('nothing')
      assert.equal(none['memory'], null)
      assert.equal(none['sqlite'], null)
    })

    const MISUSE: [string, () => unknown][] = [
      ['tags that are no array', () => cache.set('k', 1, { tags: 'a' as never })],
      ['an empty tag', () => cache.set('k', 1, { tags: [''] })],
      ['a negative grace', () => cache.set('k', 1, { graceMs: -1 })],
      ['a jitter that is no number', () => cache.set('k', 1, { ttlJitterMs: '5' as never })],
      ['bounds the wrong way round', () => cache.set('k', 1, { adaptive: { minMs: 5, maxMs: 1 } })],
      ['a version that is none', () => cache.set('k', 1, { ifVersion: 1.5 })],
      ['no tags to invalidate', () => cache.invalidateTags('a' as never)],
      ['a pattern that is no string', () => cache.invalidatePattern(5 as never)],
      ['a namespace without a name', () => cache.namespace('')],
    ]
    for (const [what, ask] of MISUSE) {
      test(`${what} is a TypeError at once`, async () => {
        await assert.rejects(async () => ask(), TypeError)
      })
    }

    test('too many tags, or one that is too long, is BAD_REQUEST', async () => {
      const tags = Array.from({ length: 33 }, (_, i) => `t${i}`)
      await assert.rejects(cache.set('k', 1, { tags }), { code: 'BAD_REQUEST' })
      await assert.rejects(cache.set('k', 1, { tags: ['x'.repeat(257)] }), { code: 'BAD_REQUEST' })
      assert.equal(await cache.set('k', 1, { tags: tags.slice(1) }), true)
      await evict()
      assert.equal(await cache.get('k'), 1)
      assert.equal(await cache.invalidateTags(['t17']), 1)
    })
  })
}
