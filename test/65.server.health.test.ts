/** Server health: a database without replicas is looked at too, on a connection of its own, whether or not anybody asks it anything.
 *  Owns:   one server and one engine a test.   Thread: main of a test process.   Runs: beside others. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { childrenOf } from '../engine/dev/postgres_process.ts'
import { setLogLevel } from '../engine/log.ts'
import { openEngine } from './helpers/engine_parts.ts'
import { startTestPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'

setLogLevel('error')

const HEALTH = { intervalMs: 300, timeoutMs: 200, retries: 3 }
/** An interval, three looks, the pauses between them, and a slow machine. */
const NOTICED_MS_MAX = 8_000

async function watched(t: TestContext, health = HEALTH) {
  const postgres = await startTestPostgres()
  t.after(() => postgres.stop())
  // Without a connection of the pool's nothing but the look can find anything out.
  const pool = { min: 0 }
  const engine = await openEngine(t, {
    postgres: { main: { url: postgres.url, pool } },
    health,
  })
  const client = await engine.connect({ name: 'under test' })
  const part = async () => (await client.health()).parts['postgres.main']!
  const becomes = (status: string) =>
    until(`it is ${status}`, async () => (await part()).status === status, NOTICED_MS_MAX)
  await until('the connection is there', async () => (await lookers(postgres)) === 1)
  return { postgres, client, part, becomes }
}

async function lookers(postgres: TestPostgres): Promise<number> {
  const sql = `select count(*) from pg_stat_activity where application_name = 'hearth-health'`
  return Number(await (await postgres.admin()).value(sql))
}

/** Every process of the server stands still meanwhile. */
async function frozen(postgres: TestPostgres, act: () => Promise<void>): Promise<void> {
  const pids = [postgres.server.pid!, ...childrenOf(postgres.server.pid!)]
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  try {
    await act()
  } finally {
    for (const pid of pids) process.kill(pid, 'SIGCONT')
  }
}

test('a server that dies is down without any traffic, and up again when it is back', async t => {
  const { postgres, client, part, becomes } = await watched(t)
  await becomes('ok')
  const connects = async () => (await client.stats()).pools['main']!['connects']
  const before = await connects()
  await postgres.server.kill()
  await becomes('down')
  assert.match((await part()).reason ?? '', /Connection refused|No such file/)
  assert.equal((await client.health()).status, 'degraded')
  await postgres.restart()
  await becomes('ok')
  assert.equal(await connects(), before, 'the pool was not asked')
  await until('it is looked at again', async () => (await lookers(postgres)) === 1)
})

test('one that stands still is down, and up again when it goes on', async t => {
  const { postgres, part, becomes } = await watched(t)
  await frozen(postgres, async () => {
    await becomes('down')
    assert.match((await part()).reason ?? '', /no answer within 200 ms/)
  })
  await becomes('ok')
  await until('attempts have not piled up', async () => (await lookers(postgres)) === 1)
})

test('a lost connection and a few looks in vain are not enough', async t => {
  const { postgres, part } = await watched(t, { ...HEALTH, retries: 30 })
  const sql = `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'hearth-health'`
  for (let i = 0; i < 3; i++) {
    await (await postgres.admin()).query(sql)
    assert.equal((await part()).status, 'ok')
    await until('it is looked at again', async () => (await lookers(postgres)) === 1)
  }
  await frozen(postgres, async () => {
    await sleep(1_000)
    assert.equal((await part()).status, 'ok')
  })
})
