/** HttpConnection: one connection of the HTTP side: requests one after another, in order, within bounds of size and time.
 *  Owns:   the socket, the bytes of a request that is not whole yet.   Not here: reading a head (http_request.ts), routes.ts.
 *  Thread: main.
 *  Holds:  (1) one answer at a time; while it is made or not taken yet, nothing is read.  (2) a head has HEAD_BYTES_MAX and
 *          HEAD_MS_MAX at most, an answer WRITE_MS_MAX to be taken, a connection without a request IDLE_MS_MAX.  (3) after a refusal
 *          that leaves doubt where the next request begins, the connection is closed. */

import type { Socket } from 'node:net'
import { monotonicMs } from '../clock.ts'
import { log } from '../log.ts'
import { HttpRefusal, type HttpRequest, readRequest } from './http_request.ts'

export interface HttpAnswer {
  readonly status: number
  /** A media type. */
  readonly type: string
  readonly body: string | Buffer
  readonly headers?: Readonly<Record<string, string>>
}

/** Undefined: there is no such path. */
export type HttpRoutes = (request: HttpRequest) => Promise<HttpAnswer> | HttpAnswer | undefined

export const HEAD_BYTES_MAX = 8 * 1024
export const HEAD_MS_MAX = 5_000
export const WRITE_MS_MAX = 10_000
/** Longer than the usual interval between scrapes, so that each need not connect anew. */
export const IDLE_MS_MAX = 75_000

const END = Buffer.from('\r\n\r\n')
const EMPTY = Buffer.alloc(0)

export class HttpConnection {
  private readonly socket: Socket
  private readonly routes: HttpRoutes
  private readonly isAllowed: (host: string) => boolean
  private received: Buffer = EMPTY
  private state: 'idle' | 'reading' | 'answering' | 'writing' = 'idle'
  private sinceMs = monotonicMs()
  /** The other side asks no more, and may still read. */
  private isHalfClosed = false

  constructor(socket: Socket, routes: HttpRoutes, isAllowed: (host: string) => boolean) {
    this.socket = socket
    this.routes = routes
    this.isAllowed = isAllowed
    socket.on('data', (bytes: Buffer) => this.take(bytes))
    socket.on('end', () => this.halfClosed())
    socket.on('error', () => undefined) // 'close' follows.
  }

  get isIdle(): boolean {
    return this.state === 'idle'
  }

  private get takesMore(): boolean {
    return this.state === 'idle' || this.state === 'reading'
  }

  /** Nothing is being answered: a request is not whole yet, or the last answer was taken by the system and only the other side's end
   *  is waited for. Half-open connections stay so until their deadline. */
  get isUnfinished(): boolean {
    return this.state === 'reading' || (this.socket.writableEnded && this.socket.writableFinished)
  }

  /** Closes a connection that is too slow. Called every second. */
  checkDeadline(nowMs: number): void {
    const tookMs = nowMs - this.sinceMs
    if (this.state === 'reading' && tookMs > HEAD_MS_MAX)
      this.refuse(new HttpRefusal(408, 'the request did not come in time'))
    else if (this.state === 'writing' && tookMs > WRITE_MS_MAX) this.socket.destroy()
    else if (this.state === 'idle' && tookMs > IDLE_MS_MAX) this.socket.destroy()
  }

  /** Closes it, now, or once the answer that is being made has been taken. */
  close(): void {
    if (this.takesMore) this.socket.destroy()
    else this.socket.destroySoon()
  }

  private take(bytes: Buffer): void {
    this.received = this.received.length === 0 ? bytes : Buffer.concat([this.received, bytes])
    if (this.state === 'idle') this.begin('reading')
    if (this.state === 'reading') this.next()
    else this.socket.pause() // What was sent ahead waits; at most one read of it is here.
  }

  /** Answers the next request, if it is whole. */
  private next(): void {
    const end = this.received.indexOf(END)
    const headBytes = end < 0 ? this.received.length : end
    if (headBytes > HEAD_BYTES_MAX)
      return this.refuse(new HttpRefusal(431, `a head has at most ${HEAD_BYTES_MAX} bytes`))
    if (end < 0) return
    const request = readRequest(this.received.toString('latin1', 0, end))
    this.received = this.received.subarray(end + END.length)
    if (request instanceof HttpRefusal) return this.refuse(request)
    if (!this.isAllowed(request.host))
      return this.refuse(
        new HttpRefusal(403, 'this Host is not known here; http.allowed_hosts names more of them'),
      )
    this.begin('answering')
    void this.answer(request)
  }

  private async answer(request: HttpRequest): Promise<void> {
    let answer: HttpAnswer
    try {
      answer = (await this.routes(request)) ?? textAnswer(404, 'there is no such path')
    } catch (error) {
      log('error', 'a route failed', { path: request.path, error: String((error as Error).stack) })
      answer = textAnswer(500, 'the engine failed to answer; its log says why')
    }
    this.send(answer, request.keepsAlive, request.method === 'HEAD')
  }

  private refuse({ status, words }: HttpRefusal): void {
    const answer = textAnswer(status, words)
    const allow = status === 405 ? { Allow: 'GET, HEAD' } : undefined
    this.send(allow === undefined ? answer : { ...answer, headers: allow }, false, false)
  }

  private send(answer: HttpAnswer, keepsAlive: boolean, isHead: boolean): void {
    const { socket } = this
    if (socket.destroyed || socket.writableEnded) return
    const head = Buffer.from(headOf(answer, keepsAlive), 'latin1')
    const bytes = isHead ? head : Buffer.concat([head, Buffer.from(answer.body)])
    this.begin('writing')
    if (keepsAlive) socket.write(bytes, () => this.written())
    else {
      // What still comes is read and dropped: closing over unread bytes would reset the connection, and with it the answer.
      socket.removeAllListeners('data')
      socket.resume()
      socket.end(bytes)
    }
  }

  private written(): void {
    if (this.socket.destroyed) return
    this.begin(this.received.length > 0 ? 'reading' : 'idle')
    if (this.received.length > 0) this.next()
    // Only once all that was sent ahead is answered: more for each answer would pile up without a bound.
    if (this.takesMore) this.socket.resume()
    if (this.isHalfClosed) this.halfClosed()
  }

  private halfClosed(): void {
    this.isHalfClosed = true
    if (this.takesMore) this.socket.end()
  }

  private begin(state: HttpConnection['state']): void {
    this.state = state
    this.sinceMs = monotonicMs()
  }
}

export function textAnswer(status: number, words: string): HttpAnswer {
  return { status, type: 'text/plain; charset=utf-8', body: `${words}\n` }
}

/** No page of another origin may read, frame or guess at any of it, and nothing keeps it. */
function headOf({ status, type, body, headers = {} }: HttpAnswer, keepsAlive: boolean): string {
  const all = {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Cross-Origin-Resource-Policy': 'same-origin',
    Connection: keepsAlive ? 'keep-alive' : 'close',
    ...headers,
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `HTTP/1.1 ${status} ${REASONS[status] ?? 'Error'}\r\n${lines.join('')}\r\n`
}

const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  304: 'Not Modified',
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
  505: 'HTTP Version Not Supported',
}
