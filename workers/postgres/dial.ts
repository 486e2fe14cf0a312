/** Dial: opens connections, with backoff while that fails, and knows whether the database is down.
 *  Owns:   attempts under way, the pause after failures.   Not here: how one is opened (connection_dial.ts, lane_dial.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) after a failure at most one attempt is under way, and attempts go on until one succeeds: a database that
 *          comes back is noticed without anybody asking.  (2) a refused login is passed on at once, not waited for. */

import { monotonicMs } from '../../engine/clock.ts'
import { HearthError } from '../../engine/errors.ts'
import { isLoginFailure, loginError, oneLine, unreachableError } from './errors.ts'

export const CONNECT_MS_MAX = 10_000
/** How long requests wait for a database that cannot be reached at all; a restart takes less. */
export const DOWN_PATIENCE_MS = 3_000
const BACKOFF_MS_MAX = 1_000
const LOGIN_BACKOFF_MS_MAX = 15_000

export interface DialEvents<T> {
  opened(connection: T): void
  /** After each failure: whoever waits is to be told, if `refusal()` says so. */
  failed(): void
  /** It was opened too late: nobody wants it any more. */
  drop(connection: T): void
}

export class Dialer<T> {
  attemptCount = 0
  connects = 0
  connectFailures = 0
  lastFailure: string | undefined
  /** Told of each connection that was made. */
  onConnected: () => void = () => {}
  private readonly open: () => Promise<T>
  private readonly events: DialEvents<T>
  private failuresInRow = 0
  private downSinceMs = 0
  private isLoginRefused = false
  /** The driver itself cannot be used: NOT_CONFIGURED. */
  driverFailure: HearthError | undefined
  private retry: NodeJS.Timeout | undefined
  private isClosed = false

  constructor(open: () => Promise<T>, events: DialEvents<T>) {
    this.open = open
    this.events = events
  }

  /** Begins one attempt, unless a failure is being waited out. False: not now. */
  dial(): boolean {
    if (this.isClosed || this.retry !== undefined) return false
    if (this.failuresInRow > 0 && this.attemptCount > 0) return false
    this.attempt()
    return true
  }

  /** Why a request without a connection should not wait, or undefined: it should. */
  refusal(correlationId: string): HearthError | undefined {
    if (this.failuresInRow === 0) return undefined
    if (this.driverFailure !== undefined) return this.driverFailure
    if (this.isLoginRefused) return loginError(this.lastFailure!, correlationId)
    if (monotonicMs() - this.downSinceMs < DOWN_PATIENCE_MS) return undefined
    return unreachableError(this.lastFailure!, correlationId)
  }

  close(): void {
    this.isClosed = true
    clearTimeout(this.retry)
  }

  private async attempt(): Promise<void> {
    this.attemptCount++
    try {
      const connection = await this.open()
      this.attemptCount--
      this.connects++
      this.failuresInRow = 0
      this.lastFailure = undefined
      this.isLoginRefused = false
      this.onConnected()
      if (this.isClosed) return this.events.drop(connection)
      this.events.opened(connection)
    } catch (error) {
      this.attemptCount--
      this.connectFailures++
      this.note(error as Error)
      if (!this.isClosed) this.events.failed()
    }
  }

  private note(error: Error): void {
    if (this.failuresInRow++ === 0) this.downSinceMs = monotonicMs()
    this.lastFailure = oneLine(error.message)
    this.driverFailure = error instanceof HearthError ? error : undefined
    this.isLoginRefused = isLoginFailure(error.message)
    if (this.isClosed || this.retry !== undefined) return
    const mostMs = this.isLoginRefused || this.driverFailure ? LOGIN_BACKOFF_MS_MAX : BACKOFF_MS_MAX
    // 20–40 ms, 40–80, 80–160, … half of it at random, so that pools do not come back in step. The most is short
    // against DOWN_PATIENCE_MS: a server that was away for a moment is not taken for one that is down.
    const pauseMs = (0.5 + Math.random() / 2) * Math.min(2 ** this.failuresInRow * 20, mostMs)
    this.retry = setTimeout(() => {
      this.retry = undefined
      if (this.attemptCount === 0) this.attempt()
    }, pauseMs)
    this.retry.unref()
  }
}
