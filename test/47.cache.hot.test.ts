/** Which entries were read most, and their list: chosen, written, given out, with tier 2 slow, dying or busy.
 *  Owns:   both tiers in this thread (cache_stand).   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { HotEntries, levelOf } from '../engine/cache/hot.ts'
import { counted, readsIn, USE, withReads } from '../engine/cache/use.ts'
import { HOT_BURST_BYTES_MAX, HOT_COUNT_MAX } from '../engine/limits.ts'
import { HotList } from '../engine/router/hot_list.ts'
import { Warming } from '../engine/router/warming.ts'
import { packList, unpackList } from '../workers/sqlite/hot.ts'
import { CacheStand, type StandOptions } from './helpers/cache_stand.ts'
import { randomTest } from './helpers/random.ts'

const NOTHING = (): void => undefined

/** A stand whose worker works by itself. */
function stand(t: TestContext, options: StandOptions = {}): CacheStand {
  const made = new CacheStand(options)
  const pump = setInterval(() => made.pump(), 1)
  t.after(() => {
    clearInterval(pump)
    made.close()
  })
  return made
}

/** Another engine on the same file, with an empty tier 1. */
async function again(t: TestContext, before: CacheStand): Promise<CacheStand> {
  before.close()
  return stand(t, { folder: before.folder })
}

async function fill(at: CacheStand, count: number): Promise<string[]> {
  const keys = Array.from({ length: count }, (_, i) => `k${i}`)
  await at.client.setMany(keys.map(key => ({ key, value: key, ttlMs: 0 })))
  return keys
}

function entryOf({ memory }: CacheStand, key: string): number {
  const bytes = Buffer.from(key)
  return memory.look(memory.hash(bytes, 0, bytes.length), bytes, 0, bytes.length, 0)
}

function read({ memory }: CacheStand, key: string, times: number): void {
  const bytes = Buffer.from(key)
  const hash = memory.hash(bytes, 0, bytes.length)
  for (let i = 0; i < times; i++) memory.get(hash, bytes, 0, bytes.length, 0)
}

const isThere = (at: CacheStand, key: string): boolean => entryOf(at, key) !== 0

async function chosen(at: CacheStand, hot: HotEntries, isHourOver = false) {
  const choice = await hot.choose(isHourOver, () => turn())
  const levels = new Map<string, number>()
  const { memory } = at
  const list = (entry: number, level: number): void => {
    const key = memory.bytes.toString('utf8', memory.keyStart(entry), memory.valueStart(entry))
    levels.set(key, level)
  }
  await hot.list(choice, list, () => turn())
  return { choice, levels }
}

randomTest('a use word counts reads, and keeps its marks apart from them', {}, random => {
  let use = 0
  let reads = 0
  for (let i = 0; i < 2_000; i++) {
    const action = random.below(4)
    if (action === 0) use &= ~USE.visited
    else if (action === 1) use ^= USE.listed
    else {
      const marks = use & USE.listed
      use = counted(use)
      reads++
      assert.equal(use & USE.listed, marks)
      assert.equal(use & USE.visited, USE.visited)
    }
    assert.equal(readsIn(use), reads)
  }
  const full = withReads(USE.listed, 2 ** 40)
  assert.equal(readsIn(counted(full)), readsIn(full), 'it stops, and does not wrap')
  assert.equal(counted(full) & USE.listed, USE.listed)
})

randomTest(
  'what was read is chosen with the level of its count, whatever SIEVE did to its mark',
  {},
  async random => {
    const at = new CacheStand({ segmentBytes: 1 << 20 })
    const keys = await fill(at, 1_000)
    const hot = new HotEntries(at.segment, at.memory)
    const reads = new Map(keys.map(key => [key, random.chance(0.5) ? random.below(200) : 0]))
    for (const [key, times] of reads) read(at, key, times)
    // A write keeps the count, in place or in a new one.
    await at.client.set('k1', 'x'.repeat(300), { ttlMs: 0 })
    await at.client.set('k2', 'k3', { ttlMs: 0 })
    const first = await chosen(at, hot)
    const read1 = [...reads].filter(([, times]) => times > 0)
    assert.deepEqual(
      new Map([...first.levels].sort()),
      new Map(read1.map(([key, times]) => [key, levelOf(times)] as const).sort()),
    )
    assert.equal(first.choice.changes, read1.length)
    const second = await hot.choose(false, () => turn())
    assert.equal(second.changes, 0, 'the list has them')
    at.evict(read1[0]![0])
    read(at, keys.find(key => reads.get(key) === 0)!, 1)
    assert.equal((await hot.choose(false, () => turn())).changes, 2, 'one gone, one new')
    const later = await chosen(at, hot, true)
    for (const [key, times] of read1.slice(1))
      assert.equal(later.levels.get(key), levelOf(Math.max(1, times >> 1)), 'half, by the hour')
    at.close()
  },
)

