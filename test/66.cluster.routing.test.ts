/** Routing: which server of a database answers what: reads the replicas, all else the primary, one's own writes always found.
 *  Owns:   one cluster.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { setLogLevel } from '../engine/log.ts'
import { type ClusterOptions, POOL_DEFAULTS } from '../workers/postgres/database.ts'
import { specFor } from '../workers/postgres/role_databases.ts'
import { type PostgresCluster, sharedCluster } from './helpers/postgres_cluster.ts'
import { openDatabase, type TestDatabase } from './helpers/postgres_database.ts'
import { until } from './helpers/postgres_pool.ts'

let cluster: PostgresCluster
setLogLevel('error')

before(async () => {
  cluster = await sharedCluster([
    'create table homes (id int primary key, name text)',
    `insert into homes select i, 'home ' || i from generate_series(1, 100) i`,
    'create table counters (id int primary key, n int)',
    'create function bump() returns void language sql as $$update counters set n = n where id = 62$$',
    'insert into counters select i, 0 from generate_series(1, 64) i',
    'create role reader nologin',
    'grant select on homes, counters to reader',
  ])
})

const QUICK = { intervalMs: 1_000, timeoutMs: 500, retries: 3 }

function optionsOf(options: Partial<ClusterOptions> = {}): Partial<ClusterOptions> {
  return {
    replicas: cluster.replicas.map(({ name, url }) => ({ name, url, weight: 1 })),
    health: QUICK,
    ...options,
  }
}

/** What is read here: a statement goes to a replica once the primary has been asked what it does. */
const READS: [sql: string, params?: unknown[]][] = [
  ['select id from homes where id = 2'],
  ['select name from homes where id = $1', [7]],
  ['select n from counters where id = 1'],
  ['select n from counters where id = $1', [1]],
  ['select n from counters where id = 63'],
]

async function warm({ query }: TestDatabase): Promise<void> {
  for (const [sql, params] of READS)
    await until(`it goes to a replica: ${sql}`, async () => {
      // On a busy machine all replicas may be too far behind for a moment.
      const { source } = await query(sql, params).catch(() => ({ source: 'primary' }))
      return source !== 'primary'
    })
}

async function open(t: TestContext, options: Partial<ClusterOptions> = {}): Promise<TestDatabase> {
  const opened = openDatabase(t, cluster.primary.url, { cluster: optionsOf(options), size: 4 })
  await opened.database.ready()
  await warm(opened)
  return opened
}

test('plain reads are answered by the replicas, which results name, and spread over them', async t => {
  const { query } = await open(t)
  const counts = new Map<string, number>()
  const isSpread = () => counts.size === 3 && Math.min(...counts.values()) >= 24
  await until('each has had its share', async () => {
    const answers = Array.from({ length: 12 }, () =>
      query('select name from homes where id = $1', [7]),
    )
    for (const { rows, source } of await Promise.all(answers)) {
      assert.deepEqual(rows, [{ name: 'home 7' }])
      assert.match(source, /^replica:r[123]$/)
      counts.set(source, (counts.get(source) ?? 0) + 1)
    }
    return isSpread()
  })
})

test('statements that are held to a role are read from replicas too, as that role everywhere', async t => {
  const base = { name: 'main', url: cluster.primary.url, ...POOL_DEFAULTS, cluster: optionsOf() }
  const spec = specFor(base, { role: 'reader', isReadOnly: false })
  const { database, query } = openDatabase(t, spec.url, spec)
  await database.ready()
  const sql = 'select current_user::text as who, id from homes where id = 2'
  const sources = new Set<string>()
  await until('each server has answered', async () => {
    const { rows, source } = await query(sql)
    sources.add(source!)
    assert.equal(rows[0]!['who'], 'reader', source)
    return sources.size === 4 || (sources.size === 3 && !sources.has('primary'))
  })
  await assert.rejects(query('insert into homes (id) values (2000)'), { sqlState: '42501' })
  assert.deepEqual(
    database.stats().servers!.map(({ state }) => state),
    ['up', 'up', 'up', 'up'],
  )
})

test('everything that may write goes to the primary', async t => {
  const { query } = await open(t)
  const writes = [
    'insert into homes (id, name) values (1000, $$new$$)',
    'update homes set name = name where id = 1',
    'delete from homes where id = 1000',
    'with gone as (delete from homes where id = 1001 returning id) select id from gone',
    'select id from homes where id = 1 for update',
    'select bump()',
    'select random()',
    'create table made (id int)',
    'drop table made',
    'show max_connections',
  ]
  // The second time it is known what they are.
  for (let round = 0; round < 3; round++)
    for (const sql of writes) assert.equal((await query(sql)).source, 'primary', sql)
})

