/** Priorities: who waits for a connection gets it by priority, then in the order in which they came.
 *  Owns:   one server, an engine in this process for each test.   Thread: main of a test process.
 *  Holds:  every connection is held, and one comes free.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Priority } from '../engine/protocol/spec.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { openSqlEngine } from './helpers/sql_engine.ts'

const postgres = await sharedPostgres()
const SHORT = 'select $1::int as n'
const IN_ORDER: readonly Priority[] = ['critical', 'normal', 'batch']

for (const [what, size] of [
  ['shared connections', 3],
  ['a single connection', 1],
] as const) {
  test(`of those who wait for ${what} critical ones are first, batch ones last`, async t => {
    const pool = { size, overflow: 0, min: size }
    const { client, figure } = await openSqlEngine(t, postgres.url, pool)
    const { db } = client
    for (let i = 0; i < 10; i++) await db.query(SHORT, [i])
    // Never seen before, so each has a connection to itself, and keeps it until its lock is free: the first of them alone, then all.
    const admin = await postgres.admin()
    await admin.query('select pg_advisory_lock(1), pg_advisory_lock(2)')
    const held = Array.from({ length: size }, (_, i) =>
      db.query(`select pg_advisory_xact_lock($1), ${i} as held`, [i === 0 ? 1 : 2]),
    )
    await postgres.untilRuns('as held', size)
    const answered: Priority[] = []
    const asked = [...IN_ORDER].reverse().flatMap(priority =>
      [1, 2, 3].map(async n => {
        await db.query(SHORT, [n], { priority })
        answered.push(priority)
      }),
    )
    await until('all wait', async () => (await figure('waiting')) === asked.length)
    await admin.query('select pg_advisory_unlock(1)')
    await Promise.all(asked)
    await admin.query('select pg_advisory_unlock(2)')
    assert.deepEqual(
      answered,
      IN_ORDER.flatMap(priority => [priority, priority, priority]),
    )
    await Promise.all(held)
  })
}

test('a priority that is none is the caller’s mistake', async t => {
  const { client } = await openSqlEngine(t, postgres.url)
  assert.throws(() => client.db.query('select 1', [], { priority: 'urgent' as never }), {
    name: 'TypeError',
    message: /critical, normal, batch|normal, critical, batch/,
  })
})
