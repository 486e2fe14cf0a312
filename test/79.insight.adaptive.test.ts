/** Query insight and the cache: adaptive times to live of results take what was seen of a statement's results.
 *  Owns:   one server; each test its engine.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../engine/client/index.ts'
import { openEngine } from './helpers/engine_parts.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { WireClient } from './helpers/postgres_wire.ts'

const CHANGING = 'select value from changing where id = $1'
const STILL = 'select value from still where id = $1'
const LONG_MS = 60_000
let url: string

before(async () => {
  const postgres = await sharedPostgres()
  url = await postgres.createDatabase('adaptive')
  const admin = await WireClient.open(url)
  for (const table of ['changing', 'still'])
    await admin.query(`create table ${table} (id int primary key, value int);
      insert into ${table} select n, 0 from generate_series(1, 3) n`)
  await admin.close()
})

async function opened(t: TestContext): Promise<Hearth> {
  const engine = await openEngine(t, { postgres: { main: { url } } } as never)
  const client = engine.local()
  // With the first result that is kept it begins to listen for writes from elsewhere, and ends what is there once it does.
  await client.db.query('select 1 from still', [], { cache: { ttlMs: LONG_MS } })
  await until('it listens', async () => {
    const { reason } = (await client.stats()).pools['main']!['outside'] as { reason?: string }
    return !/not listening/.test(reason ?? '')
  })
  return client
}

const sourceOf = async (client: Hearth, sql: string, adaptive: object, ttlMs?: number) =>
  (await client.db.query(sql, [1], { cache: { adaptive, ...(ttlMs && { ttlMs }) } as never }))
    .source

/** Has query insight see results that last for some 30 ms; how long they lasted on average. */
async function change(client: Hearth): Promise<number> {
  for (let value = 1; value <= 8; value++) {
    await client.db.query('update changing set value = $1 where id = 1', [value])
    for (const sql of [CHANGING, STILL]) await client.db.query(sql, [1])
    await sleep(30)
  }
  const found = await client.insight.statements()
  const { looks, changes, spanMs } = found.find(({ text }) => text === CHANGING)!.results
  assert(looks >= 5 && changes >= 5, `${looks} looks, ${changes} changes`)
  return spanMs / changes
}

test('a result lives no longer than results of its statement were seen to last, whatever it began with', async t => {
  const client = await opened(t)
  const lastedMs = await change(client)
  const bounds = { minMs: 10, maxMs: LONG_MS }
  for (const sql of [CHANGING, STILL])
    assert.equal(await sourceOf(client, sql, bounds, LONG_MS), 'primary')
  await sleep(lastedMs + 50)
  assert.equal(await sourceOf(client, CHANGING, bounds, LONG_MS), 'primary')
  assert.equal(await sourceOf(client, STILL, bounds, LONG_MS), 'memory')
})

test('left out, the time begins with how long results last, and both bounds hold', async t => {
  const client = await opened(t)
  await change(client)
  assert.equal(await sourceOf(client, CHANGING, { minMs: LONG_MS, maxMs: LONG_MS }), 'primary')
  assert.equal(await sourceOf(client, STILL, { minMs: 10, maxMs: 20 }, LONG_MS), 'primary')
  await sleep(200)
  assert.equal(await sourceOf(client, CHANGING, { minMs: LONG_MS, maxMs: LONG_MS }), 'memory')
  assert.equal(await sourceOf(client, STILL, { minMs: 10, maxMs: 20 }, LONG_MS), 'primary')
})

test('a time that is not kept in bounds makes no sense', async t => {
  const client = await opened(t)
  const refused = async (cache: object, why: RegExp) =>
    assert.rejects(async () => client.db.query(STILL, [1], { cache }), why)
  await refused({ adaptive: { minMs: 5, maxMs: 1 } }, /minMs above 0/)
  await refused({ ttlMs: 10, eagerAt: 0.9, adaptive: { minMs: 1, maxMs: 5 } }, /exclude each other/)
})
