/** ReplyWriter: the replies on their way back to one connection.
 *  Owns:   the count of what is unanswered, and the list of connections to flush at the end of the turn.
 *  Thread: main.
 *  Holds:  one write a turn: whoever causes replies calls flushReplies() at its end. A late answer to a client that is gone
 *          goes nowhere. */

import type { HearthError } from '../errors.ts'
import { type Access, ADMIN } from '../guard/access.ts'
import type { Account } from '../guard/accounts.ts'
import { CLIENT_NUMBER_MAX } from '../limits.ts'
import { writeUint } from '../protocol/body.ts'
import { encodeError } from '../protocol/error_frame.ts'
import { FrameWriter, type Outlet } from '../protocol/frame_writer.ts'
import { HEADER_BYTES } from '../protocol/header.ts'
import { HAS_MORE, OPS, REPLIES } from '../protocol/spec.ts'
import type { DeferredGets } from './deferred_gets.ts'
import type { Handles } from './handles.ts'
import type { PendingChanges } from './key_changes.ts'
import type { Subscriber } from './pub_sub.ts'
import { RequestMeter } from './request_meter.ts'

const unflushed: FrameWriter[] = []
let lastClient = 0

/** Writes out what every connection has gathered. Called at the end of each turn that may have caused replies. */
export function flushReplies(): void {
  for (let i = 0; i < unflushed.length; i++) unflushed[i]!.flush()
  unflushed.length = 0
}

export class ReplyWriter extends FrameWriter {
  /** By which a worker tells clients apart: no two that live have the same. */
  readonly client = nextClient()
  /** Whose connection it is, for people: the client's name and user. */
  caller = ''
  /** The lease whose worker knows that. */
  introducedTo: unknown
  /** Requests taken and not answered yet; the router adds, each closing reply subtracts. */
  inflight = 0
  /** Long values on their way, and those that wait for one of them to end. */
  largeReads = 0
  readonly waitingReads: { readonly next: () => void }[] = []
  deferred: DeferredGets | undefined
  /** What the connection has open at the postgres worker; undefined until there is something. */
  handles: Handles | undefined
  subscriptions = 0
  /** What its client may do, and its user's account; a session sets both, before it takes the first request. */
  access: Access = ADMIN
  account: Account | undefined
  /** Its subscriptions to messages and key changes, by their ids; undefined until there is one. */
  subscribers: Map<number, Subscriber> | undefined
  /** What is to be told of its requests once they are answered; undefined until somebody watches keys. */
  changes: PendingChanges | undefined
  /** The client has much to take yet: more should not be sent if it can be had again later. */
  readonly isCongested: () => boolean

  private readonly meter: RequestMeter
  /** The request that is being taken; -1: none. What answered it: 0 nothing yet, else 1 + the error's wire number. */
  private takingId = -1
  private takingEnd = 0

  constructor(outlet: Outlet, isCongested: () => boolean, meter = new RequestMeter()) {
    super(outlet, writer => unflushed.push(writer))
    this.isCongested = isCongested
    this.meter = meter
  }

  /** A request is given to whoever answers it; taken() follows, with whether somebody took it. */
  taking(id: number): void {
    this.takingId = id
    this.takingEnd = 0
  }

  taken(op: number, isTaken: boolean): void {
    const { takingId, takingEnd } = this
    this.takingId = -1
    if (!isTaken) return
    if (takingEnd !== 0) this.meter.answered(op, takingEnd - 1)
    else if (op !== OPS.CANCEL.code && !this.isEnded) this.meter.opened(this.client, takingId, op)
  }

  override flush(): void {
    super.flush()
    this.meter.flushed()
  }

  override end(): void {
    super.end()
    this.meter.gone(this.client)
  }

  override commit(op: number, id: number, end: number): void {
    if (ENDS[op] === 1) {
      // A wire number takes one byte, the first of the body.
      const wire = op === REPLIES.ERROR.code ? this.target[this.at + HEADER_BYTES]! : 0
      if (id === this.takingId) this.takingEnd = 1 + wire
      else this.meter.closed(this.client, id, wire)
    }
    super.commit(op, id, end)
    if (this.changes !== undefined) this.changes.answered(op, id, this.target, end)
  }

  /** A closing frame without a body. */
  empty(op: number, id: number): void {
    const at = this.begin(0)
    if (at >= 0) this.commit(op, id, at)
  }

  ok(id: number): void {
    this.empty(REPLIES.OK.code, id)
  }

  count(id: number, count: number): void {
    const at = this.begin(9)
    if (at >= 0) this.commit(REPLIES.COUNT.code, id, writeUint(this.target, at, count))
  }

  error(id: number, error: HearthError): void {
    const body = encodeError(error)
    this.frame(REPLIES.ERROR.code, id, body, 0, body.length)
  }
}

/** 1 for the codes of replies with which a request's time is over: those that close it, and the confirmation of one that stays open. */
const ENDS = HAS_MORE.map(more => 1 - more)
ENDS[REPLIES.LISTENING.code] = 1

/** From 1 on; a billion connections later again. */
function nextClient(): number {
  lastClient = lastClient === CLIENT_NUMBER_MAX ? 1 : lastClient + 1
  return lastClient
}
