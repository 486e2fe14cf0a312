/** Inflight: the client's requests that have no answer yet, in columns by the id they carry on the wire.
 *  Owns:   ids, deadlines, and who waits.   Not here: bytes (connection.ts).
 *  Thread: the client's.
 *  Holds:  every request ends once: resolved, rejected, or given up at its deadline. An id is used again only when the engine can
 *          no longer answer for its former owner: after its answer, or on another connection. */

import { HearthError } from '../errors.ts'
import { PendingWrites, type Written } from './pending_writes.ts'

/** What is asked: enough to write the frame, and to write it again. */
export interface Request {
  readonly op: number
  readonly isRepeatable: boolean
  /** What it changes in the cache; left out: nothing. */
  readonly written?: Written
  /** How many bytes `write` takes at most. */
  bodyBytesMax(): number
  /** Writes the body at `at`; returns its end. */
  write(target: Buffer, at: number): number
  /** Nobody waits for it any more: the engine is told so (CANCEL), and whatever it does for it is given up. */
  readonly isCancelable?: boolean
  /** It is of use only on the connection of this number: what it names was opened there. */
  readonly epoch?: number
  /** A frame before the closing one, of an operation that has such: op and body[start, end), valid only during the call. */
  push?(op: number, bytes: Buffer, start: number, end: number): void
  /** The value of the answer: op and body[start, end), valid only during the call. */
  read(op: number, bytes: Buffer, start: number, end: number): unknown
  /** What stands for an answer when an error came instead: returns it, or throws the error. Left out: the error. */
  giveUp?(error: HearthError): unknown
}

type Settle = (value: unknown) => void

const COUNT_MAX = 65_536

export class Inflight {
  private readonly requests: (Request | undefined)[] = []
  private readonly resolves: (Settle | undefined)[] = []
  private readonly rejects: (Settle | undefined)[] = []
  private readonly deadlines: number[] = []
  /** How often it was sent: 0 not yet, 1 once, 2 repeated. */
  private readonly sends: number[] = []
  private readonly parts: (Buffer[] | undefined)[] = []
  private readonly freeIds: number[] = []
  readonly writes = new PendingWrites()
  count = 0

  /** No more requests should be taken in; what opens a connection still is. */
  get isFull(): boolean {
    return this.count >= COUNT_MAX
  }

  /** Takes a request in; its id. */
  add(request: Request, resolve: Settle, reject: Settle, deadlineMs: number): number {
    const id = this.freeIds.length > 0 ? this.freeIds.pop()! : this.requests.length
    this.requests[id] = request
    this.resolves[id] = resolve
    this.rejects[id] = reject
    this.deadlines[id] = deadlineMs
    this.sends[id] = 0
    this.parts[id] = undefined
    if (request.written !== undefined) this.writes.begin(request.written)
    this.count++
    return id
  }

  setDeadline(id: number, deadlineMs: number): void {
    this.deadlines[id] = deadlineMs
  }

  sent(id: number): void {
    this.sends[id]!++
  }

  requestOf(id: number): Request | undefined {
    return this.requests[id]
  }

  /** Keeps a piece of a reply that comes in several. */
  addPart(id: number, part: Buffer): void {
    const parts = this.parts[id]
    if (parts === undefined) this.parts[id] = [part]
    else parts.push(part)
  }

  /** The pieces kept for an id, with the last one. */
  joinParts(id: number, last: Buffer): Buffer {
    return Buffer.concat([...this.parts[id]!, last])
  }

  hasParts(id: number): boolean {
    return this.parts[id] !== undefined
  }

  resolve(id: number, value: unknown): void {
    const resolve = this.resolves[id]!
    this.remove(id)
    this.freeIds.push(id)
    resolve(value)
  }

  /** The engine answered with an error. */
  refuse(id: number, error: HearthError): void {
    this.giveUp(id, error, true)
  }

