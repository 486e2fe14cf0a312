/** 27: pipelines in several threads at once, and threads that end at any moment. `HEARTH_TEST_FULL=1` for the long run.
 *  Owns: one server, a silent TCP server, workers, child processes.   Thread: main; the threads that end are the children's.
 *  Holds: the random moments come from a printed seed.
 *  Runs: beside others, since no figure of it is near its bound. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { PipelineJob } from './helpers/native_pipeline_worker.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { FULL, SEED } from './helpers/random.ts'

const ROUND_COUNT = FULL ? 500 : 20

// A backend that sleeps notices at once that its client is gone, or the long run would use up all of them.
const postgres = await sharedPostgres({
  max_connections: '100',
  client_connection_check_interval: '50ms',
})

test('four threads with three pipelines each, two hundred requests in flight on each', async () => {
  const sums = await Promise.all(Array.from({ length: 4 }, runSum))
  // 5 rounds of the sums 0 … 199 on each of the pipelines 0, 1, 2, and 200 times the pipeline's number.
  const expected = 5 * (3 * 19_900 + 200 * (0 + 1 + 2))
  assert.deepEqual(sums, [expected, expected, expected, expected])
})

async function runSum(): Promise<number> {
  const workerData: PipelineJob = { job: 'pipeline sum', url: postgres.url, count: 3 }
  const script = new URL('./helpers/native_pipeline_worker.ts', import.meta.url)
  const worker = new Worker(script, { workerData })
  const exited = once(worker, 'exit')
  const [ready] = await once(worker, 'message')
  assert.equal(ready, 'ready')
  const [sum] = await once(worker, 'message')
  assert.deepEqual(await exited, [0]) // by itself: nothing was left that would keep it
  return sum
}

test(`${ROUND_COUNT} busy workers are terminated: no crash, no descriptor left (SEED=${SEED})`, async () => {
  await terminateWorkers(postgres.url, ROUND_COUNT, 'pipeline busy')
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
    await terminateWorkers(target, Math.ceil(ROUND_COUNT / 4), 'pipeline connecting')
    assert.ok(sockets.size > 0)
  } finally {
    for (const socket of sockets) socket.destroy()
    silent.close()
  }
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
