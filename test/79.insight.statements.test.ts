/** Query insight from the outside: what is recorded, what is slow, who asks too often, what stays over a restart.
 *  Owns:   one server; each test its engine.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  whatever is shown has no parameter and no literal in it. */

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from '../engine/client/connection.ts'
import type { Hearth } from '../engine/client/index.ts'
import { InsightRequest } from '../engine/client/sql_requests.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { hearth as command } from './helpers/cli.ts'
import { type OpenedEngine, openEngine } from './helpers/engine_parts.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { WireClient } from './helpers/postgres_wire.ts'
import { clientProcess } from './helpers/sql_engine.ts'

const SECRET = 'xyzzy-secret'
let url: string

before(async () => {
  const postgres = await sharedPostgres()
  url = await postgres.createDatabase('insight')
  const admin = await WireClient.open(url)
  await admin.query(`create table rooms (id int primary key, name text);
    insert into rooms select n, 'room ' || n from generate_series(1, 30) n;
    create table lamps (id int primary key, room int, token text, lit bool);
    insert into lamps select n, n % 30, 'token ' || n, false from generate_series(1, 300) n; analyze`)
  await admin.close()
})

type Settings = { readonly [name: string]: string | number | boolean }

function opened(t: TestContext, insight: Settings = {}, more = {}): Promise<OpenedEngine> {
  return openEngine(t, { ...more, postgres: { main: { url } }, insight } as never)
}

async function figuresOf(client: Hearth, text: string) {
  return (await client.insight.statements()).find(each => each.text === text)
}

test('calls, rows, errors, callers and percentiles of a fingerprint are what was asked', async t => {
  const engine = await opened(t)
  const lamp = await engine.connect({ name: 'lamps' })
  const other = await engine.connect({ name: 'other' })
  for (let id = 1; id <= 40; id++) await lamp.db.query('select * from lamps where id = $1', [id])
  for (let id = 1; id <= 5; id++)
    await other.db.query(`SELECT *  FROM lamps WHERE id = ${id} -- ${SECRET}`)
  await other.db.query('select * from lamps where room = $1', [3])
  await other.db.transaction(async tx => {
    await tx.query('select * from lamps where id = $1', [1])
    await tx.query('update lamps set lit = $1 where id = $2', [true, 1])
  })
  await assert.rejects(other.db.query('select * from lamps where id = $1', [SECRET]))
  const byId = (await figuresOf(lamp, 'select * from lamps where id = $1'))!
  assert.equal(byId.calls, 46)
  assert.equal(byId.rows, 46)
  assert.equal(byId.errors, 1)
  assert.equal(byId.isRead, true)
  const uid = process.getuid!()
  assert.deepEqual(byId.callers, [
    { name: `lamps (uid ${uid})`, calls: 40 },
    { name: `other (uid ${uid})`, calls: 7 },
  ])
  assert(byId.totalMs > 0 && byId.p50Ms > 0)
  assert(byId.p50Ms <= byId.p95Ms && byId.p95Ms <= byId.p99Ms && byId.p99Ms <= byId.maxMs)
  assert.equal((await figuresOf(lamp, 'select * from lamps where room = $1'))!.rows, 10)
  const update = (await figuresOf(lamp, 'update lamps set lit = $1 where id = $2'))!
  assert.deepEqual([update.calls, update.rows, update.isRead], [1, 1, false])
  assert(!JSON.stringify(await lamp.insight.statements()).includes(SECRET))
})

