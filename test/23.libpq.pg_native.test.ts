/** 23: pg-native 3.9.0, unchanged, on the binding: in the main thread and in several workers at once.
 *  Owns: one server.   Thread: main and workers.   Holds: every client is ended by the test that opened it.
 *  Runs: beside others, since no figure of it is near its bound. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import {
  end,
  openPgNative,
  type PgNative,
  PgNativeClient,
  query,
} from './helpers/native_clients.ts'
import type { WorkerJob } from './helpers/native_worker.ts'
import { sharedPostgres } from './helpers/postgres.ts'

const postgres = await sharedPostgres()
const { url } = postgres

function withClient(use: (client: PgNative) => Promise<void>): () => Promise<void> {
  return async () => {
    const client = await openPgNative(url)
    try {
      await use(client)
    } finally {
      await end(client)
    }
  }
}

test('the package is the released one, and its libpq is ours', () => {
  assert.equal(PgNativeClient.version, '3.9.0')
  const require = createRequire(createRequire(import.meta.url).resolve('pg-native'))
  const ours = join(import.meta.dirname, '../native-bindings/libpq/index.cjs')
  assert.equal(realpathSync(require.resolve('libpq')), ours)
})

test(
  'a query gives rows with parsed values',
  withClient(async client => {
    const rows = await query(
      client,
      "select 1 as one, 'two' as two, null as three, true as four, 1.5::float8 as five",
    )
    assert.deepEqual(rows, [{ one: 1, two: 'two', three: null, four: true, five: 1.5 }])
  }),
)

test(
  'parameters, also a hundred rows, and an empty result',
  withClient(async client => {
    const rows = await query(
      client,
      'select i, $1 || i as name from generate_series(1, $2::int) i',
      ['row ', 100],
    )
    assert.equal(rows.length, 100)
    assert.deepEqual(rows[99], { i: 100, name: 'row 100' })
    assert.deepEqual(await query(client, 'select 1 where $1', [false]), [])
  }),
)

test(
  'a result of 12 MB arrives whole',
  withClient(async client => {
    const rows = await query(client, "select repeat('x', 1200) as x from generate_series(1, 10000)")
    assert.equal(rows.length, 10_000)
    assert.ok(rows.every(row => (row['x'] as string).length === 1200))
  }),
)

test(
  'several statements in one text give several results',
  withClient(async client => {
    const rows = await query(client, 'select 1 as a; select 2 as b')
    assert.deepEqual(rows, [[{ a: 1 }], [{ b: 2 }]])
  }),
)

test(
  'prepare and execute',
  withClient(async client => {
    await new Promise<void>((resolve, reject) =>
      client.prepare('add', 'select $1::int + $2::int as sum', 2, e => (e ? reject(e) : resolve())),
    )
    for (let i = 0; i < 20; i++) {
      const rows = await new Promise((resolve, reject) =>
        client.execute('add', [i, 1], (e, rows) => (e ? reject(e) : resolve(rows))),
      )
      assert.deepEqual(rows, [{ sum: i + 1 }])
    }
  }),
)

test('the blocking calls', () => {
  const client = new PgNativeClient()
  client.connectSync(url)
  assert.deepEqual(client.querySync('select 1 as one'), [{ one: 1 }])
  assert.deepEqual(client.querySync('select $1::text as it', ['this']), [{ it: 'this' }])
  client.prepareSync('s', 'select $1::int as n', 1)
  assert.deepEqual(client.executeSync('s', [7]), [{ n: 7 }])
  assert.throws(() => client.querySync('select nothing_here'), /nothing_here/)
  client.end()
})

test(
  'an error reaches the callback with its fields readable, and the client goes on',
  withClient(async client => {
    await assert.rejects(query(client, 'select 1/0'), /division by zero/)
    assert.equal(client.pq.resultErrorFields()!['sqlState'], '22012')
    await assert.rejects(query(client, 'selec'), /syntax error/)
    await assert.rejects(query(client, 'select $1::int', ['x']), /invalid input syntax/)
    assert.deepEqual(await query(client, 'select 1 as one'), [{ one: 1 }])
  }),
)

test(
  'COPY in and out through streams',
  withClient(async client => {
    await query(client, 'create temp table t(a int, b text)')
    client.querySync('copy t from stdin') // pg-native's query() does not know PGRES_COPY_IN
    const input = client.getCopyStream()
    for (let i = 0; i < 5_000; i++) {
      if (!input.write(Buffer.from(`${i}\tname ${i}\n`))) await once(input, 'drain')
    }
    await new Promise<void>((resolve, reject) =>
      (input as unknown as { end(done: (error?: Error) => void): void }).end(e =>
        e ? reject(e) : resolve(),
      ),
    )
    const rows = await query(client, 'select count(*)::int as n, sum(a)::int as sum from t')
    assert.deepEqual(rows, [{ n: 5_000, sum: 12_497_500 }])
    await query(client, 'copy t to stdout')
    const output = client.getCopyStream()
    let text = ''
    for await (const chunk of output) text += chunk
    assert.equal(text.split('\n').length, 5_001)
    assert.ok(text.startsWith('0\tname 0\n'))
  }),
)

test(
  'LISTEN and NOTIFY between two clients',
  withClient(async listener => {
    const speaker = await openPgNative(url)
    await query(listener, 'listen news')
    const heard = once(listener, 'notification')
    await query(speaker, "notify news, 'fresh'")
    const [{ relname, extra }] = await heard
    assert.deepEqual([relname, extra], ['news', 'fresh'])
    await end(speaker)
  }),
)

test(
  'cancel stops the running query with 57014',
  withClient(async client => {
    const running = query(client, 'select pg_sleep(8)')
    void postgres.untilRuns('pg_sleep(8)').then(() => client.cancel(() => {}))
    await assert.rejects(running, /canceling statement due to user request/)
    assert.equal(client.pq.resultErrorFields()!['sqlState'], '57014')
    assert.deepEqual(await query(client, 'select 1 as one'), [{ one: 1 }])
  }),
)

test('queries on twenty clients at once do not mix', async () => {
  const clients = await Promise.all(Array.from({ length: 20 }, () => openPgNative(url)))
  const answers = await Promise.all(
    clients.map(async (client, at) => {
      for (let i = 0; i < 20; i++) {
        const [row] = await query(client, 'select $1::int as n', [at * 1000 + i])
        assert.equal(row!['n'], at * 1000 + i)
      }
      return at
    }),
  )
  assert.equal(answers.length, 20)
  await Promise.all(clients.map(end))
})

for (const workerCount of [1, 2, 4]) {
  test(`${workerCount} workers with three connections each, beside a busy main thread`, async () => {
    const client = await openPgNative(url)
    let isDone = false
    const mainWork = (async () => {
      let count = 0
      while (!isDone) {
        await query(client, 'select $1::int', [count++])
        await sleep(0)
      }
      return count
    })()
    const sums = await Promise.all(Array.from({ length: workerCount }, runSum))
    isDone = true
    assert.ok((await mainWork) > 0)
    await end(client)
    // 50 queries for each of the connections 0, 1, 2: the sums 0 … 49, and 50 times the connection's number.
    assert.deepEqual(
      sums,
      sums.map(() => 3 * 1_225 + 50 * (0 + 1 + 2)),
    )
  })
}

test('workers that come and go leave no connection behind', async () => {
  const { admin } = await sharedPostgres()
  await runSum()
  await runSum()
  const left = await (await admin()).value(
    "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
  )
  assert.equal(left, '0')
})

async function runSum(): Promise<number> {
  const workerData: WorkerJob = { job: 'sum', url, count: 3 }
  const worker = new Worker(new URL('./helpers/native_worker.ts', import.meta.url), { workerData })
  const exited = once(worker, 'exit')
  const [ready] = await once(worker, 'message')
  assert.equal(ready, 'ready')
  const [sum] = await once(worker, 'message')
  assert.deepEqual(await exited, [0]) // by itself: no watch and no timer was left that would keep it
  return sum
}
