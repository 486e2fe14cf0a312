/** `hearth watch`: the command against a real engine and server: what it installs, what it leaves, whom it makes wait.
 *  Owns:   one server, one engine with two databases, emptied before each test.   Thread: main of a test process.
 *  Holds:  the witness is the server's catalog, asked over connections of the tests' own.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, type TestContext, test } from 'node:test'
import { monotonicMs } from '../engine/clock.ts'
import { hearth, type Outcome } from './helpers/cli.ts'
import { type OpenedEngine, openEngine } from './helpers/engine_parts.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { WireClient } from './helpers/postgres_wire.ts'

let engine: OpenedEngine
let url: string
let admin: WireClient
/** Called in a hook, after() would mean the end of that hook. */
const endings: (() => Promise<unknown>)[] = []

before(async () => {
  const postgres = await sharedPostgres({ max_prepared_transactions: '2' })
  url = await postgres.createDatabase('house')
  admin = await WireClient.open(url)
  await admin.query('create role resident login; grant create on database house to resident')
  const resident = url.replace('postgres@', 'resident@')
  const databases = { main: { url }, resident: { url: resident } }
  const ending = { after: (end: () => Promise<unknown>) => void endings.push(end) }
  engine = await openEngine(ending, { postgres: databases })
})
after(async () => {
  for (const end of endings) await end()
  await admin?.close()
})

beforeEach(async () => {
  await admin.query(`drop event trigger if exists hearth_watch_ddl; drop event trigger if exists hearth_watch_drop;
    drop schema if exists hearth, history cascade; drop owned by resident; drop schema public cascade;
    create schema public; grant all on schema public to resident; grant create on database house to resident;
    create table rooms (id int primary key); create table "Lamp ""s" (id int); create unlogged table fast (id int);
    create table readings (at int) partition by range (at); create table readings_1 partition of readings for values from (0) to (9);
    create schema history; create table history.rooms (id int)`)
})

function run(...args: string[]): Promise<Outcome> {
  return hearth(['watch', ...args], { env: { HEARTH_SOCKET: engine.engine.socketPath } })
}

async function json(code: number, ...args: string[]): Promise<Record<string, unknown>> {
  const found = await run(...args, '--json')
  assert.equal(found.stderr, '')
  assert.equal(found.code, code, found.stdout)
  return JSON.parse(found.stdout)
}

const ALL = [
  'history.rooms',
  'public."Lamp ""s"',
  'public.fast',
  'public.readings',
  'public.readings_1',
  'public.rooms',
]

/** Tables that have triggers of ours, by the catalog. */
async function triggered(): Promise<string[]> {
  const { rows } = await admin.query(
    `select format('%I.%I', n.nspname, c.relname) from pg_trigger t join pg_class c on c.oid = t.tgrelid
     join pg_namespace n on n.oid = c.relnamespace where tgname like 'hearth%' order by 1`,
  )
  return rows.map(([table]) => table!).toSorted()
}

/** Whatever the catalog has of ours. */
async function leftovers(): Promise<string | null> {
  return await admin.value(`select concat_ws(' ', (select string_agg(tgname, ' ') from pg_trigger where tgname ~ 'hearth'),
    (select string_agg(evtname, ' ') from pg_event_trigger), (select string_agg(proname, ' ') from pg_proc where prosrc ~ 'hearth'),
    (select string_agg(nspname, ' ') from pg_namespace where nspname ~ 'hearth'))`)
}

/** A session of somebody else's, which has done this in a transaction that stays open. */
async function holding(t: TestContext, sql: string): Promise<WireClient> {
  const holder = await WireClient.open(url)
  t.after(() => holder.close())
  await holder.query(`begin; ${sql}`)
  return holder
}