test('the slow log has types for parameters, and the plan of a read as it ran, never that of a write', async t => {
  const engine = await opened(t, { slowThresholdMs: 25 })
  const client = await engine.connect({ name: 'slow one' })
  const slow = `select count(*) from lamps a, lamps b, lamps c where a.token <> $1 and b.token <> '${SECRET} 2' and c.id < $2`
  await client.db.query(slow, [SECRET, 20])
  await client.db.query(
    'update lamps set token = $1 where id = 1 and (select pg_sleep(0.04)) is not null',
    [SECRET],
  )
  await client.db.query('select pg_sleep(0.05), $1::text', [SECRET])
  await client.db.query(`select set_config('work_mem', '4MB', true), pg_sleep(0.04), '${SECRET}'`)
  const log = await client.insight.slow()
  assert.equal(log.length, 4)
  const read = log.at(-1)!
  assert.equal(
    read.text,
    'select count(*) from lamps a, lamps b, lamps c where a.token <> $1 and b.token <> $2 and c.id < $3',
  )
  assert.deepEqual(read.params, ['text(12)', 'number'])
  assert.equal(read.rows, 1)
  assert(read.tookMs >= 25)
  assert.match(read.caller, /^slow one/)
  // Of the update nobody asks; of the others the server's analysis says that they may do more than read.
  await until('all have been looked at', async () => (await client.insight.plans()).length >= 3)
  const plans = await client.insight.plans()
  assert.equal(plans.length, 3)
  const kept = plans.filter(({ plan }) => plan !== undefined)
  assert.deepEqual(
    kept.map(({ text }) => text),
    [read.text],
  )
  const plan = JSON.stringify(kept[0]!.plan)
  assert(
    kept[0]!.isRun && plan.includes('Actual Rows') && plan.includes('"Relation Name":"lamps"'),
    plan,
  )
  const table = {
    schema: 'public',
    table: 'lamps',
    definition: '(room)',
    tableBytes: 1,
    bytesMax: 1,
  }
  const write = { ...table, fingerprint: '', sql: 'delete from lamps', isHypothetical: false }
  assert.deepEqual(await client.insight.proof('main', write), {
    problem: 'not proven to read only',
  })
  const all = JSON.stringify([log, plans, await client.insight.statements()])
  assert(!all.includes(SECRET), all)
  const shown = await command(['insight', 'plans'], {
    env: { HEARTH_SOCKET: engine.engine.socketPath },
  })
  assert.equal(shown.code, 0, shown.stderr)
  assert(/Nested Loop/.test(shown.stdout) && !shown.stdout.includes(SECRET), shown.stdout)
  const { main } = (await client.stats()).pools
  assert.equal(main!['slowStatements'], 4)
})

test('with insight.show_parameters the slow log shows them', async t => {
  const insight = { slowThresholdMs: 20, showParameters: true, explain: 'off' }
  const engine = await opened(t, insight, { http: { listen: '127.0.0.1:0' } })
  const client = engine.local()
  await client.db.query('select pg_sleep(0.03), $1::text', [SECRET])
  assert.deepEqual((await client.insight.slow())[0]!.params, [JSON.stringify(SECRET)])
  assert.deepEqual(await client.insight.plans(), [])
  const url = new URL('/insight/slow', await engine.engine.httpUrl())
  assert(!(await (await fetch(url)).text()).includes(SECRET), 'over HTTP nobody asks who it is')
})

test('what is for administrators is an operation of its own, which the other is not', async t => {
  const engine = await opened(t)
  const client = engine.local()
  await client.db.query('select * from rooms where id = $1', [1])
  const { connection } = client.insight as unknown as { connection: Connection }
  const asReader = Object.assign(new InsightRequest('reset', {}), { op: OPS.INSIGHT.code })
  await assert.rejects(connection.request(asReader), { code: 'BAD_REQUEST' })
  assert.equal((await client.insight.statements()).length, 1)
  await client.insight.reset()
  assert.deepEqual(await client.insight.statements(), [])
})

test('over HTTP the slow log is what the client sees, and metrics count it by pool', async t => {
  const insight = { slowThresholdMs: 20, explain: 'off' }
  const engine = await opened(t, insight, { http: { listen: '127.0.0.1:0' } })
  const client = engine.local()
  const url = new URL('/insight/slow', await engine.engine.httpUrl())
  assert.deepEqual(await (await fetch(url)).json(), { slow: [] })
  for (let i = 0; i < 2; i++) await client.db.query('select pg_sleep(0.03), $1::text', [SECRET])
  for (let id = 1; id <= 12; id++) await client.db.query('select * from rooms where id = $1', [id])
  const response = await fetch(url)
  assert.equal(response.headers.get('content-type'), 'application/json')
  const slow = await client.insight.slow()
  // More on a machine that is busy.
  assert(slow.length >= 2)
  const withoutParameters = slow.map(({ params: _, ...rest }) => rest)
  assert.deepEqual(await response.json(), { slow: withoutParameters })
  assert(!JSON.stringify(slow).includes(SECRET))
  const { metrics } = await client.metrics()
  const { main } = (await client.stats()).pools
  const sampleOf = (value: unknown) => [{ labels: { pool: 'main' }, value }]
  assert.deepEqual(metrics['hearth_slow_statements_total']!.samples, sampleOf(slow.length))
  assert.equal(main!['nPlusOne'], 1)
  assert.deepEqual(metrics['hearth_n_plus_one_total']!.samples, sampleOf(1))
})

