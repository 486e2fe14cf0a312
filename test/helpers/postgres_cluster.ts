/** postgres_cluster: one primary and three streaming replicas, the third behind the first, each to be stopped, killed and frozen.
 *  Owns:   four servers and their folder, until the file's tests are over.   Thread: main of a test process.
 *  Holds:  (1) made without pg_basebackup, which the embedded binaries lack: one backup, copied three times.  (2) nothing of it
 *          outlives the process by more than seconds.
 *
 *      primary ─▶ r1 ─▶ r3
 *           └───▶ r2 */

import { execFile } from 'node:child_process'
import { chownSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after } from 'node:test'
import { promisify } from 'node:util'
import { type EmbeddedPostgres, startPostgres } from '../../engine/dev/embedded_postgres.ts'
import { type ServerUser, serverUser } from '../../engine/dev/postgres_binaries.ts'
import { makePrivate } from '../../engine/dev/postgres_places.ts'
import { childrenOf } from '../../engine/dev/postgres_process.ts'
import { until } from './postgres_pool.ts'
import { copyTemplate, temporaryFolder } from './postgres_template.ts'
import { WireClient } from './postgres_wire.ts'

export class ClusterServer {
  readonly name: string
  readonly server: EmbeddedPostgres
  private client: WireClient | undefined
  private frozen: number[] = []

  constructor(name: string, server: EmbeddedPostgres) {
    this.name = name
    this.server = server
  }

  get url(): string {
    return this.server.url
  }

  /** A connection of the tests' own, opened anew when it was lost. */
  async admin(): Promise<WireClient> {
    if (this.client !== undefined) {
      try {
        await this.client.value('select 1')
        return this.client
      } catch {}
    }
    this.client = await WireClient.open(this.url)
    return this.client
  }

  async value(sql: string, params: string[] = []): Promise<string | null> {
    return (await this.admin()).value(sql, params)
  }

  /** Every process of it stands still; its sockets stay open, and take connections that nobody answers. */
  freeze(): void {
    const { pid } = this.server
    if (pid === undefined) throw new Error(`${this.name} does not run`)
    process.kill(pid, 'SIGSTOP')
    this.frozen = [pid, ...childrenOf(pid)]
    for (const each of this.frozen) signal(each, 'SIGSTOP')
  }

  thaw(): void {
    for (const pid of this.frozen.splice(0)) signal(pid, 'SIGCONT')
  }

  kill(): Promise<void> {
    return this.server.kill()
  }

  restart(): Promise<void> {
    return this.server.restart()
  }

  /** From now on it is a standby that follows nobody. */
  async becomeStandby(): Promise<void> {
    await this.server.stop()
    own(join(this.server.dataDir, 'standby.signal'), serverUser(), '')
    await this.server.restart()
  }

  async close(): Promise<void> {
    this.thaw()
    await this.client?.close().catch(() => undefined)
    await this.server.stop()
  }
}

export interface PostgresCluster {
  readonly primary: ClusterServer
  /** r1 and r2 receive from the primary, r3 from r1. */
  readonly replicas: readonly [ClusterServer, ClusterServer, ClusterServer]
  readonly all: readonly ClusterServer[]
  /** Every running replica has what the primary has now. */
  caughtUp(primary?: ClusterServer): Promise<void>
  stop(): Promise<void>
}

let shared: Promise<PostgresCluster> | undefined

/** The file's one cluster, started at the first call and stopped after its last test. `seed` runs before the copies are made. */
export function sharedCluster(seed: readonly string[] = []): Promise<PostgresCluster> {
  shared ??= startCluster(seed)
  return shared
}

after(async () => (await shared)?.stop())

/** A cluster of one's own, stopped when `use` is done. */
export async function withCluster<T>(
  seed: readonly string[],
  use: (cluster: PostgresCluster) => Promise<T>,
): Promise<T> {
  const cluster = await startCluster(seed)
  try {
    return await use(cluster)
  } finally {
    await cluster.stop()
  }
}

