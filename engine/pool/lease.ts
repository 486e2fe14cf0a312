/** Lease: main's hold on one running worker: its two rings, and every request it has not answered yet.
 *  Owns:   both rings' main ends, the tickets, the outbox of long messages.   Not here: starting workers (pool.ts).
 *  Thread: main.
 *  Holds:  (1) every ticket ends in exactly one receive() or fail(); replies that say so (`more` in spec.ts) come before it.
 *          (2) a reply comes in the order the worker sent it.
 *          (3) nothing is sent while a long message waits in the outbox, or a cancellation for room: messages are never
 *          reordered, and a ticket that is cancelled is not used again before the worker has read so.
 *          (4) a send that finds no room returns false and changes nothing; onceRoom() tells when to try again.
 *
 *  Tickets are columns, not objects: a request costs no allocation. */

import { assert } from '../assert.ts'
import type { HearthError } from '../errors.ts'
import { DRAIN_COUNT_MAX, OUTBOX_BYTES_MAX, TICKET_COUNT_MAX } from '../limits.ts'
import { HAS_MORE, OPS } from '../protocol/spec.ts'
import { createRingMemory } from '../ring/layout.ts'
import { RingReader } from '../ring/reader.ts'
import { RingWriter } from '../ring/writer.ts'

/** Whoever asked a worker something. One object for all requests of a kind; what differs stands in the ticket. */
export interface Receiver<Context = unknown> {
  /** The reply: op and bytes[start, end) of the reader, valid only during the call. */
  receive(reply: RingReader, context: Context, id: number, hash: number): void
  fail(error: HearthError, context: Context, id: number, hash: number): void
}

interface LongMessage {
  readonly op: number
  readonly ticket: number
  readonly bytes: Buffer
  readonly client: number
  sentTo: number
}

export class Lease {
  readonly requests = createRingMemory()
  readonly replies = createRingMemory()
  /** Set by the pool: false before READY and after the worker's end. */
  isOpen = false
  private isEnded = false
  private readonly writer = new RingWriter(this.requests)
  private readonly reader = new RingReader(this.replies)
  private readonly receivers: (Receiver | undefined)[] = []
  private readonly contexts: unknown[] = []
  private readonly ids: number[] = []
  private readonly hashes: number[] = []
  private readonly freeTickets: number[] = []
  private readonly outbox: LongMessage[] = []
  private outboxBytes = 0
  /** Tickets to be cancelled, for which the ring had no room yet. */
  private readonly cancelled: number[] = []
  private waiters: (() => void)[] = []
  private isWaitingForRoom = false
  private readonly afterDrain: () => void

  private readonly onDamage: (error: Error) => void

  /** `afterDrain` runs when a batch of replies has been received: sessions are flushed then. `onDamage`: the replies' ring has what
   *  no writer writes, and nothing of this worker can be believed any more. */
  constructor(afterDrain: () => void, onDamage: (error: Error) => void) {
    this.afterDrain = afterDrain
    this.onDamage = onDamage
  }

  get inflight(): number {
    return this.receivers.length - this.freeTickets.length
  }

  depthBytes(): number {
    return this.writer.depthBytes()
  }

  /** The same of the replies' ring. */
  replyDepthBytes(): number {
    return this.reader.depthBytes()
  }

  /** Sends a body as it is, with the number of the client it is from; false when there is no room now. */
  send(
    op: number,
    receiver: Receiver,
    context: unknown,
    id: number,
    hash: number,
    bytes: Buffer,
    start: number,
    end: number,
    client = 0,
  ): boolean {
    if (end - start > this.writer.messageBytesMax) {
      if (!this.hasRoomForLong(end - start)) return false
      const body = Buffer.from(bytes.subarray(start, end))
      return this.sendLong(op, receiver, context, id, hash, body, client)
    }
    if (!this.hasRoom() || !this.writer.push(op, this.nextTicket(), bytes, start, end, client))
      return false
    this.take(receiver, context, id, hash)
    return true
  }

  /** Whether a body of so many bytes can be written in place by reserve(). */
  fitsInPlace(bodyBytes: number): boolean {
    return bodyBytes <= this.writer.messageBytesMax
  }

  /** Room to write a body in place, in `target`: its offset, or -1 when there is none now. Ends with commit(). */
  reserve(bodyBytesMax: number): number {
    return this.hasRoom() ? this.writer.reserve(bodyBytesMax) : -1
  }

  get target(): Buffer {
    return this.writer.bytes
  }

  commit(
    at: number,
    op: number,
    bodyBytes: number,
    receiver: Receiver,
    context: unknown,
    id: number,
    hash: number,
  ): void {
    this.writer.commit(at, op, this.nextTicket(), bodyBytes)
    this.take(receiver, context, id, hash)
  }

  /** Sends a long body, which it keeps: piece by piece as room comes. False when too much waits already. */
  sendLong(
    op: number,
    receiver: Receiver,
    context: unknown,
    id: number,
    hash: number,
    body: Buffer,
    client = 0,
  ): boolean {
    if (!this.hasRoomForLong(body.length)) return false
    this.outbox.push({ op, ticket: this.nextTicket(), bytes: body, client, sentTo: 0 })
    this.outboxBytes += body.length
    this.take(receiver, context, id, hash)
    this.pumpOutbox()
    return true
  }

  /** Whether sendLong() would take a body of so many bytes now: to be asked before making one. */
  hasRoomForLong(bodyBytes: number): boolean {
    return this.hasRoom() && this.outboxBytes + bodyBytes <= OUTBOX_BYTES_MAX
  }

