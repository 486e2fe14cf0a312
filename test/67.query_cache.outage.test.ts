/** Postgres goes away and comes back under load: cached reads with grace go on, everything else fails in ways that can be retried.
 *  Owns:   a server of its own, an engine in this process.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HearthError } from '../engine/errors.ts'
import { withPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { openSqlEngine } from './helpers/sql_engine.ts'

const DOWN_MS = 1_500
const WITH_GRACE = { cache: { ttlMs: 100, maxStaleMs: 60_000 } }

test('a restart of Postgres: no error for reads with grace, others may be retried but for what was at the server then', async t => {
  await withPostgres(async postgres => {
    const engine = await openSqlEngine(t, postgres.url)
    const { db } = engine.client
    await db.query('create table reading (id int primary key, value int not null)')
    await db.query('insert into reading select g, g from generate_series(1, 10) g')
    await db.query('create table done (id int primary key)')
    const read = (id: number, options = {}) =>
      db.query<{ value: number }>('select value from reading where id = $1', [id], options)
    for (let id = 1; id <= 10; id++) await read(id, WITH_GRACE)
    // What ends as it begins to listen is read again below.
    await until('it listens', async () => {
      const { pools } = await engine.client.stats()
      return !/not listening/.test(
        String((pools['main']!['outside'] as { reason?: string }).reason),
      )
    })
    let isOver = false
    let graced = 0
    const failures: HearthError[] = []
    const unknown = new Set<number>()
    const inserted: number[] = []
    const readers = Array.from({ length: 10 }, async (_, i) => {
      while (!isOver) {
        const { rows } = await read(i + 1, WITH_GRACE)
        assert.equal(rows[0]!.value, i + 1)
        graced++
        await sleep(2)
      }
    })
    const others = Array.from({ length: 5 }, async (_, i) => {
      for (let n = i; !isOver; n += 5) {
        try {
          await db.query('insert into done values ($1)', [n])
          inserted.push(n)
          await read(1)
        } catch (error) {
          failures.push(error as HearthError)
          if (/outcome unknown/.test((error as HearthError).message)) unknown.add(n)
        }
        await sleep(2)
      }
    })
    const listening = graced
    await until('each was read again', () => graced > listening + 100)
    await postgres.server.stop()
    await sleep(DOWN_MS)
    await postgres.restart()
    const before = inserted.length
    await until('inserts go on', () => inserted.length > before + 50)
    isOver = true
    await Promise.all([...readers, ...others])
    const odd = failures.filter(
      ({ retryable, message }) => !retryable && !/outcome unknown/.test(message),
    )
    t.diagnostic(
      `${graced} reads with grace, ${inserted.length} inserts, ${failures.length} errors`,
    )
    assert.deepEqual(odd.slice(0, 2), [])
    assert.ok(unknown.size <= others.length, 'no more than were at the server')
    const { rows } = await db.query<{ id: number }>('select id from done order by id')
    assert.deepEqual(
      rows.map(({ id }) => id).filter(id => !unknown.has(id)),
      inserted.toSorted((a, b) => a - b),
    )
  })
})
