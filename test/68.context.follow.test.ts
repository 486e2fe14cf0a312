/** One id from a client in another process to the server, its log, Hearth's log, and back in the answer or the error.
 *  Owns:   one server that logs every statement, one engine.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HearthError } from '../engine/errors.ts'
import { PREPARED_COUNT_MAX } from '../workers/postgres/database.ts'
import { type ServedEngine, serve } from './helpers/engine.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { clientProcess, openSqlEngine } from './helpers/sql_engine.ts'

const SAMPLED = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const UNSAMPLED = SAMPLED.replace(/01$/, '00')

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres({ log_statement: 'all' })
})

const serverLog = () => readFileSync(postgres.server.logFile, 'utf8')

/** The line of Hearth's log that has an id. */
function lineOf(engine: ServedEngine, id: string): Record<string, unknown> | undefined {
  const lines = engine.log().split('\n')
  const found = lines.find(line => line.startsWith('{') && line.includes(`"${id}"`))
  return found === undefined ? undefined : JSON.parse(found)
}

test('one id goes from a client of another process to the server and both logs, and back', async t => {
  const engine = await serve(t, {
    HEARTH_POSTGRES_URL: postgres.url,
    HEARTH_LOG_SLOW_STATEMENT: '300ms',
  })
  const child = await clientProcess(
    t,
    engine.socket,
    `
    const asked = hearth.withContext({ correlationId: 'order-7', traceparent: '${SAMPLED}' })
    const slow = asked.db.query('select pg_sleep(1.5)')
    const failed = asked.db.query('select 1/$1::int', [0]).catch(error => error)
    ready()
    const lost = hearth.db.query('select 1', [], { correlationId: 'order-8', timeoutMs: 1 }).catch(error => error)
    console.log(JSON.stringify([(await slow).correlationId, (await failed).correlationId,
      (await failed).sqlState, (await lost).correlationId]))
    await hearth.close()`,
  )
  let said = ''
  child.stdout!.on('data', text => {
    said += text
  })
  const closed = once(child, 'close')
  const admin = await postgres.admin()
  const running = `select query from pg_stat_activity where query like $1 and state = 'active'`
  const wanted = `select pg_sleep(1.5) /*correlation_id='order-7',traceparent='${SAMPLED}'*/`
  let seen: string | undefined
  for (let i = 0; i < 1_000 && seen === undefined; i++) {
    seen = (await admin.value(running, ['select pg_sleep(1.5)%'])) ?? undefined
    if (seen === undefined) await sleep(5)
  }
  assert.equal(seen, wanted)
  await closed
  assert.deepEqual(JSON.parse(said), ['order-7', 'order-7', '22012', 'order-8'])
  assert.ok(serverLog().includes(wanted))
  assert.ok(serverLog().includes(`select 1/$1::int /*correlation_id='order-7',traceparent=`))
  await engine.untilLogged('slow statement')
  const slow = engine
    .log()
    .split('\n')
    .find(line => line.includes('slow statement'))!
  const { correlationId, traceparent, command, database, level, tookMs } = JSON.parse(slow)
  assert.deepEqual(
    [correlationId, traceparent, command, database, level],
    ['order-7', SAMPLED, 'select', 'main', 'warn'],
  )
  assert.ok(tookMs >= 1_500)
  await engine.untilLogged('"22012"')
  const failed = engine
    .log()
    .split('\n')
    .find(line => line.includes('"22012"'))!
  assert.equal(JSON.parse(failed).message, 'failed statement')
  assert.equal(JSON.parse(failed).correlationId, 'order-7')
  assert.equal(lineOf(engine, 'order-7')!['traceparent'], SAMPLED)
})

test('every way to ask has the context: transactions, streams, COPY, cached queries', async t => {
  const { client } = await openSqlEngine(t, postgres.url)
  const idOf = (name: string) => `/*correlation_id='${name}'*/`
  const asked = (name: string) => client.withContext({ correlationId: name }).db
  await client.db.query('create table followed (i int)')
  const rows = await asked('tx').transaction(async tx => {
    await tx.query('insert into followed values (1)')
    return await tx.query('select 1 as in_tx')
  })
  assert.equal(rows.correlationId, 'tx')
  for await (const _ of asked('stream').stream('select 2 as streamed')) await sleep(0)
  await asked('copy').copyFrom('copy followed from stdin', ['2\n'])
  const cached = await asked('kept').query('select i from followed', [], { cache: { ttlMs: 500 } })
  assert.equal(cached.correlationId, 'kept')
  await client.db.query('vacuum followed', [], { correlationId: 'alone' })
  const broken = asked('broken').transaction(tx => tx.query('select 1/0'))
  await assert.rejects(broken, (error: HearthError) => error.correlationId === 'broken')
  const log = serverLog()
  for (const text of [
    `insert into followed values (1) ${idOf('tx')}`,
    `select 1 as in_tx ${idOf('tx')}`,
    `select 2 as streamed ${idOf('stream')}`,
    `copy followed from stdin ${idOf('copy')}`,
    `select i from followed ${idOf('kept')}`,
    `vacuum followed ${idOf('alone')}`,
  ])
    assert.ok(log.includes(text), text)
})

test('what is not sampled leaves statements as they are, and what is leaves the prepared ones alone', async t => {
  const { client, figure } = await openSqlEngine(t, postgres.url, { size: 2, overflow: 0, min: 1 })
  const sql = 'select $1::int as prepared_once'
  const query = (traceparent?: string) =>
    client.db.query(sql, [1], traceparent === undefined ? {} : { traceparent })
  for (let i = 0; i < 20; i++) await query(i % 2 === 0 ? undefined : UNSAMPLED)
  assert.ok(!serverLog().includes(`${sql} /*`))
  const admin = await postgres.admin()
  const before = await figure('queries')
  // Sampled ones come with others in flight, and many more than a connection has prepared statements.
  await Promise.all(Array.from({ length: 600 }, (_, i) => query(i % 3 === 0 ? undefined : SAMPLED)))
  assert.equal((await figure('queries')) - before, 600)
  assert.equal(serverLog().split(`${sql} /*`).length > 400, true)
  const backend = `select count(*) from pg_stat_activity where application_name = 'hearth'`
  assert.ok(Number(await admin.value(backend)) > 0)
  const left = await client.db.query<{ n: number }>(
    `select count(*)::int as n from pg_prepared_statements where statement like $1`,
    ['%/*corr%'],
  )
  assert.equal(left.rows[0]!.n, 0)
  // What is refused before it is sent leaves nothing behind either.
  const refused = Array.from({ length: 3 * PREPARED_COUNT_MAX }, () =>
    client.db.query('select $1::text as t', ['a\0b'], { traceparent: SAMPLED }),
  )
  for (const each of await Promise.allSettled(refused))
    assert.match(each.status === 'rejected' ? each.reason.message : '', /zero character/)
  assert.deepEqual((await query(SAMPLED)).rows, [{ prepared_once: 1 }])
})
