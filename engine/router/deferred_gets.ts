/** DeferredGets: one connection's gets whose value was found in tier 2 while the client had yet to take what was sent before.
 *  Owns:   the ids and keys of those gets.   Not here: long values, which come in pieces (large_read.ts).
 *  Thread: main.
 *  Holds:  the value itself is let go and asked for again, a few at a time, when the client has caught up: so a client that
 *          asks for much at once and is slow to read costs its keys, not its values, and need not be closed for it. */

import type { Lease } from '../pool/lease.ts'
import type { ReplyWriter } from './reply.ts'

/** Who answers a get. */
export interface Gets {
  lease(): Lease
  again(
    op: number,
    replies: ReplyWriter,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): boolean
}

interface Deferred {
  readonly gets: Gets
  readonly op: number
  readonly id: number
  readonly body: Buffer
}

/** Asked for again at a time: at most so many values of a piece's length are on their way then. */
const ASK_COUNT_MAX = 16

export class DeferredGets {
  private readonly replies: ReplyWriter
  private readonly queue: Deferred[] = []
  private isArmed = false

  constructor(replies: ReplyWriter) {
    this.replies = replies
  }

  /** Keeps a get that is counted as in flight; `body` is the caller's gift. */
  add(gets: Gets, op: number, id: number, body: Buffer): void {
    this.queue.push({ gets, op, id, body })
    if (this.isArmed) return
    this.isArmed = true
    this.replies.onceSent(this.turn)
  }

  private readonly turn = (): void => {
    const { replies, queue } = this
    if (replies.isEnded) return
    const count = Math.min(queue.length, ASK_COUNT_MAX)
    for (let i = 0; i < count; i++) {
      const { gets, op, id, body } = queue[0]!
      replies.inflight-- // again() counts it anew.
      if (!gets.again(op, replies, id, body, 0, body.length)) {
        replies.inflight++
        gets.lease().onceRoom(this.turn)
        return
      }
      queue.shift()
      gets.lease().publish() // This is no turn of a session's, which would do it.
    }
    this.isArmed = queue.length > 0
    if (this.isArmed) replies.onceSent(this.turn)
    else replies.flush()
  }
}
