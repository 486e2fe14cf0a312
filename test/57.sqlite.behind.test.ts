/** Write-behind: values of durability memory are kept back, and what is written over, deleted or expires meanwhile is never written.
 *  Owns:   temporary folders.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { OPS } from '../engine/protocol/spec.ts'
import { CacheStand, type StandOptions } from './helpers/cache_stand.ts'
import { optionsFor, Tier, temporaryFolder } from './helpers/sqlite.ts'

const Database = createRequire(import.meta.url)('better-sqlite3') as typeof import('better-sqlite3')
const BEHIND = OPS.PUT_BEHIND.code
const NEVER = { flushIntervalMs: 3_600_000 }

function withTier(work: (tier: Tier) => void | Promise<void>, interval = NEVER) {
  return async () => {
    const tier = new Tier(optionsFor(temporaryFolder(), interval))
    try {
      await work(tier)
    } finally {
      tier.close()
    }
  }
}

function keep(tier: Tier, key: string, value: string, expiresAtMs = Infinity): void {
  assert.equal(tier.answer(tier.put(key, Buffer.from(value), expiresAtMs, BEHIND)).name, 'OK')
}

test(
  'a value that is kept back is answered at once, found like any other, and not on the disk',
  withTier(tier => {
    keep(tier, 'k', 'one')
    assert.equal(tier.getNow('k')?.toString(), 'one')
    assert.equal(tier.stats().writes, 0)
    assert.equal(tier.stats().keptBack, 1)
    keep(tier, 'k', 'two')
    keep(tier, 'k', 'longer than before')
    assert.equal(tier.getNow('k')?.toString(), 'longer than before')
    assert.equal(tier.stats().coalescedWrites, 2)
    assert.deepEqual(tier.keysNow('*'), ['k'], 'a list writes it first')
    assert.equal(tier.stats().writes, 1)
    assert.equal(tier.stats().keptBack, 0)
  }),
)

test(
  'what is deleted or expires while it is kept never reaches the disk, and nothing older shows',
  withTier(async tier => {
    tier.putNow('deleted', Buffer.from('old'))
    tier.putNow('expired', Buffer.from('old'))
    keep(tier, 'deleted', 'new')
    keep(tier, 'expired', 'new', Date.now() + 20)
    keep(tier, 'only kept', 'new', Date.now() + 20)
    assert.equal(tier.delNow('deleted'), 1)
    assert.equal(tier.getNow('deleted'), undefined)
    await sleep(30)
    assert.equal(tier.getNow('expired'), undefined)
    const { writes } = tier.stats()
    assert.deepEqual(tier.keysNow('*'), [])
    assert.equal(tier.getNow('expired'), undefined)
    assert.equal(tier.stats().writes! - writes!, 1, 'the old row was deleted')
    assert.equal(tier.stats().coalescedWrites, 3)
  }),
)

test(
  'a durable write of the same key stands over it',
  withTier(tier => {
    keep(tier, 'k', 'kept')
    tier.putNow('k', Buffer.from('durable'))
    assert.equal(tier.getNow('k')?.toString(), 'durable')
    tier.keysNow('*')
    assert.equal(tier.getNow('k')?.toString(), 'durable')
  }),
)

test(
  'is written when it is time, when there is too much, and at the end',
  withTier(
    async tier => {
      keep(tier, 'k', 'v')
      await sleep(30)
      tier.handler.idle!()
      assert.equal(tier.stats().writes, 1)
      for (let i = 0; i < 40; i++) keep(tier, `k${i}`, 'x'.repeat(16_000))
      tier.flush()
      assert.ok(tier.stats().writes! > 10, 'the buffer is bounded')
      for (let i = 0; i < 40; i++) assert.equal(tier.getNow(`k${i}`)?.length, 16_000)
      for (let i = 0; i < 10_000; i++) keep(tier, `many${i}`, 'x')
      assert.ok(tier.stats().keptBack! <= 4_096, 'and so is the number of keys')
    },
    { flushIntervalMs: 20 },
  ),
)

test('what was kept back is there after closing and opening', () => {
  const options = optionsFor(temporaryFolder(), NEVER)
  const first = new Tier(options)
  keep(first, 'k', 'v')
  first.close()
  const second = new Tier(options)
  assert.equal(second.getNow('k')?.toString(), 'v')
  second.close()
})

test(
  'values too long to be kept, and all of them without an interval, are written with their group',
  withTier(tier => {
    const long = tier.put('long', Buffer.alloc(20_000), Infinity, BEHIND)
    assert.throws(() => tier.answer(long), /no answer yet/)
    tier.flush()
    assert.equal(tier.answer(long).name, 'OK')
    assert.equal(tier.stats().writes, 1)
  }),
)

test(
  'a thousand stores of one key cost one write, and the disk’s share is told',
  withTier(tier => {
    for (let i = 0; i < 1_000; i++) keep(tier, 'hot', `value ${i}`)
    tier.keysNow('*')
    const { writes, coalescedWrites, writtenBytes, writtenBytesPerDay } = tier.stats()
    assert.equal(writes, 1)
    assert.equal(coalescedWrites, 999)
    assert.ok(writtenBytes! > 4_096 && writtenBytes! < 200_000, `${writtenBytes} bytes`)
    assert.ok(writtenBytesPerDay! > writtenBytes!)
  }),
)

const STAND: StandOptions = { segmentBytes: 1 << 16, store: { busyTimeoutMs: 0, ...NEVER } }

test('a disk that refuses what was kept back makes it a miss, never the value before it', async () => {
  const stand = new CacheStand(STAND)
  const { client } = stand
  await client.set('k', 'old')
  await client.set('k', 'new', { durability: 'memory' })
  const locker = new Database(`${stand.folder}/cache.sqlite`)
  locker.exec('begin immediate')
  await Array.fromAsync(client.keys('*'))
  stand.evict('k')
  assert.equal(await client.get('k'), undefined)
  locker.exec('rollback')
  locker.close()
  assert.equal(await client.get('k'), undefined)
  await client.set('k', 'newest')
  assert.equal(await client.get('k'), 'newest')
  stand.close()
})

test('a worker that dies with what it kept back leaves no older value behind', async () => {
  const stand = new CacheStand(STAND)
  const { client } = stand
  await client.set('k', 'old')
  await client.set('k', 'new', { durability: 'memory' })
  await client.set('n', 5)
  await client.increment('n', 1)
  await client.set('n', 10, { durability: 'memory' })
  stand.killWorker()
  stand.evict('k', 'n')
  assert.equal(await client.get('k'), undefined)
  assert.equal((await client.lookup('k'))?.value, undefined)
  assert.deepEqual(await client.getMany(['k']), [undefined])
  assert.equal(await client.has('k'), false)
  assert.equal(await client.touch('k', 1_000), false)
  assert.equal(await client.increment('n', 1), 1, 'it begins anew, rather than at what was older')
  assert.equal(await client.set('k', 'again', { ifVersion: 0 }), true)
  assert.equal(await client.get('k'), 'again')
  stand.close()
})
