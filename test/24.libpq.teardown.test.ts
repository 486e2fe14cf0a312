/** 24: a thread may end at any moment, whatever its connections are doing. `HEARTH_TEST_FULL=1` for the long run.
 *  Owns: one server, a silent TCP server, child processes.   Thread: main; the threads that end are the children's.
 *  Holds: the random moments come from a printed seed.
 *  Runs: beside others, since no figure of it is near its bound. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { sharedPostgres } from './helpers/postgres.ts'
import { FULL, SEED } from './helpers/random.ts'

const ROUND_COUNT = FULL ? 500 : 20

// A backend that sleeps notices at once that its client is gone, or the long run would use up all of them.
const postgres = await sharedPostgres({
  max_connections: '100',
  client_connection_check_interval: '50ms',
})

test(`${ROUND_COUNT} busy workers are terminated: no crash, no descriptor left (SEED=${SEED})`, async () => {
  await terminateWorkers(postgres.url, ROUND_COUNT, 'busy')
})

test('the server has lost every connection of the terminated workers', async () => {
  const client = await postgres.admin()
  let left: unknown
  for (let i = 0; i < 400; i++) {
    left = await client.value(
      "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
    )
    if (left === '0') break
    await sleep(50)
  }
  assert.equal(left, '0')
})

test(`workers are terminated in the middle of connecting (SEED=${SEED})`, async () => {
  const sockets = new Set<Socket>()
  const silent = createServer(socket => sockets.add(socket.on('error', () => {})))
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as { port: number }
  try {
    const target = `host=127.0.0.1 port=${port} user=x connect_timeout=30`
    await terminateWorkers(target, Math.ceil(ROUND_COUNT / 4), 'connecting')
    assert.ok(sockets.size > 0)
  } finally {
    for (const socket of sockets) socket.destroy()
    silent.close()
  }
})

test('a process exits cleanly with open, busy and unfinished connections', async () => {
  const script = `
    const PQ = require('libpq')
    const url = ${JSON.stringify(postgres.url)}
    const busy = new PQ(); busy.connectSync(url); busy.sendQuery('select pg_sleep(8)'); busy.startReader()
    new PQ().connect(url, () => {})
    const idle = new PQ(); idle.connectSync(url)
    if (process.argv[1] === 'exit') setTimeout(() => process.exit(7), 20)
    else setTimeout(() => busy.stopReader(), 20)`
  assert.equal((await run(['-e', script, 'exit'])).code, 7)
  assert.equal((await run(['-e', script, 'end'])).code, 0)
})

test('a connection that nobody reaches any more is closed by the collector', async () => {
  const script = `
    const PQ = require('libpq')
    const { readdirSync } = require('node:fs')
    const count = () => readdirSync('/proc/self/fd').length
    const open = () => { for (let i = 0; i < 10; i++) { const pq = new PQ(); pq.connectSync(${JSON.stringify(postgres.url)}) } }
    open()
    const before = count()
    const wait = () => { gc(); setTimeout(() => count() <= before - 10 ? console.log('closed') : wait(), 10) }
    wait()
    setTimeout(() => process.exit(1), 3000).unref()`
  const { code, stdout } = await run(['--expose-gc', '-e', script])
  assert.equal(code, 0)
  assert.equal(stdout.trim(), 'closed')
})

async function terminateWorkers(url: string, rounds: number, job: string): Promise<void> {
  const script = join(import.meta.dirname, 'helpers/native_teardown.ts')
  const { code, signal, stdout, stderr } = await run([
    script,
    url,
    String(rounds),
    String(SEED),
    job,
  ])
  assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
  const { before, after } = JSON.parse(stdout)
  assert.deepEqual(after, before)
}

interface Ended {
  code: number | null
  signal: string | null
  stdout: string
  stderr: string
}

function run(args: string[]): Promise<Ended> {
  return new Promise(resolve => {
    const child = execFile(
      process.execPath,
      args,
      { cwd: join(import.meta.dirname, '..'), timeout: 300_000 },
      (_, stdout, stderr) =>
        resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr }),
    )
  })
}
