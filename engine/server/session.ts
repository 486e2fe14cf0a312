/** Session: one connection's requests, from bytes to the router, in order and no faster than they can be answered.
 *  Owns:   the bytes of frames that are not whole yet or not taken yet.   Not here: the socket (socket_wire.ts, listener.ts).
 *  Thread: main.
 *  Holds:  (1) frames reach the router whole, once, in order.  (2) a session that is held reads nothing: what it keeps is at
 *          most one read and one frame.  (3) a malformed frame ends this connection after a PROTOCOL reply, nothing else.
 *
 *      greeting ──HELLO──▶ serving ⇄ held (no room, too much unanswered, too much unsent)      any ──bad frame, gone──▶ closed */

import { monotonicMs } from '../clock.ts'
import { HearthError, isHearthError, toHearthError } from '../errors.ts'
import { type Access, nobodyError } from '../guard/access.ts'
import type { Account } from '../guard/accounts.ts'
import {
  READ_BYTES,
  SESSION_FRAME_MS_MAX,
  SESSION_HELLO_MS_MAX,
  SESSION_UNSENT_BYTES_MAX,
  SESSION_UNSENT_BYTES_PAUSE,
} from '../limits.ts'
import { log } from '../log.ts'
import { bodyBytesOf, HEADER_BYTES, opOf, readId, readWord } from '../protocol/header.ts'
import { NO_ID } from '../protocol/leave_spec.ts'
import { encodeValue } from '../protocol/payload.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import { checkRight } from '../router/permit.ts'
import { ReplyWriter } from '../router/reply.ts'
import { nameInHello } from './hello.ts'
import { LONG_OPS } from './long_ops.ts'
import type { Peer } from './peer.ts'
import type { AttachedPage, SessionContext, Wire } from './session_context.ts'

export class Session {
  readonly id: string
  readonly peer: Peer
  name = ''
  private readonly wire: Wire
  private readonly context: SessionContext
  private readonly replies: ReplyWriter
  private readonly account: Account
  /** Its user has a quota of what may be in flight. */
  private isCounted: boolean
  private state: 'greeting' | 'serving' | 'closed' = 'greeting'
  /** Whole bytes not taken yet, while held. */
  private held: Buffer | undefined
  /** What was held, while it is gone through again. */
  private resumed: Buffer | undefined
  /** A frame that is not whole yet, filled up to `partialEnd`. Its budget is given back with it. */
  private partial: Buffer | undefined
  private partialEnd = 0
  private budgetBytes = 0
  private page: AttachedPage | undefined
  /** Bytes of a refused body that are still to come. */
  private skipBytes = 0
  private begunMs = monotonicMs()
  private isStopping = false
  private isLeaving = false
  private isToldToLeave = false
  /** Since when what is held has waited; 0: nothing is. */
  private heldSinceMs = 0
  private isResuming = false

  constructor(id: string, peer: Peer, wire: Wire, context: SessionContext) {
    this.id = id
    this.peer = peer
    this.wire = wire
    this.context = context
    this.replies = new ReplyWriter(
      { send: bytes => this.send(bytes), onceSent: callback => wire.onceSent(callback) },
      () => wire.unsentBytes() > SESSION_UNSENT_BYTES_PAUSE,
      context.meter,
    )
    this.replies.access = context.accessOf(peer)
    this.account = context.accountOf(peer, this.replies)
    this.replies.account = this.account
    this.isCounted = this.access.quotas.inflight < Infinity
  }

  get access(): Access {
    return this.replies.access
  }

  /** The configuration has changed. Other rights mean another connection: what this one has mapped, opened and subscribed to it
   *  had by the old ones. */
  setAccess(access: Access): void {
    const isSame = access.rights === this.access.rights
    this.replies.access = access
    this.isCounted = access.quotas.inflight < Infinity
    if (isSame || this.state === 'closed') return
    this.replies.flush()
    this.end()
    this.wire.close()
  }

