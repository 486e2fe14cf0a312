/** Embedded Postgres: a server of our own for `hearth dev` and the tests, from the npm binaries.
 *  Owns:   the server process, its data folder, its socket folder, its watchdog.
 *  Thread: main, or a test.
 *  Holds:  (1) no TCP port is open.  (2) a data folder appears whole or not at all.
 *          (3) the server ends with this process, however that ends. */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import {
  findBinaries,
  type PostgresBinaries,
  type ServerUser,
  serverUser,
} from './postgres_binaries.ts'
import { choosePlaces, makePrivate, type Places } from './postgres_places.ts'
import {
  childrenOf,
  clearStalePid,
  dismiss,
  isAlive,
  readPid,
  runAs,
  watch,
} from './postgres_process.ts'

export const SUPERUSER = 'postgres'
const START_MS_MAX = 30_000
const STOP_MS_MAX = 10_000
const INITDB_MS_MAX = 120_000
const POLL_MS = 5

export interface StartOptions {
  /** The cluster's folder; made by initdb when it does not exist. As root it may be moved (see `dataDir` of the answer). */
  readonly dataDir: string
  /** Left out: beside the data folder, or a short path when that would not fit into a socket address. */
  readonly socketDir?: string | undefined
  /** Only names the socket file, as long as `listen_addresses` stays empty. */
  readonly port?: number | undefined
  /** Server settings, as `-c name=value`. `{ fsync: 'off' }` is for tests: a power cut may lose the cluster. */
  readonly settings?: Readonly<Record<string, string>> | undefined
  /** One sentence for each step that takes time. */
  readonly onProgress?: ((sentence: string) => void) | undefined
  /** A folder that the watchdog removes when this process has died (tests). */
  readonly removeOnDeath?: string | undefined
}

/** A running server. `url` is a libpq URI over the Unix socket, database `postgres`. */
export interface EmbeddedPostgres {
  readonly url: string
  readonly socketDir: string
  readonly port: number
  readonly dataDir: string
  readonly logFile: string
  /** Of the postmaster; another after restart(). Undefined while stopped. */
  readonly pid: number | undefined
  /** Fast shutdown: open transactions roll back, clients are disconnected, the data is flushed. */
  stop(): Promise<void>
  /** stop() if it runs, and starts it again on the same data and socket. */
  restart(): Promise<void>
  /** A crash: every process of the server killed at once. restart() recovers from the log. */
  kill(): Promise<void>
}

/** Starts a server. Throws NOT_CONFIGURED without the binaries, UNAVAILABLE with the server's last words. */
export async function startPostgres(options: StartOptions): Promise<EmbeddedPostgres> {
  const port = options.port ?? 5432
  const user = serverUser()
  const binaries = findBinaries(user)
  const places = choosePlaces(
    { dataDir: options.dataDir, socketDir: options.socketDir, port },
    user,
  )
  await initialise(binaries, places, user, options.onProgress)
  const server = new Server(binaries, places, user, port, options)
  options.onProgress?.('starting Postgres')
  await server.start()
  return server
}

/** libpq URI of the database `postgres` over a Unix socket. */
export function urlOf(socketDir: string, port: number): string {
  return `postgresql://${SUPERUSER}@/postgres?host=${encodeURIComponent(socketDir)}&port=${port}`
}

class Server implements EmbeddedPostgres {
  readonly url: string
  readonly socketDir: string
  readonly dataDir: string
  readonly logFile: string
  readonly port: number
  private readonly binaries: PostgresBinaries
  private readonly user: ServerUser | undefined
  private readonly options: StartOptions
  private child: ChildProcess | undefined
  private exited: Promise<unknown> = Promise.resolve()
  private watchdog: ChildProcess | undefined

  constructor(
    binaries: PostgresBinaries,
    places: Places,
    user: ServerUser | undefined,
    port: number,
    options: StartOptions,
  ) {
    this.binaries = binaries
    this.user = user
    this.port = port
    this.options = options
    this.socketDir = places.socketDir
    this.dataDir = places.dataDir
    this.logFile = places.logFile
    this.url = urlOf(places.socketDir, port)
  }

  get pid(): number | undefined {
    return this.child?.pid
  }

