/** Migrations that do not end as they should: killed in the middle, two at once, locks that are not to be had, a signal.
 *  Owns:   one server, a database and a folder for each test.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  a process is killed while the server is seen to be in the statement that is meant. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { monotonicMs } from '../engine/clock.ts'
import { openStand, type Stand } from './helpers/migrate.ts'
import { until } from './helpers/postgres_pool.ts'
import { WireClient } from './helpers/postgres_wire.ts'

const ROOMS = 'create table rooms (id int primary key, name text not null);\n'

/** Until a session of this database runs something like that. */
async function untilRunning({ admin }: Stand, words: string): Promise<void> {
  const sql = `select count(*) from pg_stat_activity where datname = current_database() and state = 'active'
    and pid <> pg_backend_pid() and query like $1`
  await until(
    `somebody runs ${words}`,
    async () => (await admin.value(sql, [`%${words}%`])) !== '0',
    20_000,
  )
}

async function untilAlone({ admin }: Stand): Promise<number> {
  const startMs = monotonicMs()
  const sql = `select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
    and backend_type = 'client backend'`
  await until('the other session ends', async () => (await admin.value(sql)) === '0', 20_000)
  return monotonicMs() - startMs
}

test('killed in the middle of a transaction: nothing of it stands, and the next run does all of it', async t => {
  const stand = await openStand(t)
  const { admin } = stand
  stand.write('0001_rooms.up', ROOMS)
  stand.write(
    '0002_slow.up',
    `alter table rooms add column floor int;\ninsert into rooms values (1, 'a', 2);\nselect pg_sleep(600);`,
  )
  const running = stand.start('up')
  await untilRunning(stand, 'pg_sleep(600)')
  running.child.kill('SIGKILL')
  await running.ended
  // The server itself finds out that nobody is there any more.
  const tookMs = await untilAlone(stand)
  console.log(`# the server gave up ${tookMs.toFixed(0)} ms after the kill`)
  const columns = `select count(*) from information_schema.columns where table_name = 'rooms'`
  assert.equal(await admin.value(columns), '2')
  assert.equal(await admin.value('select count(*) from rooms'), '0')
  assert.equal(
    await admin.value('select string_agg(version::text, $$,$$) from hearth.migrations'),
    '1',
  )
  assert(!stand.has('0002_slow.down'))
  stand.write('0002_slow.up', 'alter table rooms add column floor int;')
  await stand.json(0, 'up')
  assert.equal(await admin.value(columns), '3')
  await stand.json(0, 'verify')
})

test('killed without a transaction: it is said how far it came, and --resume goes on from there', async t => {
  const stand = await openStand(t)
  const { admin } = stand
  stand.write('0001_rooms.up', ROOMS)
  await stand.json(0, 'up')
  stand.write(
    '0002_index.up',
    '-- hearth: no-transaction\ncreate table other ();\ncreate index concurrently by_name on rooms (name);\ncreate table later ();',
  )
  // Somebody's open write keeps the index from being finished: it is there, invalid.
  const holder = await WireClient.open(stand.url)
  t.after(() => holder.close())
  await holder.query(`begin; insert into rooms values (1, 'x')`)
  const running = stand.start('up')
  const isThere = `select not indisvalid from pg_index where indexrelid = to_regclass('by_name')`
  await until('the index is begun', async () => (await admin.value(isThere)) === 't', 20_000)
  running.child.kill('SIGKILL')
  await running.ended
  const ours = `select count(*) from pg_stat_activity where application_name ~ 'hearth migrate' and datname = current_database()`
  await until('its session ends', async () => (await admin.value(ours)) === '0', 20_000)
  await holder.query('commit')
  assert.equal(await admin.value(isThere), 't')

  const refused = await stand.run('up')
  assert.equal(refused.code, 1)
  assert.match(
    refused.stderr,
    /up of 0002_index, which has no transaction, was interrupted: 1 of 3 statements are done/,
  )
  assert.match(refused.stderr, /hearth migrate up --resume/)
  const { problems } = await stand.json<{ problems: { kind: string }[] }>(1, 'status')
  assert.deepEqual(
    problems.map(({ kind }) => kind),
    ['interrupted'],
  )
  await stand.json(0, 'up', '--resume')
  assert.equal(await admin.value(isThere), 'f')
  const made = `select concat(to_regclass('other'), ' ', to_regclass('later'))`
  assert.equal(await admin.value(made), 'other later')
  await stand.json(0, 'verify')
})

test('a statement that fails without a transaction leaves those before it, and says so; mended, it goes on', async t => {
  const stand = await openStand(t)
  stand.write(
    '0001_rooms.up',
    `-- hearth: no-transaction\n${ROOMS}insert into rooms values (1, null);\ncreate table later ();`,
  )
  const failed = await stand.run('up')
  assert.equal(failed.code, 1)
  assert.match(failed.stderr, /0001_rooms\.up\.sql:3:1: null value in column "name"/)
  assert.match((await stand.run('up')).stderr, /failed: 1 of 3 statements are done/)
  stand.write(
    '0001_rooms.up',
    `-- hearth: no-transaction\n${ROOMS}insert into rooms values (1, 'a');\ncreate table later ();`,
  )
  await stand.json(0, 'up', '--resume')
  assert.equal(
    await stand.admin.value(`select concat(count(*), to_regclass('later')) from rooms`),
    '1later',
  )
  await stand.json(0, 'verify')
  assert.match(
    (await stand.run('up', '--resume')).stderr,
    /there is no interrupted up to go on with/,
  )
})

