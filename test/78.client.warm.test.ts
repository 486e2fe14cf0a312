/** `cache.warm(loader)`: everything is stored once, in bounded batches, with progress; it stops when it is told to.
 *  Owns:   one engine process.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Entry, Hearth, HearthError, WarmProgress } from '../engine/client/index.ts'
import { type ServedEngine, serve } from './helpers/engine.ts'

let engine: ServedEngine
let hearth: Hearth
const endings: (() => Promise<void>)[] = []

before(async () => {
  engine = await serve({ after: end => endings.push(end) })
  hearth = await engine.connect()
})
after(async () => {
  for (const end of endings) await end()
})

function entries(name: string, count: number): Entry[] {
  return Array.from({ length: count }, (_, i) => ({ key: `${name}:${i}`, value: { i }, ttlMs: 0 }))
}

test('all that a loader gives is stored, in batches, and progress counts each entry once', async () => {
  const all = entries('all', 1_050)
  const seen: WarmProgress[] = []
  let open = 0
  async function* load() {
    for (const entry of all) {
      open++
      yield entry
    }
  }
  const total = await hearth.cache.warm(load, {
    batchSize: 100,
    concurrency: 2,
    onProgress: progress => {
      seen.push(progress)
      // What is on its way, what is being gathered, and the one that is handed over.
      assert.ok(open - progress.loaded <= 100 * 3 + 1, `${open} taken, ${progress.loaded} stored`)
    },
  })
  assert.deepEqual([total.loaded, total.skipped, total.failed], [1_050, 0, 0])
  assert.equal(seen.length, 11)
  assert.ok(seen.every((each, i) => i === 0 || each.loaded >= seen[i - 1]!.loaded))
  assert.equal(seen.at(-1)!.loaded, 1_050)
  assert.ok(total.bytes > 1_050 * 3 && total.elapsedMs >= 0)
  const found = await hearth.cache.getMany(all.map(({ key }) => key))
  assert.deepEqual(
    found,
    all.map(({ value }) => value),
  )
})

test('what is there already is left alone, unless told otherwise; options and namespaces hold', async () => {
  const space = hearth.cache.namespace('warmed')
  await space.set('there', 'mine')
  const given: Entry[] = [
    { key: 'there', value: 'other' },
    { key: 'tagged', value: 1, tags: ['w'], graceMs: 1_000 },
    { key: 'policy', value: 2, policy: 'session' },
  ]
  const first = await space.warm(given)
  assert.deepEqual([first.loaded, first.skipped, first.failed], [2, 1, 0])
  assert.equal(await space.get('there'), 'mine')
  assert.equal(await hearth.cache.get('warmed:tagged'), 1)
  assert.ok((await space.ttl('policy'))! <= 30 * 60_000)
  await hearth.cache.invalidateTags(['w'])
  assert.equal(await space.get('tagged'), undefined)
  const second = await space.warm(async () => given, { onlyMissing: false })
  assert.deepEqual([second.loaded, second.skipped], [3, 0])
  assert.equal(await space.get('there'), 'other')
  const third = await space.warm([{ key: 'there', value: 'once', ifVersion: 0 }], {
    onlyMissing: false,
  })
  assert.deepEqual([third.loaded, third.skipped], [0, 1], 'not of the version')
})

test('an entry that cannot be stored is counted, and stops none of the others', async () => {
  const bad: Entry[] = [
    { key: 'k'.repeat(2_000), value: 1 },
    { key: 'policy', value: 1, policy: 'none such' },
    { key: 'option', value: 1, tag: 'unknown' } as Entry,
    { key: 'negative', value: 1, ttlMs: -1 },
  ]
  const good = entries('good', 50)
  const total = await hearth.cache.warm([...good.slice(0, 25), ...bad, ...good.slice(25)])
  assert.equal(total.loaded, 50)
  assert.equal(total.failed, bad.length)
  assert.ok(total.firstError instanceof Error)
  const found = await hearth.cache.getMany(good.map(({ key }) => key))
  assert.ok(found.every(value => value !== undefined))
})

test('an abort ends it, also while the loader keeps it waiting, and closes the loader', async () => {
  const abort = new AbortController()
  let isClosed = false
  let taken = 0
  async function* endless() {
    try {
      for (; ; taken++) {
        yield { key: `endless:${taken}`, value: taken }
        if (taken % 100 === 99) await sleep(5)
      }
    } finally {
      isClosed = true
    }
  }
  const warming = hearth.cache.warm(endless(), {
    signal: abort.signal,
    batchSize: 50,
    onProgress: ({ loaded }) => {
      if (loaded >= 200) abort.abort(new Error('enough'))
    },
  })
  await assert.rejects(warming, /enough/)
  for (let i = 0; i < 500 && !isClosed; i++) await sleep(10)
  assert.ok(isClosed)
  const takenThen = taken
  await sleep(30)
  assert.equal(taken, takenThen)
  async function* hanging(): AsyncGenerator<Entry> {
    yield await new Promise<Entry>(() => undefined)
  }
  const late = AbortSignal.timeout(30)
  await assert.rejects(hearth.cache.warm(hanging(), { signal: late }), { name: 'TimeoutError' })
  await assert.rejects(hearth.cache.warm([], { signal: late }), { name: 'TimeoutError' })
})

test('a loader that fails ends it with its error; wrong options and loaders are told at once', async () => {
  function* failing() {
    yield* entries('failing', 10)
    throw new Error('the source is gone')
  }
  await assert.rejects(hearth.cache.warm(failing, { batchSize: 5 }), /the source is gone/)
  assert.equal((await hearth.cache.get('failing:0')) !== undefined, true, 'what was sent is stored')
  await assert.rejects(hearth.cache.warm([], { batch: 1 } as never), /unknown option 'batch'/)
  await assert.rejects(hearth.cache.warm([], { batchSize: 0 }), /batchSize/)
  await assert.rejects(hearth.cache.warm(7 as never), /iterable/)
})

test('an engine that is down: every entry fails, also where writes are dropped in silence', async () => {
  const other = await serve({ after: end => endings.push(end) })
  const open = await other.connect({ failOpen: true, timeoutMs: 500 })
  await other.kill()
  const total = await open.cache.warm(entries('down', 20))
  assert.deepEqual([total.loaded, total.failed], [0, 20])
  assert.match((total.firstError as HearthError).code, /UNAVAILABLE|TIMEOUT/)
})
