/** migrate: a folder of migrations and a database of its own for one test, and `hearth migrate` on them as a process.
 *  Owns:   the folder, the database.   Thread: main of a test process.
 *  Holds:  no engine is found by accident: the socket is in the folder, where none listens unless the test says so. */

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DirectConnection } from '../../engine/migrate/direct_connection.ts'
import { type Events, type Settings, up } from '../../engine/migrate/runner.ts'
import { hearth, type Outcome, type Running, start } from './cli.ts'
import type { Ending } from './engine.ts'
import { sharedPostgres } from './postgres.ts'
import { WireClient } from './postgres_wire.ts'

export interface Stand {
  readonly folder: string
  readonly dir: string
  readonly url: string
  readonly admin: WireClient
  readonly env: Record<string, string>
  /** Writes `name.sql` into the folder of migrations. */
  write(name: string, sql: string): void
  read(name: string): string
  has(name: string): boolean
  run(...args: string[]): Promise<Outcome>
  start(...args: string[]): Running
  /** What `up` says in this process, without a command line: undefined when it did its work. */
  refusal(): Promise<string | undefined>
  /** Runs with --json, checks the exit code, and answers what was printed. */
  json<Value = Record<string, unknown>>(code: number, ...args: string[]): Promise<Value>
}

export const SETTINGS: Omit<Settings, 'folder'> = {
  lockTimeoutMs: 5_000,
  statementTimeoutMs: 60_000,
  waitMs: 0,
  lockRetries: 0,
  lockRetryPauseMs: 1,
  bigTableRows: 1_000_000,
  lint: 'refuse',
}

export const SILENT: Events = { waiting() {}, found() {}, begun() {}, again() {}, done() {} }

export async function openStand(t: Ending, env: Record<string, string> = {}): Promise<Stand> {
  const postgres = await sharedPostgres()
  const url = await postgres.createDatabase()
  const admin = await WireClient.open(url)
  const folder = mkdtempSync(join(tmpdir(), 'hearth-migrate-test-'))
  t.after(async () => {
    await admin.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const dir = join(folder, 'migrations')
  mkdirSync(dir)
  const all = {
    HEARTH_POSTGRES_URL: url,
    HEARTH_SOCKET: join(folder, 'none.sock'),
    HEARTH_MIGRATE_LOCK_RETRY_PAUSE: '50ms',
    ...env,
  }
  const options = { cwd: folder, env: all }
  const run = (...args: string[]) => hearth(['migrate', ...args], options)
  return {
    folder,
    dir,
    url,
    admin,
    env: all,
    write: (name, sql) => writeFileSync(join(dir, `${name}.sql`), sql),
    read: name => readFileSync(join(dir, `${name}.sql`), 'utf8'),
    has: name => existsSync(join(dir, `${name}.sql`)),
    run,
    start: (...args) => start(['migrate', ...args], options),
    async refusal() {
      const connection = await DirectConnection.open(url, 'test')
      try {
        await up(connection, { ...SETTINGS, folder: dir }, {}, SILENT)
        return undefined
      } catch (error) {
        return (error as Error).message
      } finally {
        connection.close()
      }
    },
    async json(code, ...args) {
      const found = await run(...args, '--json')
      assert.equal(found.code, code, `${found.stdout}\n${found.stderr}`)
      return JSON.parse(code === 0 || found.stdout !== '' ? found.stdout : found.stderr)
    },
  }
}
