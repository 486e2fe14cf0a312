/** A breaker as a client of the engine sees it: CIRCUIT_OPEN, health, stats, and how it is set.
 *  Owns:   one server, one engine in this process.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type { HearthError } from '../engine/errors.ts'
import type { DatabaseFigures } from '../workers/postgres/database.ts'
import { openEngine } from './helpers/engine_parts.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
})

const OPEN_MS = 700

test('an open breaker refuses statements, transactions and streams of its side, and health says so until it closes', async t => {
  const opened = await openEngine(t, {
    postgres: { main: { url: postgres.url, pool: { size: 4 } } },
    breaker: { failures: 1, openMs: OPEN_MS, retries: 0 },
  })
  const client = await opened.connect({ name: 'under test' })
  const { db } = client
  await db.query('create table breaker_seen (id int)')
  assert.equal((await client.health()).parts['postgres.main']!.status, 'ok')

  const lost = db.query('insert into breaker_seen select 1 from pg_sleep(5)').catch(error => error)
  const pool = async () => (await client.stats()).pools['main'] as unknown as DatabaseFigures
  await postgres.untilRuns('pg_sleep(5)')
  await postgres.terminateBackends()
  assert.equal(((await lost) as HearthError).code, 'UNAVAILABLE')
  await until('connections are back', async () => (await pool()).idle > 0)

  const isRefused = (error: HearthError) => {
    assert.equal(error.code, 'CIRCUIT_OPEN')
    assert.ok(error.retryAfterMs! > 0 && error.retryAfterMs! <= OPEN_MS)
    assert.match(error.message, /"main\.writes" is open after repeated failures .*nothing was sent/)
    return true
  }
  await assert.rejects(db.query('insert into breaker_seen values (1)'), isRefused)
  await assert.rejects(
    db.transaction(async () => {}),
    isRefused,
  )
  await assert.rejects(db.copyFrom('copy breaker_seen from stdin', ['1\n']), isRefused)
  const health = await client.health()
  assert.equal(health.status, 'degraded')
  assert.deepEqual(health.parts['postgres.main'], {
    status: 'degraded',
    reason: 'the breaker of its writes is open',
  })
  const { reads, writes } = (await pool()).breakers
  assert.deepEqual([reads.state, writes.state, writes.refused], ['closed', 'open', 3])
  assert.deepEqual(writes.transitions, { closed: 0, 'half-open': 0, open: 1 })

  // Reads go on, in whatever form.
  assert.equal((await db.query('select 1 as one')).rows[0]!['one'], 1)
  await db.transaction(async tx => void (await tx.query('select 1')), { readOnly: true })
  for await (const rows of db.stream('select 1')) assert.equal(rows.length, 1)

  await until('it lets try', () =>
    db
      .transaction(async tx => void (await tx.query('insert into breaker_seen values (2)')))
      .then(
        () => true,
        (error: HearthError) => error.code !== 'CIRCUIT_OPEN',
      ),
  )
  assert.equal((await client.health()).parts['postgres.main']!.status, 'degraded')
  await db.query('insert into breaker_seen values (3)')
  assert.equal((await client.health()).parts['postgres.main']!.status, 'ok')
  const { rows } = await db.query('select id from breaker_seen order by id')
  assert.deepEqual(rows, [{ id: 2 }, { id: 3 }])
})

test('transactions alone open a breaker too, and its refusal still says what to mend', async t => {
  const url = postgres.urlOf('nowhere')
  const opened = await openEngine(t, {
    postgres: { main: { url } },
    breaker: { failures: 2, retries: 0 },
  })
  const client = await opened.connect({ name: 'under test' })
  const { db } = client
  const begin = () => db.transaction(async () => {})
  for (let i = 0; i < 2; i++)
    await assert.rejects(begin, { code: 'UNAVAILABLE', message: /"nowhere" does not exist/ })
  const { breakers } = (await client.stats()).pools['main'] as unknown as DatabaseFigures
  assert.match(breakers.writes.lastFailure!, /"nowhere" does not exist/)
  assert.equal(breakers.reads.lastFailure, undefined)
  await assert.rejects(begin, { code: 'CIRCUIT_OPEN', message: /"nowhere" does not exist/ })
  await assert.rejects(db.query('select 1'), { code: 'UNAVAILABLE' })
})
