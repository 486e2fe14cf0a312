/** A Postgres server for one test file: temporary, without fsync, gone even when the tests are killed.
 *  Owns:   one server and its folder, from sharedPostgres() to the end of the file.
 *  Thread: main of a test process.
 *  Holds:  nothing of it outlives the process by more than seconds (the server's watchdog sees to it). */

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { after } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type EmbeddedPostgres, startPostgres } from '../../engine/dev/embedded_postgres.ts'
import { copyTemplate, temporaryFolder } from './postgres_template.ts'
import { WireClient } from './postgres_wire.ts'

export interface TestPostgres {
  /** libpq URI of the database `postgres` over the Unix socket. */
  readonly url: string
  readonly server: EmbeddedPostgres
  /** A connection of the tests' own, reopened when the server was restarted. */
  admin(): Promise<WireClient>
  /** Makes a database (any name, or one that was not used yet) and answers its URI. */
  createDatabase(name?: string): Promise<string>
  /** The URI of another database of this server. */
  urlOf(database: string): string
  restart(): Promise<void>
  /** Waits until so many statements that contain these words run. */
  untilRuns(words: string, count?: number): Promise<void>
  /** Ends every other client's backend, or those of one database; answers how many. */
  terminateBackends(database?: string): Promise<number>
  stop(): Promise<void>
}

const RUNS_MS_MAX = 20_000

let shared: Promise<TestPostgres> | undefined

/** The file's one server, started at the first call and stopped after its last test. */
export function sharedPostgres(settings?: Record<string, string>): Promise<TestPostgres> {
  shared ??= startTestPostgres(settings)
  return shared
}

// Here and not in sharedPostgres(): called from a hook, after() would mean the end of that hook.
after(async () => (await shared)?.stop())

/** A server of one's own, stopped when `use` is done. */
export async function withPostgres<T>(
  use: (postgres: TestPostgres) => Promise<T>,
  settings?: Record<string, string>,
): Promise<T> {
  const postgres = await startTestPostgres(settings)
  try {
    return await use(postgres)
  } finally {
    await postgres.stop()
  }
}

export async function startTestPostgres(settings?: Record<string, string>): Promise<TestPostgres> {
  const folder = temporaryFolder()
  const dataDir = join(folder, 'data')
  await copyTemplate(dataDir)
  const server = await startPostgres({
    dataDir,
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', ...settings },
    removeOnDeath: folder,
  })
  let client: WireClient | undefined
  let databaseCount = 0

  const urlOf = (database: string) => server.url.replace('@/postgres?', `@/${database}?`)
  const admin = async () => {
    if (client !== undefined && (await isAnswering(client))) return client
    client = await WireClient.open(server.url)
    return client
  }
  return {
    url: server.url,
    server,
    admin,
    urlOf,
    async createDatabase(name = `test_${++databaseCount}`) {
      await (await admin()).query(`create database "${name}"`)
      return urlOf(name)
    },
    restart: () => server.restart(),
    async untilRuns(words, count = 1) {
      const running = `select count(*) from pg_stat_activity
        where state = 'active' and pid <> pg_backend_pid() and strpos(query, $1) > 0`
      for (const endMs = performance.now() + RUNS_MS_MAX; ; await sleep(5)) {
        if (Number(await (await admin()).value(running, [words])) >= count) return
        if (performance.now() > endMs) throw new Error(`it does not run: ${words}`)
      }
    },
    async terminateBackends(database) {
      const { rows } = await (await admin()).query(
        `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()
         and backend_type = 'client backend' and ($1 = '' or datname = $1)`,
        [database ?? ''],
      )
      return rows.length
    },
    async stop() {
      await client?.close()
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function isAnswering(client: WireClient): Promise<boolean> {
  try {
    return (await client.value('select 1')) === '1'
  } catch {
    return false
  }
}
