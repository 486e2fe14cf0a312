/** Both tiers behind one socket: what moves between them, when it ends, and that they never disagree.
 *  Owns:   one engine for each test that needs its own sizes.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { decodeValue } from '../engine/protocol/payload.ts'
import { serve } from './helpers/engine.ts'
import { del, get, nameOf, type RawClient, rawValue, set } from './helpers/frames.ts'
import { FULL, randomTest } from './helpers/random.ts'

const SMALL = { HEARTH_MEMORY_MAX_BYTES: '64KiB', HEARTH_MEMORY_MAX_VALUE_BYTES: '8KiB' }

/** Tier 1 of one entry, so that the next key that is set takes the last one's place. */
const ONE = { HEARTH_MEMORY_MAX_ENTRIES: '1' }
async function evict(client: RawClient): Promise<void> {
  client.send(set(900, 'other', 1))
  await client.reply(900)
}

async function tierOf(client: RawClient, key: string): Promise<string> {
  client.send(get(5_000, key))
  return nameOf(await client.reply(5_000))
}

test('a hit in memory, after eviction one in SQLite, and then one in memory again', async t => {
  const engine = await serve(t, ONE)
  const client = await engine.raw()
  await client.hello()
  client.send(set(1, 'k', 'value', 60_000))
  await client.reply(1)
  assert.equal(await tierOf(client, 'k'), 'VALUE_MEMORY')
  await evict(client)
  assert.equal(await tierOf(client, 'k'), 'VALUE_SQLITE')
  assert.equal(await tierOf(client, 'k'), 'VALUE_MEMORY')
})

test('what comes back from SQLite keeps its time to live, and ends in both tiers', async t => {
  const engine = await serve(t, ONE)
  const client = await engine.raw()
  await client.hello()
  const startMs = performance.now()
  client.send(set(1, 'k', 'value', 1_000), set(2, 'unread', 'value', 1_000))
  await client.reply(2)
  await evict(client)
  assert.equal(await tierOf(client, 'k'), 'VALUE_SQLITE')
  assert.equal(await tierOf(client, 'k'), 'VALUE_MEMORY')
  await sleep(1_000 - (performance.now() - startMs) + 30)
  assert.equal(await tierOf(client, 'k'), 'MISS')
  assert.equal(await tierOf(client, 'unread'), 'MISS')
})

test('a restart keeps values and their ends', async t => {
  const engine = await serve(t)
  let hearth = await engine.connect()
  await hearth.cache.set('long', 1, { ttlMs: 60_000 })
  await hearth.cache.set('short', 1, { ttlMs: 400 })
  await hearth.cache.set('memory', 1, { durability: 'memory' })
  await hearth.cache.set('gone', 1)
  await hearth.cache.delete('gone')
  await engine.stop()
  await sleep(400)
  await engine.start()
  hearth = await engine.connect()
  const keys = ['long', 'short', 'memory', 'gone']
  assert.deepEqual(await hearth.cache.getMany(keys), [1, undefined, 1, undefined])
})

test('a value too large for memory replaces the small one there', async t => {
  const engine = await serve(t, SMALL)
  const client = await engine.raw()
  await client.hello()
  for (const durability of [0, 1]) {
    client.send(
      set(1, 'k', rawValue(10)),
      set(2, 'k', rawValue(9_000, 1), null, durability),
      get(3, 'k'),
    )
    await client.reply(2)
    const reply = await client.reply(3)
    assert.equal(nameOf(reply), 'VALUE_SQLITE')
    assert.equal(reply.body.length, 9_000)
    client.send(set(4, 'k', rawValue(20)), get(5, 'k'))
    const small = await client.reply(5)
    assert.equal(nameOf(small), 'VALUE_MEMORY')
    assert.equal(small.body.length, 20)
  }
})

