/** Dev servers: the embedded Postgres of `hearth dev` and its streaming replicas, kept in the state folder between starts.
 *  Owns:   their data directories, `postgres` and `replica-1` to `replica-3`.   Not here: mending one (replica_care.ts), the copying
 *          (data_copy.ts), one server (embedded_postgres.ts).
 *  Thread: main.
 *  Holds:  (1) `postgres` is the primary's directory at every start: where a replica was promoted, the directories change names.
 *          (2) a replica's directory is whole: it is copied beside it and renamed.  (3) a replica that does not start costs nothing
 *          but itself: it is left to replica_care.
 *
 *  The primary keeps 64 MB of log for replicas that are away; there are no slots, which would keep it without end. */

import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { copyStopped, pointTo } from './data_copy.ts'
import { type EmbeddedPostgres, startPostgres, urlOf } from './embedded_postgres.ts'
import { type ServerUser, serverUser } from './postgres_binaries.ts'
import { choosePlaces, dataPlace } from './postgres_places.ts'

export const REPLICA_COUNT_MAX = 3

const SETTINGS = {
  wal_keep_size: '64MB',
  // A replica that lost its primary asks again each second.
  wal_retrieve_retry_interval: '1s',
}

/** One server of the development cluster. */
export interface DevServer {
  /** As the engine calls it: `url`, or the replica's number. */
  readonly name: string
  readonly dataDir: string
  /** Undefined: it does not run. */
  server: EmbeddedPostgres | undefined
  /** Where it listens, running or not. */
  readonly url: string
  readonly socketDir: string
}

export interface DevServersOptions {
  readonly stateDir: string
  /** 0 to REPLICA_COUNT_MAX. */
  readonly replicaCount: number
  onStep(sentence: string): void
}

export class DevServers {
  readonly user: ServerUser | undefined = serverUser()
  readonly all: DevServer[] = []
  private readonly options: DevServersOptions

  private constructor(options: DevServersOptions) {
    this.options = options
  }

  /** Rejects with UNAVAILABLE and the primary's last words; nothing runs then. */
  static async start(options: DevServersOptions): Promise<DevServers> {
    const servers = new DevServers(options)
    try {
      await servers.startAll()
      return servers
    } catch (error) {
      await servers.stop()
      throw error
    }
  }

  get primary(): DevServer {
    return this.all[0]!
  }

  get replicas(): DevServer[] {
    return this.all.slice(1)
  }

  /** Starts a server on its directory. Rejects with UNAVAILABLE and its last words. */
  async run(each: DevServer): Promise<void> {
    const settings = this.options.replicaCount > 0 ? SETTINGS : {}
    const { dataDir } = each
    each.server = await startPostgres({ dataDir, settings, onProgress: this.stepFor(each) })
  }

  /** Has a server that does not run receive from another at its next start. */
  point(each: DevServer, primary: DevServer): void {
    const from = { socketDir: primary.socketDir, port: PORT }
    pointTo(each.dataDir, from, `replica_${each.name}`, this.user)
  }

  async stop(): Promise<void> {
    // The replicas first: a primary that stops waits until they have all it wrote.
    await Promise.all(this.replicas.map(({ server }) => server?.stop()))
    await this.all[0]?.server?.stop()
  }

  private async startAll(): Promise<void> {
    const { stateDir, replicaCount, onStep } = this.options
    const place = (folder: string) => dataPlace(join(stateDir, folder), this.user)
    const folders = ['postgres', 'replica-1', 'replica-2', 'replica-3'].map(place)
    settlePrimary(folders)
    for (const [i, dataDir] of folders.slice(0, replicaCount + 1).entries()) {
      const name = i === 0 ? 'url' : String(i)
      const { socketDir } = choosePlaces({ dataDir, port: PORT }, this.user)
      const url = urlOf(socketDir, PORT)
      this.all.push({ name, dataDir, server: undefined, url, socketDir })
    }
    const { primary, replicas } = this
    const isNew = !existsSync(primary.dataDir)
    if (isNew) for (const { dataDir } of replicas) rmSync(dataDir, REMOVE)
    await this.run(primary)
    const missing = replicas.filter(({ dataDir }) => !existsSync(dataDir))
    if (missing.length > 0) {
      onStep(`copying ${missing.length === 1 ? 'a replica' : `${missing.length} replicas`}`)
      await primary.server!.stop()
      for (const { dataDir } of missing) await this.copyPrimary(dataDir)
      await primary.server!.restart()
    }
    if (replicas.length > 0) onStep(`starting ${replicas.length} of Postgres' replicas`)
    await Promise.all(replicas.map(replica => this.startReplica(replica)))
  }

  private async copyPrimary(dataDir: string): Promise<void> {
    const partial = `${dataDir}.new`
    rmSync(partial, REMOVE)
    await copyStopped(this.primary.dataDir, partial, this.user)
    renameSync(partial, dataDir)
  }

  private async startReplica(replica: DevServer): Promise<void> {
    try {
      this.point(replica, this.primary)
      await this.run(replica)
    } catch (error) {
      this.options.onStep(`replica ${replica.name} did not start: ${firstLine(error)}`)
    }
  }

  private stepFor(each: DevServer): ((sentence: string) => void) | undefined {
    return each.name === 'url' ? this.options.onStep : undefined
  }
}

export const REMOVE = { recursive: true, force: true } as const
const PORT = 5432

/** The newest of those that are no standby becomes `postgres`; what stood there takes its place. */
function settlePrimary(folders: readonly string[]): void {
  const claims = folders.filter(folder => existsSync(folder) && !isStandby(folder))
  const [best] = claims.toSorted((a, b) => timelineOf(b) - timelineOf(a))
  const [first] = folders as [string]
  if (best === undefined || best === first || timelineOf(best) <= claimed(first)) return
  const aside = `${first}.aside`
  if (existsSync(first)) renameSync(first, aside)
  renameSync(best, first)
  if (existsSync(aside)) renameSync(aside, best)
}

/** The timeline that a folder is the primary of; 0 for none. */
function claimed(folder: string): number {
  return existsSync(folder) && !isStandby(folder) ? timelineOf(folder) : 0
}

function isStandby(folder: string): boolean {
  return existsSync(join(folder, 'standby.signal'))
}

/** Each promotion begins another; segments and histories carry it in their names. */
function timelineOf(folder: string): number {
  const names = readdirSync(join(folder, 'pg_wal'))
  const found = names.filter(name => /^[0-9A-F]{8}(\.history|[0-9A-F]{16})$/.test(name))
  return Math.max(0, ...found.map(name => Number.parseInt(name.slice(0, 8), 16)))
}

export function firstLine(error: unknown): string {
  return (error as Error).message.split('\n')[0]!
}
