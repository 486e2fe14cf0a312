/** stand: what the macro benches stand on: an engine as a process of its own, rivals beside it, and loops that load them.
 *  Owns:   the processes it started and their folder; stop() ends all.
 *  Thread: main of the bench, which is also the client under load.
 *  Holds:  the engine is the one that ships: `hearth serve` from dist/, through its launcher. */

import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectOptions, connect, type Hearth } from '../../engine/client/index.ts'
import { DevServers } from '../../engine/dev/dev_servers.ts'
import { type EmbeddedPostgres, startPostgres } from '../../engine/dev/embedded_postgres.ts'
import { ownBytes } from '../../engine/observe/footprint.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const READY_MS_MAX = 20_000
/** Linux counts CPU time in these. */
const TICK_MS = 10

export interface StandOptions {
  /** Also a Postgres, and a pool on it. */
  readonly postgres?: boolean
  /** Streaming replicas of it, 0 to 3. */
  readonly replicas?: number
  readonly env?: Record<string, string>
  /** What the engine logs is not shown: faults are the bench's own doing. */
  readonly isQuiet?: boolean
}

export class Stand {
  readonly folder = mkdtempSync(join(tmpdir(), 'hearth-bench-'))
  readonly socket = join(this.folder, 'hearth.sock')
  /** Of the engine, over what the options say. */
  readonly env: Record<string, string> = {}
  postgresUrl: string | undefined
  servers: DevServers | undefined
  postgres: EmbeddedPostgres | undefined
  private engine: ChildProcess | undefined
  private readonly clients: Hearth[] = []
  private readonly options: StandOptions

  constructor(options: StandOptions = {}) {
    this.options = options
  }

  /** Starts what was asked for; resolves with the milliseconds from the engine's spawn to its first answer. */
  async start(): Promise<number> {
    if (this.options.postgres && this.postgres === undefined) {
      chmodSync(this.folder, 0o711) // As root the server is another user, who has to pass through.
      await this.startPostgres(this.options.replicas ?? 0)
    }
    const env: Record<string, string> = {
      ...(process.env as Record<string, string>),
      HEARTH_ENGINE_STATE_DIR: join(this.folder, 'state'),
      HEARTH_SOCKET: this.socket,
      HEARTH_ENGINE_LOG_LEVEL: 'warn',
      ...this.options.env,
      ...this.env,
    }
    if (this.postgresUrl !== undefined) env['HEARTH_POSTGRES_URL'] = this.postgresUrl
    const replicas = this.servers?.replicas.map(({ url }) => url).join(', ') ?? ''
    if (replicas !== '') env['HEARTH_POSTGRES_MAIN_REPLICAS'] = replicas
    const startMs = performance.now()
    const launcher = process.env['LAUNCH'] ?? join(ROOT, 'engine', 'cli', 'hearth.cjs')
    this.engine = spawn(process.execPath, [launcher, 'serve'], {
      env,
      stdio: this.options.isQuiet ? 'ignore' : ['ignore', 'inherit', 'inherit'],
    })
    await this.untilAnswers(startMs + READY_MS_MAX)
    return performance.now() - startMs
  }

  private async startPostgres(replicaCount: number): Promise<void> {
    if (replicaCount === 0) {
      this.postgres = await startPostgres({ dataDir: join(this.folder, 'postgres') })
      this.postgresUrl = this.postgres.url
      return
    }
    const stateDir = this.folder
    this.servers = await DevServers.start({ stateDir, replicaCount, onStep: () => {} })
    this.postgresUrl = this.servers.primary.url
  }

  private async untilAnswers(deadlineMs: number): Promise<void> {
    for (;;) {
      try {
        await (await this.client()).ping()
        return
      } catch (error) {
        if (performance.now() > deadlineMs || this.engine!.exitCode !== null) throw error
        await pause(2)
      }
    }
  }

  async client(options: ConnectOptions = {}): Promise<Hearth> {
    const client = await connect({ socket: this.socket, failOpen: false, ...options })
    this.clients.push(client)
    return client
  }

  get enginePid(): number {
    return this.engine!.pid!
  }

  /** RssAnon + RssShmem of the engine, in bytes. */
  engineBytes(): number {
    return ownBytes(this.engine!.pid!) ?? 0
  }

  /** CPU time that the engine has used, in milliseconds. */
  engineCpuMs(): number {
    const stat = readFileSync(`/proc/${this.engine!.pid!}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS
  }

  async stopEngine(): Promise<void> {
    await Promise.all(this.clients.splice(0).map(client => client.close()))
    if (this.engine === undefined) return
    if (this.engine.exitCode === null && this.engine.signalCode === null) {
      const exited = new Promise(resolve => this.engine!.once('exit', resolve))
      this.engine.kill('SIGTERM')
      await exited
    }
    this.engine = undefined
  }

  async stop(): Promise<void> {
    await this.stopEngine()
    await this.postgres?.stop()
    await this.servers?.stop()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** What a service keeps of a device: about 100 bytes as msgpack or JSON. */
export const VALUE = {
  id: 42,
  name: 'kitchen sensor',
  state: 'on',
  temperature: 21.5,
  updated: 1_763_000_000,
  room: 'kitchen',
}

export type Operation = (index: number) => Promise<unknown>

/** Operations a second with so many in flight: `count` of them, each loop starting its next when the last is answered. */
export async function throughput(
  count: number,
  depth: number,
  operation: Operation,
): Promise<number> {
  let left = count
  const startMs = performance.now()
  const loop = async () => {
    while (left > 0) await operation(left--)
  }
  await Promise.all(Array.from({ length: depth }, loop))
  return (count / (performance.now() - startMs)) * 1_000
}

/** Each operation's own duration in milliseconds, sorted, with so many in flight. */
export async function latencies(
  count: number,
  depth: number,
  operation: Operation,
): Promise<Float64Array> {
  const found = new Float64Array(count)
  let next = 0
  const loop = async () => {
    while (next < count) {
      const index = next++
      const startMs = performance.now()
      await operation(index)
      found[index] = performance.now() - startMs
    }
  }
  await Promise.all(Array.from({ length: depth }, loop))
  return found.sort()
}

export function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!
}

export function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}

/** What a bare Node of this version uses by itself here, in bytes, as the build measured it. */
export function bareNodeBytes(): number {
  return JSON.parse(readFileSync(join(ROOT, 'dist', 'bare_node.json'), 'utf8'))
    .privateBytes as number
}

/** A package of bench/rivals, or undefined when those are not installed. */
export function rival<T>(name: string): T | undefined {
  const require = createRequire(join(ROOT, 'bench', 'rivals', 'package.json'))
  try {
    return require(name) as T
  } catch {
    return undefined
  }
}