test('two at once: the second waits and finds nothing to do, or says who is at it', async t => {
  const stand = await openStand(t)
  stand.write('0001_rooms.up', `${ROOMS}select pg_sleep(600);`)
  const first = stand.start('up')
  await untilRunning(stand, 'pg_sleep(600)')
  const impatient = await stand.run('up', '--wait', '200ms')
  assert.equal(impatient.code, 1)
  assert.match(
    impatient.stderr,
    /^another migration is under way, waiting for it: hearth migrate of \S+@\S+, pid \d+/,
  )
  assert.match(
    impatient.stderr,
    /BUSY: another migration of this database is under way: hearth migrate of .* for \d+ s \(server process \d+\)/,
  )
  assert.match((await stand.run('status')).stdout, /under way: hearth migrate of/)
  const second = stand.start('up', '--wait', '60s')
  const waiting = `select count(*) from pg_stat_activity where application_name ~ 'hearth migrate' and datname = current_database()`
  await until('the second is there', async () => (await stand.admin.value(waiting)) === '2', 20_000)
  // What it waits in must not keep a CREATE INDEX CONCURRENTLY of the first from ending: no snapshot, no transaction.
  const held = `select count(*) from pg_stat_activity where application_name ~ 'hearth migrate' and query ~ 'pg_advisory_lock'`
  assert.equal(await stand.admin.value(held), '0')
  await stand.admin.query(
    `select pg_cancel_backend(pid) from pg_stat_activity where query ~ 'pg_sleep.600' and pid <> pg_backend_pid()`,
  )
  assert.match((await first.ended).stderr, /canceling statement due to user request/)
  // Its turn: the same file, now without the sleep? It was read before, so it is what it was.
  await untilRunning(stand, 'pg_sleep(600)')
  second.child.kill('SIGTERM')
  const ended = await second.ended
  assert.match(ended.stderr, /canceling statement due to user request/)
  assert.equal(ended.code, 1)
  assert.equal(await stand.admin.value(`select to_regclass('rooms')`), null)
})

test('many at once apply each migration once', async t => {
  const stand = await openStand(t)
  for (const number of [1, 2, 3])
    stand.write(`000${number}_t.up`, `create table t${number} (id int);`)
  const all = await Promise.all([1, 2, 3].map(() => stand.run('up')))
  for (const { code, stderr } of all) assert.equal(code, 0, stderr)
  assert.equal(await stand.admin.value(`select count(*) from hearth.migration_runs`), '3')
})

test('a lock that is not to be had is waited for shortly, and tried again; nobody queues behind it for long', async t => {
  const stand = await openStand(t)
  stand.write('0001_rooms.up', ROOMS)
  await stand.json(0, 'up')
  stand.write(
    '0002_more.up',
    '-- hearth: lock_timeout=100ms\nalter table rooms add column floor int;',
  )
  const holder = await WireClient.open(stand.url)
  t.after(() => holder.close())
  await holder.query('begin; select * from rooms')
  const failed = await stand.run('up')
  assert.equal(failed.code, 1)
  assert.equal(
    failed.stderr.match(/a lock was not to be had in time; rolled back, and tried again/g)?.length,
    3,
  )
  assert.match(failed.stderr, /0002_more\.up\.sql:2:1: canceling statement due to lock timeout/)
  const running = stand.start('up')
  const waits = `select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'add column floor'`
  await until('it waits', async () => (await stand.admin.value(waits)) === '1', 20_000)
  await holder.query('commit')
  assert.equal((await running.ended).code, 0)
})

test('a lock that another session holds, as behind a pooler, is noticed before anything runs without it', async t => {
  const stand = await openStand(t)
  stand.write('0001_unlock.up', '-- hearth: no-transaction\nselect pg_advisory_unlock_all();')
  stand.write('0002_rooms.up', ROOMS)
  assert.match(
    (await stand.refusal()) ?? '',
    /a pooler stands between .*postgres\.<name>\.migrate_url/,
  )
  assert.equal(await stand.admin.value(`select to_regclass('rooms')`), null)
})

test('statement_timeout of the file ends a statement', async t => {
  const stand = await openStand(t)
  stand.write('0001_slow.up', '-- hearth: statement_timeout=1s\nselect pg_sleep(600)')
  assert.match((await stand.refusal()) ?? '', /:2:1: canceling statement due to statement timeout/)
})

test('a script that ends its own transaction behind our back is noticed, and rolled back as far as it can be', async t => {
  const stand = await openStand(t)
  // The parser does not know it, so nobody has seen the COMMIT in it.
  stand.write('0001_sly.up', `set search_path to public;\ndo $x$ begin execute 'commit'; end $x$;`)
  assert.match((await stand.refusal()) ?? '', /0001_sly\.up\.sql:2:1: .*(COMMIT|transaction)/)
})