  /** Requests that were taken or read and have no answer yet. */
  get inflight(): number {
    return this.replies.inflight + (this.held === undefined ? 0 : 1)
  }

  /** The engine is about to stop: the client is told, once, to finish here and to connect anew. Whether it has anything to finish:
   *  unanswered requests, a transaction or a stream. */
  leave(): boolean {
    this.isLeaving = true
    if (this.state === 'serving' && !this.isToldToLeave) {
      this.isToldToLeave = true
      this.replies.empty(REPLIES.LEAVING.code, NO_ID)
      this.replies.flush()
    }
    return this.inflight + (this.replies.handles?.count ?? 0) > 0
  }

  /** Takes what has been read already and no more: the engine is about to stop. */
  stopReading(): void {
    this.isStopping = true
    this.wire.pauseReads()
  }

  /** Takes what one read brought: valid only during the call. */
  receive(bytes: Buffer, end: number): void {
    const { meter, share } = this.context
    meter.turnBegins()
    share.turnBegins(this, meter.beganMs)
    if (this.held === undefined) this.consume(bytes, 0, end)
    else this.hold(bytes, 0, end)
    this.context.afterTurn()
    meter.turnEnds()
  }

  /** Closes a connection that says nothing, or does not finish what it began. Called every second or so. */
  checkDeadline(nowMs: number): void {
    if (this.state === 'greeting' && nowMs - this.begunMs > SESSION_HELLO_MS_MAX) {
      this.refuse(0, new HearthError('TIMEOUT', `no HELLO came within ${SESSION_HELLO_MS_MAX} ms`))
    } else if (
      this.partial !== undefined &&
      this.held === undefined &&
      nowMs - this.begunMs > SESSION_FRAME_MS_MAX
    ) {
      this.refuse(
        0,
        new HearthError('TIMEOUT', `a frame was not finished within ${SESSION_FRAME_MS_MAX} ms`),
      )
    }
  }