  /** Asks the worker to give up each open request that is meant; each is answered as ever. Goes through every ticket, since a
   *  request that is never cancelled should cost nothing for it. */
  cancel(isMeant: (context: unknown, id: number) => boolean): void {
    if (!this.isOpen) return
    for (let ticket = 0; ticket < this.receivers.length; ticket++) {
      if (this.receivers[ticket] === undefined) continue
      if (isMeant(this.contexts[ticket], this.ids[ticket]!)) this.cancelled.push(ticket)
    }
    this.pumpCancelled()
  }

  /** Makes what was sent visible to the worker: once a turn. */
  publish(): void {
    this.writer.publish()
  }

  /** Calls back once a send that returned false may be tried again. */
  onceRoom(callback: () => void): void {
    this.waiters.push(callback)
    this.waitForRoom()
  }

  /** Begins to receive replies; they go to their receivers, a bounded number a turn, until close(). */
  listen(): void {
    if (!this.reader.whenReadable(this.turn)) setImmediate(this.turn)
  }

  /** Receives what is there now, without waiting for the wake-up. */
  poll(): void {
    this.receiveSome()
  }

  /** The worker is gone: every unanswered request fails, everybody who waits is called. */
  end(error: HearthError): void {
    this.isOpen = false
    this.isEnded = true
    this.reader.close()
    this.outbox.length = 0
    this.cancelled.length = 0
    for (let ticket = 0; ticket < this.receivers.length; ticket++) {
      const receiver = this.receivers[ticket]
      if (receiver === undefined) continue
      this.receivers[ticket] = undefined
      receiver.fail(error, this.contexts[ticket], this.ids[ticket]!, this.hashes[ticket]!)
      this.contexts[ticket] = undefined
    }
    this.callWaiters()
    this.afterDrain()
  }

  private readonly turn = (): void => {
    this.receiveSome()
    if (!this.isEnded) this.listen()
  }

  private receiveSome(): void {
    // What a dead worker had answered is of no use any more: its requests have failed.
    if (this.isEnded) return
    const reader = this.reader
    let count = 0
    while (count < DRAIN_COUNT_MAX && this.hasReply()) {
      count++
      const ticket = reader.ticket
      const receiver = this.receivers[ticket]
      assert(receiver !== undefined, 'a reply answers a request')
      const context = this.contexts[ticket]
      if (HAS_MORE[reader.op] === 0) {
        this.receivers[ticket] = undefined
        this.contexts[ticket] = undefined
        this.freeTickets.push(ticket)
      }
      receiver.receive(reader, context, this.ids[ticket]!, this.hashes[ticket]!)
    }
    // Also when no message is whole yet: the rest of a long one needs the room.
    reader.release()
    if (count === 0) return
    if (this.waiters.length > 0) this.callWaiters()
    this.afterDrain()
    this.writer.publish()
  }

  private hasReply(): boolean {
    try {
      return this.reader.next()
    } catch (error) {
      this.onDamage(error as Error)
      return false
    }
  }

  private hasRoom(): boolean {
    return (
      this.isOpen &&
      this.outbox.length === 0 &&
      this.cancelled.length === 0 &&
      this.inflight < TICKET_COUNT_MAX
    )
  }

  private nextTicket(): number {
    return this.freeTickets.length > 0
      ? this.freeTickets[this.freeTickets.length - 1]!
      : this.receivers.length
  }

  private take(receiver: Receiver, context: unknown, id: number, hash: number): void {
    const ticket = this.nextTicket()
    if (this.freeTickets.length > 0) this.freeTickets.pop()
    this.receivers[ticket] = receiver
    this.contexts[ticket] = context
    this.ids[ticket] = id
    this.hashes[ticket] = hash
  }

  private pumpOutbox(): void {
    while (this.outbox.length > 0) {
      const message = this.outbox[0]!
      const bytes = message.bytes
      message.sentTo = this.writer.pushPart(
        message.op,
        message.ticket,
        bytes,
        0,
        bytes.length,
        message.sentTo,
        message.client,
      )
      this.writer.publish()
      if (message.sentTo < bytes.length) {
        this.waitForRoom()
        return
      }
      this.outbox.shift()
      this.outboxBytes -= bytes.length
    }
  }

  private pumpCancelled(): void {
    if (this.outbox.length > 0) return this.waitForRoom() // A request is cancelled when the worker has all of it.
    while (this.cancelled.length > 0) {
      if (!this.writer.push(OPS.CANCEL.code, this.cancelled[0]!, EMPTY, 0, 0))
        return this.waitForRoom()
      this.cancelled.shift()
    }
  }

  private waitForRoom(): void {
    if (this.isWaitingForRoom || !this.isOpen) return
    this.isWaitingForRoom = true
    const wait = this.writer.onceRoom()
    if (wait === undefined) setImmediate(this.roomCame)
    else wait.then(this.roomCame)
  }

  private readonly roomCame = (): void => {
    this.isWaitingForRoom = false
    if (!this.isOpen) return
    this.pumpOutbox()
    this.pumpCancelled()
    if (this.outbox.length + this.cancelled.length === 0) this.callWaiters()
    this.writer.publish()
  }

  private callWaiters(): void {
    const waiters = this.waiters
    this.waiters = []
    for (const waiter of waiters) waiter()
  }
}

const EMPTY = new Uint8Array(0)
