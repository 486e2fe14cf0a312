/** An upgrade by restart, under load: the socket is held, clients go on asking, and none of them sees an error.
 *  Owns:   a manager, the daemon under it, processes of clients.   Thread: main of a test process.
 *  Holds:  errors and connections are counted by the clients themselves, each in its own process.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { sharedPostgres } from './helpers/postgres.ts'
import { FULL } from './helpers/random.ts'
import { manager, noManager } from './helpers/service_manager.ts'

const CLIENT = join(import.meta.dirname, 'helpers/restart_client.ts')
const PROCESSES = 3
const RESTARTS = FULL ? 20 : 3

interface Seen {
  readonly done: number
  readonly written: number
  readonly connects: number
  readonly waitMsMax: number
  readonly errors: readonly string[]
}

test(`${PROCESSES} processes of clients see no error while the engine is restarted ${RESTARTS} times`, {
  skip: noManager,
}, async t => {
  const postgres = await sharedPostgres()
  const admin = await postgres.admin()
  await admin.query('create table restarts as select 0 as written')
  const systemd = await manager(t, { HEARTH_POSTGRES_URL: postgres.url })
  await systemd.start()
  const processes = await Promise.all(
    Array.from({ length: PROCESSES }, (_, i) => runClients(systemd.socket, `p${i}`)),
  )
  t.after(() => {
    for (const { child } of processes) child.kill('SIGKILL')
  })
  for (let i = 0; i < RESTARTS; i++) {
    await sleep(300)
    assert.equal(await systemd.stop(), 0)
    await sleep(i * 20)
    await systemd.start()
  }
  await sleep(300)
  const seen = await Promise.all(processes.map(each => each.finish()))
  const sum = (of: (each: Seen) => number) => seen.reduce((total, each) => total + of(each), 0)
  const waitMs = Math.max(...seen.map(each => each.waitMsMax))
  console.log(
    `# ${sum(each => each.done)} steps, ${sum(each => each.written)} writes, ${sum(each => each.connects)} connections; ` +
      `the longest step took ${waitMs.toFixed(0)} ms`,
  )
  assert.deepEqual(
    seen.flatMap(each => each.errors),
    [],
  )
  const { rows } = await admin.query('select written from restarts')
  assert.equal(
    Number(rows[0]![0]),
    sum(each => each.written),
    'each write was done once',
  )
  for (const { done, connects } of seen) assert.ok(done > 0 && connects > 0)
})

async function runClients(socket: string, name: string) {
  const child: ChildProcess = spawn(process.execPath, [CLIENT, socket, name], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout!.on('data', data => {
    output += data
  })
  await once(child.stdout!, 'data')
  const ended = once(child, 'close')
  const finish = async (): Promise<Seen> => {
    child.stdin!.end()
    await ended
    return JSON.parse(output.trimEnd().split('\n').at(-1)!)
  }
  return { child, finish }
}
