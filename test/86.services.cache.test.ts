/** Answers of services in the engine's cache: what is kept, for whom and how long, counted at a real server.
 *  Owns:   an engine and a service for the file.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth, Service } from '../engine/client/index.ts'
import { type BadService, badService } from './helpers/bad_service.ts'
import { embed } from './helpers/engine.ts'

let bad: BadService
let hearth: Hearth
let one: Service
let two: Service
const endings: (() => unknown)[] = []
const ending = { after: (end: () => unknown) => void endings.push(end) }

before(async () => {
  bad = await badService(ending)
  const engine = await embed(ending, {
    services: { bad: { url: bad.url, backoffMs: 5, retries: 0, healthIntervalMs: Infinity } },
    breaker: { failures: 1_000_000, failureRate: 1, minCalls: 1_000_000 },
  })
  hearth = await engine.connect()
  one = hearth.service('bad')
  two = (await engine.connect()).service('bad')
})
after(async () => {
  for (const end of endings.toReversed()) await end()
})

async function asked(path: string): Promise<number> {
  return (await bad.counts()).paths[path] ?? 0
}

test('max-age: asked once, whoever asks', async () => {
  const first = await one.get('/for-60s')
  assert.equal(first.fromCache, false)
  for (const service of [one, two]) {
    const again = await service.get('/for-60s')
    assert.deepEqual([again.fromCache, again.attempts, again.json()], ['fresh', 0, first.json()])
    assert.ok(Number(again.headers['age']) >= 0)
  }
  assert.equal(await asked('/for-60s'), 1)
  assert.equal((await one.get('/for-60s', { cache: false })).fromCache, false)
  assert.equal(await asked('/for-60s'), 2)
  const keys: string[] = []
  for await (const key of hearth.cache.keys('http:bad:*')) keys.push(key)
  assert.deepEqual(keys, ['http:bad:/for-60s'])
})

test('a change of a path ends what is kept of it', async () => {
  await one.get('/for-60s')
  const before = await asked('/for-60s')
  await two.put('/for-60s', 'new')
  assert.equal((await one.get('/for-60s')).fromCache, false)
  assert.equal(await asked('/for-60s'), before + 2)
})

test('ETag: revalidated each time, and the body is that of the first', async () => {
  const first = await one.get('/etag')
  const again = await two.get('/etag')
  assert.deepEqual(
    [again.fromCache, again.status, again.json()],
    ['revalidated', 200, first.json()],
  )
  assert.equal((await one.get('/etag')).fromCache, 'revalidated')
  assert.equal(await asked('/etag'), 3)
})

test('what cannot be kept is not looked for each time', async () => {
  await one.get('/fine')
  const before = (await hearth.stats()).namespaces['http']!.misses
  for (let i = 0; i < 10; i++) await one.get('/fine')
  assert.equal((await hearth.stats()).namespaces['http']!.misses, before)
})

test('private answers, and those to credentials, are not kept', async () => {
  await one.get('/private')
  assert.equal((await one.get('/private')).fromCache, false)
  const headers = { authorization: 'Bearer of mine' }
  const path = '/for-60s?mine'
  await one.get(path, { headers })
  assert.equal((await two.get(path)).fromCache, false)
})

test('stale-if-error: an answer that has expired is given while the service fails', async () => {
  const first = await one.get('/for-1s-stale')
  await sleep(1_100)
  await bad.fail(true)
  const stale = await two.get('/for-1s-stale')
  assert.deepEqual([stale.fromCache, stale.status, stale.json()], ['stale', 200, first.json()])
  await bad.fail(false)
  assert.equal((await two.get('/for-1s-stale')).fromCache, false)
})

test('Vary: an answer is given to none but those whose headers are those it was for', async () => {
  const of = async (headers: Record<string, string>) => {
    const answer = await one.get('/vary', { headers })
    return [answer.fromCache, answer.json<{ language: string; unit: string }>()] as const
  }
  const first = await of({ 'accept-language': 'de', 'x-unit': 'C' })
  assert.equal(first[0], false)
  assert.deepEqual(await of({ 'accept-language': 'de', 'x-unit': 'C' }), ['fresh', first[1]])
  assert.equal((await of({ 'accept-language': 'fr', 'x-unit': 'C' }))[0], false)
  assert.equal((await of({ 'accept-language': 'de', 'x-unit': 'F' }))[1].unit, 'F')
})

test('a cached answer costs no breaker, and no service', async () => {
  const first = await one.get('/for-60s?last')
  bad.kill('SIGSTOP')
  try {
    assert.deepEqual((await two.get('/for-60s?last')).json(), first.json())
  } finally {
    bad.kill('SIGCONT')
  }
})
