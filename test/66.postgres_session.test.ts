/** Sessions: nothing that one statement does to its connection is met by the next.
 *  Owns:   one server.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { monotonicMs } from '../engine/clock.ts'
import type { HearthError } from '../engine/errors.ts'
import { Statements } from '../workers/postgres/statement.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openPool, until } from './helpers/postgres_pool.ts'

let postgres: TestPostgres
const ONE = { size: 1, overflow: 0, min: 1 }
/** The look at the first word does not see through it, so the look at the answer must. */
const DISGUISE = ';'

before(async () => {
  postgres = await sharedPostgres()
  await (await postgres.admin()).query('create table kept (id int)')
})

describe('refused before it is sent', () => {
  const REFUSED = [
    'begin',
    'BEGIN ISOLATION LEVEL SERIALIZABLE',
    'start transaction',
    'commit',
    'end',
    'rollback',
    'abort',
    'savepoint a',
    'release a',
    'lock table kept',
    'declare c cursor for select 1',
    'fetch c',
    'move c',
    'close c',
    'set search_path to x',
    'reset all',
    'prepare p as select 1',
    'execute p',
    'deallocate all',
    'discard all',
    'listen room',
    'unlisten *',
    `load 'x'`,
    'copy kept to stdout',
    'copy kept from stdin',
    '  -- note\n /* x /* y */ */ (begin',
  ]
  for (const sql of REFUSED) {
    test(JSON.stringify(sql), async t => {
      const { query, pool } = openPool(t, postgres.url, { min: 0 })
      await assert.rejects(query(sql), (error: HearthError) => {
        assert.equal(error.code, 'BAD_REQUEST')
        assert.match(
          error.message,
          /(transaction|listen\(.*\)|copyTo\(\)) instead \(nothing was sent\)/,
        )
        return true
      })
      assert.equal(pool.stats().connects + pool.stats().connecting, 0)
    })
  }
})

test('a text made to be slow to look at is looked at fast', () => {
  for (const part of [' ', '/**/ ', '(', '/*', '--\n', 'into ', 'for ', 'create or replace ']) {
    const startedMs = monotonicMs()
    new Statements().of(part.repeat(100_000))
    assert.ok(monotonicMs() - startedMs < 2_000, JSON.stringify(part))
  }
})

describe('found out afterwards', () => {
  for (const sql of ['begin', 'copy (select 1) to stdout', 'copy kept from stdin']) {
    test(`${sql} is an error, and the next statement stands by itself`, async t => {
      const { query } = openPool(t, postgres.url, ONE)
      await assert.rejects(query(DISGUISE + sql), (error: HearthError) => {
        assert.match(error.message, /use a transaction|unrecognized command status/)
        return true
      })
      await query('insert into kept values (1)')
      const admin = await postgres.admin()
      assert.equal(await admin.value('select count(*) from kept'), '1', 'it is committed')
      await admin.query('truncate kept')
      const open = `select count(*) from pg_stat_activity where state like 'idle in transaction%'`
      assert.equal(await admin.value(open), '0')
    })
  }

  test('begin within a busy pool never reaches anybody else', async t => {
    const { query } = openPool(t, postgres.url, { size: 2, overflow: 0 })
    const jobs = Array.from({ length: 100 }, (_, i) =>
      i % 5 === 0
        ? query(`${DISGUISE}begin`).then(
            () => 'open',
            (error: HearthError) => error.code,
          )
        : query('insert into kept values ($1)', [i]).then(() => 'done'),
    )
    const outcomes = await Promise.all(jobs)
    assert.deepEqual(
      outcomes.filter(outcome => outcome === 'open'),
      [],
    )
    const admin = await postgres.admin()
    assert.equal(await admin.value('select count(*) from kept'), '80')
    await admin.query('truncate kept')
  })

  test('a setting is gone with its statement', async t => {
    const { query, value } = openPool(t, postgres.url, { ...ONE, statementTimeoutMs: 7_000 })
    for (const sql of [
      `${DISGUISE}set work_mem = '5MB'`,
      `select set_config('work_mem', '5MB', false)`,
      `do $$ begin set statement_timeout = 1; set work_mem = '5MB'; end $$`,
    ]) {
      await query(sql)
      assert.equal(await value('show work_mem'), '4MB', sql)
      assert.equal(await value('show statement_timeout'), '7s', 'ours is there again')
      assert.equal(await value('show datestyle'), 'ISO, MDY')
    }
  })

  test('a temporary table is gone with its statement', async t => {
    const { query } = openPool(t, postgres.url, ONE)
    await query('create temporary table passing (id int)')
    await assert.rejects(query('select * from passing'), { sqlState: '42P01' })
    await query('select 1 as a into temp passing')
    await assert.rejects(query('select * from passing'), { sqlState: '42P01' })
  })

  test('an advisory lock is gone with its statement', async t => {
    const { query } = openPool(t, postgres.url, ONE)
    await query('select pg_advisory_lock(42)')
    const admin = await postgres.admin()
    await until(
      'it is free',
      async () => (await admin.value('select pg_try_advisory_lock(42)')) === 't',
    )
    await admin.query('select pg_advisory_unlock_all()')
  })

  test('a channel is not listened to', async t => {
    const { query, value } = openPool(t, postgres.url, ONE)
    await query(`${DISGUISE}listen room`)
    assert.equal(await value('select count(*) from pg_listening_channels()'), 0)
  })

  test('prepared statements go on working after a reset', async t => {
    const { query, pool } = openPool(t, postgres.url, ONE)
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 3; i++)
        assert.equal((await query('select $1::int as v', [i])).rows[0]!['v'], i)
      await query(`select set_config('work_mem', '5MB', false)`)
    }
    assert.equal(pool.stats().prepared.mended, 0)
    assert.equal(pool.stats().connects, 1)
  })

  test('a column called temp costs no reset', async t => {
    const { query, pool } = openPool(t, postgres.url, ONE)
    for (let i = 0; i < 5; i++) await query('select 20.5 as temp, $1::int as temporary', [i])
    assert.equal(pool.stats().prepared.hits, 3)
  })
})

test('a failed statement leaves no failed transaction behind', async t => {
  const { query, value } = openPool(t, postgres.url, ONE)
  await assert.rejects(query('insert into kept values (1/0)'), { sqlState: '22012' })
  assert.equal(await value('select 1'), 1)
})
