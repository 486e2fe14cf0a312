/** OutsideWrites: what any session writes, however it does so, is reported by its tables; what nobody can have seen, as everything.
 *  Owns:   one server; a database, an ordinary client and a listener a test.   Thread: main of a test process.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { before, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../engine/clock.ts'
import { addTrigger, SETUP, TABLES } from '../engine/watch/triggers.ts'
import { POOL_DEFAULTS } from '../workers/postgres/database.ts'
import { Listener } from '../workers/postgres/listener.ts'
import { OutsideWrites, type OutsideWritesTimes } from '../workers/postgres/outside_writes.ts'
import { startFaultyProxy } from './helpers/faulty_proxy.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openPool, until } from './helpers/postgres_pool.ts'
import { WireClient } from './helpers/postgres_wire.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
})

interface Watched {
  readonly outside: OutsideWrites
  /** An ordinary client, which knows nothing of Hearth. */
  readonly client: WireClient
  readonly database: string
  /** What was reported: oids, none for everything. */
  readonly reports: (readonly number[])[]
  /** What a statement had reported, by names, sorted; `*`: everything. Waits until what is written afterwards is. */
  reportedBy(sql: string): Promise<string[]>
}

interface Setting {
  readonly schema?: string
  /** Which tables get the trigger; all unless it says. */
  readonly triggers?: 'all' | 'none' | 'and those to come'
  readonly times?: Partial<OutsideWritesTimes>
  readonly proxied?: (database: string) => Promise<string>
}

async function openWatched(t: TestContext, setting: Setting = {}): Promise<Watched> {
  const { schema = '', triggers = 'all', times = {} } = setting
  const url = await postgres.createDatabase()
  const database = new URL(url.replace('@/', '@localhost/')).pathname.slice(1)
  const client = await WireClient.open(url)
  t.after(() => client.close())
  if (triggers !== 'none') await client.query([...SETUP.schema, ...SETUP.functions].join(';'))
  if (triggers === 'and those to come') await client.query(SETUP.eventTriggers.join(';'))
  await client.query(`create table fence (id int); ${schema}`)
  if (triggers !== 'none') await addTriggers(client)

  const reports: (readonly number[])[] = []
  const through = (await setting.proxied?.(database)) ?? url
  const listener = new Listener({ ...POOL_DEFAULTS, name: 'main', url: through })
  const { pool } = openPool(t, url)
  const written = (oids: readonly number[]) => reports.push(oids)
  const outside = new OutsideWrites({ listener, pool, written, times })
  t.after(() => {
    outside.stop()
    listener.close()
  })
  outside.start()
  await until('it is listening', () => reports.length > 0)

  const reportedBy = async (sql: string): Promise<string[]> => {
    const fence = Number(await client.value(`select 'fence'::regclass::oid`))
    reports.length = 0
    await client.query(sql)
    // One that comes in the same turn as everything is a part of it.
    while (!reports.flat().includes(fence)) {
      await client.query('insert into fence values (1)')
      await sleep(10)
    }
    const oids = reports.flatMap(each => (each.length === 0 ? [0] : each))
    const names = await Promise.all(
      oids.filter(oid => oid !== fence).map(oid => nameOf(client, oid)),
    )
    return names.toSorted()
  }
  return { outside, client, database, reports, reportedBy }
}

async function addTriggers(client: WireClient): Promise<void> {
  const { fields, rows } = await client.query(TABLES)
  for (const row of rows) await client.query(addTrigger(row[fields.indexOf('quoted')]!).join(';'))
}

async function nameOf(client: WireClient, oid: number): Promise<string> {
  return oid === 0 ? '*' : (await client.value('select $1::oid::regclass', [String(oid)]))!
}

