/** What the cache costs as it grows: tier-2 hits among many entries, and gets while a pattern is walked.
 *  Owns:   one engine a test.   Thread: main of a test process; the engine's worker is another.
 *  Runs:   alone, for its figures.
 *  Holds:  the gates are wide: the figures, printed, are what counts, on a machine that does nothing else. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Hearth } from '../engine/client/index.ts'
import { monotonicMs } from '../engine/clock.ts'
import { embed } from './helpers/engine.ts'
import { FULL, Random, SEED } from './helpers/random.ts'

const LARGE = FULL ? 1_000_000 : 50_000
const SMALL = FULL ? 10_000 : 2_000
const GET_COUNT = FULL ? 20_000 : 4_000

async function fill({ cache }: Hearth, count: number): Promise<void> {
  for (let at = 0; at < count; ) {
    const entries: { key: string; value: string; ttlMs: number }[] = []
    for (let end = Math.min(count, at + 5_000); at < end; at++)
      entries.push({ key: `key:${at}`, value: `value of ${at}`.padEnd(100), ttlMs: 0 })
    await cache.setMany(entries)
  }
}

function quantile(times: readonly number[], share: number): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length * share)]!
}

test(`a hit in tier 2 among ${LARGE} entries takes hardly longer than among ${SMALL}`, {
  timeout: 600_000,
}, async t => {
  const p50s: number[] = []
  for (const count of [SMALL, LARGE]) {
    const embedded = await embed(t, {
      memory: { maxEntries: 1 },
      sqlite: { maxBytes: 1 << 30 },
    })
    const hearth = await embedded.connect()
    await fill(hearth, count)
    const random = new Random(SEED)
    const times: number[] = []
    for (let i = 0; i < GET_COUNT; i++) {
      const number = random.below(count)
      const startMs = monotonicMs()
      const value = await hearth.cache.get<string>(`key:${number}`)
      times.push(monotonicMs() - startMs)
      assert.ok(value!.startsWith(`value of ${number} `))
    }
    p50s.push(quantile(times, 0.5))
    const stats = await hearth.stats()
    assert.ok(stats.sqlite.hits >= GET_COUNT * 0.9, 'they came from tier 2')
  }
  const [small, large] = p50s as [number, number]
  t.diagnostic(
    `p50 ${(small * 1_000).toFixed(1)} → ${(large * 1_000).toFixed(1)} µs, ${(large / small).toFixed(2)} ×`,
  )
  assert.ok(large / small < 4, 'the cost does not grow with the number of entries')
})

/** Gets of what tier 1 has and of what no tier has, by turns, until something is over: their times, sorted. */
async function getsUntil({ cache }: Hearth, over: Promise<unknown>): Promise<number[]> {
  let isOver = false
  const finished = over.finally(() => {
    isOver = true
  })
  const times: number[] = []
  for (let i = 0; !isOver; i++) {
    const startMs = monotonicMs()
    await cache.get(i % 2 === 0 ? 'still here' : `nowhere:${i}`)
    times.push(monotonicMs() - startMs)
  }
  await finished
  return times.toSorted((a, b) => a - b)
}

function told(t: TestContext, times: readonly number[]): void {
  const figures = [0.5, 0.99, 0.999].map(share => quantile(times, share).toFixed(2))
  t.diagnostic(`${times.length} gets meanwhile: p50, p99, p99.9 ${figures.join(', ')} ms`)
}

test('gets go on while a pattern that means most of the cache is invalidated', {
  timeout: 120_000,
}, async t => {
  const embedded = await embed(t, {
    memory: { maxBytes: 16 << 20 },
    sqlite: { maxBytes: 256 << 20 },
  })
  const hearth = await embedded.connect()
  const count = FULL ? 200_000 : 30_000
  await fill(hearth, count)
  await hearth.cache.set('still here', 1)
  const invalidated = hearth.cache.invalidatePattern('key:*')
  const times = await getsUntil(hearth, invalidated)
  assert.equal(await invalidated, count)
  told(t, times)
  assert.ok(quantile(times, 0.5) < 100, 'they are not held up until it is over')
  assert.equal(await hearth.cache.get('still here'), 1)
})

test('gets go on while keys are looked through of which one matches', {
  timeout: 120_000,
}, async t => {
  const embedded = await embed(t, { memory: { maxEntries: 8 }, sqlite: { maxBytes: 256 << 20 } })
  const hearth = await embedded.connect()
  const count = FULL ? 1_000_000 : 100_000
  await fill(hearth, count)
  await hearth.cache.set('still here', 1)
  const found: string[] = []
  const list = async (): Promise<void> => {
    for await (const key of hearth.cache.keys(`*:${count - 1}`)) found.push(key)
  }
  const times = await getsUntil(hearth, list())
  assert.deepEqual(found, [`key:${count - 1}`])
  told(t, times)
  assert.ok(times.length > 10, 'they come between')
  assert.ok(quantile(times, 0.5) < 100, 'they are not held up until it is over')
})
