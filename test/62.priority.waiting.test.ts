/** Priorities: who waits for a connection gets it by priority, then in the order in which they came.
 *  Owns:   one server, an engine in this process for each test.   Thread: main of a test process.
 *  Holds:  every connection is held, and one comes free.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Priority } from '../engine/protocol/spec.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { openSqlEngine } from './helpers/sql_engine.ts'

const postgres = await sharedPostgres()
const SHORT = 'select $1::int as n'
const IN_ORDER: readonly Priority[] = ['critical', 'normal', 'batch']

for (const [what, size] of [
  ['shared connections', 3],
  ['a single connection', 1],
] as const) {
  test(`of those who wait for ${what} critical ones are first, batch ones last`, async t => {
    const { client } = await openSqlEngine(t, postgres.url, { size, overflow: 0, min: size })
    const { db } = client
    for (let i = 0; i < 10; i++) await db.query(SHORT, [i])
    // Never seen before, so each has a connection to itself; the first of them ends first.
    const held = Array.from({ length: size }, (_, i) =>
      db.query(`select pg_sleep($1), ${i} as held`, [i === 0 ? 0.4 : 1.5]),
    )
    await sleep(150)
    const answered: Priority[] = []
    const asked = [...IN_ORDER].reverse().flatMap(priority =>
      [1, 2, 3].map(async n => {
        await db.query(SHORT, [n], { priority })
        answered.push(priority)
      }),
    )
    await Promise.all(asked)
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
