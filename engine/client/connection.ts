/** Connection: the client's end of the socket: it stays connected, sends requests in batches and settles them.
 *  Owns:   the socket, the state, the requests in flight.   Not here: what requests mean (cache.ts, database.ts).
 *  Thread: the client's.
 *  Holds:  (1) one write a tick.  (2) a request that may have been carried out is never sent again unless that is harmless.
 *          (3) a client that is closed answers everything with CLOSED.
 *          (4) an engine that is about to stop says so (LEAVING): nothing is lost then, what comes later waits for the next one.
 *
 *      connecting ──GREETING──▶ open ──lost──▶ waiting ──backoff──▶ connecting          any ──close()──▶ closed */

import { monotonicMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import { textBytesMax, writeText, writeUint } from '../protocol/body.ts'
import { Deframer } from '../protocol/deframer.ts'
import { decodeError } from '../protocol/error_frame.ts'
import { FrameWriter } from '../protocol/frame_writer.ts'
import { BODY_BYTES_MAX } from '../protocol/header.ts'
import { decodeValue } from '../protocol/payload.ts'
import { HAS_MORE, OPS, PROTOCOL_VERSION, REPLIES } from '../protocol/spec.ts'
import { Inflight, type Request } from './inflight.ts'
import type { PendingWrites } from './pending_writes.ts'

export type ConnectionState = 'connecting' | 'open' | 'waiting' | 'closed'

/** The stream under a connection: a Unix socket, or an engine in this very process. */
export interface Stream {
  send(bytes: Buffer): boolean
  onceSent(callback: () => void): void
  close(): void
  /** The socket's descriptor, for asking the kernel who is at the other end; left out by an engine in this process. */
  descriptor?(): number
}

/** Opens a stream; `onOpen`, then `onBytes` for each read, and `onClose` once, whatever ends it. */
export type OpenStream = (events: {
  onOpen(): void
  onBytes(bytes: Buffer, end: number): void
  onClose(error?: Error): void
}) => Stream

export interface ConnectionOptions {
  readonly name: string
  readonly timeoutMs: number
  readonly open: OpenStream
  onState(state: ConnectionState, error?: Error): void
}

const BACKOFF_MS = 50
const BACKOFF_MS_MAX = 5_000
const EXPIRE_MS = 100

export class Connection {
  state: ConnectionState = 'connecting'
  greeting: Record<string, unknown> | undefined
  /** Counts the connections that there have been. */
  epoch = 0
  /** The last reason for not being connected. */
  error: Error | undefined
  private readonly options: ConnectionOptions
  private readonly inflight = new Inflight()
  private readonly deframer = new Deframer((op, id, bytes, start, end) =>
    this.take(op, id, bytes, start, end),
  )
  private stream: Stream | undefined
  private writer: FrameWriter | undefined
  private backoffMs = BACKOFF_MS
  /** The engine has said that it is about to stop. */
  private isLeaving = false
  /** Transactions, streams and COPYs that are open on this connection. */
  private openCount = 0
  private nowMs = monotonicMs()
  private expireTimer: NodeJS.Timeout | undefined
  private backoffTimer: NodeJS.Timeout | undefined

  constructor(options: ConnectionOptions) {
    this.options = options
    this.connect()
  }

  /** Of this client, without an answer yet. */
  get writes(): PendingWrites {
    return this.inflight.writes
  }

  /** The socket's descriptor; undefined when the engine is in this process. Throws when not connected. */
  descriptor(): number | undefined {
    if (this.stream === undefined) throw this.downError()
    return this.stream.descriptor?.()
  }

  /** Sends a request; the promise settles with what its read() makes of the answer. When the signal is aborted it rejects at
   *  once with the signal's reason. */
  request(
    request: Request,
    timeoutMs = this.options.timeoutMs,
    signal?: AbortSignal,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (signal === undefined) this.start(request, timeoutMs, resolve, reject)
      else this.startAbortable(request, timeoutMs, signal, resolve, reject)
    })
  }

  /** The request's id, or -1 when it was refused. */
  private start(
    request: Request,
    timeoutMs: number,
    resolve: (value: unknown) => void,
    reject: (error: unknown) => void,
  ): number {
    const refusal = this.refusal(request)
    if (refusal !== undefined) {
      reject(refusal)
      return -1
    }
    const id = this.inflight.add(request, resolve, reject, this.nowMs + timeoutMs)
    if (this.expireTimer === undefined) this.watchDeadlines(id, timeoutMs)
    if (this.state === 'open') {
      // What is open on this connection can be finished on it alone; anything else waits for the next one.
      if (!this.isLeaving || request.epoch !== undefined) this.write(id, request)
    }
    // While the engine is known to be down, what can do without an answer does not wait for one.
    else if (this.state === 'waiting' && request.giveUp !== undefined)
      this.inflight.refuse(id, this.downError())
    return id
  }

  private startAbortable(
    request: Request,
    timeoutMs: number,
    signal: AbortSignal,
    resolve: (value: unknown) => void,
    reject: (error: unknown) => void,
  ): void {
    if (signal.aborted) return reject(signal.reason)
    let id = -1
    const abort = () => {
      if (this.inflight.requestOf(id) !== request) return
      if (this.inflight.wasSent(id)) this.cancel(id, request)
      this.inflight.abandon(id, signal.reason)
    }
    const settled = (settle: (value: unknown) => void) => (value: unknown) => {
      signal.removeEventListener('abort', abort)
      settle(value)
    }
    signal.addEventListener('abort', abort, { once: true })
    id = this.start(request, timeoutMs, settled(resolve), settled(reject))
  }

  private refusal(request: Request): HearthError | undefined {
    if (this.state === 'closed') return new HearthError('CLOSED', 'this client has been closed')
    if (this.inflight.isFull)
      return new HearthError('BUSY', 'too many requests of this client are unanswered')
    const isLate = request.epoch !== undefined && request.epoch !== this.epoch
    const isLost = request.epoch !== undefined && this.state !== 'open'
    if (!isLate && !isLost) return undefined
    const text =
      'the connection to the engine was lost, and what was open on it with it: rolled back'
    return new HearthError('UNAVAILABLE', text)
  }

  close(): void {
    if (this.state === 'closed') return
    this.setState('closed')
    clearTimeout(this.backoffTimer)
    clearInterval(this.expireTimer)
    this.inflight.failAll(new HearthError('CLOSED', 'this client has been closed'))
    this.writer?.end()
    this.stream?.close()
  }

  private connect(): void {
    this.setState('connecting')
    const stream = this.options.open({
      onOpen: () => this.greet(),
      onBytes: (bytes, end) => {
        this.deframer.push(bytes, end)
        // After those who were answered have had their turn: they may go on with what is open.
        if (this.isLeaving) setImmediate(this.leaveWhenAnswered)
      },
      onClose: error => {
        if (this.stream === stream) this.lost(error)
      },
    })
    this.stream = stream
  }

  private greet(): void {
    this.deframer.reset()
    this.writer = new FrameWriter(this.stream!, () => process.nextTick(this.flush))
    const request = this.hello()
    const id = this.inflight.add(
      request,
      () => this.opened(),
      error => this.refused(error as Error),
      this.nowMs + this.options.timeoutMs,
    )
    if (this.expireTimer === undefined) this.watchDeadlines(id, this.options.timeoutMs)
    this.write(id, request)
  }

  private hello(): Request {
    const name = this.options.name
    return {
      op: OPS.HELLO.code,
      isRepeatable: false,
      bodyBytesMax: () => 9 + textBytesMax(name),
      write: (target, at) => writeText(target, writeUint(target, at, PROTOCOL_VERSION), name),
      read: (_op, bytes, start, end) => {
        this.greeting = decodeValue(bytes, start, end) as Record<string, unknown>
        return undefined
      },
    }
  }

  private opened(): void {
    if (this.state !== 'connecting') return
    this.epoch++
    this.backoffMs = BACKOFF_MS
    this.error = undefined
    this.setState('open')
    for (const id of this.inflight.waiting()) this.write(id, this.inflight.requestOf(id)!)
  }

  private refused(error: Error): void {
    this.error = error
    this.stream?.close()
  }

  private downError(): HearthError {
    return new HearthError(
      'UNAVAILABLE',
      `the engine is down: ${this.error?.message ?? 'not connected'}`,
    )
  }

  private lost(error?: Error): void {
    if (this.state === 'closed') return
    this.error =
      error ?? this.error ?? new HearthError('UNAVAILABLE', 'the engine closed the connection')
    this.stream = undefined
    this.writer?.end()
    this.writer = undefined
    this.inflight.disconnect(this.state === 'connecting')
    const isLeaving = this.isLeaving
    this.isLeaving = false
    this.openCount = 0
    // The engine is not known to be down: the next one may hold the socket already.
    if (isLeaving) return this.connect()
    this.setState('waiting')
    // Full jitter on the upper half, so that many clients of a restarted engine do not come at once.
    const pauseMs = this.backoffMs * (0.5 + Math.random() / 2)
    this.backoffMs = Math.min(this.backoffMs * 2, BACKOFF_MS_MAX)
    this.backoffTimer = setTimeout(() => this.connect(), pauseMs)
    this.backoffTimer.unref()
  }

  /** Nothing is lost by closing now. */
  private readonly leaveWhenAnswered = (): void => {
    if (!this.isLeaving || this.state !== 'open') return
    if (this.openCount === 0 && !this.inflight.isAwaiting()) this.stream?.close()
  }

  private write(id: number, request: Request): void {
    const writer = this.writer!
    const bodyBytesMax = request.bodyBytesMax()
    if (bodyBytesMax > BODY_BYTES_MAX) {
      const error = new HearthError(
        'VALUE_TOO_LARGE',
        `a request has at most ${BODY_BYTES_MAX} bytes, not ${bodyBytesMax}`,
      )
      return this.inflight.reject(id, error)
    }
    const at = writer.begin(bodyBytesMax)
    if (at < 0) return
    writer.commit(request.op, id, request.write(writer.target, at))
    this.inflight.sent(id)
  }

  /** Tells the engine that nobody waits for the answer any more. */
  private cancel(id: number, request: Request): void {
    const at = request.isCancelable && this.state === 'open' ? this.writer!.begin(0) : -1
    if (at >= 0) this.writer!.commit(OPS.CANCEL.code, id, at)
  }

  private readonly flush = (): void => {
    this.writer?.flush()
  }

  private take(op: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (op === REPLIES.LEAVING.code) {
      this.isLeaving = true
      return
    }
    const request = this.inflight.requestOf(id)
    if (request === undefined) {
      if (HAS_MORE[op] === 0) this.inflight.answeredLate(id)
      if (op === REPLIES.OPENED.code) this.closeUnwanted(Buffer.from(bytes.subarray(start, end)))
      if (op === REPLIES.ERROR.code) this.error = decodeError(bytes, start, end)
      return
    }
    if (op === REPLIES.PART.code) {
      this.inflight.addPart(id, Buffer.from(bytes.subarray(start, end)))
      return
    }
    if (op === REPLIES.ERROR.code) {
      this.inflight.refuse(id, decodeError(bytes, start, end))
      return
    }
    if (op === REPLIES.OPENED.code) this.openCount++
    else if (this.openCount > 0 && CLOSING.has(request.op)) this.openCount--
    if (HAS_MORE[op] !== 0) {
      this.inflight.setDeadline(id, Infinity) // It has been taken up, and lasts until it is cancelled.
      request.push?.(op, bytes, start, end)
      return
    }
    try {
      if (this.inflight.hasParts(id)) {
        const whole = this.inflight.joinParts(id, bytes.subarray(start, end))
        this.inflight.resolve(id, request.read(op, whole, 0, whole.length))
      } else {
        this.inflight.resolve(id, request.read(op, bytes, start, end))
      }
    } catch (error) {
      this.inflight.reject(id, error)
    }
  }

  /** What was opened for a request that was given up meanwhile: nobody else knows its handle. */
  private closeUnwanted(handle: Buffer): void {
    const request: Request = {
      op: OPS.CLOSE.code,
      isRepeatable: false,
      epoch: this.epoch,
      bodyBytesMax: () => handle.length,
      write: (target, at) => at + handle.copy(target, at),
      read: () => undefined,
    }
    this.request(request).catch(() => undefined)
  }

  /** One coarse timer for all deadlines, running only while something is in flight. */
  private watchDeadlines(firstId: number, timeoutMs: number): void {
    // The clock is read once in EXPIRE_MS, not for each request; the first after a pause is given its own time.
    this.nowMs = monotonicMs()
    this.inflight.setDeadline(firstId, this.nowMs + timeoutMs)
    this.expireTimer = setInterval(() => {
      this.nowMs = monotonicMs()
      const isLeft = this.inflight.expire(this.nowMs, (id, request) => this.cancel(id, request))
      if (isLeft) return
      clearInterval(this.expireTimer)
      this.expireTimer = undefined
    }, EXPIRE_MS)
  }

  private setState(state: ConnectionState): void {
    this.state = state
    this.options.onState(state, this.error)
  }
}

/** What closes a handle, unless an error comes of it. */
const CLOSING: ReadonlySet<number> = new Set(
  [OPS.COMMIT, OPS.CLOSE, OPS.COPY_END].map(op => op.code),
)