  /** The answer could not be read. */
  reject(id: number, error: unknown): void {
    const reject = this.rejects[id]!
    this.remove(id)
    this.freeIds.push(id)
    reject(error)
  }

  /** The connection is gone, or (`isDown`) could not even be opened: what may have been done, or was repeated already, ends;
   *  so does what can do without an answer when the engine is down. The rest waits for the next one. */
  disconnect(isDown: boolean): void {
    this.freeIds.length = 0
    for (let id = 0; id < this.requests.length; id++) {
      const request = this.requests[id]
      if (request === undefined) {
        this.freeIds.push(id)
        continue
      }
      this.parts[id] = undefined
      const sends = this.sends[id]!
      const mayWait = sends === 0 || (sends === 1 && request.isRepeatable)
      if (mayWait && !(isDown && request.giveUp !== undefined)) continue
      const outcome = request.isRepeatable ? '' : '; whether it was carried out is not known'
      this.giveUp(
        id,
        new HearthError('UNAVAILABLE', `the connection to the engine was lost${outcome}`),
        true,
      )
    }
  }

  /** Ids that wait to be sent on a new connection. */
  *waiting(): Iterable<number> {
    for (let id = 0; id < this.requests.length; id++) if (this.requests[id] !== undefined) yield id
  }

  /** Whether an answer is to come yet: subscriptions, which wait for ever, are not meant. */
  isAwaiting(): boolean {
    for (const id of this.waiting())
      if (this.wasSent(id) && this.requests[id]!.push === undefined) return true
    return false
  }

  wasSent(id: number): boolean {
    return this.sends[id]! > 0
  }

  /** Its requester gave it up. Its id stays taken until the connection ends or answers. */
  abandon(id: number, reason: unknown): void {
    const reject = this.rejects[id]!
    const wasSent = this.wasSent(id)
    this.remove(id)
    if (!wasSent) this.freeIds.push(id)
    reject(reason)
  }

  /** Ends what is past its deadline, and tells of each that was sent; ids stay taken until the connection ends or answers.
   *  False when nothing is left that has a deadline. */
  expire(nowMs: number, expired: (id: number, request: Request) => void): boolean {
    let isLeft = false
    for (let id = 0; id < this.requests.length; id++) {
      const request = this.requests[id]
      if (request === undefined) continue
      if (this.deadlines[id]! > nowMs) {
        if (this.deadlines[id]! < Infinity) isLeft = true
        continue
      }
      if (this.wasSent(id)) expired(id, request)
      this.giveUp(
        id,
        new HearthError('TIMEOUT', overdueText(request, this.wasSent(id))),
        this.sends[id] === 0,
      )
    }
    return isLeft
  }

  failAll(error: HearthError): void {
    for (const id of this.waiting()) this.giveUp(id, error, true)
  }

  /** A reply for an id whose request was given up: the id is free now. */
  answeredLate(id: number): void {
    if (id < this.requests.length && !this.freeIds.includes(id)) this.freeIds.push(id)
  }

  private giveUp(id: number, error: HearthError, isIdFree: boolean): void {
    const request = this.requests[id]!
    const resolve = this.resolves[id]!
    const reject = this.rejects[id]!
    this.remove(id)
    if (isIdFree) this.freeIds.push(id)
    if (request.giveUp === undefined) return reject(error)
    try {
      resolve(request.giveUp(error))
    } catch (thrown) {
      reject(thrown)
    }
  }

  private remove(id: number): void {
    const written = this.requests[id]!.written
    if (written !== undefined) this.writes.end(written)
    this.requests[id] = undefined
    this.resolves[id] = undefined
    this.rejects[id] = undefined
    this.parts[id] = undefined
    this.count--
  }
}

function overdueText(request: Request, wasSent: boolean): string {
  const isKnown = !wasSent || request.isRepeatable
  const outcome = isKnown ? '' : '; whether it was carried out is not known'
  return `the engine did not answer before the deadline${outcome}`
}
