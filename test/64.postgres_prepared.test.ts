/** Prepared statements: made at the second use, bounded, mended when the server has forgotten them.
 *  Owns:   one server.   Thread: main of a test process.   The witness is pg_prepared_statements.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { PREPARED_COUNT_MAX } from '../workers/postgres/database.ts'
import { Statements } from '../workers/postgres/statement.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openPool } from './helpers/postgres_pool.ts'

let postgres: TestPostgres
const ONE = { size: 1, overflow: 0, min: 1 }

before(async () => {
  postgres = await sharedPostgres()
})

const COUNT = 'select count(*) from pg_prepared_statements'

test('a statement is prepared when it is asked the second time, and used from then on', async t => {
  const { query, value, pool } = openPool(t, postgres.url, ONE)
  const named = (sql: string) =>
    value(`/* ${Math.random()} */ ${COUNT} where statement = $1`, [sql])
  const sql = 'select $1::int + 1 as v'
  await query(sql, [1])
  assert.equal(await named(sql), 0)
  for (let i = 0; i < 5; i++) assert.equal((await query(sql, [i])).rows[0]!['v'], i + 1)
  assert.equal(await named(sql), 1)
  const { hits, misses } = pool.stats().prepared
  assert.deepEqual([hits, misses], [4, 1])
})

test('what is no query is never prepared', async t => {
  const { query, value } = openPool(t, postgres.url, ONE)
  for (let i = 0; i < 3; i++) await query('create table if not exists unprepared (id int)')
  assert.equal(await value(COUNT), 0)
})

test('a connection keeps a bounded number of them, the most recently used', async t => {
  const { query, value, pool } = openPool(t, postgres.url, ONE)
  const sqlOf = (i: number) => `select ${i} as v, $1::int as p`
  for (let i = 0; i < PREPARED_COUNT_MAX + 50; i++) {
    for (let use = 0; use < 2; use++) assert.equal((await query(sqlOf(i), [i])).rows[0]!['v'], i)
    await query('select 0 as hot, $1::int as p', [i])
  }
  assert.ok(Number(await value(COUNT)) <= PREPARED_COUNT_MAX)
  assert.ok(pool.stats().prepared.evictions >= 50)
  assert.equal(await value(`${COUNT} where statement like 'select 0 as hot%'`), 1)
  assert.equal(await value(`${COUNT} where statement like 'select 0 as v%'`), 0)
  assert.equal((await query(sqlOf(0), [5])).rows[0]!['p'], 5, 'an evicted one still works')
})

test('a table that changed under a prepared statement costs nothing but a second try', async t => {
  const { query, pool } = openPool(t, postgres.url, ONE)
  await query('create table changing (a int)')
  await query('insert into changing values (1)')
  for (let i = 0; i < 3; i++)
    assert.deepEqual((await query('select * from changing')).rows, [{ a: 1 }])
  await query(`alter table changing add b text default 'new'`)
  const { rows, fields } = await query('select * from changing')
  assert.deepEqual(rows, [{ a: 1, b: 'new' }])
  assert.deepEqual(
    fields.map(field => field.name),
    ['a', 'b'],
  )
  await query('alter table changing alter a type text')
  assert.deepEqual((await query('select * from changing')).rows, [{ a: '1', b: 'new' }])
  assert.equal(pool.stats().prepared.mended, 2)
  assert.equal(pool.stats().errors, 0)
})

test('statements that the server has forgotten are prepared again, and a write happens once', async t => {
  const { query, value, pool } = openPool(t, postgres.url, ONE)
  await query('create table written (id int)')
  for (let i = 0; i < 3; i++) await query('insert into written values ($1)', [i])
  // Hidden in a function: the pool cannot know, and a DO block it would reset after.
  await query(`create function forget() returns void language plpgsql as
    $$ begin execute 'deallocate all'; end $$`)
  await query('select forget()')
  await query('insert into written values ($1)', [3])
  assert.equal(await value('select count(*) from written'), 4)
  assert.equal(pool.stats().prepared.mended, 1)
})

test('a name that the session has already is the same statement, and used', async t => {
  const { query, pool } = openPool(t, postgres.url, ONE)
  const sql = 'select $1::int * 2 as v'
  const { name } = new Statements().of(sql)
  await query(`create function remember() returns void language plpgsql as
    $do$ begin execute 'prepare "${name}"(int) as ${sql}'; end $do$`)
  await query('select remember()')
  for (let i = 0; i < 3; i++) assert.equal((await query(sql, [i])).rows[0]!['v'], i * 2)
  assert.equal(pool.stats().prepared.mended, 1)
})

test('an error inside a prepared statement is said once and leaves it usable', async t => {
  const { query, pool } = openPool(t, postgres.url, ONE)
  const sql = 'select 10 / $1::int as v'
  for (let i = 0; i < 3; i++) assert.equal((await query(sql, [5])).rows[0]!['v'], 2)
  await assert.rejects(query(sql, [0]), { sqlState: '22012' })
  assert.equal((await query(sql, [2])).rows[0]!['v'], 5)
  assert.equal(pool.stats().prepared.mended, 0)
})

test('the table of known statements stays bounded', () => {
  const statements = new Statements()
  for (let i = 0; i < 5_000; i++) statements.of(`select ${i}`)
  assert.equal(statements.of('select 4999').uses, 2, 'a recent one is still known')
  assert.equal(statements.of('select 1').uses, 1, 'an old one is not')
})
