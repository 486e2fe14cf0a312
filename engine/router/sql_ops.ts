/** sql_ops: what goes on to the postgres worker: statements, transactions, streams, COPY, LISTEN, and their cancellation.
 *  Owns:   nothing; which connection has what open stands in its ReplyWriter.   Not here: what it means (workers/postgres/ops.ts).
 *  Thread: main.
 *  Holds:  (1) a body is checked against the table before it is sent on, and sent on as it is.  (2) a handle is used by the
 *          connection that opened it alone.  (3) when a connection ends, its unanswered requests are cancelled and what it has open
 *          is closed: also what the worker opens for it only after that.
 *
 *  Methods return false when the worker has no room: nothing has happened then, and the same frame is given again later. */

import { HearthError } from '../errors.ts'
import type { Lease, Receiver } from '../pool/lease.ts'
import { BodyReader, SCALAR_BYTES_MAX, writeUint } from '../protocol/body.ts'
import { type FrameSpec, OP_BY_CODE, OPS, REPLIES } from '../protocol/spec.ts'
import { CacheOutcomes } from './cache_outcomes.ts'
import { failReplies, forwardReceiver } from './forward.ts'
import { Handles } from './handles.ts'
import { introduce } from './insight_ops.ts'
import { Recipes } from './recipes.ts'
import type { ReplyWriter } from './reply.ts'
import { Subscription, subscriptionReceiver } from './subscription.ts'

export class SqlOps {
  readonly databaseOf: (name: string) => string
  /** How requests for cached results were answered. */
  readonly outcomes = new CacheOutcomes()
  /** And how those that are kept were asked for. */
  readonly recipes = new Recipes()
  private readonly postgres: () => Lease | undefined
  private readonly request = new BodyReader()
  private readonly opened = new BodyReader()

  /** `databaseOf`: the configured database that a name in a frame means, where a role's own connections have names of their own. */
  constructor(postgres: () => Lease | undefined, databaseOf = (name: string) => name) {
    this.databaseOf = databaseOf
    this.postgres = postgres
  }

  /** The lease on the worker, as it is now; undefined when no database is configured. */
  lease(): Lease | undefined {
    return this.postgres()
  }

  /** One statement, autocommit: the hot path. */
  query(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const request = this.request.reset(bytes, start, end)
    request.textRange()
    request.uint()
    request.uint()
    request.textRange()
    request.textRange()
    request.raw()
    const lease = this.openLease()
    const { client } = replies
    if (replies.introducedTo !== lease && !this.introduce(lease, replies)) return false
    if (!lease.send(OPS.QUERY.code, forwardReceiver, replies, id, 0, bytes, start, end, client))
      return false
    replies.inflight++
    return true
  }

  /** Tells a worker who asks, once. False: no room now. */
  introduce(lease: Lease, replies: ReplyWriter): boolean {
    if (!introduce(lease, replies)) return false
    replies.introducedTo = lease
    return true
  }

  /** The number of a client, of whom the worker is told if there is room for that now. */
  knownClient(replies: ReplyWriter): number {
    const lease = this.postgres()
    if (lease?.isOpen && replies.introducedTo !== lease) this.introduce(lease, replies)
    return replies.client
  }

  /** Every other operation that the worker answers. */
  send(
    op: number,
    replies: ReplyWriter,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): boolean {
    const spec: FrameSpec = OPS[OP_BY_CODE.get(op)!]
    const first = this.check(spec, bytes, start, end)
    if (op === OPS.LISTEN.code) return this.listen(replies, id, bytes, start, end)
    const isOnHandle = spec.args[0]![0] === 'handle'
    const lease = isOnHandle || first > 0 ? handlesOf(replies).leaseOf(first) : this.openLease()
    const isOpening = OPENING.has(op)
    if (isOpening) handlesOf(replies).checkRoom()
    const receiver = isOpening
      ? this.openReceiver
      : CLOSING.has(op)
        ? closeReceiver
        : forwardReceiver
    const known = receiver as Receiver
    if (isOpening && replies.introducedTo !== lease && !this.introduce(lease, replies)) return false
    if (!lease.send(op, known, replies, id, first, bytes, start, end, replies.client)) return false
    replies.inflight++
    return true
  }

