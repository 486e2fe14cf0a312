/** Results of statements in the cache where what they depend on is hard to see, and where those who share one differ.
 *  Owns:   an engine in this process on a real Postgres.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../engine/client/index.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { openSqlEngine } from './helpers/sql_engine.ts'

const postgres = await sharedPostgres()

const cached = (hearth: Hearth, sql: string, params: unknown[] = [], timeoutMs = 10_000) =>
  hearth.db.query<{ value: number }>(sql, params, { cache: { ttlMs: 60_000 }, timeoutMs })

/** Tables a and b of ten zeros each. */
async function open(t: Parameters<typeof openSqlEngine>[0]) {
  const engine = await openSqlEngine(t, await postgres.createDatabase())
  const { client } = engine
  for (const table of ['a', 'b'])
    await client.db.query(
      `create table ${table} as select g as id, 0 as value from generate_series(1, 10) g`,
    )
  await cached(client, 'select 1 as value')
  // With the first it begins to listen for writes from elsewhere, and ends what is there once it does.
  for (let i = 0; i < 500; i++) {
    const { pools } = await client.stats()
    const { reason } = pools['main']!['outside'] as { reason?: string }
    if (!/not listening/.test(reason ?? '')) break
    await sleep(10)
  }
  return engine
}

/** Locks table a until it is called back. */
async function lockA(client: Hearth): Promise<() => Promise<void>> {
  const locked = Promise.withResolvers<void>()
  const held = Promise.withResolvers<void>()
  const over = client.db.transaction(async tx => {
    await tx.query('lock table a in access exclusive mode')
    locked.resolve()
    await held.promise
  })
  await locked.promise
  return async () => {
    held.resolve()
    await over
  }
}

test('what a function reads is found out anew after the COMMIT that replaced it', async t => {
  const { client } = await open(t)
  const reading = (table: string) =>
    `create or replace function total() returns bigint language sql stable begin atomic select sum(value) from ${table}; end`
  await client.db.query(reading('a'))
  await client.db.transaction(async tx => {
    await tx.query(reading('b'))
    await cached(client, 'select total()::int as value')
  })
  await cached(client, 'select total()::int as value')
  await client.db.query('update b set value = 1')
  assert.equal((await cached(client, 'select total()::int as value')).rows[0]!.value, 10)
})

test('what the default of an argument reads is read', async t => {
  const { client } = await open(t)
  await client.db.query(
    'create function total() returns bigint language sql stable begin atomic select sum(value) from b; end',
  )
  await client.db.query(
    'create function given(x bigint default total()) returns bigint language sql stable begin atomic select x; end',
  )
  await cached(client, 'select given()::int as value')
  await client.db.query('update b set value = 1')
  assert.equal((await cached(client, 'select given()::int as value')).rows[0]!.value, 10)
})

test('a moment is found however it is written', async t => {
  const { client } = await open(t)
  for (const sql of [
    "select '10:00today'::timestamptz as value",
    "select E'n\\x6fw'::timestamptz as value",
    "select U&'\\006eow'::timestamptz as value",
  ]) {
    await client.db.query(sql)
    assert.equal((await client.db.explainCache(sql)).cacheable, false, sql)
  }
})

test('who shares a flight has its own deadline', async t => {
  const { client, connect } = await open(t)
  const sql = 'select count(*)::int as value from a where id < $1'
  await client.db.explainCache(sql)
  const patient = await connect()
  const unlock = await lockA(client)
  const first = assert.rejects(cached(client, sql, [5], 400), { code: 'TIMEOUT' })
  await sleep(50)
  const others = [cached(patient, sql, [5]), cached(patient, sql, [5], 5_000)]
  const impatient = assert.rejects(cached(patient, sql, [5], 100), { code: 'TIMEOUT' })
  await first
  await impatient
  await unlock()
  for (const { rows } of await Promise.all(others)) assert.equal(rows[0]!.value, 4)
  const { queryCache } = await client.stats()
  assert.equal(queryCache.shared, 3)
})

test('too many tags ended while a statement runs end its result too', async t => {
  const { client } = await open(t)
  const sql = 'select count(*)::int as value from a, a b, a c, a d, a e, a f, a g'
  await client.db.explainCache(sql)
  const answer = cached(client, sql)
  for (let n = 0; n < 5_000; n += 200)
    await client.cache.invalidateTags(Array.from({ length: 200 }, (_, i) => `tag ${n + i}`))
  assert.equal((await answer).rows[0]!.value, 10 ** 7)
  assert.equal((await client.stats()).queryCache.overtaken, 1)
})

test('a deadline counts the wait for what a new statement writes', async t => {
  const { client } = await open(t)
  const others = Array.from({ length: 60 }, (_, i) => client.db.query(`select ${i} as x from a`))
  const late = client.db.query('select 61 as x from a', [], { timeoutMs: 20 })
  await assert.rejects(late, { code: 'TIMEOUT' })
  await Promise.all(others)
})

test('nested transactions and locks end no results', async t => {
  const { client } = await open(t)
  const sql = 'select sum(value)::int as value from b'
  const run = () =>
    client.db.transaction(async tx => {
      await tx.query('lock table b in share mode')
      await tx.transaction(inner => inner.query('update a set value = 1'))
    })
  await run()
  // What a transaction runs is known the second time.
  await client.db.explainCache('update a set value = 1')
  await cached(client, sql)
  await run()
  assert.equal((await cached(client, sql)).source, 'memory')
})

test('a statement that the server does not understand ends no results', async t => {
  const { client } = await open(t)
  const sql = 'select sum(value)::int as value from b'
  await cached(client, sql)
  for (const wrong of [
    'select from from',
    'select * from nowhere',
    'insert into b (none) values (1)',
  ])
    await assert.rejects(client.db.query(wrong), { code: 'DATABASE' })
  assert.equal((await cached(client, sql)).source, 'memory')
})
