/** After a migration nothing old is used: cached results, prepared statements, what is known of statements.
 *  Owns:   one server, one engine on it.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  who asks is another process than the one that migrates, and asks right after that one has ended. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../engine/client/index.ts'
import { hearth } from './helpers/cli.ts'
import { type OpenedEngine, openEngine } from './helpers/engine_parts.ts'
import { openStand, type Stand } from './helpers/migrate.ts'
import { until } from './helpers/postgres_pool.ts'

interface Opened {
  readonly stand: Stand
  readonly engine: OpenedEngine
  readonly client: Hearth
}

async function open(t: { after(end: () => Promise<unknown>): void }): Promise<Opened> {
  const stand = await openStand(t)
  await stand.admin.query(
    `create table rooms (id int primary key, name text); insert into rooms values (1, 'kitchen')`,
  )
  const pool = { size: 1, overflow: 0, min: 1 }
  const engine = await openEngine(t, { postgres: { main: { url: stand.url, pool } } })
  return { stand, engine, client: await engine.connect() }
}

/** Kept for good: the engine's LISTEN, whose beginning ends whatever was cached before it, is behind us. */
async function untilKept({ admin }: Stand, ask: () => Promise<{ source: string }>): Promise<void> {
  const listens = `select count(*) from pg_stat_activity where datname = current_database() and query ~* '^listen'`
  await ask()
  await until('the engine listens', async () => (await admin.value(listens)) !== '0', 20_000)
  for (let found = 0; found < 3; await sleep(100))
    found = (await ask()).source === 'memory' ? found + 1 : 0
}

const SELECT = 'select * from rooms'
const ADD = `alter table rooms add column floor int not null default 3;`

test('a cached result and a prepared statement see a new column in the next query of another process', async t => {
  const { stand, engine, client } = await open(t)
  const { socketPath } = engine.engine
  const ask = async () => {
    const env = { HEARTH_SOCKET: socketPath }
    const { stdout, stderr } = await hearth(['query', SELECT, '--cache', '10m', '--json'], { env })
    assert.equal(stderr, '')
    return JSON.parse(stdout) as { rows: object[]; source: string }
  }
  const inTransaction = () => client.db.transaction(async tx => (await tx.query(SELECT)).rows)
  await untilKept(stand, ask)
  for (let i = 0; i < 4; i++) await inTransaction() // prepared by now, on the only connection
  for (let i = 0; i < 4; i++) await client.db.query(SELECT)

  stand.write('0001_floor.up', ADD)
  const told = await stand.json(0, 'up', '--socket', socketPath)
  assert.deepEqual(told['refreshed'], { isRefreshed: true })
  const fresh = [{ id: 1, name: 'kitchen', floor: 3 }]
  // First: a transaction whose statements are not known any more ends cached results by itself, in doubt.
  assert.deepEqual((await ask()).rows, fresh)
  assert.deepEqual(await inTransaction(), fresh)
  assert.deepEqual((await client.db.query(SELECT)).rows, fresh)
  await untilKept(stand, ask)

  const back = await stand.json(0, 'down', '--socket', socketPath)
  assert.deepEqual(back['refreshed'], { isRefreshed: true })
  const old = [{ id: 1, name: 'kitchen' }]
  assert.deepEqual((await ask()).rows, old)
  assert.deepEqual(await inTransaction(), old)
})

test('within a transaction that is open already, statements of before are prepared anew', async t => {
  const { stand, engine, client } = await open(t)
  for (let i = 0; i < 4; i++) await client.db.transaction(tx => tx.query(SELECT))
  stand.write('0001_floor.up', ADD)
  await client.db.transaction(async tx => {
    await tx.query('select 1') // the table is not touched yet, so the migration need not wait
    await stand.json(0, 'up', '--socket', engine.engine.socketPath)
    assert.deepEqual((await tx.query(SELECT)).rows, [{ id: 1, name: 'kitchen', floor: 3 }])
  })
})

test('an engine that the command cannot reach is told by NOTIFY, once it has cached something', async t => {
  const { stand, client } = await open(t)
  const ask = () => client.db.query(SELECT, [], { cache: { ttlMs: 600_000 } })
  await untilKept(stand, ask)
  stand.write('0001_floor.up', ADD)
  const { refreshed } = await stand.json<{ refreshed: { isRefreshed: boolean } }>(0, 'up')
  assert.equal(refreshed.isRefreshed, false)
  await until('the column is seen', async () => 'floor' in (await ask()).rows[0]!)
})

test('refresh() of a database that is not configured is refused', async t => {
  const { client } = await open(t)
  await assert.rejects(client.database('attic').refresh(), { code: 'NOT_CONFIGURED' })
})
