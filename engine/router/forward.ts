/** forward: a worker's reply handed to the client as it is.
 *  Owns:   nothing.   Thread: main.   Holds: each answer takes its request out of the connection's count. */

import type { HearthError } from '../errors.ts'
import type { Receiver } from '../pool/lease.ts'
import type { ReplyWriter } from './reply.ts'

export const forwardReceiver: Receiver<ReplyWriter> = {
  receive: (reply, replies, id) => {
    replies.inflight--
    replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
  },
  fail: failReplies,
}

export function failReplies(error: HearthError, replies: ReplyWriter, id: number): void {
  replies.inflight--
  replies.error(id, error)
}
