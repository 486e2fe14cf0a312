/** Prepared statements on shared connections: prepared in the pipeline, kept, and mended when the server has lost them.
 *  Owns:   one server.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type { HearthError } from '../engine/errors.ts'
import { PREPARED_COUNT_MAX } from '../workers/postgres/database.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openDatabase } from './helpers/postgres_database.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
})

const PREPARED = 'select count(*) as n from pg_prepared_statements'
const ONE = { size: 2, min: 1, overflow: 0 }

test('a statement is prepared once a connection, and used from then on', async t => {
  const { query, database } = openDatabase(t, postgres.url, ONE)
  for (let i = 0; i < 20; i++) await query('select $1::int + 1 as n', [i])
  const { hits, misses } = database.stats().prepared
  assert.ok(misses <= 2 && hits + misses === 20, `${misses} prepared, ${hits} used`)
})

test('a connection keeps a bounded number of them', async t => {
  const { query, value, database } = openDatabase(t, postgres.url, ONE)
  for (let i = 0; i < 2 * PREPARED_COUNT_MAX + 50; i++) await query(`select ${i} as n`)
  assert.ok(Number(await value(PREPARED)) <= PREPARED_COUNT_MAX + 1)
  assert.ok(database.stats().prepared.evictions >= 50)
  assert.equal(await value('select 3 as n'), 3)
})

test('a table that changed under a prepared statement costs nothing but a second try', async t => {
  const { query, together, database } = openDatabase(t, postgres.url, { size: 4 })
  await query('create table shared_changing (id int, name text)')
  await query(`insert into shared_changing values (1, 'one')`)
  const SELECT = 'select * from shared_changing where id = $1'
  for (let i = 0; i < 4; i++)
    assert.deepEqual((await query(SELECT, [1])).rows, [{ id: 1, name: 'one' }])
  await query("alter table shared_changing add column room text default 'hall'")
  const answers = await Promise.all(
    together(Array.from({ length: 50 }, () => [SELECT, [1]] as const)),
  )
  for (const { rows, fields } of answers) {
    assert.deepEqual(rows, [{ id: 1, name: 'one', room: 'hall' }])
    assert.equal(fields.length, 3)
  }
  await query('alter table shared_changing alter column id type bigint')
  assert.deepEqual((await query(SELECT, [1])).rows, [{ id: 1, name: 'one', room: 'hall' }])
  assert.ok(database.stats().prepared.mended >= 1)
  assert.equal(database.stats().errors, 0)
})

test('statements that the server has forgotten are prepared again, and a write happens once', async t => {
  const { query, value, database } = openDatabase(t, postgres.url, ONE)
  await query('create table shared_forgotten (id int)')
  const INSERT = 'insert into shared_forgotten values ($1)'
  for (let i = 0; i < 3; i++) await query(INSERT, [i])
  // A function can do what a statement may not.
  await query(
    `create function forget_all() returns void language plpgsql as $$ begin execute 'deallocate all'; end $$`,
  )
  for (let i = 0; i < 4; i++) await query('select forget_all()')
  for (let i = 3; i < 6; i++) await query(INSERT, [i])
  assert.equal(await value('select count(*) from shared_forgotten'), 6)
  assert.ok(database.stats().prepared.mended >= 1)
})

test('a text that cannot be prepared is said so each time, and leaves the connection in order', async t => {
  const { query, value } = openDatabase(t, postgres.url, ONE)
  for (let i = 0; i < 3; i++) {
    await assert.rejects(query('select nothing from nowhere'), (error: HearthError) => {
      assert.deepEqual([error.code, error.sqlState], ['DATABASE', '42P01'])
      assert.equal(error.position, 21)
      return true
    })
    assert.equal(await value('select $1::int', [i]), i)
  }
})

test('a deferred constraint that fails at the commit is an error, not a success', async t => {
  const { query, value } = openDatabase(t, postgres.url, ONE)
  await query('create table shared_parents (id int primary key)')
  await query(
    'create table shared_children (parent int references shared_parents deferrable initially deferred)',
  )
  await assert.rejects(query('insert into shared_children values ($1)', [7]), {
    code: 'DATABASE',
    sqlState: '23503',
  })
  assert.equal(await value('select count(*) from shared_children'), 0)
})

test('parameters of every kind reach the server, and those it cannot take are refused before', async t => {
  const { query, value } = openDatabase(t, postgres.url, ONE)
  assert.equal(await value('select $1::text', ['ä€𝄞']), 'ä€𝄞')
  assert.equal(await value('select $1::float8', [0.1]), 0.1)
  assert.equal(await value('select $1::numeric', [0.1]), '0.1')
  assert.equal(await value('select $1::bigint', [2n ** 62n]), 2n ** 62n)
  assert.equal(await value('select $1::bigint', [1_763_000_000_000]), 1_763_000_000_000)
  assert.equal(await value('select $1::bool', [true]), true)
  assert.equal(await value('select $1::text is null', [null]), true)
  assert.deepEqual(await value('select $1::int[]', [[1, 2, null]]), [1, 2, null])
  assert.deepEqual(await value('select $1::jsonb', [{ a: [1] }]), { a: [1] })
  assert.deepEqual(
    await value('select $1::bytea', [Buffer.from([0, 1, 255])]),
    Buffer.from([0, 1, 255]),
  )
  const now = new Date()
  assert.deepEqual(await value('select $1::timestamptz', [now]), now)
  await assert.rejects(query('select $1::text', ['a\0b']), { code: 'BAD_REQUEST' })
  await assert.rejects(query('select $1::text', [new Map()]), { code: 'BAD_REQUEST' })
  await assert.rejects(query('select $1::int', []), { code: 'DATABASE', sqlState: '08P01' })
})
