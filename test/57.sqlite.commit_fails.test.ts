/** A COMMIT that fails in the middle of things: what was on its way, kept back or owed then never shows what it must not.
 *  Owns:   a stand a test.   Thread: main of a test process.
 *  Holds:  each of these was found by the random runs of 49.cache.model, and is the shortest run that shows it. */

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { CacheStand } from './helpers/cache_stand.ts'
import { temporaryFolder } from './helpers/sqlite.ts'

const Database = createRequire(import.meta.url)('better-sqlite3') as typeof import('better-sqlite3')
const BEHIND = { durability: 'memory', ttlMs: 0 } as const
const UNAVAILABLE = { code: 'UNAVAILABLE' }

function open(folder = temporaryFolder()): CacheStand {
  const store = { flushIntervalMs: 3_600_000, busyTimeoutMs: 0 }
  return new CacheStand({ folder, segmentBytes: 1 << 17, store })
}

/** The file refuses writes until what is returned is called. */
function lock(folder: string): () => void {
  const locker = new Database(`${folder}/cache.sqlite`)
  locker.exec('begin immediate')
  return () => locker.close()
}

test('nothing is added to, or lengthened, that an invalidation meant which is owed', async () => {
  const stand = open()
  const { client } = stand
  for (const key of ['n', 'm']) await client.set(key, 5, { tags: ['t'], ttlMs: 0 })
  stand.failCommits(1)
  await assert.rejects(client.invalidateTags(['t']), UNAVAILABLE)
  assert.equal(await client.get('n'), undefined)
  await assert.rejects(client.increment('n'), UNAVAILABLE)
  await assert.rejects(client.touch('m', 1_000), UNAVAILABLE)
  await stand.retryUnfinished()
  assert.equal(await client.increment('n'), 1, 'it begins anew')
  assert.equal(await client.touch('m', 1_000), false)
  stand.close()
})

test('a value kept back while an earlier one could not be written is as little followed by an older one', async () => {
  const stand = open()
  const { client } = stand
  await client.set('a', 1, { ttlMs: 0 })
  const unlock = lock(stand.folder)
  // The first goes to the disk, since its tag is new there, and fails; the second is kept back.
  stand.isStalled = true
  const sets = [client.set('b', 1, { ...BEHIND, tags: ['new'] }), client.set('a', 2, BEHIND)]
  stand.isStalled = false
  await Promise.all(sets)
  await assert.rejects(client.delete('something else'), UNAVAILABLE)
  stand.killWorker()
  unlock()
  stand.evict('a')
  assert.equal(await client.get('a'), undefined, 'the newer one went with its worker')
  stand.close()
})

test('a value kept back with a tag whose own COMMIT failed does not outlive the tag’s invalidation', async () => {
  const stand = open()
  const { client } = stand
  stand.isStalled = true
  const sets = [
    client.set('a', 1, { tags: ['t'], ttlMs: 0 }),
    client.set('b', 2, { ...BEHIND, tags: ['t'] }),
  ]
  stand.failCommits(1)
  stand.isStalled = false
  await Promise.allSettled(sets)
  await client.invalidateTags(['t'])
  // A tag that takes the place of the one that was never committed.
  await client.set('c', 3, { tags: ['other'], ttlMs: 0 })
  for (const key of ['a', 'b']) {
    stand.evict(key)
    assert.equal(await client.get(key), undefined, key)
  }
  stand.close()
})

test('an orderly end takes back what the file should not have any more, once the file takes writes', async () => {
  const stand = open()
  const { client } = stand
  await client.set('a', 1, { ttlMs: 0 })
  await client.set('a', 2, BEHIND)
  const unlock = lock(stand.folder)
  await Array.fromAsync(client.keys()) // has what is kept back written first, and that fails
  unlock()
  stand.close()
  const next = open(stand.folder)
  assert.equal(
    await next.client.get('a'),
    undefined,
    'the newer one is lost, and the older one was written over',
  )
  next.close()
})
