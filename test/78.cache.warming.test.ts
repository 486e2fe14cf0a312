/** Warming at the start: what was read most is in tier 1 before anybody asks, and nothing that is over comes back by it.
 *  Owns:   engines as processes of their own, killed and started again on real files.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import type { Hearth } from '../engine/client/index.ts'
import type { WarmedFigures } from '../engine/figures.ts'
import { type ServedEngine, serve } from './helpers/engine.ts'

const SOON = { HEARTH_CACHE_WARM_INTERVAL: '50ms' }
const SAVED_MS_MAX = 5_000

/** Over the socket and without tier 1 in place, so that the tier of each answer is known. */
const plain = (engine: ServedEngine): Promise<Hearth> => engine.connect({ sharedMemory: false })

/** Reads each key so many times. */
async function read(hearth: Hearth, keys: readonly string[], times: number): Promise<void> {
  for (let i = 0; i < times; i++) await Promise.all(keys.map(key => hearth.cache.get(key)))
}

async function fill(hearth: Hearth, count: number, bytes = 10): Promise<string[]> {
  const keys = Array.from({ length: count }, (_, i) => `k${i}`)
  const value = 'x'.repeat(bytes)
  await hearth.cache.setMany(keys.map(key => ({ key, value, ttlMs: 0 })))
  return keys
}

