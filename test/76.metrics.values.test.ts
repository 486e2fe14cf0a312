/** Metrics: what was done is what they say, in JSON over the socket and in Prometheus' text.
 *  Owns:   one server, an engine in this process a test.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { before, test } from 'node:test'
import type { Hearth, MetricsJson } from '../engine/client/index.ts'
import { METRICS } from '../engine/observe/metric_spec.ts'
import { embed } from './helpers/engine.ts'
import { openEngine } from './helpers/engine_parts.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { readPrometheus } from './helpers/prometheus_text.ts'

/** As the public contract names them. */
const CONTRACT: Record<string, string> = {
  hearth_requests_total: 'op outcome',
  hearth_request_duration_seconds: 'op',
  hearth_cache_requests_total: 'tier result',
  hearth_cache_entries: 'tier',
  hearth_cache_bytes: 'tier',
  hearth_cache_evictions_total: 'tier reason',
  hearth_cache_invalidations_total: 'by',
  hearth_pool_connections: 'pool state',
  hearth_pool_acquire_duration_seconds: 'pool',
  hearth_query_duration_seconds: 'pool kind',
  hearth_slow_statements_total: 'pool',
  hearth_n_plus_one_total: 'pool',
  hearth_replica_lag_seconds: 'replica',
  hearth_failovers_total: 'db',
  hearth_breaker_state: 'breaker',
  hearth_breaker_transitions_total: 'breaker to',
  hearth_rate_limited_total: 'scope',
  hearth_service_up: 'service',
  hearth_ring_depth: 'ring',
  hearth_worker_restarts_total: 'worker',
  hearth_clients: '',
  hearth_private_bytes: '',
  hearth_private_over_node_bytes: '',
}

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
})

/** The value, or the count of durations, of one sample. */
function sampleOf(
  { metrics }: MetricsJson,
  name: string,
  labels: Record<string, string> = {},
): number {
  const found = metrics[name]?.samples.find(sample =>
    Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  )
  assert.ok(found !== undefined, `${name} ${JSON.stringify(labels)}`)
  return found.value ?? found.count!
}

async function delta(client: Hearth, work: () => Promise<unknown>) {
  const first = await client.metrics()
  await work()
  const second = await client.metrics()
  return (name: string, labels: Record<string, string> = {}): number => {
    const samples = first.metrics[name]?.samples ?? []
    const isThere = samples.some(sample =>
      Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
    )
    return sampleOf(second, name, labels) - (isThere ? sampleOf(first, name, labels) : 0)
  }
}

test('the table has every metric of the contract with its labels', () => {
  for (const [name, labels] of Object.entries(CONTRACT))
    assert.equal(METRICS[name as keyof typeof METRICS].labels.join(' '), labels, name)
})

test('requests, tiers and invalidations are counted by operation, outcome and result', async t => {
  const { connect, engine } = await embed(t)
  const client = await connect({ sharedMemory: false })
  const { cache } = client
  const grown = await delta(client, async () => {
    for (let i = 0; i < 3; i++) await cache.set(`key:${i}`, i, { tags: ['numbers'] })
    await cache.set('plain', 1)
    for (let i = 0; i < 5; i++) await cache.get('plain')
    await cache.get('absent')
    await cache.delete('plain')
    await assert.rejects(cache.get('k'.repeat(5_000)))
    await cache.invalidateTags(['numbers'])
    await cache.invalidatePattern('key:*')
  })
  assert.equal(grown('hearth_requests_total', { op: 'get', outcome: 'ok' }), 6)
  assert.equal(grown('hearth_requests_total', { op: 'get', outcome: 'key_too_large' }), 1)
  assert.equal(grown('hearth_request_duration_seconds', { op: 'get' }), 7)
  assert.equal(grown('hearth_requests_total', { op: 'set', outcome: 'ok' }), 1)
  assert.equal(grown('hearth_requests_total', { op: 'store', outcome: 'ok' }), 3)
  assert.equal(grown('hearth_requests_total', { op: 'del', outcome: 'ok' }), 1)
  assert.equal(grown('hearth_cache_requests_total', { tier: 'memory', result: 'hit' }), 5)
  assert.equal(grown('hearth_cache_requests_total', { tier: 'memory', result: 'miss' }), 1)
  assert.equal(grown('hearth_cache_requests_total', { tier: 'sqlite', result: 'miss' }), 1)
  assert.equal(grown('hearth_cache_invalidations_total', { by: 'tag' }), 1)
  assert.equal(grown('hearth_cache_invalidations_total', { by: 'pattern' }), 1)
  const metrics = await engine.client().metrics()
  assert.equal(sampleOf(metrics, 'hearth_clients'), 1)
  assert.ok(sampleOf(metrics, 'hearth_cache_bytes', { tier: 'sqlite' }) > 0)
  assert.equal(sampleOf(metrics, 'hearth_requests_in_flight'), 1, 'this very question')
})