  async start(): Promise<void> {
    clearStalePid(this.dataDir)
    this.watchdog ??= watch(this.dataDir, this.options.removeOnDeath)
    const log = openSync(this.logFile, 'w', 0o600)
    const settings = { ...SETTINGS, ...this.options.settings }
    const child = spawn(
      this.binaries.postgres,
      [
        ...['-D', this.dataDir, '-k', this.socketDir, '-p', String(this.port)],
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      // Detached: a Ctrl-C in the terminal is for the engine, which drains first and then stops the server.
      { ...runAs(this.user), cwd: this.dataDir, detached: true, stdio: ['ignore', log, log] },
    )
    closeSync(log)
    child.unref()
    this.child = child
    this.exited = new Promise(settle => {
      child.once('exit', settle)
      child.once('error', settle)
    })
    this.exited.then(() => {
      if (this.child === child) this.child = undefined
    })
    await this.ready(child)
  }

  async stop(): Promise<void> {
    await this.end('SIGINT')
  }

  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  async kill(): Promise<void> {
    // The backends lead sessions of their own, so there is no group to kill.
    const children = this.pid === undefined ? [] : childrenOf(this.pid)
    this.child?.kill('SIGKILL')
    for (const pid of children) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {} // gone already
    }
    await this.end('SIGKILL')
    while (children.some(isAlive)) await sleep(POLL_MS) // its shared memory is in use until then
  }

  /** What pg_ctl does: the postmaster writes its state into the eighth line of postmaster.pid. */
  private async ready(child: ChildProcess): Promise<void> {
    const untilMs = monotonicMs() + START_MS_MAX
    while (this.child === child && monotonicMs() < untilMs) {
      const lines = readPid(this.dataDir)
      if (lines[0] === String(child.pid) && /^(ready|standby)/.test(lines[7] ?? '')) return
      await sleep(POLL_MS)
    }
    await this.end('SIGKILL')
    throw new HearthError(
      'UNAVAILABLE',
      `Postgres did not start on ${this.dataDir}. Its last words (${this.logFile}):\n${this.lastWords()}`,
    )
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.child
    if (child !== undefined) {
      child.ref() // else nothing would keep us alive to see it end
      // One that somebody has frozen would not hear of it.
      for (const pid of [child.pid!, ...childrenOf(child.pid!)]) wake(pid)
      child.kill(signal)
      const patience = setTimeout(() => child.kill('SIGQUIT'), STOP_MS_MAX)
      await this.exited
      clearTimeout(patience)
    }
    if (this.options.removeOnDeath !== undefined) return // it has a folder to see to
    dismiss(this.watchdog)
    this.watchdog = undefined
  }

  private lastWords(): string {
    return readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-12).join('\n')
  }
}

function wake(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT')
  } catch {} // gone already
}

/** Small, private, and no surprises; everything can be overridden by `settings`. */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  shared_buffers: '16MB',
  max_connections: '60',
  min_wal_size: '32MB',
  max_wal_size: '128MB',
  io_method: 'sync',
  jit: 'off',
}

/** initdb into a folder beside it, renamed when whole: PG_VERSION is written early, so it proves nothing. */
async function initialise(
  binaries: PostgresBinaries,
  { dataDir, logFile }: Places,
  user: ServerUser | undefined,
  onProgress: StartOptions['onProgress'],
): Promise<void> {
  if (existsSync(dataDir)) return checkVersion(binaries, dataDir)
  onProgress?.(`making a Postgres cluster in ${dataDir}`)
  const partial = `${dataDir}.new`
  rmSync(partial, { recursive: true, force: true })
  makePrivate(partial, user)
  const settings = ['-N', '--no-locale', '-E', 'UTF8', '-A', 'trust', '--auth-host=scram-sha-256']
  const args = ['-D', partial, '-U', SUPERUSER, ...settings, '--no-instructions']
  const options = { ...runAs(user), cwd: partial, timeout: INITDB_MS_MAX }
  await new Promise<void>((resolve, reject) => {
    execFile(binaries.initdb, args, options, (error, stdout, stderr) => {
      if (error === null) return resolve()
      const words = `${stdout}\n${stderr}`.trim().split('\n').slice(-8).join('\n')
      const text = `initdb failed (${error.message.split('\n')[0]}); its last words:\n${words}`
      rmSync(partial, { recursive: true, force: true })
      reject(new HearthError('UNAVAILABLE', text, { cause: error }))
    })
  })
  renameSync(partial, dataDir)
  rmSync(logFile, { force: true })
}

function checkVersion(binaries: PostgresBinaries, dataDir: string): void {
  const file = join(dataDir, 'PG_VERSION')
  const found = existsSync(file) ? readFileSync(file, 'utf8').trim() : 'no'
  if (found === binaries.major) return
  throw new HearthError(
    'UNAVAILABLE',
    `${dataDir} holds ${found === 'no' ? 'no Postgres cluster' : `a cluster of Postgres ${found}`}, ` +
      `and the binaries are of Postgres ${binaries.major}: choose another folder, or remove it if it can go`,
  )
}
