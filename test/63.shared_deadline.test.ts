/** Deadlines on shared connections: what runs too long is cancelled at the server, and nobody else notices.
 *  Owns:   one server.   Thread: main of a test process.   The witness is pg_stat_activity, over a connection of our own.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../engine/clock.ts'
import type { HearthError } from '../engine/errors.ts'
import type { Rows } from '../engine/protocol/rows.ts'
import { gateTest } from './helpers/gate.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openDatabase } from './helpers/postgres_database.ts'
import { until } from './helpers/postgres_pool.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
})

const SLEEP = 'select $1::int as i from pg_sleep($2)'

async function runningCount(): Promise<number> {
  const admin = await postgres.admin()
  return Number(
    await admin.value(
      `select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and backend_type = 'client backend'`,
    ),
  )
}

gateTest(
  'at its deadline a statement is cancelled at the server within 100 ms',
  async (t, gate) => {
    const { query, value, database } = openDatabase(t, postgres.url, { size: 2, overflow: 0 })
    await value('select 1')
    const startedMs = monotonicMs()
    await assert.rejects(query('select pg_sleep(20)', [], 200), (error: HearthError) => {
      assert.deepEqual([error.code, error.sqlState], ['TIMEOUT', '57014'])
      assert.match(error.message, /nothing of it stands/)
      return true
    })
    const tookMs = monotonicMs() - startedMs
    assert.ok(tookMs >= 195, `${Math.round(tookMs)} ms`)
    gate('it was told', tookMs, 300)
    assert.equal(await runningCount(), 0)
    assert.equal(await value('select 7'), 7)
    assert.equal(database.stats().timeouts, 1)
    assert.equal(database.stats().closed.lost + database.stats().closed.stuck, 0)
  },
)

test('a short statement that suddenly takes long is cancelled, and those sent behind it get their answers', async t => {
  const { query, together, database } = openDatabase(t, postgres.url, { size: 2, min: 2 })
  for (let i = 0; i < 4; i++) await query(SLEEP, [i, 0])
  await until('two are idle', () => database.stats().idle === 2)
  const answers = await Promise.allSettled(
    together([
      [SLEEP, [0, 20], 150],
      ...Array.from({ length: 20 }, (_, i) => [SLEEP, [i + 1, 0], 5_000] as const),
    ]),
  )
  const [slow, ...rest] = answers
  assert.equal((slow as PromiseRejectedResult).reason.code, 'TIMEOUT')
  for (const [i, answer] of rest.entries()) {
    assert.equal(answer.status, 'fulfilled', String((answer as PromiseRejectedResult).reason))
    assert.equal((answer as PromiseFulfilledResult<Rows>).value.rows[0]!['i'], i + 1)
  }
})

test('a cancel never costs the statement after it, whichever it meets', async t => {
  const { query, together, database } = openDatabase(t, postgres.url, { size: 2, overflow: 0 })
  for (let i = 0; i < 4; i++) await query(SLEEP, [i, 0])
  let cancelled = 0
  for (let round = 0; round < 60; round++) {
    // Ends around its deadline: some are cancelled, some are just done, and the ones behind must not notice.
    const [first, ...others] = together([
      [SLEEP, [0, 0.02 + (round % 20) * 0.002], 40],
      [SLEEP, [1, 0.001]],
      [SLEEP, [2, 0.001]],
      [SLEEP, [3, 0.001]],
    ])
    await first!.catch((error: HearthError) => {
      assert.equal(error.code, 'TIMEOUT')
      cancelled++
    })
    for (const [i, other] of others.entries()) assert.equal((await other).rows[0]!['i'], i + 1)
  }
  assert.ok(cancelled > 5 && cancelled < 60, `${cancelled} of 60 were cancelled`)
  assert.equal(database.stats().errors, cancelled)
})

test('a cancelled write has no effect', async t => {
  const { query, value } = openDatabase(t, postgres.url)
  await query('create table shared_slow_writes (id int)')
  const SLOW = 'insert into shared_slow_writes select 1 from pg_sleep(5)'
  await assert.rejects(query(SLOW, [], 100), { code: 'TIMEOUT' })
  assert.equal(await value('select count(*) from shared_slow_writes'), 0)
})

test('a statement without a deadline of its own is held to the statement timeout', async t => {
  const { query, value } = openDatabase(t, postgres.url, { statementTimeoutMs: 150 })
  assert.equal(await value('show statement_timeout'), '150ms')
  await assert.rejects(query('select pg_sleep(5)'), { code: 'TIMEOUT', sqlState: '57014' })
})

test('a statement that nobody wants any more is cancelled at once, or never sent', async t => {
  const opened = openDatabase(t, postgres.url, { size: 2, overflow: 0 })
  const { query, database } = opened
  await query('select 1')
  const GIVEN_UP = { code: 'DATABASE', sqlState: '57014', message: /given up/ }
  const running = query('select pg_sleep(20)')
  const runningTicket = opened.lastTicket
  await until('it runs', async () => (await runningCount()) === 1)
  const other = query('select pg_sleep(0.4), 1')
  const waiting = query('select pg_sleep(20), 3')
  const waitingTicket = opened.lastTicket
  assert.ok(database.cancel(waitingTicket))
  await assert.rejects(waiting, GIVEN_UP)
  assert.ok(database.cancel(runningTicket))
  await assert.rejects(running, GIVEN_UP)
  await other
  assert.equal(await runningCount(), 0)
})

test('a server that does not answer even the cancel costs its connection, not its requester', async t => {
  const { query, value } = openDatabase(t, postgres.url, { size: 2, overflow: 0 })
  const pid = Number(await value('select pg_backend_pid()'))
  process.kill(pid, 'SIGSTOP')
  t.after(() => process.kill(pid, 'SIGCONT'))
  const startedMs = monotonicMs()
  // The stopped backend is the idle one used last, or it is not asked; either way nobody waits for long.
  const answers = await Promise.allSettled(
    Array.from({ length: 4 }, () => query('select 1 as one', [], 300)),
  )
  assert.ok(monotonicMs() - startedMs < 2_000)
  for (const answer of answers) {
    if (answer.status === 'rejected')
      assert.ok(['TIMEOUT', 'POOL_EXHAUSTED'].includes(answer.reason.code), answer.reason.code)
  }
  await sleep(50)
  assert.equal(await value('select 2'), 2)
})
