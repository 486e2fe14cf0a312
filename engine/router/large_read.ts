/** LargeRead: a value too long for one frame, on its way from tier 2 to one client, piece by piece.
 *  Owns:   one transfer.   Thread: main.
 *  Holds:  at most one piece is in memory for each transfer: the next is asked for when the client has taken the last, so
 *          a slow reader holds up itself alone. A value that changes meanwhile ends the transfer with UNAVAILABLE. */

import { HearthError } from '../errors.ts'
import type { Lease, Receiver } from '../pool/lease.ts'
import { textBytesMax, writeText, writeUint } from '../protocol/body.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { ReplyWriter } from './reply.ts'

/** Transfers at a time for one connection. */
const COUNT_MAX = 4

export class LargeRead {
  private readonly lease: Lease
  private readonly replies: ReplyWriter
  private readonly id: number
  private readonly key: string
  private readonly version: number
  private readonly totalBytes: number
  private readonly partBytes: number
  /** LOOKUP's: what stands before the value, and the reply that ends it. */
  private readonly head: Buffer | undefined
  private offset = 0

  constructor(
    lease: Lease,
    replies: ReplyWriter,
    id: number,
    key: string,
    version: number,
    totalBytes: number,
    partBytes: number,
    head?: Buffer,
  ) {
    this.lease = lease
    this.replies = replies
    this.id = id
    this.key = key
    this.version = version
    this.totalBytes = totalBytes
    this.partBytes = partBytes
    this.head = head
  }

  /** Asks for the first piece, now or when another transfer of this connection has ended. */
  start(): void {
    if (this.replies.largeReads >= COUNT_MAX) {
      this.replies.waitingReads.push(this)
      return
    }
    this.replies.largeReads++
    this.next()
  }

  /** Asks for the next piece. */
  readonly next = (): void => {
    if (this.replies.isEnded) return
    const body = Buffer.allocUnsafe(textBytesMax(this.key) + 27)
    let at = writeText(body, 0, this.key)
    at = writeUint(body, at, this.version)
    at = writeUint(body, at, this.offset)
    at = writeUint(body, at, this.partBytes)
    if (!this.lease.isOpen) {
      this.fail(new HearthError('UNAVAILABLE', 'the sqlite worker is restarting'))
    } else if (this.lease.send(OPS.READ_PART.code, partReceiver, this, 0, 0, body, 0, at)) {
      this.lease.publish() // This is no turn of a session's, which would do it.
    } else {
      this.lease.onceRoom(this.next)
    }
  }

  take(op: number, bytes: Buffer, start: number, end: number): void {
    if (op !== REPLIES.BYTES.code || end === start) {
      this.fail(
        new HearthError(
          'UNAVAILABLE',
          'the value was replaced while it was being read; read it again',
        ),
      )
      return
    }
    if (this.offset === 0 && this.head !== undefined)
      this.replies.frame(REPLIES.PART.code, this.id, this.head, 0, this.head.length)
    this.offset += end - start
    if (this.offset >= this.totalBytes) {
      this.replies.inflight--
      const op = this.head === undefined ? REPLIES.VALUE_SQLITE.code : REPLIES.ENTRY.code
      this.replies.frame(op, this.id, bytes, start, end)
      this.ended()
      return
    }
    this.replies.frame(REPLIES.PART.code, this.id, bytes, start, end)
    this.replies.onceSent(this.next)
  }

  fail(error: HearthError): void {
    this.replies.inflight--
    this.replies.error(this.id, error)
    this.replies.flush() // It may come from a socket's drain, which ends no turn.
    this.ended()
  }

  /** Its place goes to the one that has waited longest. */
  private ended(): void {
    const waiting = this.replies.waitingReads.shift()
    if (waiting === undefined) this.replies.largeReads--
    else this.replies.onceSent(waiting.next)
  }
}

const partReceiver: Receiver<LargeRead> = {
  receive: (reply, read) => read.take(reply.op, reply.bytes, reply.start, reply.end),
  fail: (error, read) => read.fail(error),
}
