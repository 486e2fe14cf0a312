/** Engines under test: `hearth serve` as a child process on folders of its own, or an engine in this very process.
 *  Owns:   the child, its folder, its segment; all are gone when the test is over, however it ended.
 *  Thread: main of a test process.
 *  Holds:  (1) nothing of the surrounding environment's HEARTH_* settings reaches an engine under test.  (2) dist/ is as new as
 *          the sources before a child is started.  (3) a child outlives neither its test nor this process's normal end. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectOptions, connect, type Hearth } from '../../engine/client/index.ts'
import type { ConfigOverrides } from '../../engine/config/config.ts'
import { createEngine, type EmbeddedEngine } from '../../engine/index.ts'
import { type Greeting, RawClient } from './frames.ts'

export const PROJECT = join(import.meta.dirname, '..', '..')
export const HEARTH = join(PROJECT, 'engine', 'cli', 'hearth.cjs')
const SHARED_MEMORY_DIR = '/dev/shm'
const READY_MS_MAX = 20_000
const EXIT_MS_MAX = 20_000
const BUILD_MS_MAX = 60_000

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** From the signal to the end of the process. */
  readonly tookMs: number
}

/** A running, or stopped, `hearth serve`. */
export class ServedEngine {
  readonly folder: string
  socket: string
  readonly stateDir: string
  readonly env: Record<string, string>
  /** What the engine told the first client of its present run. */
  greeting: Greeting | undefined
  /** What is to be undone between its end and the removal of its folder. */
  readonly endings: (() => void)[] = []
  /** From spawn() until the engine answered. */
  readyMs = 0
  private child: ChildProcess | undefined
  private ended: Promise<Exit> | undefined
  private output = ''
  private readonly clients = new Set<Hearth>()
  private readonly pids = new Set<number>()

  constructor(folder: string, env: Record<string, string>) {
    this.folder = folder
    this.socket = join(folder, 'hearth.sock')
    this.stateDir = join(folder, 'state')
    this.env = { HEARTH_SOCKET: this.socket, HEARTH_ENGINE_STATE_DIR: this.stateDir, ...env }
  }

  get pid(): number {
    return this.child!.pid!
  }

  get isRunning(): boolean {
    return this.child !== undefined
  }

  get sqliteFile(): string {
    return join(this.stateDir, 'cache.sqlite')
  }

  /** What it wrote to stdout and stderr, over all its runs. */
  log(): string {
    return this.output
  }

  /** Starts the child and waits until it answers. Rejects with its words when it ends instead. */
  async start(env: Record<string, string> = {}): Promise<this> {
    const startMs = performance.now()
    this.spawn(env)
    await this.untilReady()
    this.readyMs = performance.now() - startMs
    return this
  }

