/** Utilization: a database whose connections are nearly all taken says so once, and once more when it is over.
 *  Owns:   one server.   Thread: main of a test process; what is logged is read from a process of its own.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { serve } from './helpers/engine.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openDatabase } from './helpers/postgres_database.ts'
import { until } from './helpers/postgres_pool.ts'

const WARNING = /100 % of the connections.*"main\\" are in use"/
const CALM = /in use again/

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
})

test('use is told in stats, from none to all', async t => {
  const { query, database } = openDatabase(t, postgres.url, { size: 4, overflow: 0 })
  assert.equal(database.stats().utilization, 0)
  const slow = Array.from({ length: 4 }, (_, i) => query(`select pg_sleep(0.5), ${i}`))
  await until('most are taken', () => database.stats().utilization >= 0.75)
  await Promise.all(slow)
  assert.equal(database.stats().utilization, 0)
})

test('80 % for more than a moment is logged, once, and its end too', async t => {
  const engine = await serve(t, {
    HEARTH_POSTGRES_URL: postgres.url,
    HEARTH_POSTGRES_MAIN_POOL_SIZE: '2',
    HEARTH_POSTGRES_MAIN_POOL_OVERFLOW: '0',
    HEARTH_ENGINE_LOG_LEVEL: 'info',
  })
  const hearth = await engine.connect()
  const ending = new AbortController()
  const { signal } = ending
  const slow = Array.from({ length: 2 }, (_, i) =>
    hearth.db.query(`select pg_sleep(20), ${i}`, [], { signal }),
  )
  const ended = Promise.allSettled(slow)
  await engine.untilLogged(WARNING, 10_000)
  await sleep(1_100) // The next look finds the same, and says nothing.
  ending.abort()
  await ended
  await engine.untilLogged(CALM)
  const lines = engine.log().split('\n')
  assert.equal(lines.filter(line => WARNING.test(line)).length, 1)
  assert.equal(lines.filter(line => CALM.test(line)).length, 1)
})
