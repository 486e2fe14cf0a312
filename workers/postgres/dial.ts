/** Dial: opens connections, with backoff while that fails, and knows whether the database is down.
 *  Owns:   attempts under way, the pause after failures, the driver once loaded.
 *  Thread: postgres worker.
 *  Holds:  (1) after a failure at most one attempt is under way, and attempts go on until one succeeds: a database that
 *          comes back is noticed without anybody asking.  (2) a refused login is passed on at once, not waited for. */

import type Client from 'pg-native'
import { monotonicMs } from '../../engine/clock.ts'
import { HearthError } from '../../engine/errors.ts'
import { Connection, type PreparedCounts } from './connection.ts'
import { isLoginFailure, loginError, oneLine, unreachableError } from './errors.ts'
import type { ReadResult } from './results.ts'
import { setupStatement, withDefaults } from './session.ts'

export const CONNECT_MS_MAX = 10_000
/** How long requests wait for a database that cannot be reached at all; a restart takes less. */
export const DOWN_PATIENCE_MS = 3_000
const BACKOFF_MS_MAX = 1_000
const LOGIN_BACKOFF_MS_MAX = 15_000

export interface DialEvents {
  opened(connection: Connection): void
  /** After each failure: whoever waits is to be told, if `refusal()` says so. */
  failed(): void
}

export class Dialer {
  attemptCount = 0
  connects = 0
  connectFailures = 0
  lastFailure: string | undefined
  readonly prepared: PreparedCounts = { hits: 0, misses: 0, evictions: 0, mended: 0 }
  private readonly conninfo: string
  private readonly statementTimeoutMs: number
  private readonly events: DialEvents
  private failuresInRow = 0
  private downSinceMs = 0
  private isLoginRefused = false
  private driverFailure: HearthError | undefined
  private retry: NodeJS.Timeout | undefined
  private isClosed = false

  constructor(url: string, statementTimeoutMs: number, events: DialEvents) {
    this.conninfo = withDefaults(url, CONNECT_MS_MAX)
    this.statementTimeoutMs = statementTimeoutMs
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
      if (this.isClosed) return connection.close('the pool is closed')
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

  private async open(): Promise<Connection> {
    const Driver = await loadDriver()
    const client = new Driver()
    await connectWithin(client, this.conninfo)
    const connection = new Connection(client, this.prepared)
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => connection.close('no answer to the first statement'),
        CONNECT_MS_MAX,
      )
      connection.run(setupStatement(this.statementTimeoutMs), [], outcome => {
        clearTimeout(timer)
        if (outcome.kind === 'result') return resolve()
        const why = outcome.kind === 'lost' ? outcome.why : outcome.text
        connection.close(why)
        reject(new Error(why))
      })
    })
    return connection
  }
}

function connectWithin(client: Client<ReadResult>, conninfo: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let isOver = false
    const settle = (error?: Error | string) => {
      if (isOver) return
      isOver = true
      clearTimeout(timer)
      if (error === undefined || error === null) return resolve()
      client.end()
      reject(typeof error === 'string' ? new Error(error) : error)
    }
    // libpq's own connect_timeout is not watched in asynchronous connects.
    const timer = setTimeout(
      () => settle(`no connection within ${CONNECT_MS_MAX} ms`),
      CONNECT_MS_MAX,
    )
    client.on('error', settle)
    client.connect(conninfo, settle)
  })
}

let driver: Promise<typeof Client<ReadResult>> | undefined

/** Loaded at the first connect: without libpq the worker, and with it the cache, still runs. */
function loadDriver(): Promise<typeof Client<ReadResult>> {
  driver ??= import('pg-native').then(
    module => module.default as typeof Client<ReadResult>,
    (cause: Error) => {
      driver = undefined // it may be installed meanwhile
      throw new HearthError(
        'NOT_CONFIGURED',
        `Postgres needs libpq, which could not be loaded (${oneLine(cause.message)}): install it ` +
          '(Debian, Ubuntu: apt install libpq5), or set engine.libpq to its path',
        { cause },
      )
    },
  )
  return driver
}