const SETTINGS = {
  fsync: 'off',
  full_page_writes: 'off',
  wal_retrieve_retry_interval: '100ms',
  wal_keep_size: '64MB',
}
const NAMES = ['r1', 'r2', 'r3'] as const

export async function startCluster(seed: readonly string[] = []): Promise<PostgresCluster> {
  const folder = temporaryFolder()
  const started: ClusterServer[] = []
  try {
    return await build(folder, seed, started)
  } catch (error) {
    await Promise.all(started.map(server => server.close()))
    throw error
  }
}

async function build(
  folder: string,
  seed: readonly string[],
  started: ClusterServer[],
): Promise<PostgresCluster> {
  const start = async (name: string) => {
    const options = { dataDir: join(folder, name), settings: SETTINGS, removeOnDeath: folder }
    const server = new ClusterServer(name, await startPostgres(options))
    started.push(server)
    return server
  }
  await copyTemplate(join(folder, 'primary'))
  const primary = await start('primary')
  const admin = await primary.admin()
  for (const sql of seed) await admin.query(sql)
  await backUp(
    admin,
    primary.server.dataDir,
    NAMES.map(name => join(folder, name)),
  )
  const replicas: ClusterServer[] = []
  for (const [i, name] of NAMES.entries()) {
    const upstream = i === 2 ? replicas[0]! : primary
    await upstream.value(`select pg_create_physical_replication_slot('${name}', true)`)
    const { socketDir, port } = upstream.server
    await appendFile(
      join(folder, name, 'postgresql.auto.conf'),
      `primary_conninfo = 'host=${socketDir} port=${port} user=postgres application_name=${name}'\n` +
        `primary_slot_name = '${name}'\n`,
    )
    replicas.push(await start(name))
  }
  const all = [primary, ...replicas]
  const caughtUp = async (from = primary) => {
    const lsn = await from.value('select pg_current_wal_lsn()')
    for (const replica of all) {
      if (replica.server.pid === undefined || replica === from) continue
      const sql = `select not pg_is_in_recovery() or pg_last_wal_replay_lsn() >= $1::pg_lsn`
      await until(
        `${replica.name} has caught up`,
        async () => (await replica.value(sql, [lsn!])) === 't',
      )
    }
  }
  await caughtUp()
  return {
    primary,
    replicas: replicas as [ClusterServer, ClusterServer, ClusterServer],
    all,
    caughtUp,
    stop: async () => {
      await Promise.all(all.map(server => server.close()))
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** What a copy begins without: its own, or the log, which it has from its primary. */
const EMPTY_FOLDERS = [
  ...['pg_wal', 'pg_replslot', 'pg_dynshmem', 'pg_notify', 'pg_serial', 'pg_snapshots'],
  ...['pg_stat_tmp', 'pg_subtrans'],
]
const LEFT_OUT = new Set([...EMPTY_FOLDERS, 'postmaster.pid', 'postmaster.opts'])

async function backUp(admin: WireClient, dataDir: string, targets: string[]): Promise<void> {
  const user = serverUser()
  await admin.query(`select pg_backup_start('copies', true)`)
  const entries = readdirSync(dataDir).filter(entry => !LEFT_OUT.has(entry))
  for (const target of targets) makePrivate(target, user)
  const copy = (target: string) =>
    promisify(execFile)('cp', ['-a', ...entries.map(entry => join(dataDir, entry)), target])
  await Promise.all(targets.map(copy))
  const { rows } = await admin.query('select labelfile from pg_backup_stop(false)')
  for (const target of targets) {
    for (const folder of [...EMPTY_FOLDERS, 'pg_wal/archive_status'])
      own(join(target, folder), user)
    own(join(target, 'backup_label'), user, String(Object.values(rows[0]!)[0]))
    own(join(target, 'standby.signal'), user, '')
  }
}

/** A folder, or a file with this in it, of the server's user. */
function own(path: string, user: ServerUser | undefined, text?: string): void {
  if (text === undefined) mkdirSync(path, { mode: 0o700 })
  else writeFileSync(path, text, { mode: 0o600 })
  if (user !== undefined) chownSync(path, user.uid, user.gid)
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {} // gone already
}