test('install, status and remove, from nothing to nothing', async () => {
  const before = await run('status')
  assert.equal(before.code, 1)
  assert.match(before.stdout, /^watched: 0 of 6 tables of main\nnew tables are not watched\n/)
  for (const table of ALL) assert(before.stdout.includes(`\n  ${table}\n`), before.stdout)

  const installed = await run('install')
  assert.equal(installed.stderr, '')
  assert.equal(installed.code, 0)
  assert.equal(
    installed.stdout,
    'watching 6 tables of main: 6 newly, 0 as before\ntables that are created from now on are watched too\n' +
      'note: Postgres refuses PREPARE TRANSACTION after a write to a watched table, and this server has it turned on\n',
  )
  assert.deepEqual(await triggered(), ALL)
  await admin.query('create table later (id int)')
  assert((await triggered()).includes('public.later'))
  assert.deepEqual(await json(0, 'status'), {
    database: 'main',
    watched: [...ALL.slice(0, 3), 'public.later', ...ALL.slice(3)],
    unwatched: [],
    followsNewTables: true,
  })

  const removed = await run('remove')
  assert.equal(removed.stdout, 'no longer watching 7 tables of main\n')
  assert.equal(removed.code, 0)
  assert.equal(await leftovers(), '')
  assert.equal((await run('remove')).stdout, 'no longer watching 0 tables of main\n')
})

test('a second install touches nothing, and so waits for nobody', async t => {
  await json(0, 'install')
  await holding(t, 'lock table rooms, readings, readings_1 in access exclusive mode')
  const again = await json(0, 'install')
  assert.deepEqual([again['installed'], again['already'], again['failed']], [[], 6, []])
})

test('two at a time do not get into each other’s way', async () => {
  const both = await Promise.all([run('install'), run('install')])
  for (const { code, stderr } of both) assert.equal(code, 0, stderr)
  assert.deepEqual(await triggered(), ALL)
})

test('tables are named as they stand or as SQL has them, and go with their partitions', async () => {
  assert.deepEqual((await json(0, 'install', 'Lamp "s', 'history.rooms'))['installed'], [
    'history.rooms',
    'public."Lamp ""s"',
  ])
  // Written to by name, or through what they are a part of: a trigger sees only the one.
  const family = ['public.readings', 'public.readings_1']
  assert.deepEqual((await json(0, 'install', 'readings_1'))['installed'], family)
  const { watched, unwatched } = await json(1, 'status')
  assert.deepEqual(unwatched, ['public.fast', 'public.rooms'])
  assert.equal((watched as string[]).length, 4)
  assert.deepEqual((await json(0, 'status', 'readings'))['unwatched'], [])
  assert.deepEqual((await json(0, 'remove', '"Lamp ""s"', 'readings'))['removed'], [
    'public."Lamp ""s"',
    ...family,
  ])
  assert.deepEqual(await triggered(), ['history.rooms'])
})

test('--schema takes the tables of one', async () => {
  assert.deepEqual(await json(0, 'install', '--schema', 'history'), {
    database: 'main',
    installed: ['history.rooms'],
    already: 0,
    failed: [],
    followsNewTables: false,
    hasTwoPhase: true,
  })
  assert.equal((await run('status', '--schema', 'history')).code, 0)
  assert.deepEqual((await json(0, 'remove', '--schema', 'history'))['removed'], ['history.rooms'])
})

test('both tell the engine at once: what was cached before nobody watched', async t => {
  const client = await engine.connect()
  t.after(() => client.close())
  const payloads: string[] = []
  await client.db.listen('hearth_writes', payload => payloads.push(payload))
  for (const action of ['install', 'remove']) {
    await json(0, action, 'fast')
    await until(`${action} is told`, () => payloads.length > 0)
    assert.deepEqual(payloads.splice(0), ['*'])
  }
})

describe('refused, with nothing done:', () => {
  const REFUSALS: [args: string[], says: RegExp][] = [
    [['install', 'roms'], /BAD_REQUEST: there is no table "roms".*did you mean "rooms"\?/],
    [['install', '--schema', 'histori'], /no schema "histori".*did you mean "history"\?/],
    [['install', '--db', 'attic'], /NOT_CONFIGURED: .*attic/],
  ]
  for (const [args, says] of REFUSALS)
    test(args.join(' '), async () => {
      const { code, stdout, stderr } = await run(...args)
      assert.match(stderr, says)
      assert.deepEqual([code, stdout], [1, ''])
      assert.deepEqual(await triggered(), [])
    })
})

