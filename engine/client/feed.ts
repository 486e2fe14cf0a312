/** Feed: what a subscription brings, for as long as one wants: to a callback, or to a loop.
 *  Owns:   one request at the engine that stays open, made anew after each loss; what waits for a loop.   Not here: what is asked
 *          for, and what comes of it (subscription.ts, pattern_subscription.ts).
 *  Thread: the client's.
 *  Holds:  (1) what one side sends comes in order.  (2) whenever some may be missing, `gap` says so before the next one: after a
 *          loss of the connection, or when this process did not keep up.  (3) what waits for a loop is bounded. */

import { EventEmitter } from 'node:events'
import { HearthError } from '../errors.ts'
import type { Connection } from './connection.ts'
import type { Request } from './inflight.ts'

export interface Gap {
  /** How many were lost; undefined: nobody knows. */
  readonly lost: number | undefined
  readonly reason: string
}

/** What an open request tells its feed, its items apart. */
export interface FeedEvents {
  listening(): void
  gap(lost: number, reason: string): void
}

const WAITING_COUNT_MAX = 10_000
const BACKOFF_MS = 50
const BACKOFF_MS_MAX = 5_000
const OPEN_MS = 10_000
const CLOSED = Symbol('closed')

/** Events: `gap`, and `close` with the error if it was not asked for. */
export abstract class Feed<Item>
  extends EventEmitter<{ gap: [Gap]; close: [HearthError?] }>
  implements AsyncIterable<Item>
{
  private readonly connection: Connection
  private readonly onItem: ((item: Item) => void) | undefined
  private readonly abort = new AbortController()
  private readonly opened = Promise.withResolvers<void>()
  private wasOpen = false
  private isMissing: string | undefined
  private isClosed = false
  private failure: HearthError | undefined
  private backoffMs = BACKOFF_MS
  private timer: NodeJS.Timeout | undefined
  /** For loops: what has come and was not taken, and who waits for more. */
  private readonly waiting: Item[] = []
  private dropped = 0
  private isIterated = false
  private wake: () => void = () => undefined

  constructor(connection: Connection, onItem: ((item: Item) => void) | undefined) {
    super()
    this.connection = connection
    this.onItem = onItem
    this.opened.promise.catch(() => undefined)
  }

  /** A new request for it, which hands what comes to take(). */
  protected abstract request(events: FeedEvents): Request

  /** Resolves once it is confirmed for the first time; rejects when it cannot be had. */
  untilOpen(): Promise<void> {
    return this.opened.promise
  }

  /** Ends it. Loops end, and nothing more is delivered. */
  close(): void {
    if (!this.isClosed) this.end(undefined)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** At most 10 000 wait for the loop, then the oldest go and `gap` says how many. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void, void> {
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

  /** Asks for it, once the subclass is made. */
  protected ask(): void {
    const request = this.request({
      listening: () => this.listening(),
      gap: (lost, reason) => this.gap({ lost: lost === 0 ? undefined : lost, reason }),
    })
    this.connection.request(request, OPEN_MS, this.abort.signal).then(
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

  protected take(item: Item): void {
    if (this.isClosed) return
    if (this.onItem !== undefined) this.callOut(this.onItem, item)
    if (!this.isIterated && this.onItem !== undefined) return
    this.waiting.push(item)
    if (this.waiting.length > WAITING_COUNT_MAX) {
      this.waiting.shift()
      this.dropped++
    }
    this.wake()
  }

  /** What a callback throws is its own, and must not cost what else this read of the socket has brought. */
  private callOut(callback: (item: Item) => void, item: Item): void {
    try {
      callback(item)
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
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