test('a client finds its own writes at once, while replicas lag behind, and others may read old ones', async t => {
  const { query } = await open(t)
  const [r1, r2, r3] = cluster.replicas
  for (const { admin } of [r1, r2, r3].map(replica => ({ admin: replica.admin() })))
    await (await admin).query('select pg_wal_replay_pause()')
  try {
    const sources = new Set<string>()
    await query('update counters set n = 1 where id = 1', [], 0, 5)
    for (let i = 0; i < 20; i++) {
      const { rows, source } = await query('select n from counters where id = 1', [], 0, 5)
      assert.deepEqual(rows, [{ n: 1 }], source)
      sources.add(source)
      await sleep(5)
    }
    assert.deepEqual([...sources], ['primary'])
    const other = await query('select n from counters where id = 1', [], 0, 6)
    assert.notEqual(other.source, 'primary')
    assert.deepEqual(other.rows, [{ n: 0 }])
  } finally {
    for (const replica of [r1, r2, r3]) await replica.value('select pg_wal_replay_resume()')
  }
  await until('the client reads from replicas again', async () => {
    const { rows, source } = await query('select n from counters where id = 1', [], 0, 5)
    assert.deepEqual(rows, [{ n: 1 }], source)
    return source !== 'primary'
  })
})

test('many clients, each writing and reading its own row at once, never read an old value', async t => {
  const { query } = await open(t)
  const client = async (id: number) => {
    for (let n = 1; n <= 40; n++) {
      await query('update counters set n = $1 where id = $2', [n, id], 0, id)
      if (n % 4 === 0) await sleep(2)
      const { rows, source } = await query('select n from counters where id = $1', [id], 0, id)
      assert.deepEqual(rows, [{ n }], `client ${id} at ${source}`)
    }
    await until(`client ${id} reads from a replica`, async () => {
      const { rows, source } = await query('select n from counters where id = $1', [id], 0, id)
      assert.deepEqual(rows, [{ n: 40 }], `client ${id} at ${source}`)
      return source !== 'primary'
    })
  }
  await Promise.all(Array.from({ length: 32 }, (_, i) => client(i + 10)))
})

test('a replica that lags serves no reads until it has caught up; without any the policy decides', async t => {
  const options = { maxLagMs: 300, warnLagMs: 100 }
  const { query, database } = await open(t, options)
  const refusing = await open(t, { ...options, replicasDown: 'refuse' })
  const lagging = await open(t, { ...options, replicasDown: 'least_bad' })
  const read = 'select id from homes where id = 2'
  for (const replica of cluster.replicas) await replica.value('select pg_wal_replay_pause()')
  try {
    // Somebody else writes; the engine sees it when it looks, which reads make it do.
    await until(
      'all replicas are out',
      async () => {
        await cluster.primary.value('update counters set n = n + 1 where id = 64')
        for (const each of [query, refusing.query, lagging.query]) await each(read).catch(() => {})
        await sleep(20)
        const states = [database, refusing.database, lagging.database].map(each => each.stats())
        return states.every(({ servers = [] }) =>
          servers.every(({ role, lagMs }) => role === 'primary' || lagMs > 300),
        )
      },
      8_000,
    )
    assert.equal((await query(read)).source, 'primary')
    assert.match((await lagging.query(read)).source, /^replica:/)
    await assert.rejects(refusing.query(read), { code: 'UNAVAILABLE', message: /replicas_down/ })
    assert.match(
      database.stats().problem ?? '',
      /^0 replicas serve reads, 2 are wanted; r1: \d+ ms behind/,
    )
  } finally {
    for (const replica of cluster.replicas) await replica.value('select pg_wal_replay_resume()')
  }
  await until('a replica serves again', async () => (await query(read)).source !== 'primary')
})

test('a role without any rights of an administrator’s is enough for routing', async t => {
  const admin = await cluster.primary.admin()
  await admin.query('create role app login')
  await admin.query('grant select, update on homes, counters to app')
  await cluster.caughtUp()
  const asApp = (url: string) => url.replace('//postgres@', '//app@')
  const replicas = cluster.replicas.map(({ name, url }) => ({ name, url: asApp(url), weight: 1 }))
  const opened = openDatabase(t, asApp(cluster.primary.url), { cluster: { replicas }, size: 4 })
  await warm(opened)
  await opened.query('update counters set n = -1 where id = 63', [], 0, 1)
  await until('it does so again after a write', async () => {
    const { rows, source } = await opened.query('select n from counters where id = 63', [], 0, 1)
    assert.deepEqual(rows, [{ n: -1 }])
    return source !== 'primary'
  })
  assert.deepEqual(
    opened.database.stats().servers?.map(({ state, timeline }) => [state, timeline]),
    Array(4).fill(['up', 1]),
  )
})