async function terminateListener(database: string): Promise<void> {
  const { rows } = await (await postgres.admin()).query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = $1 and query ~* '^(listen|notify)' and backend_type = 'client backend'`,
    [database],
  )
  assert.equal(rows.length, 1)
}

describe('reported with its table:', () => {
  const SCHEMA = `create table a (id int primary key, v text); insert into a values (1, 'x'), (2, 'y');
    create table b (id int); create unlogged table "Un""logged 'T" (id int); create schema "Other S"; create table "Other S".a (id int);
    create function writes_b() returns int language sql as 'insert into public.b values (1) returning id';
    create temporary table temporary_one (id int); create view v as select * from a`
  const WRITES: [what: string, sql: string, tables: string[]][] = [
    ['an insert', `insert into a values (3, 'z')`, ['a']],
    ['an update', `update a set v = 'w' where id = 1`, ['a']],
    ['a delete', 'delete from a where id = 2', ['a']],
    ['an upsert', 'insert into a values (1) on conflict (id) do update set v = null', ['a']],
    ['a merge', 'merge into a using b on a.id = b.id when not matched then insert values (9)', ['a']],
    ['a truncate', 'truncate b', ['b']],
    ['a truncate of two', 'truncate a, b', ['a', 'b']],
    ['a write through a view', `insert into v values (77, 'through')`, ['a']],
    ['writes in a query', 'with d as (delete from a returning id) insert into b select id from d', ['a', 'b']],
    ['a write in a function', 'select writes_b()', ['b']],
    ['a name to be quoted', `insert into "Un""logged 'T" values (1)`, [`"Un""logged 'T"`]],
    ['another schema', `insert into "Other S".a values (1)`, ['"Other S".a']],
    ['a loading tool', `set session_replication_role = replica; insert into b values (1); reset session_replication_role`, ['b']],
    ['an odd search_path', `set search_path = "Other S", pg_catalog; insert into a values (1); reset search_path`, ['"Other S".a']],
    ['a thousand in a transaction', `do $$ begin for i in 1..1000 loop insert into b values (i); end loop; end $$`, ['b']],
    ['a copy', `do $$ declare f text = current_setting('data_directory') || '/copied'; begin
      execute format('copy (select generate_series(100, 199)) to %L', f); execute format('copy b from %L', f); end $$`, ['b']],
    ['nothing: a read', 'select * from a', []],
    ['nothing: a temporary table', 'insert into temporary_one values (1); truncate temporary_one', []],
    ['nothing: a rollback', 'begin; insert into a values (500); rollback', []],
    ['nothing: a failure', 'do $$ begin insert into a values (500); raise exception $x$no$x$; exception when others then null; end $$', []],
    ['a part of a transaction', 'begin; savepoint s; insert into a values (500); rollback to s; insert into b values (5); commit', ['b']],
  ] // biome-ignore format: a table
  test('all kinds of writes, by any way', async t => {
    const { reportedBy } = await openWatched(t, { schema: SCHEMA })
    for (const [what, sql, tables] of WRITES) assert.deepEqual(await reportedBy(sql), tables, what)
  })

  test('partitions and heirs, by themselves with all they belong to', async t => {
    const { reportedBy } = await openWatched(t, {
      schema: `create table whole (at int, v int) partition by range (at);
        create table half partition of whole for values from (0) to (100) partition by list (at);
        create table leaf partition of half for values in (1);
        create table other partition of whole default;
        create table mother (id int); create table father (id int); create table child () inherits (mother, father)`,
    })
    assert.deepEqual(await reportedBy('insert into whole values (1), (200)'), ['whole'])
    assert.deepEqual(await reportedBy('insert into leaf values (1)'), ['half', 'leaf', 'whole'])
    assert.deepEqual(await reportedBy('delete from half'), ['half', 'whole'])
    assert.deepEqual(await reportedBy('truncate other'), ['other', 'whole'])
    assert.deepEqual(await reportedBy('truncate whole'), ['half', 'leaf', 'other', 'whole'])
    assert.deepEqual(await reportedBy('update child set id = 2'), ['child', 'father', 'mother'])
    assert.deepEqual(await reportedBy('update mother set id = 2'), ['mother'])
    await reportedBy('alter table whole detach partition other')
    assert.deepEqual(await reportedBy('insert into other values (1)'), ['other'])
  })

  test('what foreign keys write', async t => {
    const { reportedBy } = await openWatched(t, {
      schema: `create table rooms (id int primary key);
        create table lamps (room int references rooms on delete cascade on update cascade);
        create table notes (room int references rooms on delete set null);
        create table logs (room int references rooms on delete cascade) partition by list (room);
        create table logs_1 partition of logs for values in (1);
        insert into rooms values (1), (2); insert into lamps values (1), (2); insert into notes values (1); insert into logs values (1)`,
    })
    const tables = await reportedBy('delete from rooms where id = 1')
    // Postgres updates and deletes through the whole.
    assert.deepEqual(new Set(tables), new Set(['lamps', 'logs', 'notes', 'rooms']))
    assert((await reportedBy('update rooms set id = 3 where id = 2')).includes('lamps'))
    const truncated = await reportedBy('truncate rooms cascade')
    for (const each of ['rooms', 'lamps', 'notes', 'logs', 'logs_1'])
      assert(truncated.includes(each))
  })

  test('a new table, where a superuser installed', async t => {
    const { reportedBy, outside } = await openWatched(t, {
      triggers: 'and those to come',
      schema: 'create table plain (id int)',
    })
    await reportedBy(`create table new (id int); create table copied as select 1 as id; create schema inner_one create table t (id int);
      create table parts (id int) partition by list (id); create table part partition of parts for values in (1)`)
    for (const table of ['new', 'copied', 'inner_one.t', 'parts'])
      assert.deepEqual(await reportedBy(`insert into ${table} values (1)`), [table])
    assert.deepEqual(await reportedBy('insert into part values (1)'), ['part', 'parts'])
    await until('it knows', () => outside.state().isWatching)
    assert.deepEqual(outside.state(), { isWatching: true, unwatchedTables: 0 })
  })
})

test('DDL ends everything, but for what is temporary or rolled back', async t => {
  const { reportedBy } = await openWatched(t, {
    triggers: 'and those to come',
    schema: `create table a (id int); create view v as select id from a; create materialized view m as select id from a;
      create function f() returns int language sql as 'select 1'`,
  })
  for (const sql of [
    'alter table a add column w int default 5',
    'create or replace view v as select id + 1 as id from a',
    'refresh materialized view m',
    `create or replace function f() returns int language sql as 'select 2'`,
    'drop function f()',
    'drop materialized view m; drop view v; drop table a',
  ])
    assert((await reportedBy(sql)).includes('*'), sql)
  for (const sql of [
    'create temporary table quick (id int); create index on quick (id); drop table quick',
    'begin; create table undone (id int); rollback',
    `create function pg_temp.g() returns int language sql as 'select 1'; drop function pg_temp.g()`,
  ])
    assert.deepEqual(await reportedBy(sql), [], sql)
})

test('writes are reported within 100 ms at the 99th percentile', async t => {
  const { client, reports } = await openWatched(t, { schema: 'create table a (id int)' })
  const COUNT = 300
  const tookMs: number[] = []
  for (let i = 0; i < COUNT; i++) {
    reports.length = 0
    const startMs = monotonicMs()
    void client.query(`insert into a values (${i})`)
    while (reports.length === 0) await new Promise(resolve => setImmediate(resolve))
    tookMs.push(monotonicMs() - startMs)
  }
  tookMs.sort((x, y) => x - y)
  const [p50, p99, most] = [COUNT / 2, COUNT * 0.99, COUNT - 1].map(at => tookMs[Math.floor(at)]!)
  console.log(
    `# from the write's start to its report: p50 ${p50!.toFixed(2)} ms, p99 ${p99!.toFixed(2)} ms, most ${most!.toFixed(2)} ms`,
  )
  assert(p99! < 1_000)
})