  /** The peer is gone, or is to go: nothing more is read or written. */
  end(): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.context.share.ended(this)
    this.replies.end()
    this.page?.release()
    this.context.router.sessionEnded(this.replies)
    this.account.leave(this.replies)
    this.held = undefined
    this.dropPartial()
  }

  private consume(bytes: Buffer, start: number, end: number): void {
    let at = start
    while (at < end && this.state !== 'closed') {
      if (this.skipBytes > 0) {
        const skipped = Math.min(this.skipBytes, end - at)
        this.skipBytes -= skipped
        at += skipped
        continue
      }
      if (this.partial !== undefined) {
        at = this.fillPartial(bytes, at, end)
        if (this.held !== undefined) return this.hold(bytes, at, end)
        continue
      }
      const left = end - at
      if (left < HEADER_BYTES) return this.beginPartial(HEADER_BYTES, bytes, at, end)
      const word = readWord(bytes, at)
      const bodyBytes = bodyBytesOf(word)
      if (bodyBytes > this.context.bodyBytesMax(opOf(word))) {
        at += HEADER_BYTES
        this.refuseBody(opOf(word), readId(bytes, at - HEADER_BYTES), bodyBytes)
        continue
      }
      if (left < HEADER_BYTES + bodyBytes) {
        if (this.beginFrame(HEADER_BYTES + bodyBytes, bytes, at, end)) return
        return this.hold(bytes, at, end)
      }
      if (!this.handle(bytes, at, word)) return this.hold(bytes, at, end)
      at += HEADER_BYTES + bodyBytes
    }
  }

  /** Gives one whole frame on; false when it has to wait. */
  private handle(bytes: Buffer, at: number, word: number): boolean {
    const op = opOf(word)
    const id = readId(bytes, at)
    const start = at + HEADER_BYTES
    const end = start + bodyBytesOf(word)
    if (this.mustWait()) return false
    const { replies } = this
    replies.taking(id)
    let isTaken = true
    try {
      if (this.state === 'greeting') this.greet(op, id, bytes, start, end)
      else if (op === OPS.ATTACH.code) {
        checkRight(this.access, op)
        this.attach(id, start, end)
      } else if (!this.context.router.route(replies, op, id, bytes, start, end)) {
        this.context.router.onceRoom(op, this.resume)
        isTaken = false
      }
    } catch (error) {
      if (!isHearthError(error))
        log('error', 'a request met a bug', {
          session: this.id,
          error: String((error as Error).stack),
        })
      this.refuse(id, toHearthError(error))
    }
    replies.taken(op, isTaken)
    return isTaken
  }

  /** Whether too much is unanswered or unsent; then something has been asked to call resume(). */
  private mustWait(): boolean {
    if (this.wire.unsentBytes() > SESSION_UNSENT_BYTES_PAUSE) {
      this.wire.onceSent(this.resume)
      return true
    }
    const { share } = this.context
    // send() resumes once enough has been answered.
    if (this.replies.inflight >= share.inflightMax) return true
    if (this.isCounted && !this.account.hasRoom(this.access, this.resume)) return true
    if (share.takes()) return false
    this.resumeSoon()
    return true
  }

  private greet(op: number, id: number, bytes: Buffer, start: number, end: number): void {
    this.name = nameInHello(op, bytes, start, end)
    const { uid } = this.peer
    if (this.access.isNobody) throw nobodyError(uid, this.access.role)
    this.replies.caller = uid < 0 ? this.name : `${this.name} (uid ${uid})`
    this.state = 'serving'
    const greeting = encodeValue({ session: this.id, ...this.context.greeting(this.access) })
    this.replies.frame(REPLIES.GREETING.code, id, greeting, 0, greeting.length)
    if (this.isLeaving) this.leave()
  }

  /** Answers a frame that breaks the protocol, and closes. */
  private refuse(id: number, error: HearthError): void {
    this.replies.error(id, error)
    this.replies.flush()
    this.end()
    this.wire.close()
  }

  private attach(id: number, start: number, end: number): void {
    if (start !== end) throw new HearthError('PROTOCOL', 'ATTACH has no arguments')
    // One a connection: a client that asks again gets none.
    const page = this.page === undefined ? this.context.attach(this.peer, this.access) : undefined
    this.page ??= page
    const body = encodeValue(page === undefined ? null : { path: page.path, bytes: page.bytes })
    this.replies.frame(REPLIES.RESULT.code, id, body, 0, body.length)
  }

  /** A body over its limit: a value gets its coded error and is read past, anything else is not a frame of ours. */
  private refuseBody(op: number, id: number, bodyBytes: number): void {
    if (this.state !== 'serving' || !LONG_OPS.has(op)) {
      this.refuse(
        id,
        new HearthError(
          'PROTOCOL',
          `a frame of ${bodyBytes} bytes is too long for operation 0x${op.toString(16)}`,
        ),
      )
      return
    }
    this.skipBytes = bodyBytes
    const max = this.context.bodyBytesMax(op)
    this.replies.taking(id)
    this.replies.error(
      id,
      new HearthError('VALUE_TOO_LARGE', `the request has ${bodyBytes} bytes; ${max} are allowed`),
    )
    this.replies.taken(op, true)
  }

  private beginPartial(totalBytes: number, bytes: Buffer, start: number, end: number): void {
    this.partial = Buffer.allocUnsafeSlow(totalBytes)
    this.partialEnd = bytes.copy(this.partial, 0, start, end)
    this.begunMs = monotonicMs()
  }

  /** Begins to put a frame together; false when the budget for long ones is used up, and then resume() is called later. */
  private beginFrame(totalBytes: number, bytes: Buffer, start: number, end: number): boolean {
    if (totalBytes > READ_BYTES) {
      if (!this.context.assembly.take(totalBytes, this.resume)) return false
      this.budgetBytes = totalBytes
    }
    this.beginPartial(totalBytes, bytes, start, end)
    return true
  }

  /** Adds bytes to the frame that was begun and handles it when it is whole; returns the position behind them. Sets `held`
   *  when the whole frame has to wait. */
  private fillPartial(bytes: Buffer, start: number, end: number): number {
    const partial = this.partial!
    const taken = Math.min(partial.length - this.partialEnd, end - start)
    bytes.copy(partial, this.partialEnd, start, start + taken)
    this.partialEnd += taken
    const at = start + taken
    if (this.partialEnd < partial.length) return at
    // Either a header, whose frame is now gone into as if it had come in one piece, or a whole frame.
    const word = readWord(partial, 0)
    if (partial.length === HEADER_BYTES) {
      this.partial = undefined
      const bodyBytes = bodyBytesOf(word)
      if (bodyBytes > this.context.bodyBytesMax(opOf(word)))
        this.refuseBody(opOf(word), readId(partial, 0), bodyBytes)
      else if (bodyBytes > 0) {
        if (!this.beginFrame(HEADER_BYTES + bodyBytes, partial, 0, HEADER_BYTES))
          this.held = partial
      } else if (!this.handle(partial, 0, word)) this.held = partial
      return at
    }
    this.partial = undefined
    if (this.handle(partial, 0, word)) this.giveBudgetBack()
    else this.held = partial
    return at
  }

  /** Keeps what is left until resume(), and reads no more. A long frame that waits keeps its budget. */
  private hold(bytes: Buffer, start: number, end: number): void {
    const rest = bytes.subarray(start, end)
    this.heldSinceMs ||= this.context.meter.beganMs
    // What was held before is memory of this session's own and need not be copied again.
    if (this.held === undefined) this.held = bytes === this.resumed ? rest : Buffer.from(rest)
    else if (rest.length > 0) this.held = Buffer.concat([this.held, rest])
    this.wire.pauseReads()
  }

  private readonly resume = (): void => {
    this.isResuming = false
    const held = this.held
    if (held === undefined || this.state === 'closed') return
    const { budgetBytes } = this
    const { meter, share } = this.context
    meter.turnBegins(this.heldSinceMs)
    share.turnBegins(this, monotonicMs())
    this.held = undefined
    this.budgetBytes = 0
    this.resumed = held
    this.consume(held, 0, held.length)
    this.resumed = undefined
    if (this.heldBytes() === held.length) this.budgetBytes = budgetBytes
    else this.context.assembly.giveBack(budgetBytes)
    if (this.held === undefined) this.heldSinceMs = 0
    this.context.afterTurn()
    meter.turnEnds()
    if (this.held === undefined && !this.isStopping) this.wire.resumeReads()
  }

  private heldBytes(): number {
    return this.held?.length ?? 0
  }

  private send(bytes: Buffer): boolean {
    const isTaken = this.wire.send(bytes)
    if (this.wire.unsentBytes() > SESSION_UNSENT_BYTES_MAX) {
      log('warn', 'connection closed: it does not read its replies', {
        session: this.id,
        name: this.name,
      })
      this.end()
      this.wire.destroy()
    } else if (
      this.held !== undefined &&
      this.replies.inflight < this.context.share.inflightMax / 2
    ) {
      this.resumeSoon()
    }
    if (this.isCounted) this.account.released()
    return isTaken
  }

  /** After whoever else is ready has had a turn; once, however many ask for it. */
  private resumeSoon(): void {
    if (this.isResuming) return
    this.isResuming = true
    setImmediate(this.resume)
  }

  private dropPartial(): void {
    this.partial = undefined
    this.giveBudgetBack()
  }

  private giveBudgetBack(): void {
    if (this.budgetBytes === 0) return
    this.context.assembly.giveBack(this.budgetBytes)
    this.budgetBytes = 0
  }
}
