/** The client's contract, for a client of another process, with shared memory and without, and for one inside the engine's process.
 *  Owns:   one embedded engine a kind of client.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth, HearthError } from '../engine/client/index.ts'
import { type Embedded, embed } from './helpers/engine.ts'

const KINDS: Record<string, (embedded: Embedded) => Promise<Hearth>> = {
  'over the socket': embedded => embedded.connect({ failOpen: true }),
  'over the socket alone': embedded => embedded.connect({ failOpen: true, sharedMemory: false }),
  'inside the process': async embedded => {
    const client = embedded.local()
    await client.untilOpen()
    return client
  },
}

const VALUES: [string, unknown][] = [
  ['null', null],
  ['undefined', undefined],
  ['true', true],
  ['zero', 0],
  ['a negative number', -1.5],
  ['a number past 32 bits', 2 ** 40 + 1],
  ['the largest safe integer', Number.MAX_SAFE_INTEGER],
  ['infinity', Infinity],
  ['a bigint', 2n ** 60n],
  ['a small bigint', 5n],
  ['a bigint past 64 bits', 2n ** 100n],
  ['a negative bigint', -(2n ** 90n)],
  ['an empty string', ''],
  ['a string with every kind of character', 'aé€𐍈\0\n'],
  ['a date', new Date(1_234_567_890_123)],
  ['bytes', new Uint8Array([0, 1, 255])],
  ['an empty array', []],
  ['nested arrays', [[1, [2, [3]]], []]],
  ['an object', { a: 1, b: { c: [true, null] }, '': 'empty name' }],
  [
    'a map',
    new Map<unknown, unknown>([
      ['a', 1],
      [2, new Map([['b', { c: new Map() }]])],
    ]),
  ],
  ['a set', new Set([1, 'two', new Date(3)])],
  ['an object with a field named constructor', { constructor: new Map([[1, 2]]) }],
  ['a hundred thousand numbers', Array.from({ length: 100_000 }, (_, i) => i)],
]

for (const [kind, clientOf] of Object.entries(KINDS)) {
  // Options of suites are synchronous, so the engine is made in a hook and ended in another.
  describe(`a client ${kind}`, () => {
    const endings: (() => Promise<void>)[] = []
    let embedded: Embedded
    let client: Hearth
    before(async () => {
      embedded = await embed(
        { after: end => endings.push(end) },
        { sqlite: { maxBytes: 64 << 20 } },
      )
      client = await clientOf(embedded)
    })
    after(async () => {
      for (const end of endings) await end()
    })

    for (const [what, value] of VALUES) {
      test(`keeps the type of ${what}`, async () => {
        assert.equal(await client.cache.set('value', value), true)
        const found = await client.cache.get('value')
        const expected = value instanceof Uint8Array ? Buffer.from(value) : value
        assert.deepStrictEqual(found instanceof Uint8Array ? Buffer.from(found) : found, expected)
      })
    }

    test('gives a value that is its own: changing it changes nothing', async () => {
      await client.cache.set('own', { list: [1] })
      const first = await client.cache.get<{ list: number[] }>('own')
      first!.list.push(2)
      await client.cache.set('bytes', Buffer.from('abc'))
      const bytes = await client.cache.get<Buffer>('bytes')
      bytes!.fill(0)
      assert.deepEqual(await client.cache.get('own'), { list: [1] })
      assert.equal(Buffer.from((await client.cache.get<Buffer>('bytes'))!).toString(), 'abc')
    })

    test('sets, gets, deletes and counts what was there', async () => {
      assert.equal(await client.cache.get('a'), undefined)
      assert.equal(await client.cache.set('a', 1), true)
      assert.equal(await client.cache.get('a'), 1)
      assert.equal(await client.cache.delete('a', 'nothing'), 1)
      assert.equal(await client.cache.delete('a'), 0)
      assert.equal(await client.cache.get('a'), undefined)
      assert.equal(await client.cache.delete(), 0)
    })

    test('takes keys of any characters', async () => {
      for (const key of [' ', '\0', 'ключ', '𐍈', '*', '%', "'; drop table", 'k'.repeat(1024)]) {
        await client.cache.set(key, key)
        assert.equal(await client.cache.get(key), key)
        assert.equal(await client.cache.delete(key), 1)
      }
    })

    test('setMany stores nothing if one of its entries is wrong', async () => {
      const entries = [
        { key: 'many:fine', value: 1 },
        { key: 'many:wrong', value: 2, ttlMs: -1 },
      ]
      await assert.rejects(client.cache.setMany(entries), TypeError)
      assert.equal(await client.cache.get('many:fine'), undefined)
    })

    test('getMany and setMany keep the order', async () => {
      const entries = Array.from({ length: 300 }, (_, i) => ({
        key: `many:${i}`,
        value: i,
        ttlMs: 60_000,
      }))
      await client.cache.setMany(entries)
      const values = await client.cache.getMany([...entries.map(({ key }) => key), 'many:none'])
      assert.deepEqual(values, [...entries.map(({ value }) => value), undefined])
    })

    test('keys() walks past one reply, in order', async () => {
      const names = Array.from({ length: 2_500 }, (_, i) => `walk:${String(i).padStart(5, '0')}`)
      await client.cache.setMany(names.map(key => ({ key, value: 1 })))
      assert.deepEqual(await Array.fromAsync(client.cache.keys('walk:*')), names)
      assert.deepEqual(await Array.fromAsync(client.cache.keys('walk:0000?')), names.slice(0, 10))
      assert.deepEqual(await Array.fromAsync(client.cache.keys('no such *')), [])
    })

    test('an entry is gone when its time is over, with a ttl and with a policy', async () => {
      await client.cache.set('brief', 1, { ttlMs: 60 })
      await client.cache.set('session', 1, { policy: 'session' })
      await client.cache.set('for ever', 1, { ttlMs: 0 })
      assert.equal(await client.cache.get('brief'), 1)
      await sleep(80)
      assert.equal(await client.cache.get('brief'), undefined)
      assert.equal(await client.cache.get('session'), 1)
      assert.equal(await client.cache.get('for ever'), 1)
      assert.ok(!(await Array.fromAsync(client.cache.keys('brief'))).includes('brief'))
    })

    test('values of several megabytes, many at once, come back whole', async () => {
      const values = Array.from({ length: 6 }, (_, i) => Buffer.alloc(1_500_000 + i * 700_001, i))
      await Promise.all(values.map((value, i) => client.cache.set(`large:${i}`, value)))
      const found = await Promise.all(values.map((_, i) => client.cache.get<Buffer>(`large:${i}`)))
      for (const [i, value] of values.entries()) assert.ok(value.equals(found[i]!), `value ${i}`)
    })

    test('10 000 requests in flight are each answered with their own value', async () => {
      const keys = Array.from({ length: 100 }, (_, i) => `flight:${i}`)
      await client.cache.setMany(keys.map((key, value) => ({ key, value })))
      const found = await Promise.all(
        Array.from({ length: 10_000 }, (_, i) => client.cache.get(keys[i % 100]!)),
      )
      for (const [i, value] of found.entries()) assert.equal(value, i % 100)
    })

    const WRONG: [string, () => unknown, string][] = [
      ['an empty key', () => client.cache.get(''), 'BAD_REQUEST'],
      ['a key that is a number', () => client.cache.get(5 as never), 'BAD_REQUEST'],
      ['a key that is null', () => client.cache.set(null as never, 1), 'BAD_REQUEST'],
      ['deleting a key that is an object', () => client.cache.delete({} as never), 'BAD_REQUEST'],
      ['a key over the limit', () => client.cache.set('k'.repeat(1025), 1), 'KEY_TOO_LARGE'],
      [
        'a value over the limit',
        () => client.cache.set('k', Buffer.alloc(8 << 20)),
        'VALUE_TOO_LARGE',
      ],
      [
        'a value over what a frame holds',
        () => client.cache.set('k', Buffer.alloc(17 << 20)),
        'VALUE_TOO_LARGE',
      ],
      ['an unknown policy', () => client.cache.set('k', 1, { policy: 'sesion' }), 'BAD_REQUEST'],
      ['SQL without a database', () => client.db.query('select 1'), 'NOT_CONFIGURED'],
    ]
    for (const [what, ask, code] of WRONG) {
      test(`${what} is ${code} in spite of failOpen`, async () => {
        await assert.rejects(async () => ask(), { name: 'HearthError', code, retryable: false })
      })
    }

    const MISUSE: [string, () => unknown][] = [
      ['an unknown option', () => client.cache.set('k', 1, { tll: 5 } as never)],
      [
        'a durability that is none',
        () => client.cache.set('k', 1, { durability: 'disk' as never }),
      ],
      ['a negative ttl', () => client.cache.set('k', 1, { ttlMs: -1 })],
      ['a ttl that is no number', () => client.cache.set('k', 1, { ttlMs: NaN })],
      ['a ttl beside a policy', () => client.cache.set('k', 1, { ttlMs: 1, policy: 'session' })],
      ['SQL that is no string', () => client.db.query(5 as never)],
      ['parameters that are no array', () => client.db.query('select 1', 'x' as never)],
      [
        'an unknown option of a query',
        () => client.db.query('select 1', [], { timeout: 5 } as never),
      ],
      ['a glob that is no string', () => client.cache.keys(5 as never).next()],
    ]
    for (const [what, ask] of MISUSE) {
      test(`${what} is a TypeError or BAD_REQUEST, at once`, async () => {
        await assert.rejects(
          async () => ask(),
          error => error instanceof TypeError || (error as HearthError).code === 'BAD_REQUEST',
        )
        await client.ping()
      })
    }

    test('a value that contains itself is refused, and the client goes on', async () => {
      const value: Record<string, unknown> = {}
      value['self'] = value
      await assert.rejects(async () => client.cache.set('k', value))
      assert.ok((await client.ping()) >= 0)
    })

    test('stats and health tell of what there is', async () => {
      const stats = await client.stats()
      assert.ok(stats.memory.entries > 0)
      assert.equal(stats.memory.maxBytes, 4 << 20)
      assert.ok(stats.clients >= (kind === 'over the socket' ? 1 : 0))
      assert.deepEqual((await client.health()).status, 'ok')
    })

    test('after close() everything is CLOSED', async () => {
      const closing = await clientOf(embedded)
      const states: string[] = []
      closing.on('state', state => states.push(state))
      const unanswered = closing.cache.get('nothing at all')
      unanswered.catch(() => undefined)
      await closing.close()
      await closing.close()
      await assert.rejects(unanswered, { code: 'CLOSED' })
      await assert.rejects(async () => closing.cache.get('a'), { code: 'CLOSED' })
      await assert.rejects(async () => closing.cache.set('a', 1), { code: 'CLOSED' })
      await assert.rejects(async () => closing.ping(), { code: 'CLOSED' })
      assert.equal(closing.state, 'closed')
      assert.deepEqual(states, ['closed'])
    })
  })
}

test('an embedded engine that is closed leaves its own clients CLOSED', async t => {
  const embedded = await embed(t)
  const client = embedded.local()
  await client.cache.set('a', 1)
  const asked = client.cache.get('a')
  await embedded.engine.close()
  assert.equal(await asked, 1)
  await assert.rejects(async () => client.cache.get('a'), { code: 'CLOSED' })
  assert.throws(() => embedded.engine.client(), { code: 'CLOSED' })
})

test('two embedded engines in one process do not meet', async t => {
  const [one, other] = [await embed(t), await embed(t)]
  await one.local().cache.set('a', 'one')
  await other.local().cache.set('a', 'other')
  assert.equal(await one.local().cache.get('a'), 'one')
  assert.equal(await other.local().cache.get('a'), 'other')
})