test('a loop of another process over the rows of a parent is found, with the parent and a better statement', async t => {
  const engine = await opened(t)
  const client = engine.local()
  await clientProcess(
    t,
    engine.engine.socketPath,
    `
    const { rows } = await hearth.db.query('select id, name from rooms where id <= $1', [12])
    for (const { id } of rows) {
      await hearth.db.query('select name from rooms where id = $1', [1])
      await hearth.db.query('select id, token from lamps where room = $1', [id])
    }
    for (let i = 0; i < 30; i++) await hearth.db.query('select id from lamps where id = $1', [7])
    ready()`,
  )
  const found = await client.insight.nPlusOne()
  assert.deepEqual(
    found.map(({ text }) => text),
    ['select id, token from lamps where room = $1'],
  )
  const [burst] = found
  assert.equal(burst!.times, 1)
  assert.equal(burst!.longest, 12)
  assert.match(burst!.caller, /^pid \d+ \(uid \d+\)$/)
  assert.deepEqual(
    [burst!.parent!.text, burst!.parent!.rows],
    ['select id, name from rooms where id <= $1', 12],
  )
  assert.deepEqual(burst!.suggestion, {
    text: 'select id, token from lamps where room = any($1)',
    note: 'select room too, to tell the rows apart',
  })
  assert.equal((await client.stats()).pools['main']!['nPlusOne'], 1)
  const shown = await command(['insight', 'n+1'], {
    env: { HEARTH_SOCKET: engine.engine.socketPath },
  })
  assert.match(
    shown.stdout,
    /up to 12 calls in a row .*\n {2}asked .*\n {2}after .*\(12 rows\)\n {2}instead {2}select id, token from lamps where room = any/,
  )
})

test('what the cache answered is counted by statement, in place too', async t => {
  const engine = await opened(t)
  const client = await engine.connect()
  const far = await engine.connect({ sharedMemory: false })
  const sql = 'select name from rooms where id = $1'
  const sources: string[] = []
  const ask = async (by: Hearth) => {
    const { source } = await by.db.query(sql, [2], { cache: { ttlMs: 60_000 } })
    sources.push(source)
  }
  for (let i = 0; i < 6; i++) await ask(far)
  for (let i = 0; i < 3; i++) await ask(client)
  // As the engine begins to listen to writes from elsewhere, what is cached ends: a second miss is no mistake.
  const hits = sources.filter(source => source === 'memory').length
  assert(hits >= 4, sources.join(' '))
  await until('all hits are told', async () => {
    const { cache } = (await figuresOf(client, sql))!
    return cache.memory + cache.inPlace === hits
  })
  const { cache, calls } = (await figuresOf(client, sql))!
  assert.deepEqual([cache.misses, calls], [9 - hits, 9 - hits])
  assert.equal(cache.inPlace > 0, client.inPlace.isOn)
})

test('what is asked again and again and seldom changes is advised to be cached, and nothing else', async t => {
  const engine = await opened(t)
  const client = engine.local()
  const { db } = client
  for (let i = 0; i < 12; i++) {
    await db.query('select count(*) from lamps where room = $1', [i % 2])
    await db.query('select token from lamps where id = $1', [1])
    await db.query('update lamps set token = $1 where id = $2', [`token ${i}`, 1])
    await db.query('select name, random() from rooms where id = $1', [1])
    await db.query('select lit from lamps where id = $1', [i])
    await sleep(25)
  }
  const found = await client.insight.cache()
  assert.deepEqual(
    found.map(({ text }) => text),
    ['select count(*) from lamps where room = $1'],
  )
  const [advice] = found
  assert.equal(advice!.unchangedShare, 1)
  assert(
    advice!.expectedHitRate > 0.8 && advice!.expectedHitRate < 0.9,
    String(advice!.expectedHitRate),
  )
  assert(advice!.savedMsPerHour > 0 && advice!.ttlMs >= 1_000)
})

test('figures stay over a restart, and a damaged file of them is as none', async t => {
  const first = await opened(t)
  const one = first.local()
  for (let i = 0; i < 15; i++)
    await one.db.query(`select * from lamps where token = '${SECRET}${i}'`)
  const { stateDir } = first.engine.config.engine
  const before = (await figuresOf(one, 'select * from lamps where token = $1'))!
  await one.close()
  await first.engine.close()
  const file = join(stateDir, 'insight.json')
  const text = readFileSync(file, 'utf8')
  assert(!text.includes(SECRET), text)

  const second = await opened(t, {}, { engine: { stateDir } })
  const two = second.local()
  const after = (await figuresOf(two, before.text))!
  assert.deepEqual([after.calls, after.rows], [15, 0])
  assert(Math.abs(after.p95Ms - before.p95Ms) < 0.01)
  assert.equal(after.callers[0]!.calls, 15)
  await two.db.query('select * from lamps where token = $1', ['a'])
  assert.equal((await figuresOf(two, before.text))!.calls, 16)
  await two.close()
  await second.engine.close()

  writeFileSync(file, text.slice(0, text.length / 2))
  const third = await opened(t, {}, { engine: { stateDir } })
  assert.deepEqual(await third.local().insight.statements(), [])
})

test('switched off, nothing is recorded, and who asks is told so', async t => {
  const engine = await opened(t, { enabled: false })
  const client = engine.local()
  await client.db.query('select 1')
  await assert.rejects(client.insight.statements(), { code: 'NOT_CONFIGURED' })
})
