/** An engine in this process on a real Postgres, for what goes from a client through both to the server and back.
 *  Owns:   the engine, its clients, the processes of clients that are to be killed.   Thread: main of a test process.
 *  Holds:  the witness is the server itself (pg_stat_activity), asked over a connection of the tests' own. */

import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { after } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../../engine/client/index.ts'
import type { PoolOptions } from '../../workers/postgres/database.ts'
import { cleanEnvironment, type Ending, PROJECT } from './engine.ts'
import { type OpenedEngine, openEngine } from './engine_parts.ts'
import type { TestPostgres } from './postgres.ts'

export interface SqlEngine extends OpenedEngine {
  readonly client: Hearth
  readonly socket: string
  /** Kills the worker thread, which hosts every pool. */
  killWorker(): Promise<void>
  /** A figure of the pool of `main`. */
  figure(name: string): Promise<number>
}

export async function openSqlEngine(
  t: Ending,
  url: string,
  pool: Partial<PoolOptions> = {},
): Promise<SqlEngine> {
  const opened = await openEngine(t, { postgres: { main: { url, pool } } })
  const client = await opened.connect({ name: 'under test' })
  return {
    ...opened,
    client,
    socket: opened.engine.socketPath,
    killWorker: async () => void (await opened.threads()[0]!.terminate()),
    figure: async name => Number((await client.stats()).pools['main']![name]),
  }
}

const shared = new Map<string, Promise<SqlEngine>>()
const endings: (() => Promise<void>)[] = []
after(async () => {
  for (const end of endings) await end()
})

/** The file's one engine on this database, started at the first call, and a client of the test's own: for tests that leave the
 *  engine as it was. */
export async function sharedSqlEngine(t: Ending, url: string): Promise<SqlEngine> {
  if (!shared.has(url))
    shared.set(url, openSqlEngine({ after: end => void endings.unshift(end) }, url))
  const engine = await shared.get(url)!
  const client = await engine.connect({ name: 'under test' })
  t.after(() => client.close())
  return { ...engine, client }
}

/** How many backends of Hearth's are in this state: 'active', 'idle in transaction' … */
export async function backends(postgres: TestPostgres, state: string): Promise<number> {
  const admin = await postgres.admin()
  const count = `select count(*) from pg_stat_activity where application_name = 'hearth' and state like $1`
  return Number(await admin.value(count, [state]))
}

/** Waits until no backend of Hearth's runs anything or has a transaction open; gives how long that took, in milliseconds. */
export async function untilQuiet(postgres: TestPostgres, withinMs = 10_000): Promise<number> {
  const startMs = performance.now()
  for (;;) {
    const left = (await backends(postgres, 'active')) + (await backends(postgres, 'idle in%'))
    const tookMs = performance.now() - startMs
    if (left === 0) return tookMs
    if (tookMs > withinMs) throw new Error(`${left} backends are not quiet after ${withinMs} ms`)
    await sleep(2)
  }
}

/** Runs a client in a process of its own: `code` has `hearth`, and prints 'ready' when it is where it is to be killed. */
export async function clientProcess(
  t: Ending,
  socket: string,
  code: string,
): Promise<ChildProcess> {
  const script = `
    import { connect } from ${JSON.stringify(join(PROJECT, 'engine', 'client', 'index.ts'))}
    const hearth = await connect({ socket: ${JSON.stringify(socket)}, failOpen: false })
    const ready = () => console.log('ready');
    ${code}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: cleanEnvironment(),
  })
  t.after(async () => void child.kill('SIGKILL'))
  await new Promise<void>((resolve, reject) => {
    child.stdout!.on('data', (text: Buffer) => text.includes('ready') && resolve())
    child.on('exit', code => reject(new Error(`the client ended with ${code} before it was ready`)))
  })
  return child
}
