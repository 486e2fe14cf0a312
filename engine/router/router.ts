/** Router: what a request's operation means: which tier or worker answers it, and what it costs the connection when it is wrong.
 *  Owns:   the table from operation to action.   Not here: the socket (server/session.ts), the tiers (cache_ops.ts).
 *  Thread: main.
 *  Holds:  (1) a request that was taken gets exactly one closing reply.  (2) a malformed frame throws PROTOCOL to the
 *          session; every other error becomes a reply.  (3) false means: no room now, nothing has happened. */

import { HearthError, toHearthError } from '../errors.ts'
import type { Lease } from '../pool/lease.ts'
import { BodyReader } from '../protocol/body.ts'
import { encodeValue } from '../protocol/payload.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import { type CacheOps, forwardReceiver } from './cache_ops.ts'
import type { ReplyWriter } from './reply.ts'

/** Figures and health come from all over the engine; the router is handed functions that gather them. */
export interface Overview {
  stats(): Promise<unknown>
  health(): Promise<unknown>
}

export class Router {
  private readonly cache: CacheOps
  private readonly postgres: () => Lease | undefined
  private readonly overview: Overview
  private readonly request = new BodyReader()

  constructor(cache: CacheOps, postgres: () => Lease | undefined, overview: Overview) {
    this.cache = cache
    this.postgres = postgres
    this.overview = overview
  }

  /** Takes one request: its body is bytes[start, end), valid only during the call. */
  route(
    replies: ReplyWriter,
    op: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): boolean {
    try {
      switch (op) {
        case OPS.GET.code:
          return this.cache.get(replies, id, bytes, start, end)
        case OPS.SET.code:
          return this.cache.set(replies, id, bytes, start, end)
        case OPS.DEL.code:
          return this.cache.del(replies, id, bytes, start, end)
        case OPS.QUERY.code:
          return this.query(replies, id, bytes, start, end)
        case OPS.KEYS.code:
          return this.cache.keys(replies, id, bytes, start, end)
        case OPS.PING.code:
          replies.ok(id)
          return true
        case OPS.STATS.code:
          return this.answerLater(replies, id, this.overview.stats())
        case OPS.HEALTH.code:
          return this.answerLater(replies, id, this.overview.health())
        default:
          throw new HearthError('PROTOCOL', `no operation has the code 0x${op.toString(16)}`)
      }
    } catch (error) {
      const known = toHearthError(error)
      if (known.code === 'PROTOCOL') throw known
      replies.error(id, known)
      return true
    }
  }

  /** Calls back when a request that was not taken may be given again. */
  onceRoom(op: number, callback: () => void): void {
    const lease = op === OPS.QUERY.code ? this.postgres() : this.cache.lease()
    if (lease?.isOpen) lease.onceRoom(callback)
    else setImmediate(callback)
  }

  private query(
    replies: ReplyWriter,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): boolean {
    const request = this.request.reset(bytes, start, end)
    request.textRange()
    request.uint()
    request.textRange()
    request.textRange()
    request.raw()
    const lease = this.postgres()
    if (lease === undefined) {
      throw new HearthError(
        'NOT_CONFIGURED',
        'no database is configured; set [postgres.main] url, or HEARTH_POSTGRES_URL, and start the engine again',
      )
    }
    if (!lease.isOpen)
      throw new HearthError('UNAVAILABLE', 'the postgres worker is restarting; nothing was sent')
    if (!lease.send(OPS.QUERY.code, forwardReceiver, replies, id, 0, bytes, start, end))
      return false
    replies.inflight++
    return true
  }

  private answerLater(replies: ReplyWriter, id: number, answer: Promise<unknown>): boolean {
    replies.inflight++
    answer.then(
      value => {
        const body = encodeValue(value)
        replies.inflight--
        replies.frame(REPLIES.RESULT.code, id, body, 0, body.length)
        replies.flush()
      },
      error => {
        replies.inflight--
        replies.error(id, toHearthError(error))
        replies.flush()
      },
    )
    return true
  }
}
