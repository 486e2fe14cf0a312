/** Clients of a database with replicas, through the engine: what results, transactions, stats and health say of its servers.
 *  Owns:   one cluster.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../engine/client/index.ts'
import type { ConfigOverrides } from '../engine/config/config.ts'
import { type OpenedEngine, openEngine } from './helpers/engine_parts.ts'
import { type PostgresCluster, sharedCluster } from './helpers/postgres_cluster.ts'
import { until } from './helpers/postgres_pool.ts'

let cluster: PostgresCluster

before(async () => {
  cluster = await sharedCluster([
    'create table counters (id int primary key, n int, note text)',
    `insert into counters select i, 0, '' from generate_series(1, 64) i`,
  ])
})

interface Opened extends OpenedEngine {
  readonly client: Hearth
}

async function open(t: TestContext, overrides: ConfigOverrides = {}): Promise<Opened> {
  const replicas = cluster.replicas.map(({ name, url }) => ({ name, url, weight: 1 }))
  const main = { url: cluster.primary.url, replicas, pool: { size: 4 } }
  const engine = await openEngine(t, { postgres: { main }, ...overrides })
  const client = await engine.connect()
  await until('all is well', async () => {
    const { servers = [] } = (await client.health()).parts['postgres.main']!
    return servers.length > 0 && servers.every(({ state }) => state === 'up')
  })
  const reads = ['64', '20'].map(id => `select n from counters where id = ${id}`)
  for (const sql of [...reads, 'select n from counters where id = $1'])
    await until(`it goes to a replica: ${sql}`, async () => {
      const params = sql.endsWith('$1') ? [1] : []
      return (await client.db.query(sql, params)).source !== 'primary'
    })
  return { ...engine, client }
}

async function sourceOf(client: Hearth): Promise<string> {
  return (await client.db.query('select n from counters where id = 64')).source
}

/** Nothing that is written meanwhile is seen on a replica. */
async function whileReplicasLag(run: () => Promise<void>): Promise<void> {
  for (const replica of cluster.replicas) await replica.value('select pg_wal_replay_pause()')
  try {
    await run()
  } finally {
    for (const replica of cluster.replicas) await replica.value('select pg_wal_replay_resume()')
  }
}

test('who wrote finds it at once on its own connection, by whatever way it wrote; others read replicas', async t => {
  const { client, connect } = await open(t)
  const long = 'x'.repeat(100_000)
  const ways: Record<string, (writer: Hearth, id: number) => Promise<unknown>> = {
    statement: (writer, id) => writer.db.query('update counters set n = 1 where id = $1', [id]),
    'long statement': (writer, id) =>
      writer.db.query('update counters set n = 1, note = $1 where id = $2', [long, id]),
    'statement with a connection to itself': (writer, id) =>
      writer.db.query(`do $$ begin update counters set n = 1 where id = ${id}; end $$`),
    transaction: (writer, id) =>
      writer.db.transaction(tx => tx.query('update counters set n = 1 where id = $1', [id])),
    COPY: async (writer, id) => {
      await writer.db.query('delete from counters where id = $1', [id])
      await writer.db.copyFrom('copy counters from stdin', [`${id}\t1\tcopied\n`])
    },
  }
  await whileReplicasLag(async () => {
    for (const [i, [name, write]] of Object.entries(ways).entries()) {
      const writer = await connect()
      const sql = 'select n from counters where id = $1'
      await write(writer, i + 1)
      const { rows, source } = await writer.db.query(sql, [i + 1])
      assert.deepEqual([rows, source], [[{ n: 1 }], 'primary'], name)
      const other = await client.db.query(sql, [i + 1])
      assert.deepEqual(other.rows, [{ n: 0 }], name)
      assert.match(other.source, /^replica:r[123]$/, name)
    }
  })
})

test('a result that is kept for all is never one that a replica has from before a write', async t => {
  const { client, connect } = await open(t)
  const writer = await connect()
  const sql = 'select n from counters where id = $1'
  const cache = { ttlMs: 60_000 }
  assert.deepEqual((await client.db.query(sql, [30], { cache })).rows, [{ n: 0 }])
  await whileReplicasLag(async () => {
    // A write with the option of a cache is one all the same.
    await writer.db.query('update counters set n = 4 where id = 30')
    const other = await client.db.query(sql, [30], { cache })
    assert.deepEqual(other.rows, [{ n: 4 }], 'though it is another client’s write')
    await writer.db.query('update counters set n = 5 where id = 30 returning n', [], { cache })
    for (const each of [client, writer]) {
      const { rows, source } = await each.db.query(sql, [30], { cache })
      assert.deepEqual(rows, [{ n: 5 }], source)
    }
    const { rows, source } = await writer.db.query(sql, [30])
    assert.deepEqual([rows, source], [[{ n: 5 }], 'primary'])
  })
})

test('a transaction that says it only reads may go to a replica, any other goes to the primary', async t => {
  const { client } = await open(t)
  const sql = 'select n from counters where id = 1'
  const sourceIn = (options: object) =>
    client.db.transaction(async tx => (await tx.query(sql)).source, options)
  assert.match(await sourceIn({ readOnly: true }), /^replica:/)
  assert.equal(await sourceIn({}), 'primary')
  assert.equal(await sourceIn({ readOnly: true, isolation: 'serializable' }), 'primary')
})

test('a worker that was replaced knows nothing of writes, and reads none of them from a replica that lags', async t => {
  const { client, connect, threads } = await open(t)
  const other = await connect()
  const sql = 'select n from counters where id = 20'
  await whileReplicasLag(async () => {
    await client.db.query('update counters set n = 7 where id = 20')
    await threads()[0]!.terminate()
    await until('the worker is back', async () => {
      const found = await other.db.query(sql).catch(() => undefined)
      return found !== undefined
    })
    // Meanwhile it becomes known what the statement does.
    for (let i = 0; i < 20; i++) {
      await other.db.query(sql)
      await sleep(10)
    }
    const { rows, source } = await client.db.query(sql)
    assert.deepEqual([rows, source], [[{ n: 7 }], 'primary'])
  })
})

test('stats and health show each server, and health says what is wrong', async t => {
  const { client } = await open(t, { health: { intervalMs: 200 } })
  const { pools } = await client.stats()
  const servers = pools['main']!['servers'] as Record<string, unknown>[]
  assert.deepEqual(
    servers.map(({ name, role, state }) => [name, role, state]),
    [
      ['url', 'primary', 'up'],
      ['r1', 'replica', 'up'],
      ['r2', 'replica', 'up'],
      ['r3', 'replica', 'up'],
    ],
  )
  await until('it is known how busy their host is', async () => {
    const [url] = (await client.stats()).pools['main']!['servers'] as { cpu: number | null }[]
    return url!.cpu !== null && url!.cpu >= 0 && url!.cpu <= 1
  })
  assert.equal((await client.health()).parts['postgres.main']?.status, 'ok')
  const [, r2] = cluster.replicas
  await r2.kill()
  await until('health tells of it', async () => {
    const { status, reason = '' } = (await client.health()).parts['postgres.main']!
    return status === 'degraded' && /^r2: down, .*Connection refused/.test(reason)
  })
  assert.match(await sourceOf(client), /^replica:r[13]$/)
  await r2.restart()
  await until('all is well', async () => (await client.health()).status === 'ok')
})
