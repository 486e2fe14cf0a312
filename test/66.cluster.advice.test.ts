/** Advice: what health() says to run for a replica that can never catch up is run, word for word, and it catches up.
 *  Owns:   two servers for each test, started by Postgres' own programs.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setLogLevel } from '../engine/log.ts'
import { openEngine } from './helpers/engine_parts.ts'
import { until } from './helpers/postgres_pool.ts'
import { installedTools, packagedTools, type ToolServer, Tools } from './helpers/postgres_tools.ts'
import { FULL } from './helpers/random.ts'

setLogLevel('error')

interface Row {
  name: string
  state: string
  strand?: string
  advice?: string
}

/** Writes more log than the primary keeps for a replica that is away. */
async function outrun(primary: ToolServer): Promise<void> {
  for (let i = 0; i < 6; i++) {
    await primary.value(`insert into written values (${i})`)
    await primary.value('select pg_switch_wal()')
    await primary.value('checkpoint')
  }
}

/** An engine on both, and what its health() says of a server. */
async function watch(t: TestContext, primary: ToolServer, replica: ToolServer) {
  const replicas = [{ name: 'r1', url: replica.url, weight: 1 }]
  const engine = await openEngine(t, {
    postgres: { main: { url: primary.url, replicas } },
    health: { intervalMs: 500, timeoutMs: 1_000, retries: 3 },
  })
  const client = await engine.connect({ name: 'under test' })
  const row = async (name: string) => {
    const part = (await client.health()).parts['postgres.main'] as { servers?: Row[] }
    return part.servers?.find(server => server.name === name)
  }
  return { client, row }
}

function commandsOf(advice: string): string {
  return advice.slice(advice.indexOf(': ') + 2)
}

async function catchesUp(t: TestContext, bin: string, slot: string): Promise<void> {
  const tools = new Tools(bin)
  t.after(() => tools.close())
  const primary = await tools.makePrimary("wal_keep_size = 0\nmax_slot_wal_keep_size = '16MB'")
  await primary.value('create table written (n int)')
  if (slot !== '')
    await primary.value(`select pg_create_physical_replication_slot('${slot}', true)`)
  const own = slot === '' ? '' : `primary_slot_name = '${slot}'`
  const replica = await tools.makeReplica(primary, 'r1', `${own}\nwork_mem = '5MB'`)
  const { client, row } = await watch(t, primary, replica)
  await until('it is well', async () => (await row('r1'))?.state === 'up')

  await replica.stop()
  await outrun(primary)
  await replica.start()
  await until(
    'it is said that it cannot',
    async () => (await row('r1'))?.strand === 'starved',
    10_000,
  )
  const { advice } = (await row('r1'))!
  const { reason } = (await client.health()).parts['postgres.main']!
  assert.match(reason ?? '', /r1: .*the primary no longer has the WAL that it needs/)
  t.diagnostic(advice!)

  await tools.run(commandsOf(advice!))
  await until('it has caught up', async () => {
    return (await replica.value('select count(*) from written').catch(() => '')) === '6'
  })
  assert.equal(await replica.value('show work_mem'), '5MB', 'its own settings stay')
  await until('health() says so', async () => {
    const now = await row('r1')
    return now?.state === 'up' && now.advice === undefined && now.strand === undefined
  })
  await primary.value('insert into written values (7)')
  await until(
    'it streams',
    async () => (await replica.value('select count(*) from written')) === '7',
  )
}

test('a replica whose log is gone catches up by the commands that health() gives', t =>
  catchesUp(t, packagedTools(), ''))

const installed = installedTools()
const skip = installed === undefined && 'no Postgres with pg_basebackup and pg_rewind is installed'
const skipTwin = FULL ? skip : 'HEARTH_TEST_FULL=1 runs it (6 s)'

test(
  'the same with an installed Postgres and its pg_basebackup, and with a slot that was lost',
  { skip: skipTwin },
  t => catchesUp(t, installed!, 'r1'),
)

test('an old primary is a replica of the new one after the commands that health() gives', {
  skip,
}, async t => {
  const tools = new Tools(installed!)
  t.after(() => tools.close())
  const primary = await tools.makePrimary('wal_log_hints = on')
  await primary.value('create table written (n int)')
  const replica = await tools.makeReplica(primary, 'r1')
  const { client, row } = await watch(t, primary, replica)
  await replica.value('select pg_promote()')
  await until('it takes writes', async () => {
    const { source } = await client.db.query('insert into written values (1)')
    return source === 'primary' && (await replica.value('select count(*) from written')) !== '0'
  })
  await primary.value('insert into written values (-1)') // nobody else has it
  await until('the old one is fenced', async () => (await row('url'))?.state === 'fenced')
  const { advice } = (await row('url'))!
  await tools.run(`PGDATA='${primary.dataDir}'; ${commandsOf(advice!)}`)
  await until('it has what the new one has', async () => {
    const sql = 'select min(n) from written where pg_is_in_recovery()'
    return (await primary.value(sql).catch(() => '')) === '1'
  })
  await until('health() says so', async () => {
    const now = await row('url')
    return now?.state === 'up' && now.advice === undefined
  })
})
