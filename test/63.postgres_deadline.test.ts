/** Deadlines: the statement is cancelled at the server, and its connection is not reused before that is over.
 *  Owns:   one server.   Thread: main of a test process.   The witness is pg_stat_activity, over a connection of our own.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { monotonicMs } from '../engine/clock.ts'
import type { HearthError } from '../engine/errors.ts'
import { gateTest } from './helpers/gate.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openPool, until } from './helpers/postgres_pool.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
})

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
    const { query, value, pool } = openPool(t, postgres.url, { size: 1, overflow: 0 })
    await value('select 1')
    const startedMs = monotonicMs()
    await assert.rejects(query('select pg_sleep(20)', [], 200), (error: HearthError) => {
      assert.equal(error.code, 'TIMEOUT')
      assert.equal(error.sqlState, '57014')
      assert.match(error.message, /nothing of it stands/)
      return true
    })
    const tookMs = monotonicMs() - startedMs
    assert.ok(tookMs >= 195, `${Math.round(tookMs)} ms`)
    gate('it was told', tookMs, 300)
    assert.equal(await runningCount(), 0)
    assert.equal(await value('select 7'), 7)
    const { connects, timeouts, closed } = pool.stats()
    assert.deepEqual(
      [connects, timeouts, closed.lost + closed.stuck],
      [1, 1, 0],
      'the connection was kept',
    )
  },
)

test('fifty deadlines at once leave nothing running and every connection usable', async t => {
  const { query, value, pool } = openPool(t, postgres.url, { size: 10, overflow: 0, min: 10 })
  await until('ten are idle', () => pool.stats().idle === 10)
  const outcomes = await Promise.allSettled(
    Array.from({ length: 50 }, () => query('select pg_sleep(20)', [], 300)),
  )
  const codes = outcomes.map(outcome => (outcome as PromiseRejectedResult).reason.code)
  assert.equal(codes.filter(code => code === 'TIMEOUT').length, 10)
  assert.equal(codes.filter(code => code === 'POOL_EXHAUSTED').length, 40)
  await until('nothing runs', async () => (await runningCount()) === 0, 2_000)
  const answers = await Promise.all(
    Array.from({ length: 30 }, (_, i) => value('select $1::int', [i])),
  )
  assert.deepEqual(
    answers,
    Array.from({ length: 30 }, (_, i) => i),
  )
  assert.equal(pool.stats().connects, 10)
})

test('a cancelled write has no effect', async t => {
  const { query, value } = openPool(t, postgres.url, { size: 1, overflow: 0 })
  await query('create table slow_writes (id int)')
  await assert.rejects(query('insert into slow_writes select 1 from pg_sleep(5)', [], 100), {
    code: 'TIMEOUT',
  })
  assert.equal(await value('select count(*) from slow_writes'), 0)
})

test('a cancel never hits the next statement on the connection', async t => {
  const { query, value, pool } = openPool(t, postgres.url, { size: 1, overflow: 0 })
  await value('select 1') // the connection is open: the deadlines below are the statements' alone
  // Statements that end around their deadline: some are cancelled, some are just done, and the next one must not notice.
  let cancelled = 0
  for (let round = 0; round < 60; round++) {
    const sleeping = 0.02 + (round % 20) * 0.002
    await query(`select pg_sleep(${sleeping})`, [], 40).catch((error: HearthError) => {
      assert.equal(error.code, 'TIMEOUT')
      cancelled++
    })
    assert.equal(await value('select $1::int', [round]), round)
  }
  assert.ok(cancelled > 5 && cancelled < 60, `${cancelled} of 60 were cancelled`)
  assert.equal(pool.stats().connects, 1)
})

test('a statement without a deadline of its own is held to the statement timeout', async t => {
  const { query } = openPool(t, postgres.url, { statementTimeoutMs: 150 })
  await assert.rejects(query('select pg_sleep(5)'), { code: 'TIMEOUT', sqlState: '57014' })
})

test('the server holds to the statement timeout too, should the worker be asleep', async t => {
  const { value } = openPool(t, postgres.url, { statementTimeoutMs: 12_345 })
  assert.equal(await value('show statement_timeout'), '12345ms')
})

test('a longer deadline than the statement timeout does not lift it', async t => {
  const { query } = openPool(t, postgres.url, { statementTimeoutMs: 150 })
  const startedMs = monotonicMs()
  await assert.rejects(query('select pg_sleep(5)', [], 10_000), { code: 'TIMEOUT' })
  assert.ok(monotonicMs() - startedMs < 3_000)
})

test('a statement that an administrator cancels is an error of the database, not a timeout', async t => {
  const { query } = openPool(t, postgres.url, { size: 1, overflow: 0 })
  const asked = query('select pg_sleep(5)').catch((error: HearthError) => error)
  await postgres.untilRuns('pg_sleep(5)')
  const admin = await postgres.admin()
  await admin.query(
    `select pg_cancel_backend(pid) from pg_stat_activity where query like 'select pg_sleep(5)%'`,
  )
  const error = (await asked) as HearthError
  assert.deepEqual([error.code, error.sqlState], ['DATABASE', '57014'])
})

test('a server that does not answer even the cancel costs its connection, not its requester', async t => {
  const { query, value, pool } = openPool(t, postgres.url, { size: 1, overflow: 1 })
  const pid = Number(await value('select pg_backend_pid()'))
  const asked = query('select pg_sleep(1)', [], 100).catch((error: HearthError) => error)
  await until('it runs', () => pool.stats().busy === 1)
  process.kill(pid, 'SIGSTOP')
  try {
    const startedMs = monotonicMs()
    const error = (await asked) as HearthError
    assert.equal(error.code, 'TIMEOUT')
    assert.match(error.message, /nor to the cancellation/)
    assert.ok(monotonicMs() - startedMs < 3_000)
    assert.equal(await value('select 5'), 5, 'others are served meanwhile')
    await until('the stuck connection is given up', () => pool.stats().closed.stuck === 1, 8_000)
  } finally {
    process.kill(pid, 'SIGCONT')
  }
})
