/** Subscription: `db.listen(channel)`: a channel's notifications, for as long as one wants.
 *  Owns:   one LISTEN at the engine, made anew after each loss.   Not here: the server's side (workers/postgres/listener.ts).
 *  Thread: the client's.
 *  Holds:  (1) notifications come in order.  (2) whenever some may be missing, `gap` says so before the next one: after a loss
 *          of the engine or of Postgres, or when this process did not keep up.  (3) what waits for a loop is bounded. */

import { EventEmitter } from 'node:events'
import { correlationId } from '../correlation.ts'
import { HearthError } from '../errors.ts'
import type { Connection } from './connection.ts'
import { ListenRequest } from './sql_requests.ts'

export interface Gap {
  /** How many notifications were lost; undefined: nobody knows. */
  readonly lost: number | undefined
  readonly reason: string
}

export type OnNotification = (payload: string, channel: string) => void

const WAITING_COUNT_MAX = 10_000
const BACKOFF_MS = 50
const BACKOFF_MS_MAX = 5_000
const LISTEN_MS = 10_000
const CLOSED = Symbol('closed')

/** Events: `gap`, and `close` with the error if it was not asked for. */
export class Subscription
  extends EventEmitter<{ gap: [Gap]; close: [HearthError?] }>
  implements AsyncIterable<string>
{
  readonly channel: string
  private readonly connection: Connection
  private readonly database: string
  private readonly onNotification: OnNotification | undefined
  private readonly abort = new AbortController()
  private readonly opened = Promise.withResolvers<void>()
  private wasOpen = false
  private isMissing: string | undefined
  private isClosed = false
  private failure: HearthError | undefined
  private backoffMs = BACKOFF_MS
  private timer: NodeJS.Timeout | undefined
  /** For loops: what has come and was not taken, and who waits for more. */
  private readonly waiting: string[] = []
  private dropped = 0
  private isIterated = false
  private wake: () => void = () => undefined

  constructor(
    connection: Connection,
    database: string,
    channel: string,
    onNotification: OnNotification | undefined,
  ) {
    super()
    this.connection = connection
    this.database = database
    this.channel = channel
    this.onNotification = onNotification
    this.opened.promise.catch(() => undefined)
    this.ask()
  }

  /** Resolves once the server has confirmed the first LISTEN; rejects when it cannot be had. */
  untilOpen(): Promise<void> {
    return this.opened.promise
  }

  /** Ends it. Loops end, and nothing more is delivered. */
  close(): void {
    if (!this.isClosed) this.end(undefined)
  }

  /** The payloads; at most 10 000 wait for the loop, then the oldest go and `gap` says how many. */
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, void> {
    this.isIterated = true
    try {
      while (!this.isClosed || this.waiting.length > 0) {
        if (this.waiting.length > 0) {
          this.tellDropped()
          yield this.waiting.shift()!
          continue
        }
        await new Promise<void>(resolve => {
          this.wake = resolve
        })
      }
      if (this.failure !== undefined) throw this.failure
    } finally {
      this.isIterated = false
      this.waiting.length = 0
    }
  }

  private ask(): void {
    const request = new ListenRequest(this.database, correlationId(), this.channel, {
      listening: () => this.listening(),
      notified: payload => this.notified(payload),
      gap: (lost, reason) => this.gap({ lost: lost === 0 ? undefined : lost, reason }),
    })
    this.connection.request(request, LISTEN_MS, this.abort.signal).then(
      () => this.lost(new HearthError('UNAVAILABLE', 'the engine ended the subscription')),
      error => this.lost(error),
    )
  }

  private listening(): void {
    this.backoffMs = BACKOFF_MS
    this.wasOpen = true
    this.opened.resolve()
    const reason = this.isMissing
    this.isMissing = undefined
    if (reason !== undefined) this.gap({ lost: undefined, reason })
  }

  /** It ended without our doing: asked for again where that can help. */
  private lost(error: unknown): void {
    if (this.isClosed || error === CLOSED) return
    const known = error as HearthError
    const mayHelp = RETRIED.has(known.code) && this.connection.state !== 'closed'
    if (!this.wasOpen || !mayHelp) return this.end(known)
    this.isMissing ??= known.message
    // Full jitter on the upper half, as for the connection itself.
    this.timer = setTimeout(() => this.ask(), this.backoffMs * (0.5 + Math.random() / 2))
    this.backoffMs = Math.min(this.backoffMs * 2, BACKOFF_MS_MAX)
  }

  private notified(payload: string): void {
    if (this.isClosed) return
    this.onNotification?.(payload, this.channel)
    if (!this.isIterated && this.onNotification !== undefined) return
    this.waiting.push(payload)
    if (this.waiting.length > WAITING_COUNT_MAX) {
      this.waiting.shift()
      this.dropped++
    }
    this.wake()
  }

  private tellDropped(): void {
    if (this.dropped === 0) return
    const lost = this.dropped
    this.dropped = 0
    this.gap({ lost, reason: `more than ${WAITING_COUNT_MAX} waited for the loop` })
  }

  private gap(gap: Gap): void {
    if (!this.isClosed) this.emit('gap', gap)
  }

  private end(failure: HearthError | undefined): void {
    this.isClosed = true
    this.failure = failure
    this.opened.reject(failure ?? new HearthError('CLOSED', 'the subscription was closed'))
    clearTimeout(this.timer)
    this.abort.abort(CLOSED)
    this.wake()
    this.emit('close', failure)
  }
}

const RETRIED: ReadonlySet<string> = new Set(['UNAVAILABLE', 'TIMEOUT', 'BUSY', 'CLOSED'])
