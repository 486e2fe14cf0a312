/** Statements of a role that is held to a Postgres role, to reading, or to some databases; and how it does not get out.
 *  Owns:   one server and one engine.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  the witness is Postgres: who it takes the statement's user for, and what it refuses. */

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type Hearth, type HearthError } from '../engine/client/index.ts'
import { ERRORS } from '../engine/errors.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { prepare } from './helpers/engine.ts'
import { errorOf, frame, nameOf, RawClient } from './helpers/frames.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { asUser, openTheWay, skipUnlessRoot } from './helpers/users.ts'

const UIDS = { reports: 54_201, 'read-only': 54_202, history: 54_203, service: 54_204 } as const

describe('statements of a role', { skip: skipUnlessRoot }, () => {
  const engine = prepare({ after })
  const clients = {} as Record<keyof typeof UIDS, Hearth>
  let postgres: TestPostgres

  const connectAs = (uid: number) =>
    asUser(uid, () => connect({ socket: engine.socket, failOpen: false }))

  before(async () => {
    postgres = await sharedPostgres()
    const admin = await postgres.admin()
    for (const text of [
      'create role reports nologin',
      'create table shown (id int)',
      'insert into shown values (1)',
      'create table hidden (id int)',
      'insert into hidden values (42)',
      'grant select, insert on shown to reports',
      'create table owned (owner text)',
      "insert into owned values ('reports'), ('others')",
      'alter table owned enable row level security',
      'create policy own on owned using (owner = current_user)',
      'grant select on owned to reports',
    ])
      await admin.query(text)
    const history = await postgres.createDatabase('history')
    const file = join(engine.folder, 'hearth.toml')
    writeFileSync(
      file,
      `[postgres.main]
url = "${postgres.url}"
[postgres.history]
url = "${history}"
[access.reports]
like = "service"
members = ["uid:${UIDS.reports}"]
databases = ["main as reports"]
[access.read-only]
members = ["uid:${UIDS['read-only']}"]
[access.history]
like = "service"
members = ["uid:${UIDS.history}"]
databases = ["history"]
inflight = 2
[access.service]
members = ["uid:${UIDS.service}"]
`,
    )
    await engine.start({ HEARTH_CONFIG: file, HEARTH_ENGINE_SOCKET_MODE: '0666' })
    openTheWay(engine.socket)
    for (const [role, uid] of Object.entries(UIDS))
      clients[role as keyof typeof UIDS] = await connectAs(uid)
  })
  after(async () => {
    for (const client of Object.values(clients)) await client.close()
  })

  const userOf = async (client: Hearth, sql = 'select current_user::text as who') =>
    (await client.db.query(sql)).rows[0]!['who']

  test('run as its Postgres role, in every way that there is', async () => {
    const { reports, service } = clients
    assert.equal(await userOf(reports), 'reports')
    assert.notEqual(await userOf(service), 'reports')
    assert.equal(
      await userOf(reports, "select current_user::text as who, set_config('app.x', '1', true)"),
      'reports',
    )
    await reports.db.transaction(async tx => {
      assert.equal((await tx.query('select current_user::text as who')).rows[0]!['who'], 'reports')
    })
    for await (const rows of reports.db.stream('select current_user::text as who'))
      assert.equal(rows[0]!['who'], 'reports')
    let copied = ''
    for await (const chunk of reports.db.copyTo('copy (select current_user) to stdout'))
      copied += chunk
    assert.equal(copied, 'reports\n')
    await assert.rejects(reports.db.query('select * from hidden'), { sqlState: '42501' })
  })

  test('are recorded by insight for nobody, which shows nothing to who has only some databases', async () => {
    await userOf(clients.reports, 'select current_user::text as who, 1 as of_reports')
    await userOf(clients.service, 'select current_user::text as who, 1 as of_service')
    const ask = async (uid: number) => {
      const raw = await asUser(uid, () => RawClient.open(engine.socket))
      await raw.hello()
      raw.send(frame(OPS.INSIGHT.code, 5, 'statements', {}))
      const reply = await raw.reply(5)
      await raw.close()
      return reply
    }
    for (const uid of [UIDS.reports, UIDS.history, UIDS['read-only']])
      assert.equal(errorOf(await ask(uid)).wire, ERRORS.FORBIDDEN.wire)
    const told = await ask(UIDS.service)
    assert.equal(nameOf(told), 'RESULT')
    assert(told.body.includes('of_service'))
    assert(!told.body.includes('of_reports'))
  })

  test('may be told of a changed schema by who has the database', async () => {
    await clients.reports.database('main').refresh()
    assert.equal(await userOf(clients.reports), 'reports')
    const isForbidden = { code: 'FORBIDDEN' }
    await assert.rejects(clients.history.database('main').refresh(), isForbidden)
    await assert.rejects(clients['read-only'].database('main').refresh(), isForbidden)
  })

  const ESCAPES = [
    'reset role',
    'set role none',
    'set local role none',
    'set session role none',
    '/* x */ set /* -- */ role none',
    '-- /*\n set role none',
    '/* /* */ */ set role none',
    'set session authorization default',
    'reset session authorization',
    'reset all',
    'discard all',
    'set "role" to none',
    'set U&"r\\006fle" to none',
    "select set_config('role', 'none', false)",
    "select set_config ('ro' || 'le', 'none', false)",
    "select pg_catalog.\"set_config\"('role', 'none', false)",
    "select U&\"set\\005fconfig\"('role', 'none', false)",
    "with x as (select set_config('app.a', '1', true)) select set_config('role', 'none', true) from x",
    "update pg_settings set setting = 'none' where name = 'role'",
    "select query_to_xml('select set_config(''role'', ''none'', false)', true, true, '')",
    "do $$ begin execute 'set role none'; end $$",
    'create function f() returns int language sql set role = none as $$ select 1 $$',
    'create or replace/**/function f() returns int language sql as $$ select 1 $$',
    'alter function f() set role = none',
    'call p()',
  ]
  for (const sql of ESCAPES) {
    test(`do not leave it by: ${sql}`, async () => {
      const { reports } = clients
      const isRefused = (error: HearthError) =>
        error.code === 'FORBIDDEN' || error.code === 'BAD_REQUEST'
      await assert.rejects(reports.db.query(sql), isRefused)
      await assert.rejects(
        reports.db.transaction(async tx => {
          await tx.query(sql)
          await tx.query('select * from hidden')
        }),
        (error: HearthError) => error.code === 'FORBIDDEN',
      )
      for (let i = 0; i < 3; i++) assert.equal(await userOf(reports), 'reports')
    })
  }

  test('are the role’s again on a connection that was made anew', async () => {
    const { reports } = clients
    await reports.db.transaction(async tx => {
      await tx.query('create temp table t (i int)')
      await tx.query("set work_mem = '1MB'")
    })
    for (let i = 0; i < 5; i++)
      assert.equal(
        await reports.db.transaction(
          async tx => (await tx.query('select current_user::text as who')).rows[0]!['who'],
        ),
        'reports',
      )
    await postgres.terminateBackends()
    await sleep(50)
    assert.equal(await userOf(reports), 'reports')
  })

  test('have results of their own in the cache, which every write ends', async () => {
    const { reports, service } = clients
    const sql = 'select count(*)::int as n from owned'
    const cache = { ttlMs: 60_000 }
    const counted = async (client: Hearth) =>
      (await client.db.query(sql, [], { cache })).rows[0]!['n']
    assert.deepEqual([await counted(service), await counted(reports)], [2, 1])
    assert.deepEqual([await counted(service), await counted(reports)], [2, 1])
    await service.db.query("insert into owned values ('reports')")
    assert.deepEqual([await counted(reports), await counted(service)], [2, 3])
    const shown = 'select count(*)::int as n from shown'
    const before = (await service.db.query(shown, [], { cache })).rows[0]!['n'] as number
    await service.db.query(shown, [], { cache })
    await reports.db.query('insert into shown values (2)')
    assert.equal((await service.db.query(shown, [], { cache })).rows[0]!['n'], before + 1)
  })

  test('that write are refused by Postgres where the role only reads', async () => {
    const client = clients['read-only']
    assert.equal((await client.db.query('select id from hidden')).rows[0]!['id'], 42)
    await assert.rejects(client.db.query('insert into hidden values (1)'), { code: 'READ_ONLY' })
    await assert.rejects(
      client.db.transaction(tx => tx.query('delete from hidden')),
      { code: 'READ_ONLY' },
    )
    for (const sql of [
      'set transaction read write',
      'set transaction read/**/write',
      'set transaction_read_only = off',
      'set session characteristics as transaction read write',
      'set default_transaction_read_only to off',
      'reset all',
      "select set_config('transaction_read_only', 'off', false)",
      "do $$ begin execute 'set transaction read write'; end $$",
    ]) {
      const tried = client.db.transaction(async tx => {
        await tx.query(sql)
        await tx.query('insert into hidden values (1)')
      })
      await assert.rejects(tried, { code: 'FORBIDDEN' }, sql)
    }
    await assert.rejects(client.db.copyFrom('copy hidden from stdin', (async function* () {})()), {
      code: 'FORBIDDEN',
    })
  })

  test('go to the databases that it has, and no other', async () => {
    const { history, reports } = clients
    await history.database('history').query('select 1')
    for (const name of ['main', '', 'main as reports', 'main\u0001', 'nowhere']) {
      const refused = (await history
        .database(name)
        .query('select 1')
        .catch(error => error)) as HearthError
      assert.equal(refused.code, 'FORBIDDEN', name)
      assert.match(refused.message, /role "history".*it may: history.*access\.history\.databases/)
    }
    await assert.rejects(reports.database('history').query('select 1'), { code: 'FORBIDDEN' })
    const cached = history.db.query('select 1', [], { cache: { ttlMs: 1_000 } })
    await assert.rejects(cached, { code: 'FORBIDDEN' })
    await assert.rejects(
      history.db.transaction(tx => tx.query('select 1')),
      { code: 'FORBIDDEN' },
    )
    await assert.rejects(history.db.listen('channel'), { code: 'FORBIDDEN' })
  })

  test('are shown by role in the figures', async () => {
    const pools = Object.keys((await clients.service.stats()).pools)
    assert.deepEqual(pools, ['main', 'history', 'main as reports', 'main (read only)'])
    assert.deepEqual(Object.keys((await clients.history.stats()).pools), ['history'])
  })

  test('in flight of one user are bounded over all its connections: what comes beyond waits', async () => {
    const open = () => asUser(UIDS.history, () => RawClient.open(engine.socket))
    const [one, two] = [await open(), await open()]
    await Promise.all([one.hello(), two.hello()])
    const slow = (id: number) =>
      frame(OPS.QUERY.code, id, 'history', 0, 0, 'c', `select pg_sleep(0.8)`, [])
    one.send(slow(2), slow(3))
    await sleep(50)
    two.send(frame(OPS.GET.code, 4, 'none'))
    await sleep(100)
    assert.equal(two.replies.length, 0, 'it is not read yet')
    assert.equal(nameOf(await two.reply(4)), 'MISS')
    assert(one.replies.length > 0, 'there was room once something had been answered')
    await one.reply(3)
    one.send(slow(5), slow(6))
    await sleep(50)
    two.send(frame(OPS.GET.code, 7, 'none'))
    await sleep(50)
    await one.close()
    assert.equal(nameOf(await two.reply(7)), 'MISS', 'or when a connection goes')
    await two.close()
  })
})