async function tiers(hearth: Hearth, keys: readonly string[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = { memory: 0, sqlite: 0, none: 0 }
  for (const key of keys) counts[(await hearth.cache.lookup(key))?.tier ?? 'none']!++
  return counts
}

async function warmed(hearth: Hearth): Promise<WarmedFigures | null> {
  return (await hearth.stats()).memory.warmed
}

/** Waits until the engine has written a list that has changed since. */
async function untilSaved(engine: ServedEngine, before?: Buffer): Promise<Buffer> {
  const deadlineMs = performance.now() + SAVED_MS_MAX
  for (;;) {
    const list = onFile(engine, file => {
      const table = file.prepare("select 1 from sqlite_schema where name = 'hot'").get()
      return table === undefined ? undefined : file.prepare('select list from hot').pluck().get()
    }) as Buffer | undefined
    if (list !== undefined && (before === undefined || !list.equals(before))) return list
    assert.ok(performance.now() < deadlineMs, 'no list was written')
    await sleep(20)
  }
}

function onFile<T>(engine: ServedEngine, work: (file: Database.Database) => T): T {
  const file = new Database(engine.sqliteFile)
  try {
    return work(file)
  } finally {
    file.close()
  }
}

test('after kill -9 the entries read most are in tier 1 before anybody asks, those read seldom are not', async t => {
  const engine = await serve(t, { ...SOON, HEARTH_MEMORY_MAX_ENTRIES: '50' })
  let hearth = await plain(engine)
  const keys = await fill(hearth, 500)
  const often = keys.slice(100, 130)
  const seldom = keys.filter(key => !often.includes(key))
  for (let i = 0; i < 20; i++) await read(hearth, often, 1)
  await read(hearth, seldom.slice(0, 50), 1)
  await read(hearth, often, 20)
  const before = await untilSaved(engine)
  await sleep(200)
  assert.ok(before.length > 0)
  await engine.kill()
  await engine.start()
  hearth = await plain(engine)
  const figures = await warmed(hearth)
  assert.ok(figures !== null && figures.entries >= often.length, JSON.stringify(figures))
  console.log('#', JSON.stringify(figures))
  assert.deepEqual(await tiers(hearth, often), { memory: often.length, sqlite: 0, none: 0 })
  const rest = await tiers(hearth, seldom)
  assert.ok(rest['memory']! <= 50 - often.length + 5, JSON.stringify(rest))
})

test('what was deleted, invalidated or has expired does not come back by warming', async t => {
  const engine = await serve(t, SOON)
  let hearth = await plain(engine)
  const keys = await fill(hearth, 20)
  await hearth.cache.set('short', 1, { ttlMs: 2_500 })
  await hearth.cache.set('tagged', 1, { ttlMs: 0, tags: ['t'] })
  await hearth.cache.set('stays', 1, { ttlMs: 0, tags: ['u'], graceMs: 60_000 })
  await hearth.cache.set('changes', 'old', { ttlMs: 0 })
  const startMs = performance.now()
  const all = [...keys, 'short', 'tagged', 'stays', 'changes']
  await read(hearth, all, 5)
  await untilSaved(engine)
  await hearth.cache.delete('k0', 'k1')
  await hearth.cache.invalidatePattern('k1?')
  await hearth.cache.invalidateTags(['t'])
  await hearth.cache.set('changes', 'new', { ttlMs: 0 })
  // Another key takes over the row of one that was deleted, at the end of the table.
  await hearth.cache.set('newcomer', 1, { ttlMs: 0 })
  await engine.kill()
  await sleep(Math.max(0, 2_600 - (performance.now() - startMs)))
  await engine.start()
  hearth = await plain(engine)
  const figures = await warmed(hearth)
  assert.ok(figures !== null && figures.outOf >= figures.entries + 10, JSON.stringify(figures))
  const gone = ['k0', 'k1', ...keys.slice(10), 'short', 'tagged']
  assert.deepEqual(await tiers(hearth, gone), { memory: 0, sqlite: 0, none: gone.length })
  const left = [...keys.slice(2, 10), 'stays', 'changes']
  assert.deepEqual(await tiers(hearth, left), { memory: left.length, sqlite: 0, none: 0 })
  assert.equal(await hearth.cache.get('changes'), 'new')
  assert.equal(await hearth.cache.invalidateTags(['u']), 1)
  assert.equal(await hearth.cache.get('stays'), undefined, 'its tags came with it')
})

test('a clean stop writes the list at once, and no list is written anew that has hardly changed', async t => {
  const engine = await serve(t, { HEARTH_CACHE_WARM_INTERVAL: '0ms' })
  let hearth = await plain(engine)
  const keys = await fill(hearth, 100)
  await read(hearth, keys, 3)
  assert.equal(await warmed(hearth), null)
  await engine.stop()
  const first = await untilSaved(engine)
  await engine.start(SOON)
  await engine.untilLogged(/"warmed".*"entries":100/)
  hearth = await plain(engine)
  await hearth.cache.setMany([{ key: 'one more', value: 1, ttlMs: 0 }])
  await read(hearth, ['one more'], 3)
  await sleep(1_500)
  assert.deepEqual(await untilSaved(engine), first, 'one of a hundred is not worth a write')
  const others = Array.from({ length: 30 }, (_, i) => `other${i}`)
  await hearth.cache.setMany(others.map(key => ({ key, value: 1, ttlMs: 0 })))
  await read(hearth, others, 3)
  await untilSaved(engine, first)
})

test('a list that is damaged, strange or missing is no obstacle, and is written anew', async t => {
  const engine = await serve(t, SOON)
  const keys = await fill(await plain(engine), 50)
  const damages = [
    "update hot set list = x'c1c1c1'",
    "update hot set list = x'05cf00ffffffffffff'",
    'update hot set list = zeroblob(200000)',
    'delete from hot',
    'drop table hot',
    'drop table hot; create view hot as select 1 as other',
    "drop table hot; create table hot (list text); insert into hot values ('no')",
  ]
  for (const damage of damages) {
    const hearth = await plain(engine)
    await read(hearth, keys, 2)
    await hearth.close()
    await engine.stop()
    onFile(engine, file => file.exec(damage))
    await engine.start()
    const again = await plain(engine)
    assert.deepEqual(await tiers(again, keys), { memory: 0, sqlite: 50, none: 0 }, damage)
    assert.equal((await again.health()).status, 'ok', damage)
    await again.close()
  }
  onFile(engine, file => file.exec('drop table hot; create view hot as select 1 as other'))
  await read(await plain(engine), keys, 2)
  await engine.stop()
  await engine.start()
  assert.equal((await warmed(await plain(engine)))?.entries, 50)
})

test('with cache.warm off nothing is noted and nothing brought back', async t => {
  const engine = await serve(t, { ...SOON, HEARTH_CACHE_WARM: 'false' })
  const keys = await fill(await plain(engine), 20)
  await read(await plain(engine), keys, 3)
  await sleep(1_200)
  await engine.stop()
  assert.equal(
    onFile(engine, file => file.prepare("select 1 from sqlite_schema where name = 'hot'").get()),
    undefined,
  )
  await engine.start()
  const hearth = await plain(engine)
  assert.equal(await warmed(hearth), null)
  assert.deepEqual(await tiers(hearth, keys), { memory: 0, sqlite: 20, none: 0 })
})

test('what clients read in place counts too', async t => {
  const engine = await serve(t, { ...SOON, HEARTH_MEMORY_MAX_ENTRIES: '60' })
  const writer = await plain(engine)
  const keys = await fill(writer, 60)
  const inPlace = await engine.connect()
  const often = keys.slice(20, 30)
  const endMs = performance.now() + 1_000
  while (performance.now() < endMs) {
    for (const key of often) await inPlace.cache.get(key)
    await sleep(10)
  }
  assert.ok((await writer.stats()).memory.hitsInPlace > 100, 'they were read in place')
  await engine.stop()
  await engine.start()
  const hearth = await plain(engine)
  assert.deepEqual(await tiers(hearth, often), { memory: 10, sqlite: 0, none: 0 })
  assert.equal((await warmed(hearth))!.entries, 10)
})