  /** Starts the child and waits for nothing. A HEARTH_SOCKET given here is this engine's from now on. */
  spawn(env: Record<string, string> = {}): void {
    ensureBuilt()
    this.socket = env['HEARTH_SOCKET'] ?? this.socket
    const child = spawn(process.execPath, [HEARTH, 'serve'], {
      cwd: this.folder,
      env: { ...cleanEnvironment(), ...this.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child = child
    this.pids.add(child.pid!)
    children.add(child)
    child.stdout!.on('data', data => {
      this.output += data
    })
    child.stderr!.on('data', data => {
      this.output += data
    })
    const { promise, resolve } = Promise.withResolvers<Exit>()
    child.on('close', (code, signal) => {
      children.delete(child)
      if (this.child === child) this.child = undefined
      resolve({ code, signal, tookMs: 0 })
    })
    this.ended = promise
  }

  /** Waits until the engine answers HELLO. */
  async untilReady(timeoutMs = READY_MS_MAX): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs
    for (;;) {
      if (!this.isRunning) throw new Error(`the engine ended before it was ready:\n${this.output}`)
      if (performance.now() > deadlineMs) throw new Error(`not ready in time:\n${this.output}`)
      try {
        const client = await RawClient.open(this.socket)
        this.greeting = await client.hello()
        await client.close()
        return
      } catch {
        await sleep(2)
      }
    }
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    const startMs = performance.now()
    this.child?.kill(signal)
    return { ...(await this.untilExit()), tookMs: performance.now() - startMs }
  }

  /** `kill -9`, and waits until the kernel has buried it. */
  kill(): Promise<Exit> {
    return this.stop('SIGKILL')
  }

  signal(signal: NodeJS.Signals): void {
    this.child!.kill(signal)
  }

  async untilExit(timeoutMs = EXIT_MS_MAX): Promise<Exit> {
    const late = sleep(timeoutMs, undefined, { ref: false }).then(() => {
      throw new Error(`the engine did not end within ${timeoutMs} ms:\n${this.output}`)
    })
    return await Promise.race([this.ended!, late])
  }

  /** Waits for a line of the log. */
  async untilLogged(text: string | RegExp, timeoutMs = 20_000): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs
    while (typeof text === 'string' ? !this.output.includes(text) : !text.test(this.output)) {
      if (performance.now() > deadlineMs) throw new Error(`${text} was not logged:\n${this.output}`)
      await sleep(5)
    }
  }

  /** A client of this engine, closed with it. */
  async connect(options: ConnectOptions = {}): Promise<Hearth> {
    const client = await connect({ socket: this.socket, failOpen: false, ...options })
    this.clients.add(client)
    return client
  }

  /** A connection that sends what it is told to. */
  raw(): Promise<RawClient> {
    return RawClient.open(this.socket)
  }

  /** Ends the engine and removes all it had. */
  async remove(): Promise<void> {
    for (const client of this.clients) await client.close()
    if (this.isRunning) await this.kill()
    for (const end of this.endings) end()
    removeSegments(this.pids)
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** An engine for one test: `env` holds its configuration, such as `{ HEARTH_MEMORY_MAX_BYTES: '1MiB' }`. */
export async function serve(t: Ending, env: Record<string, string> = {}): Promise<ServedEngine> {
  return await prepare(t, env).start()
}

/** The same, not started yet. */
export function prepare(t: Ending, env: Record<string, string> = {}): ServedEngine {
  const engine = new ServedEngine(mkdtempSync(join(tmpdir(), 'hearth-test-')), env)
  t.after(() => engine.remove())
  return engine
}

/** One engine for a whole file, running from its first test to its last. To be called at the file's top level. */
export function engineOfFile(env: Record<string, string> = {}): ServedEngine {
  const engine = prepare({ after }, env)
  before(async () => {
    await engine.start()
  })
  return engine
}

export interface Embedded {
  readonly engine: EmbeddedEngine
  readonly folder: string
  readonly socket: string
  /** A client without a socket. */
  local(): Hearth
  /** A client over the socket. */
  connect(options?: ConnectOptions): Promise<Hearth>
}

/** An engine in this process, closed when the test is over. */
export async function embed(t: Ending, overrides: ConfigOverrides = {}): Promise<Embedded> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-test-'))
  const clients: Hearth[] = []
  let engine: EmbeddedEngine | undefined
  t.after(async () => {
    for (const client of clients) await client.close()
    await engine?.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const socket = join(folder, 'hearth.sock')
  engine = await createEngine({
    ...overrides,
    engine: { socket, stateDir: join(folder, 'state'), logLevel: 'error', ...overrides.engine },
  })
  const keep = (client: Hearth) => {
    clients.push(client)
    return client
  }
  return {
    engine,
    folder,
    socket,
    local: () => keep(engine.client()),
    connect: async (options = {}) => keep(await connect({ socket, failOpen: false, ...options })),
  }
}

/** What an engine ends with: a test's context or, at a file's top level alone, `{ after }` of node:test. */
export interface Ending {
  after(end: () => Promise<void>): void
}

/** The environment without anybody's settings for Hearth. */
export function cleanEnvironment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name]) =>
      !name.startsWith('HEARTH_') && name !== 'NOTIFY_SOCKET' && !name.startsWith('NODE_TEST'),
  )
  return Object.fromEntries(kept) as Record<string, string>
}

/** What engines that were killed left in shared memory: a segment's name ends with its engine's pid. */
function removeSegments(pids: ReadonlySet<number>): void {
  for (const name of readdirSync(SHARED_MEMORY_DIR)) {
    const pid = /^hearth-.*\.(\d+)-\d+\.segment(\.pages)?$/.exec(name)?.[1]
    if (pid !== undefined && pids.has(Number(pid)))
      rmSync(join(SHARED_MEMORY_DIR, name), { recursive: true, force: true })
  }
}

const children = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

let isBuilt = false

/** Bundles dist/ anew when a source is newer than it. One builder at a time, over all test processes; with
 *  HEARTH_TEST_BUILT=1 whoever started the tests has seen to it. */
export function ensureBuilt(): void {
  if (isBuilt || process.env['HEARTH_TEST_BUILT'] === '1') return
  const lock = join(PROJECT, 'node_modules', '.hearth-test-build')
  const deadlineMs = performance.now() + BUILD_MS_MAX
  while (!isCurrent()) {
    if (performance.now() > deadlineMs) rmSync(lock, { recursive: true, force: true })
    if (tryLock(lock)) {
      try {
        if (!isCurrent()) {
          execFileSync(process.execPath, [join(PROJECT, 'engine', 'build.mjs')], { stdio: 'pipe' })
        }
      } finally {
        rmdirSync(lock)
      }
      break
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
  }
  isBuilt = true
}

function tryLock(lock: string): boolean {
  try {
    mkdirSync(lock)
    return true
  } catch {
    return false
  }
}

function isCurrent(): boolean {
  const builtMs = Math.min(
    ...['daemon.cjs', 'worker.cjs', 'worker.js'].map(name =>
      modifiedMs(join(PROJECT, 'dist', name)),
    ),
  )
  const sources = ['engine', 'workers'].flatMap(folder =>
    readdirSync(join(PROJECT, folder), { recursive: true, encoding: 'utf8' })
      .filter(name => /\.(ts|mjs|html|css|svg)$/.test(name))
      .map(name => join(PROJECT, folder, name)),
  )
  return sources.every(file => modifiedMs(file) <= builtMs)
}

function modifiedMs(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0
}
