/** Versions that never repeat, files of older releases, many entries in one statement, and compressed values.
 *  Owns:   temporary folders.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { mock, test } from 'node:test'
import { PART_BYTES } from '../engine/limits.ts'
import { CacheStand } from './helpers/cache_stand.ts'
import { optionsFor, Tier, temporaryFolder } from './helpers/sqlite.ts'

const Database = createRequire(import.meta.url)('better-sqlite3') as typeof import('better-sqlite3')

test('a version is never given twice, though the clock goes back and the engine is killed', async () => {
  const folder = temporaryFolder()
  let highest = 0
  mock.timers.enable({ apis: ['Date'], now: 1_700_000_000_000 })
  try {
    for (const nowMs of [1_700_000_000_000, 1_600_000_000_000, 1_500_000_000_000]) {
      mock.timers.setTime(nowMs)
      const stand = new CacheStand({ folder })
      for (let i = 0; i < 5; i++) {
        await stand.client.set('k', i, { ttlMs: 0 })
        const { version } = (await stand.client.lookup('k'))!
        assert.ok(version > highest, `${version} after ${highest}`)
        highest = version
      }
      stand.close()
    }
  } finally {
    mock.timers.reset()
  }
})

test('versions are reserved in the file before they are used', () => {
  const options = optionsFor(temporaryFolder())
  const tier = new Tier(options)
  const file = new Database(options.file, { readonly: true })
  const reserved = file.prepare("select value from counters where name = 'version'").pluck()
  tier.putNow('a', Buffer.from([1]))
  const first = reserved.get() as number
  assert.ok(first > tier.version)
  tier.version += 2 ** 32
  tier.putNow('b', Buffer.from([1]))
  assert.ok((reserved.get() as number) > tier.version)
  file.close()
  tier.close()
})

/** The schema as the first release had it. */
const SCHEMA_1 = `
  pragma page_size = 4096; pragma auto_vacuum = incremental; pragma journal_mode = wal;
  create table entries (id integer primary key, key text not null unique, expires_at real not null,
    version integer not null, large_bytes integer, value blob) strict;
  create table parts (entry integer not null references entries (id) on delete cascade,
    number integer not null, bytes blob not null, primary key (entry, number)) without rowid, strict;
  create table probe (id integer primary key, at real not null) strict;
  pragma application_id = ${0x48727468}; pragma user_version = 1;`

test('a file of the first release is taken over with its entries', async () => {
  const folder = temporaryFolder()
  const old = new Database(join(folder, 'cache.sqlite'))
  old.exec(SCHEMA_1)
  const put = old.prepare(
    'insert into entries (key, expires_at, version, large_bytes, value) values (?, 9e999, ?, ?, ?)',
  )
  const version = Date.now() * 1_000 + 3_600_000_000
  put.run('a', version, null, Buffer.from([5]))
  const { lastInsertRowid } = put.run('large', version + 1, 300_000, null)
  const part = old.prepare('insert into parts values (?, ?, ?)')
  part.run(lastInsertRowid, 0, Buffer.alloc(PART_BYTES, 0xc0))
  part.run(lastInsertRowid, 1, Buffer.alloc(300_000 - PART_BYTES, 0xc0))
  old.close()
  const tier = new Tier(optionsFor(folder))
  assert.equal(tier.health().state, 'ok')
  assert.equal(tier.handler.stats()['setAsideAs'], undefined)
  assert.deepEqual(tier.getNow('a'), Buffer.from([5]))
  assert.equal(tier.getNow('large')?.length, 300_000)
  assert.ok(tier.version > version + 1, 'beyond the versions it has')
  tier.close()
  const stand = new CacheStand({ folder })
  await stand.client.set('tagged', 1, { tags: ['t'] })
  assert.equal(await stand.client.invalidateTags(['t']), 1)
  assert.equal(await stand.client.get('a'), 5)
  stand.close()
})

