/** Dev engine: everything `hearth dev` embeds: a folder, a Postgres, the engine as a process, the sample data.
 *  Owns:   ./.hearth and what runs from it.   Not here: who uses it (pretend_service.ts), the terminal (cli/commands/dev.ts).
 *  Thread: main.
 *  Holds:  (1) what was started is stopped in reverse, also when a later step fails.  (2) it talks to its own engine and
 *          Postgres only, whatever HEARTH_SOCKET or HEARTH_POSTGRES_URL say: sample data never goes anywhere else. */

import { appendFileSync, chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from '../client/index.ts'
import { wallMs } from '../clock.ts'
import { HearthError, isHearthError } from '../errors.ts'
import { lockFolder } from '../folder_lock.ts'
import { PACKAGE_ROOT } from '../paths.ts'
import { type DaemonProcess, startDaemon } from './daemon_process.ts'
import { DevServers } from './dev_servers.ts'
import { placeHttp } from './http_place.ts'
import { serverUser } from './postgres_binaries.ts'
import { type CareEvent, ReplicaCare } from './replica_care.ts'
import { loadSampleData } from './sample_data.ts'
import { placeSocket } from './socket_place.ts'

export interface DevEngineOptions {
  /** The folder that gets `.hearth`. */
  readonly folder: string
  /** Streaming replicas of the embedded Postgres: 0 to REPLICA_COUNT_MAX. */
  readonly replicaCount: number
  /** Stops a start that is under way. */
  readonly signal: AbortSignal
  /** A step begins. */
  onStep(sentence: string): void
  /** The sample is being loaded. */
  onRows(rowsLoaded: number, rowsTotal: number): void
  /** A server is being mended, or was, or could not be; the log has it too. */
  onCare(event: CareEvent): void
}

export interface DevEngine {
  readonly socket: string
  /** The page: http://127.0.0.1:9464; undefined: HEARTH_HTTP_LISTEN says off. */
  readonly pageUrl: string | undefined
  readonly stateDir: string
  readonly postgresDir: string
  readonly logFile: string
  /** Rows loaded in this start; 0 when the sample was there. */
  readonly rowsLoaded: number
  readonly replicaCount: number
  /** Resolves with the engine's last words when it ends by itself. */
  readonly ended: Promise<string | undefined>
  stop(): Promise<void>
}

/** Rejects with BUSY when it runs in this folder already, NOT_CONFIGURED without Postgres' binaries, UNAVAILABLE with what
 *  a part said when it did not start. */
export async function startDevEngine(options: DevEngineOptions): Promise<DevEngine> {
  const { folder, signal, replicaCount } = options
  const undo: (() => unknown)[] = []
  const stop = async () => {
    while (undo.length > 0) await undo.pop()!()
  }
  try {
    const stateDir = makeStateDir(folder)
    undo.push(await lockFolder(folder, 'dev', holder => refusal(folder, holder)))
    const postgres = await startServers(stateDir, options)
    undo.push(() => postgres.stop())
    signal.throwIfAborted()

    options.onStep('starting the engine')
    const place = placeSocket(stateDir)
    undo.push(place.release)
    const listen = await placeHttp(process.env)
    const logFile = join(stateDir, 'engine.log')
    const daemon = await startDaemon({
      env: environment(stateDir, place.path, listen, postgres),
      logFile,
      signal,
    })
    undo.push(() => daemon.stop())
    const rowsLoaded = await loadSample(place.path, daemon, options)
    signal.throwIfAborted()
    if (replicaCount > 0) {
      const care = await startCare(postgres, place.path, logFile, options)
      undo.push(() => care.stop())
    }
    const { dataDir: postgresDir } = postgres.primary.server!
    return {
      socket: place.path,
      pageUrl: listen === 'off' ? undefined : `http://${listen}/`,
      stateDir,
      postgresDir,
      logFile,
      rowsLoaded,
      replicaCount,
      ended: daemon.ended,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function makeStateDir(folder: string): string {
  const stateDir = join(folder, '.hearth')
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 })
    // As root, Postgres runs as another user, who has to pass through to its own folder; what lies in here is 0700 itself.
    chmodSync(stateDir, process.getuid?.() === 0 ? 0o711 : 0o700)
    mkdirSync(join(stateDir, 'engine'), { recursive: true, mode: 0o700 })
  } catch (cause) {
    const message = `cannot write to ${stateDir}: ${(cause as Error).message}; start in a folder of yours`
    throw new HearthError('FORBIDDEN', message, { cause })
  }
  return stateDir
}

async function startServers(
  stateDir: string,
  { onStep, replicaCount }: DevEngineOptions,
): Promise<DevServers> {
  try {
    const user = serverUser()
    if (user !== undefined)
      onStep(`Postgres runs as the user "${user.name}", since it refuses root`)
    return await DevServers.start({ stateDir, replicaCount, onStep })
  } catch (error) {
    if (!isHearthError(error) || error.code !== 'NOT_CONFIGURED') throw error
    const message = `${error.message}, and start \`hearth serve\``
    throw new HearthError('NOT_CONFIGURED', message, { cause: error })
  }
}

function environment(
  stateDir: string,
  socket: string,
  listen: string,
  { primary, replicas }: DevServers,
): Record<string, string> {
  return {
    HEARTH_ENGINE_STATE_DIR: join(stateDir, 'engine'),
    HEARTH_ENGINE_SOCKET: socket,
    HEARTH_SOCKET: socket,
    HEARTH_POSTGRES_URL: primary.url,
    HEARTH_POSTGRES_MAIN_REPLICAS: replicas.map(({ url }) => url).join(', '),
    HEARTH_HTTP_LISTEN: listen,
    // startDaemon() reads "ready" from the log.
    HEARTH_ENGINE_LOG_LEVEL: 'info',
  }
}

async function startCare(
  servers: DevServers,
  socket: string,
  logFile: string,
  { onCare }: DevEngineOptions,
): Promise<ReplicaCare> {
  const hearth = await connect({ socket, name: 'hearth dev', failOpen: false })
  return new ReplicaCare(servers, hearth, event => {
    const { server, what, sentence: message } = event
    const level = what === 'failed' || what === 'given up' ? 'error' : 'warn'
    const line = { time: new Date(wallMs()).toISOString(), level, message, server, what }
    appendFileSync(logFile, `${JSON.stringify(line)}\n`)
    onCare(event)
  })
}

/** Through the engine, as any client would: the daemon dying in the middle ends it. */
async function loadSample(
  socket: string,
  daemon: DaemonProcess,
  { signal, onRows, onStep }: DevEngineOptions,
): Promise<number> {
  const hearth = await connect({ socket, name: 'hearth dev', failOpen: false })
  try {
    const query = async (sql: string, params: string[]) => {
      signal.throwIfAborted()
      return hearth.db.query(sql, params)
    }
    onStep('looking for the sample data')
    const csvFile = join(PACKAGE_ROOT, 'engine/dev/home-readings.csv')
    return await Promise.race([
      loadSampleData({ query, onProgress: onRows, csvFile }),
      daemon.ended.then(words => {
        throw new HearthError('UNAVAILABLE', `the engine ended while it was loaded:\n${words}`)
      }),
    ])
  } finally {
    await hearth.close()
  }
}

function refusal(folder: string, holder: string): string {
  return `\`hearth dev\` already runs in ${folder}${holder}: use that one, stop it, or start in another folder`
}