  /** CANCEL: the request of this connection with that id, whether it waits or runs. */
  cancel(replies: ReplyWriter, id: number): void {
    this.postgres()?.cancel((context, of) => of === id && ownerOf(context) === replies)
  }

  /** A connection is gone: what it asked is given up, what it has open is closed. */
  sessionEnded(replies: ReplyWriter): void {
    const lease = this.postgres()
    if (lease === undefined) return
    if (replies.inflight + replies.subscriptions > 0)
      lease.cancel(context => ownerOf(context) === replies)
    replies.handles?.clear(close)
    lease.publish() // This may be no turn of a session's, which would do it.
  }

  /** Reads the arguments as the table has them; the first one's value if it is a number, else 0. Throws PROTOCOL. */
  private check(spec: FrameSpec, bytes: Buffer, start: number, end: number): number {
    const request = this.request.reset(bytes, start, end)
    let first = 0
    let isToEnd = false
    for (let i = 0; i < spec.args.length; i++) {
      const kind = spec.args[i]![1]
      if (kind === 'text') request.textRange()
      else if (kind === 'uint') {
        const value = request.uint()
        if (i === 0) first = value
      } else {
        if (kind === 'any') request.raw()
        isToEnd = true
      }
    }
    if (!isToEnd) request.done()
    return first
  }

  /** The lease, for a request. Throws NOT_CONFIGURED, and UNAVAILABLE when there is no worker now. */
  openLease(): Lease {
    const lease = this.postgres()
    if (lease === undefined) {
      throw new HearthError(
        'NOT_CONFIGURED',
        'no database is configured; set [postgres.main] url, or HEARTH_POSTGRES_URL, and start the engine again',
      )
    }
    if (!lease.isOpen)
      throw new HearthError('UNAVAILABLE', 'the postgres worker is restarting; nothing was sent')
    return lease
  }

  private listen(
    replies: ReplyWriter,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): boolean {
    Subscription.checkRoom(replies)
    const lease = this.openLease()
    const subscription = new Subscription(replies, id)
    const receiver = subscriptionReceiver as Receiver
    if (!lease.send(OPS.LISTEN.code, receiver, subscription, id, 0, bytes, start, end)) return false
    subscription.begun()
    return true
  }

  private readonly openReceiver: Receiver<ReplyWriter> = {
    receive: (reply, replies, id) => {
      if (reply.op === REPLIES.OPENED.code) {
        const handle = this.opened.reset(reply.bytes, reply.start, reply.end).uint()
        const lease = this.postgres()!
        if (replies.isEnded) close(handle, lease)
        else handlesOf(replies).add(handle, lease)
      }
      replies.inflight--
      replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
    },
    fail: failReplies,
  }
}

const OPENING: ReadonlySet<number> = new Set(
  [OPS.BEGIN, OPS.STREAM, OPS.COPY_OUT, OPS.COPY_IN].map(op => op.code),
)
/** Done, these close the handle; refused, it is kept until it is closed: it may be of another kind, and open. */
const CLOSING: ReadonlySet<number> = new Set(
  [OPS.COMMIT, OPS.CLOSE, OPS.COPY_END].map(op => op.code),
)

const closeReceiver: Receiver<ReplyWriter> = {
  receive: (reply, replies, id, handle) => {
    if (reply.op !== REPLIES.ERROR.code) replies.handles?.delete(handle)
    replies.inflight--
    replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
  },
  fail: failReplies,
}

function handlesOf(replies: ReplyWriter): Handles {
  replies.handles ??= new Handles()
  return replies.handles
}

/** Whose request it is: the context of a ticket is its connection, or its subscription. */
function ownerOf(context: unknown): unknown {
  return context instanceof Subscription ? context.replies : context
}

/** Tells the worker to close a handle, as soon as there is room to tell it. */
function close(handle: number, lease: Lease): void {
  if (!lease.isOpen) return
  const body = Buffer.allocUnsafe(SCALAR_BYTES_MAX)
  const end = writeUint(body, 0, handle)
  if (lease.send(OPS.CLOSE.code, nobody, undefined, 0, handle, body, 0, end)) lease.publish()
  else lease.onceRoom(() => close(handle, lease))
}

const nobody: Receiver = { receive: () => undefined, fail: () => undefined }
