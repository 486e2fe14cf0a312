/** The CLI under test: `hearth` as a process, on its own or against an engine, and what it leaves behind.
 *  Owns:   the processes it starts.   Thread: main of a test process.
 *  Holds:  nothing of the surrounding environment's HEARTH_* settings reaches a command under test. */

import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanEnvironment, type Ending, ensureBuilt, HEARTH } from './engine.ts'

export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** stdout as it came. */
  readonly bytes: Buffer
}

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

/** Runs a command to its end. */
export async function hearth(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return await start(args, options).ended
}

export interface Running {
  readonly child: ChildProcess
  readonly ended: Promise<Outcome>
  /** What it has written to stdout so far. */
  stdout(): string
  /** Waits for words on stdout; rejects when the command ends without them. */
  untilSaid(words: string): Promise<void>
}

export function start(args: readonly string[], options: RunOptions = {}): Running {
  ensureBuilt()
  const child = spawn(process.execPath, [HEARTH, ...args], {
    cwd: options.cwd ?? tmpdir(),
    env: { ...cleanEnvironment(), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const chunks: Buffer[] = []
  let stderr = ''
  let isOver = false
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk
  })
  const stdout = () => Buffer.concat(chunks).toString()
  const { promise: ended, resolve } = Promise.withResolvers<Outcome>()
  child.on('close', code => {
    isOver = true
    resolve({ code, stdout: stdout(), stderr, bytes: Buffer.concat(chunks) })
  })
  return {
    child,
    ended,
    stdout,
    async untilSaid(words) {
      while (!stdout().includes(words)) {
        if (isOver) throw new Error(`it ended without saying "${words}":\n${stdout()}\n${stderr}`)
        await sleep(20)
      }
    },
  }
}

/** A folder that the server's user can pass through: as root, that is another user. Removed with the test. */
export function projectFolder(t: Ending, prefix = 'hearth-dev-test-'): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), prefix)))
  if (process.getuid?.() === 0) chmodSync(folder, 0o711)
  t.after(async () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Processes whose command line, environment or working folder names `folder`; ours and those that are ending excepted. */
export function processesOf(folder: string): string[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter(pid => /\) [^ZX]/.test(contentOf(`/proc/${pid}/stat`)))
    .filter(pid =>
      ['cmdline', 'environ'].some(file => contentOf(`/proc/${pid}/${file}`).includes(folder)),
    )
    .map(pid => `${pid} ${contentOf(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')}`)
}

/** Waits until none is left; answers those that stay. */
export async function processesLeft(folder: string, withinMs: number): Promise<string[]> {
  const untilMs = performance.now() + withinMs
  for (;;) {
    const left = processesOf(folder)
    if (left.length === 0 || performance.now() > untilMs) return left
    await sleep(50)
  }
}

function contentOf(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return '' // it has just ended
  }
}