test('a file of a later release is set aside, and said so', () => {
  const folder = temporaryFolder()
  new Tier(optionsFor(folder)).close()
  const later = new Database(join(folder, 'cache.sqlite'))
  later.pragma('user_version = 99')
  later.close()
  const tier = new Tier(optionsFor(folder))
  assert.match(String(tier.handler.stats()['setAsideAs']), /damaged-/)
  assert.equal(tier.putNow('a', Buffer.from([1])).name, 'OK')
  tier.close()
})

test('setMany is one statement and one commit, and counts its rows', async () => {
  const stand = new CacheStand({ segmentBytes: 1 << 16 })
  const { client } = stand
  await client.set('k5', 'tagged before', { tags: ['t'] })
  const before = stand.stats()
  const entries = Array.from({ length: 300 }, (_, i) => ({ key: `k${i}`, value: 'x'.repeat(i) }))
  await client.setMany(entries)
  const after = stand.stats()
  assert.equal(after['commits']! - before['commits']!, 1)
  assert.equal(after['writes']! - before['writes']!, 301, 'the frame, and each entry')
  assert.equal(after['entries'], 300)
  const keys = entries.map(({ key }) => key)
  assert.deepEqual(
    await client.getMany(keys),
    entries.map(({ value }) => value),
  )
  assert.equal(await client.invalidateTags(['t']), 0)
  const versions = await Promise.all(keys.map(async key => (await client.lookup(key))!.version))
  assert.equal(new Set(versions).size, 300)
  await client.setMany([
    { key: 'twice', value: 1 },
    { key: 'twice', value: 2 },
  ])
  stand.killWorker()
  assert.equal(await client.get('twice'), 2)
  assert.equal(stand.stats()['entries'], 301)
  stand.close()
})

test('getMany asks tier 2 once, and fills tier 1', async () => {
  const stand = new CacheStand()
  const { client } = stand
  const keys = Array.from({ length: 200 }, (_, i) => `k${i}`)
  await client.setMany(keys.map((key, value) => ({ key, value, durability: 'memory' })))
  const other = new CacheStand({ folder: stand.folder })
  stand.close()
  assert.deepEqual(await other.client.getMany(keys.slice(0, 100)), [...keys.keys()].slice(0, 100))
  const { hits } = other.memory.stats()
  assert.deepEqual(await other.client.getMany(keys), [...keys.keys()])
  assert.equal(other.memory.stats().hits - hits, 100)
  other.close()
})

test('long values are compressed if that is wanted, and come back as they were', async () => {
  const text = JSON.stringify(
    Array.from({ length: 20_000 }, (_, i) => ({ id: i, room: 'kitchen' })),
  )
  const noise = Buffer.alloc(50_000)
  for (let i = 0; i < noise.length; i++) noise[i] = (i * 2_654_435_761) >>> 13
  const values = { short: 'x'.repeat(50), page: text.slice(0, 60_000), large: text, noise }
  const sizes: number[] = []
  for (const compressFromBytes of [Infinity, 1_000]) {
    const folder = temporaryFolder()
    const stand = new CacheStand({ folder, segmentBytes: 1 << 16, store: { compressFromBytes } })
    for (const [key, value] of Object.entries(values))
      await stand.client.set(key, value, { tags: ['t'] })
    await stand.client.set('plain', values.page)
    await stand.client.setMany([{ key: 'many', value: values.page.slice(0, 30_000) }])
    stand.close()
    // Also without the setting: what is compressed says so itself.
    const again = new CacheStand({ folder, segmentBytes: 1 << 16 })
    for (const [key, value] of Object.entries(values))
      assert.deepEqual(await again.client.get(key), value, key)
    assert.deepEqual(await again.client.getMany(['plain', 'many']), [
      values.page,
      values.page.slice(0, 30_000),
    ])
    assert.equal((await again.client.lookup('large'))!.value, text)
    assert.equal(await again.client.invalidateTags(['t']), 4)
    again.close()
    const file = new Database(join(folder, 'cache.sqlite'), { readonly: true })
    sizes.push(file.prepare('select sum(length(bytes)) from parts').pluck().get() as number)
    file.close()
  }
  const saved = sizes[1]! === null
  assert.ok(saved || sizes[1]! < sizes[0]! / 3, `${sizes}`)
})
