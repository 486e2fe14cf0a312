/** The analysis under locks, crowds, DDL and loss: it ends in time, leaves nothing behind, and forgets what is no longer so.
 *  Owns:   one server with a database a test.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../engine/clock.ts'
import type { AnalysisLimits } from '../workers/postgres/analysis/analysis.ts'
import { openAnalysis, type TestAnalysis } from './helpers/analysed.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { WireClient } from './helpers/postgres_wire.ts'

interface Stand extends TestAnalysis {
  readonly admin: WireClient
  readonly url: string
}

async function stand(
  t: TestContext,
  limits: Partial<AnalysisLimits> = {},
  suffix = '',
): Promise<Stand> {
  const postgres = await sharedPostgres()
  const url = await postgres.createDatabase()
  const admin = await WireClient.open(url)
  t.after(() => admin.close())
  await admin.query('create table rooms (id int, name text); create table notes (room int)')
  return { ...openAnalysis(t, url + suffix, admin, limits), admin, url }
}

const STATEMENT = 'select * from rooms where id = $1'

describe('an analysis', () => {
  test('leaves nothing behind: no function, schema, transaction or prepared statement, and no reset', async t => {
    const { find, value, pool, admin } = await stand(t)
    const prepared = `select string_agg(statement, '; ') from pg_prepared_statements`
    for (let uses = 0; uses < 3; uses++) await value(prepared)
    for (const sql of [
      STATEMENT,
      'delete from rooms',
      'select * from absent',
      'select $1; select 2',
    ])
      await find(sql)
    const left = async (sql: string) => assert.equal(await admin.value(sql), '0', sql)
    await left(`select count(*) from pg_proc where proname = 'hearth_probe'`)
    await left(`select count(*) from pg_namespace where nspname like 'pg_%temp_%'`)
    await left(
      `select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'`,
    )
    assert.equal(await value(prepared), prepared)
    assert.equal(pool.stats().prepared.misses, 1) // a reset would have undone it
    assert.equal(await value('show statement_timeout'), '30s')
    assert.match(String(await value('show search_path')), /public/)
    const { connects, mending, idle } = pool.stats()
    assert.deepEqual({ connects, mending, idle }, { connects: 1, mending: 0, idle: 1 })
  })

  test('never runs the statement', async t => {
    const { find, admin } = await stand(t)
    await admin.query(`insert into rooms values (1, 'hall'); create sequence numbers`)
    const facts = await find(
      `with x as (delete from rooms returning nextval('numbers')) select * from x`,
    )
    assert.equal(facts.side, 'write')
    assert.equal(await admin.value('select count(*) from rooms'), '1')
    assert.equal(await admin.value('select is_called from numbers'), 'f')
  })

  test('gives up soon when the table is locked, and is done again soon after', async t => {
    const { find, of, admin, analysis } = await stand(t, { doubtAgeMs: 200 })
    await admin.query('begin; lock table rooms in access exclusive mode')
    const startedMs = monotonicMs()
    const facts = await find(STATEMENT)
    assert.ok(monotonicMs() - startedMs < 2_000)
    assert.equal(facts.side, 'unknown')
    assert.equal(facts.writes, 'everything')
    assert.equal(facts.isPassing, true)
    assert.match(facts.doubt!, /lock timeout/)
    assert.equal(analysis.figures.doubts, 1)
    assert.equal(of(STATEMENT), facts)
    await admin.query('rollback')
    await until('the doubt is over', () => of(STATEMENT)?.side === 'read')
  })

  test('is made once for all who ask at a time, over one connection for all texts', async t => {
    const { find, analysis, pool } = await stand(t)
    let busyMost = 0
    const watch = setInterval(() => {
      busyMost = Math.max(busyMost, pool.stats().busy)
    }, 1)
    const same = Array.from({ length: 20 }, () => find(STATEMENT))
    const others = Array.from({ length: 40 }, (_, i) => find(`select ${i} from rooms`))
    for (const facts of await Promise.all([...same, ...others])) assert.equal(facts.side, 'read')
    clearInterval(watch)
    assert.equal(analysis.figures.asked, 41)
    assert.equal(busyMost, 1)
  })

  test('has a bounded table and a bounded crowd', async t => {
    const { find, analysis } = await stand(t, { knownCount: 20, waitMs: 300 })
    const found = await Promise.all(
      Array.from({ length: 300 }, (_, i) => find(`select ${i} from rooms`)),
    )
    const doubts = found.filter(({ doubt }) => doubt === 'too many statements are new')
    assert.equal(doubts.length, 300 - 256)
    assert.ok(analysis.knownCount <= 20)
    const long = await find(`select ${"'x'".padEnd(70_000)} from rooms`)
    assert.match(long.doubt!, /longer than/)
  })

  test('is not waited for behind others for longer than it may', async t => {
    const { find, admin } = await stand(t, { waitMs: 150 })
    await admin.query('begin; lock table rooms in access exclusive mode')
    const texts = Array.from({ length: 20 }, (_, i) => `select ${i} from rooms`)
    const startedMs = monotonicMs()
    const found = await Promise.all(texts.map(find))
    assert.ok(monotonicMs() - startedMs < 1_500) // and not 20 times the patience with a lock
    assert.ok(found.every(({ isPassing }) => isPassing))
    await admin.query('rollback')
  })

  test('is forgotten after DDL, also when it was under way', async t => {
    const { find, of, see, admin, analysis, pool } = await stand(t)
    await admin.query('create view seen as select id from rooms')
    assert.equal((await see('select * from seen')).reads, 'rooms')
    await admin.query('create or replace view seen as select room as id from notes')
    const running = find('select 1 from seen')
    analysis.forgetAll()
    assert.match((await running).doubt!, /schema was changed/)
    await until('it has come to its end', () => pool.stats().busy === 0)
    assert.equal(analysis.knownCount, 0)
    assert.equal(of('select * from seen'), undefined)
    assert.equal((await see('select * from seen')).reads, 'notes')
    assert.equal((await see('select 1 from seen')).reads, 'notes')
  })

  test('of others’ DDL is noticed by age, without anybody waiting', async t => {
    const { find, of, admin, analysis } = await stand(t, { factsAgeMs: 400 })
    assert.equal((await find('delete from rooms')).writes.length, 1)
    await admin.query(
      `create function f() returns trigger language plpgsql as 'begin return null; end';
       create trigger t after delete on rooms for each row execute function f()`,
    )
    await until('the trigger is known', () => of('delete from rooms')?.writes === 'everything')
    assert.equal(analysis.figures.asked, 2)
  })

  test('survives the loss of its connection, and its pool’s end', async t => {
    const { find, value, admin, pool } = await stand(t, { doubtAgeMs: 1 })
    const pid = String(await value('select pg_backend_pid()'))
    const finding = Array.from({ length: 60 }, (_, i) => find(`select ${i} from rooms`))
    await finding[0]
    await admin.query('select pg_terminate_backend($1)', [pid])
    const doubts = (await Promise.all(finding)).filter(({ side }) => side !== 'read')
    assert.ok(doubts.length > 0 && doubts.every(({ isPassing }) => isPassing))
    await sleep(5)
    assert.equal((await find(STATEMENT)).side, 'read')
    await pool.close()
    assert.match((await find('select 2')).doubt!, /closed/)
  })
})

describe('names mean what they mean to the pool', () => {
  test('along its search_path', async t => {
    const suffix = '&options=-csearch_path%3Dother%2Cpublic'
    const { see, admin } = await stand(t, {}, suffix)
    await admin.query('create schema other; create table other.rooms (id int)')
    assert.deepEqual((await see(STATEMENT)).tables, ['other.rooms'])
    assert.deepEqual((await see('select * from public.rooms, notes')).tables, [
      'public.notes',
      'public.rooms',
    ])
  })

  test('whoever has put functions and tables of the catalogs’ names before them', async t => {
    const suffix = '&options=-csearch_path%3Dother%2Cpublic%2Cpg_catalog'
    const { see, admin } = await stand(t, {}, suffix)
    await admin.query(
      `create schema other; create function other.format(text, name, name) returns text language sql as $$ select 'fooled' $$;
       create function other.now() returns timestamptz language sql immutable return 'epoch'::timestamptz;
       create view other.pg_proc as select 1 as oid; create view other.pg_class as select 1 as oid`,
    )
    const seen = await see('select id from rooms where $1 < now()')
    assert.deepEqual(seen.tables, ['public.rooms'])
    assert.equal(seen.refusal, undefined)
  })

  test('and nothing without the right to make temporary things, which is all it needs', async t => {
    const { admin, url } = await stand(t)
    const database = await admin.value('select current_database()')
    await admin.query(
      `create role plain login; revoke all on database ${database} from public; revoke all on schema public from public;
       grant connect on database ${database} to plain; grant usage on schema public to plain; grant select on rooms to plain`,
    )
    const { find, analysis } = openAnalysis(t, url.replace('//postgres@', '//plain@'), admin)
    const { doubt, isPassing } = await find(STATEMENT)
    assert.match(doubt!, /permission denied to create temporary/)
    assert.equal(isPassing, false)
    await admin.query(`grant temporary on database ${database} to plain`)
    analysis.forgetAll()
    assert.deepEqual((await find(STATEMENT)).tables, ['public.rooms'])
  })
})
