/** Faults: what is open when a part dies ends with a clear error, leaves nothing behind, and the next one works.
 *  Owns:   one server, restarted on the way.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  the matrix: transaction, stream, COPY both ways × backend terminated, server restarted, worker killed. */

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import type { Hearth, HearthError } from '../engine/client/index.ts'
import { serve } from './helpers/engine.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { FULL } from './helpers/random.ts'
import { openSqlEngine, type SqlEngine, sharedSqlEngine, untilQuiet } from './helpers/sql_engine.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
  const admin = await postgres.admin()
  await admin.query(
    'create table kept (id int); create table many as select generate_series(1, 200000) as i; checkpoint',
  )
})

/** Each begins, calls `middle` when it is under way, and goes on. */
const OPEN: Record<string, (client: Hearth, middle: () => Promise<void>) => Promise<unknown>> = {
  'a transaction between statements': (client, middle) =>
    client.db.transaction(async tx => {
      await tx.query('insert into kept values (1)')
      await middle()
      await tx.query('insert into kept values (2)')
    }),
  'a transaction in a statement': (client, middle) =>
    client.db.transaction(async tx => {
      await tx.query('insert into kept values (1)')
      await Promise.all([
        tx.query('select pg_sleep(20)'),
        postgres.untilRuns('pg_sleep(20)').then(middle),
      ])
    }),
  'a stream': async (client, middle) => {
    let batches = 0
    for await (const _ of client.db.stream('select * from many'))
      if (batches++ === 20) await middle()
  },
  'a COPY in': (client, middle) =>
    client.db.copyFrom(
      'copy kept from stdin',
      (async function* () {
        for (let i = 0; i < 200; i++) {
          yield '1\n'.repeat(5_000)
          if (i === 5) await middle()
        }
      })(),
    ),
  'a COPY out': async (client, middle) => {
    let chunks = 0
    const sql = `copy (select repeat('x', 500) from many) to stdout`
    for await (const _ of client.db.copyTo(sql)) if (chunks++ === 20) await middle()
  },
}

const FAULTS: Record<string, (engine: SqlEngine) => Promise<unknown>> = {
  'the backend is terminated': () => postgres.terminateBackends(),
  'the server is restarted': () => postgres.restart(),
  'the worker is killed': engine => engine.killWorker(),
}

for (const [fault, strike] of Object.entries(FAULTS)) {
  describe(`when ${fault}`, () => {
    // To an operation a restart is what a terminated backend is.
    const isTwin = fault === 'the server is restarted' && !FULL
    for (const [what, run] of Object.entries(OPEN).slice(0, isTwin ? 1 : undefined)) {
      test(`${what} rejects, nothing of it stands, and the next one works`, async t => {
        const engine = await openSqlEngine(t, postgres.url, { size: 2, overflow: 0 })
        const { client } = engine
        let wasStruck = false
        const running = run(client, async () => {
          if (wasStruck) return
          wasStruck = true
          await strike(engine)
        })
        await assert.rejects(running, (error: HearthError) => {
          assert.equal(error.code, 'UNAVAILABLE', error.message)
          assert.match(error.message, /lost|died|restarting/)
          assert.doesNotMatch(error.message, /outcome unknown/)
          return true
        })
        await until('the next query is answered', () =>
          client.db.query('select 1').then(
            () => true,
            () => false,
          ),
        )
        assert.deepEqual((await client.db.query('select * from kept')).rows, [])
        // A dead worker cancels nothing: its server finds out by itself that nobody is there.
        await untilQuiet(postgres, fault === 'the worker is killed' ? 10_000 : 2_000)
        if (what === 'a transaction in a statement') return
        await run(client, async () => undefined)
        await client.db.query('truncate kept')
      })
    }
  })
}

test('a COMMIT whose connection is lost is of unknown outcome, and is not run again', async t => {
  const { client } = await sharedSqlEngine(t, postgres.url)
  await client.db.query('create table slow_commit (id int)')
  await client.db.query(
    `create function wait() returns trigger language plpgsql as 'begin perform pg_sleep(20); return null; end'`,
  )
  await client.db.query(
    `create constraint trigger waiting after insert on slow_commit deferrable initially deferred for each row execute function wait()`,
  )
  let runs = 0
  const running = client.db.transaction(
    async tx => {
      runs++
      await tx.query('insert into slow_commit values (1)')
    },
    { retries: 5 },
  )
  running.catch(() => undefined)
  await postgres.untilRuns('commit')
  await postgres.terminateBackends()
  await assert.rejects(running, { code: 'UNAVAILABLE', message: /COMMIT.*outcome unknown/s })
  assert.equal(runs, 1)
})

test('a COMMIT is not stopped by an abort that comes after it was sent', async t => {
  const { client } = await sharedSqlEngine(t, postgres.url)
  await client.db.query(
    'create or replace function wait() returns trigger language plpgsql as $$begin perform pg_sleep(0.3); return null; end$$',
  )
  const abort = new AbortController()
  const running = client.db.transaction(
    async tx => {
      await tx.query('insert into slow_commit values (2)')
      setTimeout(() => abort.abort(), 100)
      return 'committed'
    },
    { signal: abort.signal },
  )
  assert.equal(await running, 'committed')
  assert.deepEqual((await client.db.query('select id from slow_commit')).rows, [{ id: 2 }])
})

test('an engine that is killed in the middle: rolled back by the server, and the transaction rejects', async t => {
  const engine = await serve(t, { HEARTH_POSTGRES_URL: postgres.url })
  const client = await engine.connect()
  const running = client.db.transaction(async tx => {
    await tx.query('insert into kept values (1)')
    await engine.kill()
    await engine.start()
    await until('the client is back', () => client.state === 'open')
    await tx.query('insert into kept values (2)')
  })
  await assert.rejects(running, {
    code: 'UNAVAILABLE',
    message: /connection to the engine was lost/,
  })
  assert.deepEqual((await client.db.query('select * from kept')).rows, [])
})

test('an engine that shuts down rolls back what is open, without waiting for it', async t => {
  const engine = await serve(t, { HEARTH_POSTGRES_URL: postgres.url })
  const client = await engine.connect()
  const running = client.db.transaction(async tx => {
    await tx.query('insert into kept values (1)')
    const { tookMs } = await engine.stop()
    assert.ok(tookMs < 3_000, `${tookMs} ms`)
    await tx.query('select 1')
  })
  await assert.rejects(running, { code: 'UNAVAILABLE' })
  await untilQuiet(postgres)
  assert.equal(await (await postgres.admin()).value('select count(*) from kept'), '0')
})