test('hits in place are counted as hits of tier 1, and a long wait is in the histogram', async t => {
  const { connect } = await embed(t)
  const client = await connect()
  if (!client.inPlace.isOn) return t.skip(client.inPlace.reason)
  await client.cache.set('here', 1)
  const grown = await delta(client, async () => {
    for (let i = 0; i < 20; i++) assert.equal(await client.cache.get('here'), 1)
    const slow = client.cache.getOrSet('slow', () => new Promise(done => setTimeout(done, 120, 1)))
    const other = await connect({ sharedMemory: false })
    await Promise.all([slow, other.cache.getOrSet('slow', () => 2)])
  })
  assert.ok(grown('hearth_cache_hits_in_place_total') >= 20)
  assert.ok(grown('hearth_cache_requests_total', { tier: 'memory', result: 'hit' }) >= 20)
  const claims = (await client.metrics()).metrics['hearth_request_duration_seconds']!.samples.find(
    ({ labels }) => labels['op'] === 'claim',
  )!
  assert.ok(claims.count! >= 2 && claims.sum! > 0.1, JSON.stringify(claims))
})

test('statements, pools, breakers, workers and registered parts are told of, in text that Prometheus reads', async t => {
  const opened = await openEngine(t, {
    http: { listen: '127.0.0.1:0' },
    postgres: { main: { url: postgres.url, pool: { size: 4 } } },
    breaker: { failures: 1, openMs: 60_000, retries: 0 },
  })
  const client = await opened.connect()
  const { metricSources } = opened.engine
  metricSources.addMetrics(report => {
    report('hearth_service_up', ['data-api'], 1)
    report('hearth_rate_limited_total', ['tested'], 3)
    report('hearth_replica_lag_seconds', ['main.1"\\\n'], 0.25)
  })
  metricSources.addMetrics(() => {
    throw new Error('half closed')
  })
  const grown = await delta(client, async () => {
    await client.db.query('create table counted (id int)')
    for (let i = 0; i < 6; i++) await client.db.query('select 1')
    await client.db.query('insert into counted values (1)')
    await client.db.transaction(async tx => {
      await tx.query('select 2')
    })
    await assert.rejects(client.db.query('select 1 / 0'))
  })
  // What the engine itself asks the catalog comes on top.
  assert.ok(grown('hearth_query_duration_seconds', { pool: 'main', kind: 'read' }) >= 8)
  assert.ok(grown('hearth_query_duration_seconds', { pool: 'main', kind: 'write' }) >= 2)
  assert.ok(grown('hearth_pool_acquire_duration_seconds', { pool: 'main' }) >= 10)
  assert.equal(grown('hearth_requests_total', { op: 'query', outcome: 'database' }), 1)
  assert.equal(grown('hearth_requests_total', { op: 'query', outcome: 'ok' }), 8)

  const lost = client.db.query('select pg_sleep(5)').catch(error => error.code)
  const _inUse = async () =>
    sampleOf(await client.metrics(), 'hearth_pool_connections', { pool: 'main', state: 'in_use' })
  await postgres.untilRuns('pg_sleep(5)')
  await postgres.terminateBackends()
  await lost
  await opened.threads()[0]!.terminate()
  const worker = 'sqlite+postgres'
  await until('it is back', async () => {
    const { metrics } = await client.metrics()
    return metrics['hearth_breaker_state'] !== undefined
  })

  const url = (await opened.engine.httpUrl())!
  const response = await fetch(`${url}/metrics`)
  const text = await response.text()
  assert.equal(response.status, 200, text)
  assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
  const families = readPrometheus(text)
  for (const [name, { type, help }] of Object.entries(METRICS)) {
    assert.equal(families.get(name)?.type, type, name)
    assert.equal(families.get(name)?.help, help)
  }
  const sample = (name: string, labels: string) => families.get(name)!.samples.get(name + labels)
  assert.equal(sample('hearth_worker_restarts_total', `{worker="${worker}"}`), 1)
  assert.equal(sample('hearth_ring_depth', `{ring="${worker}.requests"}`) !== undefined, true)
  assert.equal(sample('hearth_breaker_state', '{breaker="main.reads"}'), 0)
  assert.equal(sample('hearth_failovers_total', '{db="main"}'), 0)
  assert.equal(sample('hearth_replica_lag_seconds', '{replica="main.1\\"\\\\\\n"}'), 0.25)
  assert.ok(sample('hearth_private_bytes', '')! > 1e6)
  const check = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
  if (check.error === undefined) assert.equal(check.status, 0, check.stdout + check.stderr)
})

test('an open breaker and its transitions are told', async t => {
  const opened = await openEngine(t, {
    postgres: { main: { url: postgres.url, pool: { size: 4 } } },
    breaker: { failures: 1, openMs: 60_000, retries: 0 },
  })
  const client = await opened.connect()
  const _inUse = async () =>
    sampleOf(await client.metrics(), 'hearth_pool_connections', { pool: 'main', state: 'in_use' })
  const lost = client.db.query('insert into nowhere select 1 from pg_sleep(5)').catch(() => {})
  await lost
  await client.db.query('create table if not exists sleepy (id int)')
  const running = client.db.query('insert into sleepy select 1 from pg_sleep(5)').catch(() => {})
  await postgres.untilRuns('pg_sleep(5)')
  await postgres.terminateBackends()
  await running
  const metrics = await client.metrics()
  assert.equal(sampleOf(metrics, 'hearth_breaker_state', { breaker: 'main.writes' }), 2)
  assert.equal(
    sampleOf(metrics, 'hearth_breaker_transitions_total', { breaker: 'main.writes', to: 'open' }),
    1,
  )
})