test('of more than the list may have, those with the highest counts are chosen', async () => {
  const at = new CacheStand({ segmentBytes: 8 << 20 })
  const hot = new HotEntries(at.segment, at.memory)
  const value = Buffer.from([1])
  const count = HOT_COUNT_MAX + 5_000
  for (let i = 0; i < count; i++) {
    const key = Buffer.from(`k${i}`)
    at.memory.set(at.memory.hash(key, 0, key.length), key, 0, key.length, value, 0, 1, Infinity)
    read(at, `k${i}`, i % 3 === 0 ? 8 : 2)
  }
  const { choice, levels } = await chosen(at, hot)
  assert.equal(choice.count, HOT_COUNT_MAX)
  assert.equal(levels.size, HOT_COUNT_MAX)
  for (let i = 0; i < count; i += 3) assert.equal(levels.get(`k${i}`), 4)
  at.close()
})

randomTest('a list comes back from the file as it was, hottest first', {}, random => {
  const list: number[] = []
  const ids = new Set<number>()
  for (let i = 0; i < 3_000; i++) {
    const id = random.chance(0.1) ? random.below(2 ** 40) : 1 + random.below(20_000)
    if (ids.has(id)) continue
    ids.add(id)
    list.push(id, 1 + random.below(25))
  }
  const back = unpackList(packList(list))
  const pairs = (flat: number[]) =>
    Array.from({ length: flat.length / 2 }, (_, i) => [flat[i * 2]!, flat[i * 2 + 1]!] as const)
  const expected = pairs(list).sort(([a, x], [b, y]) => y - x || a - b)
  assert.deepEqual(pairs(back), expected)
  assert.deepEqual(unpackList(packList([])), [])
})

test('warming ends at its time limit when tier 2 does not answer, and what comes later changes nothing', async t => {
  const first = stand(t)
  const keys = await fill(first, 1_000)
  for (const key of keys) read(first, key, 2)
  await new HotList(first.cache.state, new HotEntries(first.segment, first.memory), 0).stop(5_000)
  const second = await again(t, first)
  second.isStalled = true
  const hot = new HotEntries(second.segment, second.memory)
  const warming = new Warming(second.cache.state, hot, NOTHING)
  const startMs = performance.now()
  await warming.run(60)
  const tookMs = performance.now() - startMs
  assert.ok(tookMs >= 55 && tookMs < 2_000, `${tookMs} ms`)
  assert.equal(warming.figures, undefined)
  second.isStalled = false
  await sleep(30)
  assert.equal(second.memory.stats().entries, 0)
  const third = new Warming(second.cache.state, hot, NOTHING)
  await third.run(10_000)
  assert.equal(third.figures?.entries, 1_000)
  assert.ok(keys.every(key => isThere(second, key)))
})

test('when tier 1 has no room for all, the hottest are there, and none was evicted for another', async t => {
  const first = stand(t, { segmentBytes: 1 << 20 })
  const keys = await fill(first, 2_000)
  for (const [i, key] of keys.entries()) read(first, key, i % 4 === 0 ? 50 : 1)
  await new HotList(first.cache.state, new HotEntries(first.segment, first.memory), 0).stop(5_000)
  first.close()
  const second = stand(t, { folder: first.folder, segmentBytes: 80 * 1024 })
  const hot = new HotEntries(second.segment, second.memory)
  const warming = new Warming(second.cache.state, hot, NOTHING)
  await warming.run(10_000)
  const { entries, outOf } = warming.figures!
  assert.equal(outOf, 2_000)
  assert.ok(entries > 100 && entries < 500, `${entries} fit`)
  assert.equal(second.memory.stats().evictions, 0)
  const isHot = keys.filter(key => isThere(second, key)).map(key => Number(key.slice(1)) % 4)
  assert.ok(
    isHot.every(rest => rest === 0),
    'none of those read once',
  )
})

