/** A Postgres server for one test file: temporary, without fsync, gone even when the tests are killed.
 *  Owns:   one server and its folder, from sharedPostgres() to the end of the file.
 *  Thread: main of a test process.
 *  Holds:  nothing of it outlives the process by more than seconds (the server's watchdog sees to it). */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { type EmbeddedPostgres, startPostgres } from '../../engine/dev/embedded_postgres.ts'
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
  /** Ends every other client's backend, or those of one database; answers how many. */
  terminateBackends(database?: string): Promise<number>
  stop(): Promise<void>
}

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
  const server = await startPostgres({
    dataDir: join(folder, 'data'),
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

/** A folder that the server's user can reach: as root that is another user. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-pg-'))
  if (process.getuid?.() === 0) chmodSync(folder, 0o711)
  return folder
}

async function isAnswering(client: WireClient): Promise<boolean> {
  try {
    return (await client.value('select 1')) === '1'
  } catch {
    return false
  }
}
