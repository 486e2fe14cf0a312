/** HealthCheck: asks one service for its health path once in a while.
 *  Owns:   the timer, and the latest verdict.   Not here: how it is asked (http_probe.ts, https_probe.ts).
 *  Thread: main; never waits.
 *  Holds:  (1) one check at a time.  (2) a service is down after `healthTries` tries without a 2xx, one after the other, and up
 *          after one with.  (3) it keeps no process alive.
 *
 *  By the engine and not by its clients, so that it goes on when none is connected, and is done once. The engine speaks plain HTTP over
 *  a socket by itself, for which node:http is not needed (1.7 MB); TLS is left to a short-lived child (node:https in here: 4.5 MB). */

import { monotonicMs, wallMs } from '../clock.ts'
import type { PartHealth } from '../figures.ts'
import { log } from '../log.ts'
import { probeHttp } from './http_probe.ts'
import { probeHttps } from './https_probe.ts'

export interface ServiceOptions {
  readonly url: string
  readonly timeoutMs: number
  readonly retries: number
  readonly backoffMs: number
  readonly hedgeAfterMs: number
  readonly maxBodyBytes: number
  readonly healthPath: string
  /** Infinity: no checks. */
  readonly healthIntervalMs: number
  readonly healthTries: number
  readonly dependsOn: readonly string[] | undefined
}

/** Between the tries of one check. */
const TRY_PAUSE_MS = 1_000
/** The first check comes soon, but not all at once. */
const FIRST_CHECK_MS = 500

export class HealthCheck {
  private readonly name: string
  private readonly options: ServiceOptions
  /** Undefined until the first check is over. */
  private isUp: boolean | undefined
  private problem: string | undefined
  private failedTries = 0
  private latencyMs: number | undefined
  private checkedAtMs: number | undefined
  private timer: NodeJS.Timeout | undefined
  private isStopped = false

  constructor(name: string, options: ServiceOptions) {
    this.name = name
    this.options = options
  }

  start(): void {
    if (this.options.healthIntervalMs !== Infinity) this.next(FIRST_CHECK_MS * Math.random())
  }

  stop(): void {
    this.isStopped = true
    clearTimeout(this.timer)
  }

  figures() {
    return {
      up: this.isUp ?? null,
      failedTries: this.failedTries,
      latencyMs: this.latencyMs ?? null,
      checkedAtMs: this.checkedAtMs ?? null,
      problem: this.problem ?? null,
    }
  }

  health(): PartHealth {
    if (this.options.healthIntervalMs === Infinity) return { status: 'ok', warning: 'not checked' }
    if (this.isUp === undefined) return { status: 'ok', warning: 'not checked yet' }
    if (!this.isUp) return { status: 'down', reason: this.problem! }
    return this.problem === undefined
      ? { status: 'ok' }
      : { status: 'ok', warning: `the latest check failed: ${this.problem}` }
  }

  private next(pauseMs: number): void {
    if (this.isStopped) return
    this.timer = setTimeout(() => void this.look(), pauseMs)
    this.timer.unref()
  }

  /** One try; the next comes soon when it failed and others are left, else after the interval, give or take a tenth. */
  private async look(): Promise<void> {
    const { healthIntervalMs, healthTries } = this.options
    const beganMs = monotonicMs()
    const problem = await this.ask()
    this.latencyMs = Math.round((monotonicMs() - beganMs) * 10) / 10
    this.checkedAtMs = wallMs()
    this.problem = problem
    this.failedTries = problem === undefined ? 0 : this.failedTries + 1
    if (problem === undefined) this.verdict(true)
    else if (this.failedTries >= healthTries) this.verdict(false)
    const isSoon = problem !== undefined && this.failedTries % healthTries !== 0
    const pauseMs = healthIntervalMs * (0.9 + Math.random() / 5)
    this.next(isSoon ? Math.min(TRY_PAUSE_MS, healthIntervalMs) : pauseMs)
  }

  private verdict(isUp: boolean): void {
    const wasUp = this.isUp
    this.isUp = isUp
    if (wasUp === isUp || (wasUp === undefined && isUp)) return
    log(isUp ? 'info' : 'warn', isUp ? 'service is up again' : 'service is down', {
      service: this.name,
      reason: this.problem,
    })
  }

  /** What is wrong; undefined: nothing. */
  private async ask(): Promise<string | undefined> {
    const { url, healthPath, timeoutMs } = this.options
    try {
      const probe = url.startsWith('https:') ? probeHttps : probeHttp
      const status = await probe(url, healthPath, timeoutMs)
      if (status >= 200 && status < 300) return undefined
      const hint = status === 404 ? `; set services.${this.name}.health_path` : ''
      return `${healthPath} answered ${status}${hint}`
    } catch (error) {
      return `${healthPath}: ${(error as Error).message}`
    }
  }
}