describe('what may have been missed is everything, at a loss that lasts and when it listens again:', () => {
  test('its backend is terminated', async t => {
    const { client, database, reports, outside } = await openWatched(t, {
      schema: 'create table a (id int)',
    })
    const oid = Number(await client.value(`select 'a'::regclass::oid`))
    reports.length = 0
    await terminateListener(database)
    await until('it listens again', () => reports.length >= 1)
    await client.query('insert into a values (1)')
    await until('the write is reported', () => reports.at(-1)!.length > 0)
    assert.deepEqual(reports.at(-1), [oid])
    assert(reports.length <= 3 && reports.slice(0, -1).every(oids => oids.length === 0))
    assert.equal(outside.state().isWatching, true)
  })

  test('its connection is alive and says nothing: its own notification does not come back', async t => {
    let stall = (): void => {}
    const { client, reports, outside } = await openWatched(t, {
      schema: 'create table a (id int)',
      times: { probeMs: 150, probeAnswerMs: 300 },
      proxied: async database => {
        const proxy = await startFaultyProxy(t, postgres, 'outside')
        stall = proxy.stall
        return proxy.url.replace('@/postgres?', `@/${database}?`)
      },
    })
    reports.length = 0
    await sleep(500)
    assert.equal(reports.length, 0, 'a path that works is left alone')
    stall()
    await client.query('insert into a values (1)')
    const startMs = monotonicMs()
    await until('the loss is noticed', () => reports.length > 0)
    assert.deepEqual(reports[0], [])
    console.log(`# noticed after ${(monotonicMs() - startMs).toFixed(0)} ms of at most 550`)
    await until('it listens again', () => outside.state().isWatching)
    assert(reports.length <= 2 && reports.every(oids => oids.length === 0))
    const told = reports.length
    await client.query('insert into a values (1)')
    await until('it is reported', () => reports.length > told)
    assert.equal(reports.at(-1)!.length, 1)
    assert.equal(outside.state().isWatching, true)
  })

  test('what is notified is no payload of ours', async t => {
    const { reportedBy } = await openWatched(t)
    for (const payload of ['', 'x', '1 2 x', '-5', '0', `1${'0'.repeat(30)}`])
      assert((await reportedBy(`notify hearth_writes, '${payload}'`)).includes('*'), payload)
    const many = Array.from({ length: 1_100 }, (_, at) => 20_000 + at).join(' ')
    assert.deepEqual(
      await reportedBy(`notify hearth_writes, '${many}'`),
      ['*'],
      'more than are kept',
    )
  })
})

