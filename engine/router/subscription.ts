/** Subscription: one LISTEN of one connection: a ticket that stays open, and what comes on it.
 *  Owns:   the count of what this subscriber missed.   Thread: main.
 *  Holds:  a subscriber that does not keep up costs what its socket holds and no more: what comes meanwhile is counted, and
 *          told by one GAP before the next notification. It is no request in flight: nobody waits for it to end. */

import { HearthError } from '../errors.ts'
import { SUBSCRIPTION_COUNT_MAX, SUBSCRIPTIONS_OF_ONE_MAX } from '../limits.ts'
import type { Receiver } from '../pool/lease.ts'
import { encodeValue } from '../protocol/payload.ts'
import { HAS_MORE, REPLIES } from '../protocol/spec.ts'
import type { ReplyWriter } from './reply.ts'

/** Over all connections: each holds a ticket. */
let subscriptionCount = 0

export class Subscription {
  readonly replies: ReplyWriter
  private readonly id: number
  private lost = 0

  constructor(replies: ReplyWriter, id: number) {
    this.replies = replies
    this.id = id
  }

  /** Throws BUSY when one more would be too many. */
  static checkRoom(replies: ReplyWriter): void {
    replies.account?.checkSubscriptions(replies.access)
    const isMany = replies.subscriptions >= SUBSCRIPTIONS_OF_ONE_MAX
    if (!isMany && subscriptionCount < SUBSCRIPTION_COUNT_MAX) return
    const whose = isMany ? `this connection has ${SUBSCRIPTIONS_OF_ONE_MAX}` : 'there are too many'
    throw new HearthError('BUSY', `${whose} subscriptions already; close some`)
  }

  begun(): void {
    subscriptionCount++
    this.replies.subscriptions++
  }

  take(op: number, bytes: Buffer, start: number, end: number): void {
    if (HAS_MORE[op] === 0) this.ended()
    if (op === REPLIES.NOTIFICATION.code && (this.lost > 0 || this.replies.isCongested())) {
      if (this.lost++ === 0) this.replies.onceSent(this.tellLost)
      return
    }
    this.replies.frame(op, this.id, bytes, start, end)
  }

  fail(error: HearthError): void {
    this.ended()
    this.replies.error(this.id, error)
  }

  private ended(): void {
    subscriptionCount--
    this.replies.subscriptions--
  }

  private readonly tellLost = (): void => {
    if (this.replies.isEnded) return
    const why = 'this connection did not take what it was sent before'
    const body = Buffer.concat([encodeValue(this.lost), encodeValue(why)])
    this.lost = 0
    this.replies.frame(REPLIES.GAP.code, this.id, body, 0, body.length)
    this.replies.flush() // It comes from a socket's drain, which ends no turn.
  }
}

export const subscriptionReceiver: Receiver<Subscription> = {
  receive: (reply, subscription) =>
    subscription.take(reply.op, reply.bytes, reply.start, reply.end),
  fail: (error, subscription) => subscription.fail(error),
}
