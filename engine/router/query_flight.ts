/** QueryFlight: one statement on its way to Postgres, for all who ask for the same result meanwhile.
 *  Owns:   who waits for it, and what is known of it so far.   Not here: where its result goes (query_cache.ts).
 *  Thread: main.
 *  Holds:  (1) each who waits is answered once, unless its connection is gone.  (2) nobody's request ends by another's deadline. */

import type { AdaptiveBounds } from '../cache/adaptive.ts'
import { HearthError } from '../errors.ts'
import { BodyReader, SCALAR_BYTES_MAX, writeUint } from '../protocol/body.ts'
import type { ReplyWriter } from './reply.ts'

/** Who has less left than this is told that the time is over. */
const PATIENCE_MS = 10

interface Waiter {
  readonly replies: ReplyWriter
  readonly id: number
  /** When its own deadline passes, in milliseconds of the monotonic clock. */
  readonly untilMs: number
}

/** What a request for a cached result says of its keeping. */
export interface Keeping {
  readonly ttl: number | string | undefined
  /** How long after its expiry a result may be given yet. */
  readonly staleMs: number
  readonly tags: readonly string[]
  /** Its time to live follows what is seen of the result; undefined: it does not. */
  readonly bounds: AdaptiveBounds | undefined
}

/** Where its result would stand. */
export interface Place {
  readonly key: string
  readonly keyBytes: Buffer
  readonly hash: number
  /** The statement's part of the key. */
  readonly prefix: string
  readonly sql: string
}

export class QueryFlight {
  readonly place: Place
  readonly database: string
  readonly keeping: Keeping
  /** The request as the worker gets it: the body of a QUERY. */
  readonly body: Buffer
  /** The count of invalidations when it was sent. */
  sentAt = 0
  /** Why its result may not be kept; undefined: not known yet. */
  refusal: string | undefined
  /** The number of the client who came first. */
  client = 0
  /** How long results of its statement were seen to last, in milliseconds; 0: nobody knows. */
  lastedMs = 0
  tables: readonly number[] = []
  /** Nobody waits, and it is to come nevertheless. */
  readonly isRefresh: boolean
  private waiters: Waiter[] = []

  constructor(place: Place, database: string, keeping: Keeping, body: Buffer, isRefresh: boolean) {
    this.place = place
    this.database = database
    this.keeping = keeping
    this.body = body
    this.isRefresh = isRefresh
  }

  get isUnwanted(): boolean {
    return this.waiters.length === 0 && !this.isRefresh
  }

  join(replies: ReplyWriter, id: number, untilMs: number): void {
    replies.inflight++
    this.waiters.push({ replies, id, untilMs })
  }

  /** Forgets the requests of a connection, or the one with an id; whether there was any. Each is told `error`, if that is given. */
  leave(replies: ReplyWriter, id: number | undefined, error?: HearthError): boolean {
    const isLeaving = (waiter: Waiter) =>
      waiter.replies === replies && (id === undefined || waiter.id === id)
    const leaving = this.waiters.filter(isLeaving)
    if (leaving.length === 0) return false
    this.waiters = this.waiters.filter(waiter => !isLeaving(waiter))
    for (const waiter of leaving) {
      waiter.replies.inflight--
      if (error !== undefined) waiter.replies.error(waiter.id, error)
    }
    return true
  }

  /** All who wait but the first, each in a flight of its own. */
  split(): QueryFlight[] {
    const { place, database, keeping, body } = this
    return this.waiters.splice(1).map(waiter => {
      const other = new QueryFlight(place, database, keeping, body, false)
      other.waiters.push(waiter)
      return other
    })
  }

  /** Its deadline, the first one's, has passed: those whose own has not, in a flight that lasts as long as any of them. */
  patient(nowMs: number): QueryFlight | undefined {
    const isPatient = (waiter: Waiter, index: number) =>
      index > 0 && waiter.untilMs > nowMs + PATIENCE_MS
    const patient = this.waiters.filter(isPatient)
    if (patient.length === 0) return undefined
    this.waiters = this.waiters.filter((waiter, index) => !isPatient(waiter, index))
    const leftMs = Math.ceil(Math.max(...patient.map(({ untilMs }) => untilMs)) - nowMs)
    const { place, database, keeping, body } = this
    const reader = new BodyReader().reset(body, 0, body.length)
    reader.textRange()
    const head = body.subarray(0, reader.at)
    reader.uint()
    const timeout = Buffer.allocUnsafe(SCALAR_BYTES_MAX)
    const end = writeUint(timeout, 0, Number.isFinite(leftMs) ? leftMs : 0)
    const lasting = Buffer.concat([head, timeout.subarray(0, end), body.subarray(reader.at)])
    const other = new QueryFlight(place, database, keeping, lasting, false)
    other.waiters = patient
    return other
  }

  answer(op: number, bytes: Buffer, start: number, end: number): void {
    const { waiters } = this
    this.waiters = []
    for (const { replies, id } of waiters) {
      replies.inflight--
      replies.frame(op, id, bytes, start, end)
    }
  }

  fail(error: HearthError): void {
    const { waiters } = this
    this.waiters = []
    for (const { replies, id } of waiters) {
      replies.inflight--
      replies.error(id, error)
    }
  }
}

export function givenUp(): HearthError {
  return new HearthError('DATABASE', 'given up by whoever asked', { sqlState: '57014' })
}
