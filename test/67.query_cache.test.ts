/** Results of statements in the cache: what is kept, and that a write ends it before it is acknowledged.
 *  Owns:   an engine in this process on a real Postgres.   Thread: main of a test process.
 *  Holds:  clients over the socket and in place see the same.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../engine/client/index.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { openSqlEngine } from './helpers/sql_engine.ts'

const postgres = await sharedPostgres()

async function open(t: Parameters<typeof openSqlEngine>[0]) {
  const url = await postgres.createDatabase()
  const engine = await openSqlEngine(t, url)
  const { db } = engine.client
  await db.query('create table device (id int primary key, room text, value int not null)')
  await db.query(`insert into device select g, 'room ' || g % 3, 0 from generate_series(1, 30) g`)
  await db.query('create view kitchen as select * from device where room = $$room 1$$')
  await db.query('create table other (id int primary key)')
  // With the first result that is kept it begins to listen for writes from elsewhere, and ends what is there once it does.
  await cached(engine.client, 'select id as value from other', [])
  await untilListening(engine.client)
  return engine
}

async function untilListening(client: Hearth): Promise<void> {
  for (let i = 0; i < 500; i++) {
    const { pools } = await client.stats()
    const { reason } = pools['main']!['outside'] as { reason?: string }
    if (!/not listening/.test(reason ?? '')) return
    await sleep(10)
  }
  throw new Error('it does not listen')
}

const VALUE = 'select value from device where id = $1'
const cached = (hearth: Hearth, sql = VALUE, params: unknown[] = [1], more = {}) =>
  hearth.db.query<{ value: number }>(sql, params, { cache: { ttlMs: 60_000, ...more } })

test('a result is kept, and a write of its table ends it before the write is acknowledged', async t => {
  const { client, connect } = await open(t)
  const socket = await connect({ sharedMemory: false })
  assert.equal((await cached(client)).source, 'primary')
  for (const hearth of [client, socket]) {
    const { source, rows } = await cached(hearth)
    assert.equal(source, 'memory')
    assert.deepEqual(rows, [{ value: 0 }])
  }
  for (let n = 1; n <= 50; n++) {
    await client.db.query('update device set value = $1 where id = 1', [n])
    const [some, other] = await Promise.all([cached(client), cached(socket)])
    assert.equal(some.rows[0]!.value, n)
    assert.equal(other.rows[0]!.value, n)
    assert.equal((await cached(client)).source, 'memory')
  }
})

test('a write of another table, and one that failed by its syntax, leave it', async t => {
  const { client } = await open(t)
  await cached(client)
  await client.db.query('insert into other values (1)')
  assert.equal((await cached(client)).source, 'memory')
  await client.db.query('insert into other values (2)')
  assert.equal((await cached(client)).source, 'memory')
})

test('a write in a transaction ends it with the COMMIT, and not before', async t => {
  const { client } = await open(t)
  await cached(client)
  await client.db.transaction(async tx => {
    await tx.query('update device set value = 7 where id = 1')
    assert.equal((await cached(client)).rows[0]!.value, 0)
    assert.equal((await cached(client)).source, 'memory')
  })
  const after = await cached(client)
  assert.deepEqual([after.rows[0]!.value, after.source], [7, 'primary'])
})

test('through views, and by whatever the parameters are, each result is one of its own', async t => {
  const { client } = await open(t)
  const sql = 'select count(*)::int as value from kitchen where value >= $1::float8'
  for (const least of [0, 1, 0.5, -1, 2 ** 40]) await cached(client, sql, [least])
  for (const least of [0, 1, 0.5, -1, 2 ** 40]) {
    const { rows, source } = await cached(client, sql, [least])
    assert.deepEqual([rows[0]!.value, source], [least <= 0 ? 10 : 0, 'memory'])
  }
  await client.db.query('update device set value = 1 where id = 1')
  assert.equal((await cached(client, sql, [1])).rows[0]!.value, 1)
})

test('what may not be kept is not, and explainCache says why', async t => {
  const { client } = await open(t)
  for (const sql of [
    'select random() as value',
    'select now() as value',
    'select count(*) as value from pg_class',
  ]) {
    await cached(client, sql, [])
    assert.equal((await cached(client, sql, [])).source, 'primary', sql)
    const { cacheable, reason } = await client.db.explainCache(sql)
    assert.equal(cacheable, false)
    assert.equal(typeof reason, 'string')
  }
  const told = await client.db.explainCache(VALUE)
  assert.deepEqual([told.cacheable, told.side, told.tables], [true, 'read', ['public.device']])
})

test('a stale result is given within maxStaleMs while a new one is fetched; one that was ended is not', async t => {
  const { client } = await open(t)
  const short = { ttlMs: 30, maxStaleMs: 60_000 }
  await cached(client, VALUE, [2], short)
  await sleep(50)
  await postgres.admin() // The table is written behind the engine's back: only time can tell.
  const stale = await cached(client, VALUE, [2], short)
  assert.equal(stale.source, 'memory')
  const { queryCache } = await client.stats()
  assert.equal(queryCache.staleHits, 1)
  await sleep(50)
  await client.db.query('update device set value = 5 where id = 2')
  assert.equal((await cached(client, VALUE, [2], short)).rows[0]!.value, 5)
})

test('many who miss the same share one statement; what may not be kept is run for each', async t => {
  const { client, figure } = await open(t)
  const before = await figure('queries')
  const slow = 'select sum(a.value)::int as value from device a, device b, device c, device d'
  const results = await Promise.all(Array.from({ length: 50 }, () => cached(client, slow, [])))
  assert.ok(results.every(({ rows }) => rows[0]!.value === 0))
  assert.ok((await figure('queries')) - before < 10)
  await client.db.query('create sequence turn')
  for (let round = 0; round < 2; round++) {
    const turns = await Promise.all(
      Array.from({ length: 20 }, () => cached(client, "select nextval('turn')::int as value", [])),
    )
    const numbers = turns.map(({ rows }) => rows[0]!.value)
    assert.equal(new Set(numbers).size, 20)
  }
  const insert =
    'insert into other select coalesce(max(id), 0) + 100 from other returning id as value'
  await Promise.allSettled(Array.from({ length: 3 }, () => cached(client, insert, [])))
  await cached(client, insert, [])
  const { rows } = await client.db.query<{ count: number }>(
    'select count(*)::int as count from other',
  )
  assert.ok(rows[0]!.count >= 2)
})

test('a worker that dies ends all results', async t => {
  const { client, killWorker } = await open(t)
  await cached(client)
  assert.equal((await cached(client)).source, 'memory')
  await killWorker()
  for (let i = 0; i < 1_000; i++) {
    try {
      const { source } = await cached(client)
      assert.equal(source, 'primary')
      return
    } catch {
      await sleep(20)
    }
  }
  assert.fail('the worker did not come back')
})

test('tags of the caller end it too, and keys() does not show it', async t => {
  const { client } = await open(t)
  await cached(client, VALUE, [3], { tags: ['mine'] })
  assert.equal((await cached(client, VALUE, [3], { tags: ['mine'] })).source, 'memory')
  const keys: string[] = []
  for await (const key of client.cache.keys()) keys.push(key)
  assert.deepEqual(keys, [])
  await client.cache.invalidateTags(['mine'])
  assert.equal((await cached(client, VALUE, [3], { tags: ['mine'] })).source, 'primary')
})