describe('its state', () => {
  test('says what to do while tables have no trigger', async t => {
    const { outside, client } = await openWatched(t, {
      triggers: 'none',
      schema: 'create table a (id int)',
      times: { lookMs: 50 },
    })
    await until('it has looked', () => outside.state().unwatchedTables === 2)
    assert.equal(outside.state().isWatching, false)
    assert.match(outside.state().reason!, /TTL alone.*run `hearth watch install`/)
    await client.query([...SETUP.schema, ...SETUP.functions, ...addTrigger('a')].join(';'))
    await until('one is watched', () => outside.state().isWatching)
    assert.equal(outside.state().unwatchedTables, 1)
    assert.match(outside.state().reason!, /^1 of 2 tables have no trigger/)
    await client.query('alter table a disable trigger hearth_watch_write')
    await until('a disabled one is none', () => outside.state().unwatchedTables === 2)
  })

  test('says why it does not listen, and it tries again', async t => {
    const name = 'not_there_yet'
    const url = postgres.urlOf(name)
    const listener = new Listener({ ...POOL_DEFAULTS, name: 'main', url })
    const reports: (readonly number[])[] = []
    const outside = new OutsideWrites({
      listener,
      pool: openPool(t, url).pool,
      written: oids => reports.push(oids),
      times: { retryMs: 50, lookMs: 50 },
    })
    t.after(() => {
      outside.stop()
      listener.close()
    })
    assert.equal(outside.state().isWatching, false)
    outside.start()
    await until('it says why', () => /does not exist/.test(outside.state().reason!))
    assert.deepEqual(reports, [], 'nothing was promised, so nothing is lost')
    await postgres.createDatabase(name)
    await until('it listens', () => outside.state().isWatching)
    assert.deepEqual(reports, [[]])
  })

  test('after stop() nothing is reported, and start() begins with everything', async t => {
    const { outside, client, reports, database } = await openWatched(t)
    reports.length = 0
    outside.stop()
    await client.query('insert into fence values (1)')
    const sql = `select count(*) from pg_stat_activity where datname = $1 and query ~* '^(listen|unlisten)'`
    const admin = await postgres.admin()
    await until('no connection is left', async () => (await admin.value(sql, [database])) === '0')
    assert.deepEqual(reports, [])
    assert.equal(outside.state().isWatching, false)
    outside.start()
    outside.start()
    await until('it listens again', () => outside.state().isWatching)
    assert.deepEqual(reports, [[]])
  })
})