test('a deleted key stays deleted, though a read of it was on its way', async t => {
  const engine = await serve(t, ONE)
  const [one, other] = [await engine.raw(), await engine.raw()]
  await one.hello()
  await other.hello()
  for (let round = 0; round < (FULL ? 2_000 : 200); round++) {
    one.send(set(1, 'k', round))
    await one.reply(1)
    if (round % 10 === 0) await evict(one)
    const reads: Buffer[] = []
    for (let id = 10; id < 30; id++) reads.push(get(id, 'k'))
    other.send(...reads)
    one.send(get(2, 'k'), del(3, 'k'), get(4, 'k'))
    assert.equal(decodeValue((await one.reply(3)).body), 1)
    assert.equal(nameOf(await one.reply(4)), 'MISS')
    for (let id = 10; id < 30; id++) await other.reply(id)
    assert.equal(await tierOf(one, 'k'), 'MISS', `round ${round}`)
    assert.equal(await tierOf(other, 'k'), 'MISS', `round ${round}`)
    one.replies.length = 0
  }
})

test('an older value from SQLite never takes a newer one’s place in memory', async t => {
  const engine = await serve(t, ONE)
  const client = await engine.raw()
  await client.hello()
  for (let round = 0; round < (FULL ? 2_000 : 300); round++) {
    client.send(set(1, 'k', `old ${round}`))
    await client.reply(1)
    await evict(client)
    // The read finds the old value in SQLite while the write is on its way.
    client.send(get(2, 'k'), set(3, 'k', `new ${round}`), get(4, 'k'))
    assert.equal(decodeValue((await client.reply(2)).body), `old ${round}`)
    await client.reply(3)
    assert.equal(decodeValue((await client.reply(4)).body), `new ${round}`)
    client.send(get(5, 'k'))
    assert.equal(decodeValue((await client.reply(5)).body), `new ${round}`)
    await evict(client)
    client.send(get(6, 'k'))
    assert.equal(decodeValue((await client.reply(6)).body), `new ${round}`)
  }
})

randomTest(
  'four clients at once on a few keys: everybody reads what was written, and both tiers end up the same',
  { timeout: 300_000 },
  async random => {
    const endings: (() => Promise<void>)[] = []
    const engine = await serve({ after: end => endings.push(end) }, SMALL)
    try {
      const keys = Array.from({ length: 6 }, (_, i) => `key:${i}`)
      const clients = await Promise.all([0, 1, 2, 3].map(() => engine.connect()))
      // Each client owns keys that it alone writes, so that it knows what it must read, and one is everybody's.
      const lanes = clients.map(async (client, lane) => {
        const draw = random.fork()
        const own = new Map<string, unknown>()
        for (let step = 0; step < (FULL ? 20_000 : 1_500); step++) {
          const key = `own:${lane}:${draw.below(5)}`
          const padding = 'x'.repeat(draw.pick([0, 10, 3_000, 12_000]))
          const value = `${lane}:${step}:${padding}`
          const action = draw.below(10)
          if (action < 4) {
            const written = client.cache.set(key, value, {
              durability: draw.chance(0.3) ? 'memory' : 'commit',
            })
            own.set(key, value)
            if (draw.chance(0.7)) await written
          } else if (action < 5) {
            const deleted = client.cache.delete(key)
            own.delete(key)
            if (draw.chance(0.7)) await deleted
          } else if (action < 9) {
            const expected = own.get(key)
            assert.equal(await client.cache.get(key), expected, `${key} at step ${step}`)
          } else {
            void client.cache.set(draw.pick(keys), value)
            await client.cache.get(draw.pick(keys))
          }
        }
        return own
      })
      const owned = await Promise.all(lanes)
      await Promise.all(clients.map(client => client.ping()))
      // The last of each client's writes is committed once one after it is.
      await Promise.all(clients.map((client, lane) => client.cache.set(`last:${lane}`, lane)))
      const names = [...keys, ...owned.flatMap(own => [...own.keys()])]
      const before = await clients[0]!.cache.getMany(names)
      for (const [i, value] of owned.flatMap(own => [...own.values()]).entries()) {
        assert.equal(before[keys.length + i], value)
      }
      await engine.stop()
      await engine.start()
      const after = await (await engine.connect()).cache.getMany(names)
      assert.deepEqual(after, before)
    } finally {
      for (const end of endings) await end()
    }
  },
)
