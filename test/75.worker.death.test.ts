/** A worker that dies: its requests in flight fail at once and clearly, everything else goes on, it is back within a second.
 *  Owns:   one engine a test, in this process, so that its threads can be reached.   Thread: main of a test process.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth, HearthError } from '../engine/client/index.ts'
import { type OpenedEngine, openEngine } from './helpers/engine_parts.ts'
import { gateTest } from './helpers/gate.ts'
import { FULL, randomTest } from './helpers/random.ts'

const BACK_MS_MAX = 1_000

/** Waits until tier 2 answers again; gives how long that took. */
async function untilBack(client: Hearth, sinceMs = performance.now()): Promise<number> {
  for (;;) {
    try {
      await client.cache.set('back', sinceMs)
      return performance.now() - sinceMs
    } catch (error) {
      assert.equal((error as HearthError).code, 'UNAVAILABLE')
      await sleep(2)
    }
  }
}

async function killWorker(opened: OpenedEngine): Promise<void> {
  await opened.threads()[0]!.terminate()
}

gateTest(
  'requests in flight get UNAVAILABLE at once, and the worker is back within a second',
  async (t, gate) => {
    const opened = await openEngine(t)
    const client = await opened.connect()
    await client.cache.set('kept', 'value')
    const asked = Array.from({ length: 500 }, (_, i) =>
      i % 2 === 0 ? client.cache.set(`k${i}`, i) : client.cache.get(`none${i}`),
    )
    const startMs = performance.now()
    const [outcomes] = await Promise.all([
      Promise.allSettled(asked),
      sleep(1).then(() => killWorker(opened)),
    ])
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'UNAVAILABLE')
    }
    const backMs = await untilBack(client, startMs)
    console.log(`# back after ${backMs.toFixed(0)} ms`)
    gate('it was back', backMs, BACK_MS_MAX)
    assert.equal(await client.cache.get('kept'), 'value')
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === 'fulfilled' && i % 2 === 0)
        assert.equal(await client.cache.get(`k${i}`), i)
    }
  },
)

test('while the worker is away: memory answers, misses are misses, durable writes say UNAVAILABLE, health says degraded', async t => {
  const opened = await openEngine(t)
  const client = await opened.connect()
  await client.cache.set('hot', 1)
  await killWorker(opened)
  assert.equal(await client.cache.get('hot'), 1)
  assert.equal(await client.cache.get('cold'), undefined)
  await assert.rejects(client.cache.set('new', 1), { code: 'UNAVAILABLE' })
  assert.equal(await client.cache.get('new'), undefined, 'what was not stored is not there')
  assert.equal(await client.cache.set('light', 1, { durability: 'memory' }), true)
  assert.equal(await client.cache.get('light'), 1)
  await assert.rejects(client.cache.delete('hot'), { code: 'UNAVAILABLE' })
  await assert.rejects(Array.fromAsync(client.cache.keys()), { code: 'UNAVAILABLE' })
  const health = await client.health()
  assert.equal(health.status, 'degraded')
  assert.match(health.parts['sqlite']!.reason!, /restart/)
  await untilBack(client)
  assert.equal((await client.health()).status, 'ok')
  assert.equal((await client.stats()).workers[0]!.restarts, 1)
})

test('an error that nobody caught in the worker is a death like any other', async t => {
  const opened = await openEngine(t)
  const client = await opened.connect()
  await client.cache.set('kept', 1)
  // Out of memory is the one way to die that a worker's own code cannot catch.
  const startMs = performance.now()
  opened.threads()[0]!.emit('error', new Error('as if the thread had run out of memory'))
  await untilBack(client, startMs)
  assert.equal(await client.cache.get('kept'), 1)
})

test('a value of which pieces are being read ends with UNAVAILABLE, not with a wrong value', async t => {
  const opened = await openEngine(t)
  const client = await opened.connect()
  const value = Buffer.alloc(4 << 20, 5)
  await client.cache.set('large', value)
  for (let round = 0; round < 3; round++) {
    const asked = Promise.allSettled([1, 2, 3].map(() => client.cache.get<Buffer>('large')))
    await sleep(round * 2)
    await killWorker(opened)
    for (const outcome of await asked) {
      if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'UNAVAILABLE')
      else assert.ok(outcome.value === undefined || outcome.value.equals(value))
    }
    await untilBack(client)
  }
  assert.ok((await client.cache.get<Buffer>('large'))!.equals(value))
})

test('a client inside the process meets the same', async t => {
  const opened = await openEngine(t)
  const client = opened.local()
  await client.cache.set('kept', 1)
  await killWorker(opened)
  await assert.rejects(client.cache.set('new', 1), { code: 'UNAVAILABLE' })
  await untilBack(client)
  assert.equal(await client.cache.get('kept'), 1)
})

test('an engine can be closed while its worker is away', async t => {
  const opened = await openEngine(t)
  await opened.connect()
  await killWorker(opened)
  const startMs = performance.now()
  await opened.engine.close()
  assert.ok(performance.now() - startMs < 5_000)
})

randomTest(
  'whatever is acknowledged between deaths is there after them, whatever is deleted is not',
  { timeout: 300_000 },
  async random => {
    const endings: (() => Promise<void>)[] = []
    const opened = await openEngine(
      { after: end => endings.push(end) },
      { memory: { maxEntries: 8 } },
    )
    try {
      const client = await opened.connect()
      /** What each key must be; undefined: it must not be there. A key with an unknown outcome is in neither. */
      const acked = new Map<string, number | undefined>()
      for (let round = 0; round < (FULL ? 40 : 6); round++) {
        let isDead = false
        const lanes = Array.from({ length: 20 }, async (_, lane) => {
          for (let step = 0; !isDead; step++) {
            const key = `${lane}:${step % 7}`
            const deletes = step % 5 === 4
            try {
              acked.delete(key)
              if (deletes) await client.cache.delete(key)
              else await client.cache.set(key, round * 100_000 + step)
              acked.set(key, deletes ? undefined : round * 100_000 + step)
            } catch (error) {
              assert.equal((error as HearthError).code, 'UNAVAILABLE')
              acked.delete(key)
            }
          }
        })
        await sleep(random.between(5, 60))
        await killWorker(opened)
        isDead = true
        await Promise.all(lanes)
        await untilBack(client)
        for (const [key, value] of acked)
          assert.equal(await client.cache.get(key), value, `${key}, round ${round}`)
      }
    } finally {
      for (const end of endings) await end()
    }
  },
)
