/** Daemon process: `hearth serve` as a child of `hearth dev`.
 *  Owns:   the child, its log file, its watchdog.   Not here: what it is configured to do (dev_engine.ts).
 *  Thread: main.
 *  Holds:  (1) ready means that this child said so, not that somebody answers on its socket.
 *          (2) the daemon ends with this process, however that ends. */

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import { PACKAGE_ROOT } from '../paths.ts'

const READY_MS_MAX = 20_000
const STOP_MS_MAX = 8_000
const POLL_MS = 10

export interface DaemonProcess {
  /** Resolves when the daemon has ended, with its last words if nobody asked it to. */
  readonly ended: Promise<string | undefined>
  /** SIGTERM, and after STOP_MS_MAX SIGKILL. Safe to call twice. */
  stop(): Promise<void>
}

export interface DaemonOptions {
  readonly env: Readonly<Record<string, string>>
  readonly logFile: string
  /** Given up when this fires. */
  readonly signal: AbortSignal
}

/** Starts the daemon and waits until it answers requests. Rejects with UNAVAILABLE and its last words. */
export async function startDaemon(options: DaemonOptions): Promise<DaemonProcess> {
  rmSync(options.logFile, { force: true })
  // Appended to: what `hearth dev` mends is told there too.
  const log = openSync(options.logFile, 'a', 0o600)
  const child = spawn(process.execPath, [join(PACKAGE_ROOT, 'engine/cli/hearth.cjs'), 'serve'], {
    env: { ...process.env, ...options.env },
    // A group of its own: a Ctrl-C in the terminal is for `hearth dev`, which stops things in their order.
    detached: true,
    stdio: ['ignore', 'ignore', log],
  })
  const watchdog = watch(child)
  closeSync(log)

  let isAsked = false
  const exited = new Promise<void>(settle => {
    child.once('exit', () => settle())
    child.once('error', () => settle())
  })
  const ended = exited.then(() => {
    watchdog.stdin!.end('done\n')
    return isAsked ? undefined : lastWords(options.logFile)
  })
  const stop = async () => {
    isAsked = true
    child.kill('SIGTERM')
    const patience = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX)
    await ended
    clearTimeout(patience)
  }
  try {
    await ready(child, options)
  } catch (error) {
    await stop()
    throw error
  }
  return { ended, stop }
}

async function ready(child: ChildProcess, { logFile, signal }: DaemonOptions): Promise<void> {
  const untilMs = monotonicMs() + READY_MS_MAX
  while (child.exitCode === null && child.signalCode === null && monotonicMs() < untilMs) {
    if (/^\{.*"message":"ready"/m.test(readFileSync(logFile, 'utf8'))) return
    await sleep(POLL_MS, undefined, { signal })
  }
  throw new HearthError(
    'UNAVAILABLE',
    `the engine did not start. Its last words (${logFile}):\n${lastWords(logFile)}`,
  )
}

function lastWords(logFile: string): string {
  return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-8).join('\n')
}

/** A shell that waits for our end of its pipe to close, which happens however we die; `done` sends it home. */
function watch(child: ChildProcess): ChildProcess {
  const watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'sh', String(child.pid)], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  watchdog.on('error', () => undefined) // without a shell there is no watchdog; the engine still runs
  watchdog.stdin!.on('error', () => undefined)
  watchdog.unref()
  ;(watchdog.stdin as unknown as { unref(): void }).unref()
  return watchdog
}

const WATCHDOG = `
read -r word
[ "$word" = done ] && exit 0
kill -TERM "$1"
tries=0
while kill -0 "$1" && [ $tries -lt ${STOP_MS_MAX / 100} ]; do sleep 0.1; tries=$((tries + 1)); done
kill -0 "$1" && kill -KILL "$1"
`