test('a busy table is named, the others are done, and nobody waits long behind it', async t => {
  const holder = await holding(t, 'insert into rooms values (1)')
  const installing = run('install')
  const other = await WireClient.open(url)
  t.after(() => other.close())
  const busy = `select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'hearth_watch_write'`
  await until('install waits', async () => (await admin.value(busy)) === '1')
  const startMs = monotonicMs()
  await other.query('insert into rooms values (2)')
  console.log(`# a write behind it waited ${(monotonicMs() - startMs).toFixed(0)} ms`)
  assert(monotonicMs() - startMs < 2_000)
  const { code, stdout, stderr } = await installing
  assert.equal(code, 1)
  assert.match(stdout, /^watching 5 tables/)
  assert.match(
    stderr,
    /^hearth: DATABASE: public\.rooms: public\.rooms is busy.*\(SQLSTATE 55P03\)\n$/,
  )
  assert.deepEqual((await json(1, 'status'))['unwatched'], ['public.rooms'])
  await holder.query('commit')
  assert.deepEqual((await json(0, 'install'))['installed'], ['public.rooms'])

  await holder.query('begin; select * from rooms')
  const { removed, failed } = await json(1, 'remove')
  assert.equal((removed as string[]).length, 5)
  assert.equal((failed as { table: string }[])[0]!.table, 'public.rooms')
  await holder.query('commit')
  assert.equal((await run('remove')).code, 0)
  assert.equal(await leftovers(), '')
})

describe('a role that is no superuser', () => {
  const DB = ['--db', 'resident'] as const

  test('watches its own tables, is told of others, and new ones do not follow', async () => {
    await admin.query('create table own (id int); alter table own owner to resident')
    const all = await run('install', ...DB)
    assert.equal(all.code, 1)
    assert.match(all.stdout, /^watching 1 table of resident: .*\ntables .* are not: run this again/)
    assert.match(
      all.stderr,
      /^hearth: DATABASE: public\.rooms: .*(owner|denied).*\(SQLSTATE 42501\)$/m,
    )
    assert.deepEqual(await triggered(), ['public.own'])
    await admin.query('create table later (id int)')
    assert.equal((await json(1, 'status', 'later', ...DB))['followsNewTables'], false)
    assert.equal((await run('remove', ...DB)).code, 0)
    assert.equal(await leftovers(), '')
  })

  test('uses what a superuser installed, and its new tables follow', async () => {
    await json(0, 'install')
    const session = await WireClient.open(url.replace('postgres@', 'resident@'))
    await session.query('create table mine (id int); insert into mine values (1)')
    await session.query('create table gone (id int); drop table gone')
    await session.close()
    assert((await triggered()).includes('public.mine'))
    assert.deepEqual((await json(0, 'install', 'mine', ...DB))['already'], 1)
  })

  test('owns nothing of what later runs with a superuser’s rights', async () => {
    await admin.query('create table own (id int); alter table own owner to resident')
    await json(0, 'install', 'own', ...DB)
    await json(0, 'install')
    const owned = `select count(*) from pg_shdepend where refobjid = 'resident'::regrole and deptype = 'o'
      and classid in ('pg_proc'::regclass, 'pg_namespace'::regclass)`
    assert.equal(await admin.value(owned), '0')
  })
})

test('what somebody else keeps in the schema stays', async () => {
  await json(0, 'install')
  await admin.query('create table hearth.migrations (id int)')
  assert.equal((await run('remove')).code, 0)
  assert.equal(await leftovers(), 'hearth')
})

test('a transaction of two phases is refused once a table is watched, as install says', async () => {
  const prepare = `begin; insert into fast values (1); prepare transaction 'x'`
  await admin.query(prepare)
  await admin.query(`rollback prepared 'x'`)
  await json(0, 'install', 'fast')
  await assert.rejects(admin.query(prepare), { code: '0A000' })
  await admin.query('rollback')
})
