/** HealthCheck: looks at one server: every interval, at once when something is wrong, and more often while much is read from it.
 *  Owns:   its timer and its probe.   Not here: what follows from what it sees (topology.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) one look at a time, over within the timeout.  (2) `retries` failures in a row, not one, make a server down; one that
 *          passes makes it up again, the clock alone never does. */

import { monotonicMs } from '../../../engine/clock.ts'
import type { HealthOptions, PoolSpec } from '../database.ts'
import { oneLine } from '../errors.ts'
import type { Cpu } from './cpu.ts'
import { OBSERVE, OBSERVE_CPU, type Observation, observationOf } from './observation.ts'
import { Probe, Refusal } from './probe.ts'

/** Between one failed look and the next. A server that is down is looked at as often, so that its return is noticed. */
const RETRY_MS = 500
/** A look that takes so many times as long as those before it is a reason to ask others instead, if there are any. What waits at
 *  a server that stands still waits for this; one that is only busy answers its looks more slowly each time, and is given longer. */
const OVERDUE_FACTOR = 25
const OVERDUE_MS_MIN = 100
const OVERDUE_MS_MAX = 400

/** How often the host's CPU is asked about, at the most. */
const CPU_MS = 1_000

export interface HealthEvents {
  seen(observation: Observation): void
  /** The look is out for longer than a healthy server needs; `isEarly`: than this one needs as a rule. */
  overdue(isEarly: boolean): void
  /** `isThere`: something answered, though it refused: a server that is starting, or is full. */
  failed(why: string, failuresInRow: number, isThere: boolean): void
}

export class HealthCheck {
  readonly probe: Probe
  failuresInRow = 0
  private readonly cpu: Cpu
  private readonly options: HealthOptions
  private readonly events: HealthEvents
  private timer: NodeJS.Timeout | undefined
  private looking: Promise<void> | undefined
  private cpuAskedMs = -CPU_MS
  /** What a look takes; the slow ones count at once. */
  private usualMs = OVERDUE_MS_MAX / OVERDUE_FACTOR
  private isClosed = false

  constructor(spec: PoolSpec, cpu: Cpu, options: HealthOptions, events: HealthEvents) {
    this.cpu = cpu
    this.probe = new Probe(spec)
    this.probe.onLost = () => this.look()
    this.options = options
    this.events = events
  }

  /** Looks now, unless a look is out already; resolves when that is over, however it ended. */
  look(): Promise<void> {
    if (this.isClosed) return Promise.resolve()
    this.looking ??= this.lookNow().finally(() => {
      this.looking = undefined
      this.arm()
    })
    return this.looking
  }

  close(): void {
    this.isClosed = true
    clearTimeout(this.timer)
    this.probe.close()
  }

  private async lookNow(): Promise<void> {
    clearTimeout(this.timer)
    const askedMs = monotonicMs()
    const earlyMs = Math.max(OVERDUE_MS_MIN, this.usualMs * OVERDUE_FACTOR)
    const early = setTimeout(() => this.events.overdue(true), Math.min(earlyMs, OVERDUE_MS_MAX))
    const overdue = setTimeout(() => this.events.overdue(false), OVERDUE_MS_MAX)
    try {
      const [row] = await this.probe.ask(OBSERVE, this.options.timeoutMs)
      if (this.isClosed || row === undefined) return
      this.failuresInRow = 0
      const tookMs = monotonicMs() - askedMs
      this.usualMs = Math.max(tookMs, this.usualMs + (tookMs - this.usualMs) / 8)
      const seen = observationOf(row, askedMs)
      this.events.seen(seen)
      if (seen.mayReadFiles && askedMs - this.cpuAskedMs > CPU_MS) await this.lookAtCpu(askedMs)
    } catch (error) {
      if (this.isClosed) return
      const { message } = error as Error
      // Its own connection found no room: the server is well, and full.
      if (FULL.test(message)) return
      const isThere = error instanceof Refusal || /\bFATAL:/.test(message)
      this.events.failed(oneLine(message), ++this.failuresInRow, isThere)
    } finally {
      clearTimeout(early)
      clearTimeout(overdue)
    }
  }

  /** Of no consequence when it fails. */
  private async lookAtCpu(askedMs: number): Promise<void> {
    this.cpuAskedMs = askedMs
    const rows = await this.probe.ask(OBSERVE_CPU, this.options.timeoutMs).catch(() => [])
    this.cpu.note(String(rows[0]?.['cpu'] ?? ''), askedMs)
  }

  private arm(): void {
    clearTimeout(this.timer)
    if (this.isClosed) return
    const { intervalMs } = this.options
    const pauseMs = this.failuresInRow > 0 ? Math.min(RETRY_MS, intervalMs) : intervalMs
    this.timer = setTimeout(() => this.look(), pauseMs).unref()
  }
}

const FULL = /too many (clients|connections)|connection slots/
