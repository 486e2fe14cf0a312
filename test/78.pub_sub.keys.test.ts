/** Changes of keys, as those see them who watch: what is told, what is not, and that a copy kept by it stays true.
 *  Owns:   one engine for all tests, and namespaces or keys of its own in each.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth, KeyChange } from '../engine/client/index.ts'
import { DURABILITY, OPS } from '../engine/protocol/spec.ts'
import { prepare } from './helpers/engine.ts'
import { frame, set } from './helpers/frames.ts'
import { randomTest } from './helpers/random.ts'

const engine = prepare({ after })
let client: Hearth
let other: Hearth

before(async () => {
  await engine.start()
  client = await engine.connect()
  other = await engine.connect()
})

/** Watches; `told` gives all changes so far once a last one has come. */
async function watch(t: TestContext, glob: string) {
  const changes: KeyChange[] = []
  const watching = await client.cache.watch(glob, change => changes.push(change))
  t.after(() => watching.close())
  const isName = !/[*?]/.test(glob)
  let ends = 0
  return async (): Promise<KeyChange[]> => {
    const end = isName ? glob : `${glob.replace('*', '')}end${ends++}`
    await other.cache.set(end, 0)
    for (let i = 0; changes.at(-1)?.key !== end && i < 1_000; i++) await sleep(5)
    return changes.splice(0).slice(0, -1)
  }
}

test('sets, deletions and increments are told with their keys, whoever and however it was', async t => {
  const told = await watch(t, 'told:*')
  await other.cache.set('told:plain', 1)
  await other.cache.set('told:behind', 1, { durability: 'memory' })
  await other.cache.set('told:tagged', 1, { tags: ['t'], graceMs: 100 })
  await other.cache.setMany([
    { key: 'told:a', value: 1 },
    { key: 'elsewhere:b', value: 1 },
    { key: 'told:c', value: 1 },
  ])
  await client.cache.increment('told:counter')
  await other.cache.delete('told:plain')
  assert.deepEqual(await told(), [
    { change: 'set', key: 'told:plain' },
    { change: 'set', key: 'told:behind' },
    { change: 'set', key: 'told:tagged' },
    { change: 'set', key: 'told:a' },
    { change: 'set', key: 'told:c' },
    { change: 'set', key: 'told:counter' },
    { change: 'deleted', key: 'told:plain' },
  ])
})

test('what changed nothing is not told: reads, touches, refusals, absent keys, conditions that were not met', async t => {
  await other.cache.set('still:a', 1)
  const told = await watch(t, 'still:*')
  await other.cache.get('still:a')
  await other.cache.touch('still:a', 60_000)
  await assert.rejects(other.cache.set('still:a', 1, { policy: 'nowhere' }))
  await assert.rejects(other.cache.set(`still:${'k'.repeat(2_000)}`, 1))
  await other.cache.set('still:text', 'no number')
  assert.equal(await other.cache.delete('still:absent'), 0)
  assert.equal(await other.cache.set('still:a', 2, { ifVersion: 0 }), false)
  assert.equal(await other.cache.set('still:new', 2, { ifVersion: 0 }), true)
  assert.deepEqual(await told(), [
    { change: 'set', key: 'still:text' },
    { change: 'set', key: 'still:new' },
  ])
})

test('tags and patterns are told as such, once, to whoever may be concerned', async t => {
  await other.cache.set('inv:a', 1, { tags: ['kitchen'] })
  const told = await watch(t, 'inv:*')
  const toldName = await watch(t, 'inv:a')
  const toldElsewhere = await watch(t, 'out:*')
  await other.cache.invalidateTags(['kitchen', 'hall'])
  await other.cache.invalidatePattern('in?:*')
  await other.cache.invalidatePattern('inv:b*')
  const tags = { change: 'invalidated', tags: ['kitchen', 'hall'] }
  const wide = { change: 'invalidated', pattern: 'in?:*' }
  const narrow = { change: 'invalidated', pattern: 'inv:b*' }
  assert.deepEqual(await told(), [tags, wide, narrow])
  assert.deepEqual(await toldName(), [tags, wide])
  assert.deepEqual(await toldElsewhere(), [tags])
})

test('a namespace watches its own keys by their own names, whatever its name is', async t => {
  const told: KeyChange[] = []
  const watching = await client.cache.namespace('a*').watch('*', change => told.push(change))
  t.after(() => watching.close())
  await other.cache.set('ab:x', 1)
  await other.cache.namespace('a*').set('x', 1)
  for (let i = 0; told.length === 0 && i < 1_000; i++) await sleep(5)
  assert.deepEqual(told, [{ change: 'set', key: 'x' }])
})

