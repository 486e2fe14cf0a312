/** The shared pool: many statements in flight on few connections, each alone when it has to be.
 *  Owns:   one server.   Thread: main of a test process.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../engine/clock.ts'
import type { HearthError } from '../engine/errors.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openDatabase } from './helpers/postgres_database.ts'
import { until } from './helpers/postgres_pool.ts'
import { randomTest } from './helpers/random.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
})

const ECHO = 'select $1::int as i, pg_backend_pid() as pid'

/** Asked a few times, so that the pool knows it for a short one. */
async function warm(
  query: (sql: string, params: unknown[]) => Promise<unknown>,
  sql: string,
  params: unknown[],
) {
  for (let i = 0; i < 3; i++) await query(sql, params)
}

test('a thousand statements at once get their own answers over ten connections', async t => {
  const { query, together, database } = openDatabase(t, postgres.url, { size: 10, overflow: 0 })
  await warm(query, ECHO, [0])
  const answers = await Promise.all(
    together(Array.from({ length: 1_000 }, (_, i) => [ECHO, [i]] as const)),
  )
  assert.deepEqual(
    answers.map(({ rows }) => rows[0]!['i']),
    Array.from({ length: 1_000 }, (_, i) => i),
  )
  const { connects, inFlight, waiting, queries, acquireP99Ms } = database.stats()
  assert.ok(connects <= 10, `${connects} connections`)
  assert.deepEqual(new Set(inFlight), new Set([0]))
  assert.equal(waiting, 0)
  assert.equal(queries, 1_003)
  assert.ok(acquireP99Ms > 0)
})

test('a statement that takes long has a connection to itself, and short ones go past it', async t => {
  const { query, database } = openDatabase(t, postgres.url, { size: 4 })
  await warm(query, ECHO, [0])
  let isSlowDone = false
  const slow = query('select pg_sleep(2), pg_backend_pid() as pid')
  slow.then(() => {
    isSlowDone = true
  })
  await postgres.untilRuns('pg_sleep(2)')
  const quick = await Promise.all(Array.from({ length: 200 }, (_, i) => query(ECHO, [i])))
  assert.equal(isSlowDone, false, 'nothing waited for the slow one')
  const slowPid = (await slow).rows[0]!['pid']
  assert.ok(quick.every(({ rows }) => rows[0]!['pid'] !== slowPid))
  assert.equal(database.stats().errors, 0)
})

test('a statement never seen before does not wait behind a stream of short ones', async t => {
  const { query } = openDatabase(t, postgres.url, { size: 2 })
  await warm(query, ECHO, [0])
  let isOver = false
  const stream = Array.from({ length: 50 }, async () => {
    while (!isOver) await query(ECHO, [1])
  })
  const startedMs = monotonicMs()
  for (let i = 0; i < 20; i++) await query(`select ${i} as new`)
  isOver = true
  await Promise.all(stream)
  assert.ok(monotonicMs() - startedMs < 5_000)
})

test('an error of one statement leaves those around it alone', async t => {
  const { query, together } = openDatabase(t, postgres.url, { size: 2 })
  const DIVIDE = 'select 10 / $1::int as q'
  await warm(query, DIVIDE, [1])
  const answers = await Promise.allSettled(
    together(Array.from({ length: 100 }, (_, i) => [DIVIDE, [i % 5]] as const)),
  )
  for (const [i, answer] of answers.entries()) {
    if (answer.status === 'fulfilled') {
      assert.equal(answer.value.rows[0]!['q'], Math.trunc(10 / (i % 5)))
      continue
    }
    const { code, sqlState } = answer.reason as HearthError
    assert.deepEqual([i % 5, code, sqlState], [0, 'DATABASE', '22012'])
  }
})

test('connections are opened as the load grows, at most size, and min are open before anything is asked', async t => {
  const { query, together, database } = openDatabase(t, postgres.url, {
    size: 5,
    min: 3,
    overflow: 0,
  })
  await until('three are idle', () => database.stats().idle === 3)
  assert.equal(database.stats().connects, 3)
  await warm(query, ECHO, [0])
  for (let round = 0; round < 5; round++)
    await Promise.all(together(Array.from({ length: 500 }, (_, i) => [ECHO, [i]] as const)))
  await until('five are idle', () => database.stats().idle === 5)
  assert.equal(database.stats().connects, 5)
})

test('a statement that needs a connection of its own gets room from the shared ones', async t => {
  const { query, together, database } = openDatabase(t, postgres.url, {
    size: 3,
    min: 3,
    overflow: 0,
  })
  await warm(query, ECHO, [0])
  await Promise.all(together(Array.from({ length: 300 }, (_, i) => [ECHO, [i]] as const)))
  await until('three are open', () => database.stats().idle === 3)
  await query('do $$ begin perform 1; end $$')
  const { inFlight, idle, inUse } = database.stats()
  assert.equal(inFlight.length, 2)
  assert.ok(idle + inUse <= 3)
  assert.equal((await query(ECHO, [7])).rows[0]!['i'], 7)
})

test('idle connections beyond min are closed, old ones replaced', async t => {
  const { query, together, database } = openDatabase(t, postgres.url, {
    size: 5,
    min: 1,
    idleTimeoutMs: 200,
    recycleMs: 600,
  })
  await warm(query, ECHO, [0])
  await Promise.all(together(Array.from({ length: 500 }, (_, i) => [ECHO, [i]] as const)))
  await until('one is left', () => database.stats().idle === 1)
  const { pid } = (await query(ECHO, [1])).rows[0]!
  await until('it was replaced', async () => (await query(ECHO, [1])).rows[0]!['pid'] !== pid)
  // A slow machine may have kept a second one until now, which is the other that answered.
  await until('it was old', () => database.stats().closed.recycled >= 1)
  await until('others were idle', () => database.stats().closed.idle >= 1)
})

test('with all connections taken a request waits no longer than the acquire timeout', async t => {
  const { query, database } = openDatabase(t, postgres.url, {
    size: 2,
    overflow: 0,
    acquireTimeoutMs: 150,
  })
  const slow = [query('select pg_sleep(0.6)'), query('select pg_sleep(0.6), 1')]
  await until('they run', () => database.stats().inUse === 2)
  const startedMs = monotonicMs()
  await assert.rejects(query('select 1'), (error: HearthError) => {
    assert.equal(error.code, 'POOL_EXHAUSTED')
    assert.match(error.message, /nothing was sent/)
    return true
  })
  assert.ok(monotonicMs() - startedMs < 500)
  await Promise.all(slow)
})

randomTest(
  'random statements of all lengths, with errors and deadlines among them, are answered once each',
  {},
  async (random, t) => {
    const { query, database } = openDatabase(t, postgres.url, { size: 4 })
    const asked = Array.from({ length: 600 }, async (_, i) => {
      await sleep(random.below(300))
      const draw = random.below(10)
      if (draw < 6) return assert.equal((await query(ECHO, [i])).rows[0]!['i'], i)
      if (draw < 7) return assert.rejects(query('select 1 / ($1::int - $1::int)', [i]))
      if (draw < 8) return assert.equal((await query(`select ${i} as own`)).rows[0]!['own'], i)
      if (draw < 9)
        return void (await query('select pg_sleep($1::float8)', [random.below(20) / 1_000]))
      return assert.rejects(query('select pg_sleep(5), $1::int', [i], 1 + random.below(100)), {
        code: /^(TIMEOUT|POOL_EXHAUSTED)$/,
      })
    })
    await Promise.all(asked)
    const { waiting, inFlight } = database.stats()
    assert.equal(waiting + inFlight.reduce((sum, each) => sum + each, 0), 0)
  },
)
