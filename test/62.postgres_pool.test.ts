/** The pool: limits, waiting, growth, reuse, recycling.
 *  Owns:   one server.   Thread: main of a test process.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../engine/clock.ts'
import type { HearthError } from '../engine/errors.ts'
import { WAITING_COUNT_MAX } from '../workers/postgres/database.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openPool, until } from './helpers/postgres_pool.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
})

const PID = 'select pg_backend_pid() as pid'

test('200 queries at once get their own answers over 10 connections', async t => {
  const { query, pool } = openPool(t, postgres.url, { size: 10, overflow: 0 })
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      query('select $1::int as i, pg_backend_pid() as pid', [i]),
    ),
  )
  assert.deepEqual(
    answers.map(({ rows }) => rows[0]!['i']),
    Array.from({ length: 200 }, (_, i) => i),
  )
  const { connects, idle, waiting, waitingMost, acquireP99Ms, queries } = pool.stats()
  assert.ok(connects <= 10, `${connects} connections`)
  assert.equal(waiting, 0)
  assert.ok(waitingMost >= 190)
  assert.ok(idle >= 1 && acquireP99Ms > 0 && queries === 200)
})

test('min connections are opened before anything is asked, and no more', async t => {
  const { pool } = openPool(t, postgres.url, { size: 10, min: 3 })
  await until('three are idle', () => pool.stats().idle === 3)
  await sleep(100)
  assert.equal(pool.stats().connects, 3)
})

test('the connection used last is used next', async t => {
  const { query, pool } = openPool(t, postgres.url, { size: 5, min: 5 })
  await until('five are idle', () => pool.stats().idle === 5)
  const pids = new Set<unknown>()
  for (let i = 0; i < 20; i++) pids.add((await query(PID)).rows[0]!['pid'])
  assert.equal(pids.size, 1)
})

test('without a free connection a request waits no longer than the acquire timeout', async t => {
  const { query, pool } = openPool(t, postgres.url, { size: 1, overflow: 0, acquireTimeoutMs: 150 })
  const slow = query('select pg_sleep(0.6)')
  await until('it runs', () => pool.stats().busy === 1)
  const startedMs = monotonicMs()
  await assert.rejects(query('select 1'), (error: HearthError) => {
    assert.equal(error.code, 'POOL_EXHAUSTED')
    assert.equal(error.retryable, true)
    assert.match(error.message, /1 are busy.*nothing was sent/)
    return true
  })
  const tookMs = monotonicMs() - startedMs
  assert.ok(tookMs > 140 && tookMs < 550, `${tookMs} ms`)
  await slow
  assert.equal((await query('select 1 as a')).rows[0]!['a'], 1)
})

test('its own deadline ends a wait that is shorter than the acquire timeout', async t => {
  const { query, pool } = openPool(t, postgres.url, { size: 1, overflow: 0 })
  const slow = query('select pg_sleep(0.5)')
  await until('it runs', () => pool.stats().busy === 1)
  await assert.rejects(query('select 1', [], 100), { code: 'POOL_EXHAUSTED' })
  await slow
})

test('the queue is bounded: one more is BUSY at once', async t => {
  const { query, pool } = openPool(t, postgres.url, { size: 1, overflow: 0 })
  const slow = query('select pg_sleep(0.3)')
  await until('it runs', () => pool.stats().busy === 1)
  const waiting = Array.from({ length: WAITING_COUNT_MAX }, () => query('select 1', [], 100))
  await assert.rejects(
    query('select 1'),
    (error: HearthError) => error.code === 'BUSY' && error.retryable,
  )
  const outcomes = await Promise.allSettled([slow, ...waiting])
  assert.equal(outcomes.filter(outcome => outcome.status === 'fulfilled').length, 1)
})

test('overflow connections come when somebody has waited, and go when it is over', async t => {
  const { query, pool } = openPool(t, postgres.url, { size: 2, overflow: 2, min: 1 })
  const pids = await Promise.all(Array.from({ length: 4 }, () => query(`${PID}, pg_sleep(0.5)`)))
  assert.equal(
    new Set(pids.map(({ rows }) => rows[0]!['pid'])).size,
    4,
    'all four ran beside each other',
  )
  assert.equal(pool.stats().connects, 4)
  await until('two are closed again', () => pool.stats().closed.overflow === 2)
  assert.equal(pool.stats().idle, 2)
})

test('a short burst opens no overflow', async t => {
  const { query, pool } = openPool(t, postgres.url, { size: 2, overflow: 5 })
  await Promise.all(Array.from({ length: 50 }, () => query('select 1')))
  assert.ok(pool.stats().connects <= 2)
})

test('idle connections above min are closed after the idle timeout', async t => {
  const { query, pool } = openPool(t, postgres.url, { size: 5, min: 2, idleTimeoutMs: 200 })
  await Promise.all(Array.from({ length: 5 }, () => query('select pg_sleep(0.1)')))
  assert.equal(pool.stats().connects, 5)
  await until('three are closed', () => pool.stats().closed.idle === 3)
  await sleep(300)
  assert.equal(pool.stats().idle, 2)
})

test('a connection is replaced when it is old, between two statements', async t => {
  const { query, pool } = openPool(t, postgres.url, {
    size: 1,
    min: 1,
    overflow: 0,
    recycleMs: 300,
  })
  const pids = new Set<unknown>()
  for (const endMs = monotonicMs() + 1_000; monotonicMs() < endMs; ) {
    pids.add((await query(PID)).rows[0]!['pid'])
  }
  assert.ok(pids.size >= 3, `${pids.size} backends in a second`)
  assert.ok(pool.stats().closed.recycled >= 2)
  assert.equal(pool.stats().errors, 0)
})

test('close() lets what runs finish, refuses what waits, and leaves no backend', async t => {
  const url = await postgres.createDatabase('closing')
  const { query, pool } = openPool(t, url, { size: 2, overflow: 0, min: 2 })
  const running = [query(`select 1 as a, pg_sleep(0.3)`), query(`select 2 as a, pg_sleep(0.3)`)]
  await until('both run', () => pool.stats().busy === 2)
  const waiting = query('select 3')
  const closing = pool.close()
  await assert.rejects(waiting, { code: 'CLOSED' })
  await assert.rejects(query('select 4'), { code: 'CLOSED' })
  assert.deepEqual(
    (await Promise.all(running)).map(({ rows }) => rows[0]!['a']),
    [1, 2],
  )
  await closing
  const admin = await postgres.admin()
  const left = () => admin.value(`select count(*) from pg_stat_activity where datname = 'closing'`)
  await until('no backend is left', async () => (await left()) === '0')
})

test('close() during a connect leaves nothing behind either', async t => {
  const url = await postgres.createDatabase('aborting')
  for (let round = 0; round < 20; round++) {
    const { query, pool } = openPool(t, url, { size: 5, min: 5 })
    const asked = query('select 1').catch((error: HearthError) => error.code)
    await sleep(round)
    await pool.close()
    assert.ok(
      ['CLOSED', 'object'].includes(
        typeof (await asked) === 'string' ? String(await asked) : 'object',
      ),
    )
  }
  const admin = await postgres.admin()
  const left = () => admin.value(`select count(*) from pg_stat_activity where datname = 'aborting'`)
  await until('no backend is left', async () => (await left()) === '0')
})
