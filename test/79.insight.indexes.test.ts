/** Index advice on a schema with planted problems and on the same one without them.
 *  Owns:   one server with both.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  every piece of advice is proven by the server's own planner; the user's tables are as they were. */

import assert from 'node:assert/strict'
import { before, type TestContext, test } from 'node:test'
import type { Hearth } from '../engine/client/index.ts'
import { hearth as command } from './helpers/cli.ts'
import { openEngine } from './helpers/engine_parts.ts'
import { HEALTHY, PLANTED, PROBLEMS, QUESTIONS, TABLES } from './helpers/planted_house.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { WireClient } from './helpers/postgres_wire.ts'

const ROUNDS = 30
let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres({ max_parallel_workers_per_gather: '0' })
})

async function houseOf(t: TestContext, name: string, indexes: string) {
  const url = await postgres.createDatabase(name)
  const admin = await WireClient.open(url)
  t.after(() => admin.close())
  await admin.query(`${TABLES} ${indexes} ; analyze`)
  const engine = await openEngine(t, { postgres: { main: { url } } })
  const client = await engine.connect()
  await work(client)
  // A session tells of its counts every ten seconds when it idles, and when it ends.
  await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'hearth'`)
  await until('the counts are told', async () => Number(await admin.value(TOLD)) >= ROUNDS)
  await until('the engine is connected again', () =>
    client.db.query('select 1').then(
      () => true,
      () => false,
    ),
  )
  return { admin, client, engine, url }
}

async function work(client: Hearth): Promise<void> {
  for (let round = 1; round <= ROUNDS; round++)
    await Promise.all(QUESTIONS.map(([sql, paramsOf]) => client.db.query(sql, paramsOf(round))))
}

const TOLD = `select n_tup_del from pg_stat_user_tables where relname = 'rules'`

const CATALOG = `select (select string_agg(relname || relkind::text || relfilenode::text, ' ' order by oid) from pg_class
  where relnamespace <> 'pg_catalog'::regnamespace and relname !~ '^pg_') || (select count(*) from pg_namespace)`

test('all planted problems are found, with proof, and nothing else is suggested', async t => {
  const { admin, client, engine, url } = await houseOf(t, 'planted', PLANTED)
  const before = await admin.value(CATALOG)
  const { missing, surplus, skipped } = await client.insight.indexes({ prove: true })
  const found = [...missing, ...surplus].map(({ statement }) => statement)
  const left = new Set(found)
  for (const [problem, planted] of Object.entries(PROBLEMS)) {
    const names = [planted.wanted, 'orWanted' in planted ? planted.orWanted : '']
    const name = names.find(each => left.delete(each))
    assert(name !== undefined, `${problem}: ${planted.wanted} is not among\n${found.join('\n')}`)
  }
  assert.deepEqual([...left], [])
  assert.deepEqual(skipped, [])
  for (const { statement, proof, costBefore, costAfter, indexBytes, share, writes } of missing) {
    assert.equal(proof, 'copy', statement)
    assert(costAfter < costBefore * 0.6, `${statement} ${costBefore} ${costAfter}`)
    assert(indexBytes! > 0 && share === 1 && writes > 0, statement)
  }
  assert.equal(surplus.find(({ index }) => index === 'meters_room')!.servedBy, 'meters_room_at')
  assert.equal(await admin.value(CATALOG), before)

  const shown = await command(['insight', 'indexes', '--prove'], {
    env: { HEARTH_SOCKET: engine.engine.socketPath },
  })
  assert.equal(shown.code, 0, shown.stderr)
  for (const statement of found) assert(shown.stdout.includes(`${statement};`), shown.stdout)
  assert.match(shown.stdout, /cost \d+ → \d+ \(proven on a copy\)/)

  const unproven = await client.insight.indexes()
  assert(unproven.missing.length > 0)
  assert(
    unproven.missing.every(({ proof, indexBytes }) => proof === 'estimate' && indexBytes === null),
  )

  const part = await client.insight.indexes({ prove: true, maxCopyBytes: 512 * 1024 })
  assert(part.missing.some(({ share, table }) => share < 1 && table === 'public.readings'))

  // After a restart no call is known any more, and plans are made without parameters.
  const { stateDir } = engine.engine.config.engine
  await client.close()
  await engine.engine.close()
  const again = await openEngine(t, { engine: { stateDir }, postgres: { main: { url } } })
  const later = await (await again.connect()).insight.indexes()
  assert.deepEqual(later.skipped, [])
  for (const table of ['readings', 'visits', 'order_lines'])
    assert(
      later.missing.some(each => each.table === `public.${table}` && each.proof === 'estimate'),
      table,
    )
})

test('on the healthy schema nothing is suggested, proven or not', async t => {
  const { client } = await houseOf(t, 'healthy', HEALTHY)
  for (const prove of [true, false]) {
    const { missing, surplus } = await client.insight.indexes({ prove })
    assert.deepEqual(
      [...missing, ...surplus].map(({ statement }) => statement),
      [],
      `prove: ${prove}`,
    )
  }
})

/** What hypopg answers, by an index that is really made, in the transaction that is rolled back. */
const STAND_IN = `insert into pg_extension select 99999, 'hypopg', 10, 2200, false, '1', null, null;
  create function hypopg_create_index(text, out indexrelid oid, out indexname text) language plpgsql as $$
    begin execute $1; select oid, relname from pg_class where relkind = 'i' order by oid desc limit 1
      into indexrelid, indexname; end $$;
  create function hypopg_relation_size(oid) returns bigint language sql as 'select pg_relation_size($1)';
  create function hypopg_reset() returns void language sql as 'select'`

test('where hypopg is installed it is asked, without a copy and without being told to', async t => {
  const { admin, client } = await houseOf(t, 'hypothetical', PLANTED)
  await admin.query(STAND_IN)
  const { missing } = await client.insight.indexes()
  for (const { proof, costBefore, costAfter, indexBytes, statement } of missing) {
    assert.equal(proof, 'hypopg', statement)
    assert(costAfter < costBefore * 0.6 && indexBytes! > 0, statement)
  }
  const wanted = Object.values(PROBLEMS).filter(({ wanted }) => wanted.startsWith('create'))
  assert.equal(missing.length, wanted.length)
})