test('published messages are no changes, and changes are no messages', async t => {
  const told = await watch(t, 'apart:*')
  const messages: string[] = []
  const subscription = await client.subscribe('*', (_, channel) => messages.push(channel))
  t.after(() => subscription.close())
  assert.equal(await other.publish('apart:a', 'set'), 1)
  await other.cache.set('apart:b', 1)
  assert.deepEqual(await told(), [{ change: 'set', key: 'apart:b' }])
  await other.publish('apart:end', 1)
  for (let i = 0; messages.length < 2 && i < 1_000; i++) await sleep(5)
  assert.deepEqual(messages, ['apart:a', 'apart:end'])
})

test('once a change is told, a get of the watcher has the new value, also in place', async t => {
  const seen: unknown[] = []
  const watching = await client.cache.watch('fresh:*', () => {
    seen.push(client.cache.get('fresh:a'))
  })
  t.after(() => watching.close())
  for (let n = 0; n < 300; n++) {
    await other.cache.set('fresh:a', n)
    const untilMs = performance.now() + 5_000
    while (seen.length <= n && performance.now() < untilMs) await new Promise(setImmediate)
    assert.equal(seen.length, n + 1, 'the change was told')
    assert.equal(await seen[n], n)
  }
})

test('what a client asked for before it vanished is told', async t => {
  const told = await watch(t, 'gone:*')
  for (let n = 0; n < 20; n++) {
    const raw = await engine.raw()
    await raw.hello()
    raw.send(set(2, `gone:${n}`, n))
    // Gone as soon as the bytes are with the kernel.
    await new Promise<void>(resolve => raw.socket.end(resolve))
    for (let i = 0; (await other.cache.get(`gone:${n}`)) !== n && i < 500; i++) await sleep(2)
  }
  const keys = (await told()).map(({ key }) => key)
  assert.deepEqual([...new Set(keys)].length, 20)
})

test('a request that breaks the protocol is told to nobody', async t => {
  const told = await watch(t, 'bad:*')
  const raw = await engine.raw()
  await raw.hello()
  raw.send(frame(OPS.SET.code, 2, 'bad:a', null, DURABILITY.commit))
  await raw.untilClosed()
  assert.deepEqual(await told(), [])
})

const SENTENCE =
  'a copy that is kept by watching ends up equal to the cache, through random operations'

randomTest(SENTENCE, {}, async (drawn, t) => {
  const random = (bound: number) => drawn.below(bound)
  const cache = other.cache.namespace('copy')
  const watched = client.cache.namespace('copy')
  const copy = new Map<string, unknown>()
  let reading: Promise<unknown> = Promise.resolve()
  const read = async (key: string): Promise<void> => {
    const value = await watched.get(key)
    if (value === undefined) copy.delete(key)
    else copy.set(key, value)
  }
  const watching = await watched.watch('*', change => {
    const keys = change.key === undefined ? [...copy.keys()] : [change.key]
    reading = reading.then(() => Promise.all(keys.map(read)))
  })
  t.after(() => watching.close())
  const keyOf = () => `k${random(8)}`
  for (let n = 0; n < 600; n++) {
    const kind = random(10)
    if (kind < 4) await cache.set(keyOf(), n, random(2) === 0 ? { tags: [`g${random(3)}`] } : {})
    else if (kind < 5) await cache.set(keyOf(), n, { durability: 'memory' })
    else if (kind < 6) await cache.increment(`n${random(3)}`)
    else if (kind < 7) await cache.setMany([1, 2].map(value => ({ key: keyOf(), value })))
    else if (kind < 8) await cache.delete(keyOf())
    else if (kind < 9) await cache.invalidateTags([`g${random(3)}`])
    else await cache.invalidatePattern(`k[${random(8)}-9]`)
  }
  await cache.set('last', 1)
  for (let i = 0; !copy.has('last') && i < 1_000; i++) await sleep(5)
  await reading
  const truth = new Map<string, unknown>()
  for (const key of [...Array(8).keys()].map(i => `k${i}`).concat('n0', 'n1', 'n2', 'last')) {
    const value = await cache.get(key)
    if (value !== undefined) truth.set(key, value)
  }
  assert.deepEqual(copy, truth)
})
