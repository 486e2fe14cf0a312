/** ServiceManager: what systemd is told of this process (sd_notify(3)), and the watchdog it is kept quiet with.
 *  Owns:   the watchdog's timer.   Not here: signals (daemon.ts), sockets that systemd holds (server/held_socket.ts).
 *  Thread: main.
 *  Holds:  (1) WATCHDOG=1 goes out from main's event loop, and only after every worker has answered: a loop or a worker that hangs
 *          gets the process restarted.  (2) without a manager, or without the native binding, all of this is nothing.
 *          (3) what was meant for this process is taken out of the environment, so that no child speaks for it. */

import { monotonicUsec } from './clock.ts'
import { STOP_MS_MAX } from './limits.ts'
import { log } from './log.ts'
import type { Native } from './native.ts'

export interface Watched {
  /** Whether every worker answers within the time. */
  workersAnswer(timeoutMs: number): Promise<boolean>
  /** The line that `systemctl status` shows. */
  status(): string
}

/** A worker that has not answered yet is asked again so often before the next WATCHDOG=1 is due. */
const ASK_AGAIN = 4
const RETRY_MS = 50
const RETRY_COUNT_MAX = 20

export class ServiceManager {
  private readonly native: Native | undefined
  private readonly address: string | undefined
  private readonly watchdogMs: number
  private timer: NodeJS.Timeout | undefined
  private lastStatus = ''

  /** Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of `env`. */
  constructor(env: NodeJS.ProcessEnv, native: Native | undefined) {
    this.native = native
    this.address = env['NOTIFY_SOCKET']
    this.watchdogMs = watchdogMsOf(env)
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name]
  }

  ready(status: string): void {
    this.send(`READY=1\nSTATUS=${line(status)}`)
  }

  /** The configuration is being read again, until ready() is called. */
  reloading(): void {
    this.send(`RELOADING=1\nMONOTONIC_USEC=${monotonicUsec()}`)
  }

  /** A manager whose patience is shorter than a drain takes is asked for more. */
  stopping(): void {
    this.send(
      `STOPPING=1\nEXTEND_TIMEOUT_USEC=${STOP_MS_MAX * 1_000}\nSTATUS=finishing what is in flight`,
    )
  }

  /** Feeds the watchdog, if there is one, twice an interval from now on. */
  watch(watched: Watched): void {
    if (this.watchdogMs > 0) this.timer = setTimeout(() => void this.look(watched), 0).unref()
  }

  unwatch(): void {
    clearTimeout(this.timer)
    this.timer = undefined
  }

  private async look(watched: Watched): Promise<void> {
    const halfMs = this.watchdogMs / 2
    const askMs = halfMs / ASK_AGAIN
    const isWell = await watched.workersAnswer(askMs)
    if (this.timer === undefined) return
    if (isWell) this.send(`WATCHDOG=1${this.newStatus(watched.status())}`)
    else log('warn', 'the watchdog is not fed: a worker does not answer', { withinMs: askMs })
    this.timer = setTimeout(() => void this.look(watched), isWell ? halfMs : askMs).unref()
  }

  private newStatus(status: string): string {
    if (status === this.lastStatus) return ''
    this.lastStatus = status
    return `\nSTATUS=${line(status)}`
  }

  private send(state: string, attempt = 1): void {
    if (this.address === undefined || this.native === undefined) return
    try {
      this.native.notifySystemd(state, this.address)
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      // The manager's queue is full for the moment: what it is told never blocks the engine.
      if (code === 'EAGAIN' && attempt < RETRY_COUNT_MAX)
        setTimeout(() => this.send(state, attempt + 1), RETRY_MS).unref()
      else log('warn', 'the service manager cannot be told', { state, error: message })
    }
  }
}

function watchdogMsOf(env: NodeJS.ProcessEnv): number {
  const { WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = env
  if (pid !== undefined && pid !== String(process.pid)) return 0
  return usec !== undefined && /^\d{1,15}$/.test(usec) ? Number(usec) / 1_000 : 0
}

/** A line end would begin another assignment. */
function line(text: string): string {
  return text.replace(/\s*\n\s*/g, '; ')
}