test('a worker that dies, with a list or its entries on their way, ends neither the engine nor its next list', async t => {
  const at = stand(t)
  const keys = await fill(at, 1_000)
  for (const key of keys) read(at, key, 2)
  const hot = new HotEntries(at.segment, at.memory)
  const list = new HotList(at.cache.state, hot, 1)
  await sleep(2)
  at.isStalled = true
  list.look(1)
  await sleep(20)
  at.killWorker()
  at.isStalled = false
  const warming = new Warming(at.cache.state, hot, NOTHING)
  await warming.run(5_000)
  assert.equal(warming.figures, undefined, 'that list was never whole')
  await list.stop(5_000)
  const after = await again(t, at)
  const next = new Warming(after.cache.state, new HotEntries(after.segment, after.memory), NOTHING)
  const startMs = performance.now()
  const running = next.run(20_000)
  after.killWorker()
  await running
  assert.ok(performance.now() - startMs < 10_000, 'it does not wait for the dead')
  const last = new Warming(after.cache.state, new HotEntries(after.segment, after.memory), NOTHING)
  await last.run(5_000)
  assert.equal(last.figures?.entries, 1_000)
})

test('stopping waits no longer than it may for a list that nobody takes', async t => {
  const at = stand(t)
  for (const key of await fill(at, 500)) read(at, key, 2)
  at.isStalled = true
  const list = new HotList(at.cache.state, new HotEntries(at.segment, at.memory), 0)
  const startMs = performance.now()
  await list.stop(50)
  assert.ok(performance.now() - startMs < 2_000)
})

test('however much changes, lists write no more than they may', async t => {
  const at = stand(t)
  const hot = new HotEntries(at.segment, at.memory)
  const list = new HotList(at.cache.state, hot, 1)
  const before = at.stats()['commits']!
  const rounds = 100
  for (let round = 0; round < rounds; round++) {
    await at.client.set(`k${round}`, 1, { ttlMs: 0 })
    for (let i = 0; i <= round; i++) at.evict(`k${i - 1}`)
    read(at, `k${round}`, 1)
    await sleep(2)
    list.look(round + 1)
    for (let i = 0; i < 10; i++) await turn()
    at.pump()
    await sleep(2)
  }
  const lists = at.stats()['commits']! - before - rounds
  const allowed = HOT_BURST_BYTES_MAX / (3 * 4_096 * 2)
  assert.ok(lists > 10, `${lists} lists were written`)
  assert.ok(lists <= allowed + 3, `${lists} lists were written`)
})

test('rows that are there yet, but invalidated, expired or within their grace, are left out', async t => {
  const first = stand(t)
  await first.client.set('tagged', 1, { ttlMs: 0, tags: ['t'] })
  await first.client.set('other', 1, { ttlMs: 0, tags: ['u'] })
  await first.client.set('short', 1, { ttlMs: 300 })
  await first.client.set('grace', 1, { ttlMs: 300, graceMs: 60_000 })
  for (const key of ['tagged', 'other', 'short', 'grace']) read(first, key, 2)
  await new HotList(first.cache.state, new HotEntries(first.segment, first.memory), 0).stop(5_000)
  await first.client.invalidateTags(['t'])
  await sleep(310)
  const second = await again(t, first)
  const hot = new HotEntries(second.segment, second.memory)
  const warming = new Warming(second.cache.state, hot, NOTHING)
  await warming.run(5_000)
  assert.equal(warming.figures?.outOf, 4)
  assert.equal(second.memory.stats().entries, 1)
  assert.equal(warming.figures?.entries, 1)
  assert.equal((await second.client.lookup('other'))?.tier, 'memory')
  assert.equal((await second.client.lookup('grace', { stale: true }))?.isStale, true)
})
