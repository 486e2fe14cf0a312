/** Wire: HTTP exchanges with one service, over connections that are kept and used again.
 *  Owns:   the agents, so the connections.   Not here: what comes after an exchange: redirects, retries, the cache (calls.ts).
 *  Thread: the client's.
 *  Holds:  (1) an exchange settles once, within its time, with a whole answer or a coded error; the connection of one that did not
 *          end well is not used again.  (2) no body is taken beyond the limit: as announced, as read, as decompressed.
 *
 *  node:http and node:https, and not npm's undici, whose retries, redirects and cache know neither the breaker that processes share nor
 *  their cache: of it the pool alone would be used, for 300 KB in each client's bundle, and it needs Node 22.19. */

import type { ClientRequest, Agent as HttpAgent, IncomingMessage, RequestOptions } from 'node:http'
import { monotonicMs } from '../../clock.ts'
import { HearthError } from '../../errors.ts'
import type { Exchange } from './answer.ts'
import { BodyTaker } from './body_taker.ts'
import type { Plan } from './plan.ts'
import { markUnsent } from './retry.ts'

/** Connections to one service at a time, and those kept when idle. */
const SOCKET_COUNT_MAX = 64
const FREE_SOCKET_COUNT_MAX = 16
const FREE_MS = 30_000

/** What is sent: a plan, as redirects and the cache have changed it. */
export type WireRequest = Pick<
  Plan,
  'method' | 'url' | 'socketPath' | 'headers' | 'body' | 'maxBodyBytes' | 'isIdempotent'
>

type Http = Pick<typeof import('node:http'), 'request' | 'Agent'>

export class Wire {
  private readonly agents = new Map<string, Promise<{ http: Http; agent: HttpAgent }>>()

  /** One request and its answer, whatever its status. Rejects with TIMEOUT, UNAVAILABLE, VALUE_TOO_LARGE, BAD_REQUEST (a header that
   *  cannot be), or the reason of the signal. */
  async exchange(request: WireRequest, timeoutMs: number, signal: AbortSignal): Promise<Exchange> {
    const { http, agent } = await this.agentFor(request.url.protocol)
    signal.throwIfAborted()
    const endsMs = monotonicMs() + timeoutMs
    const first = new OneExchange(request, timeoutMs, signal)
    try {
      return await first.run(http, agent)
    } catch (error) {
      // The service closed an idle connection just when it was used again, which is nobody's fault.
      const leftMs = Math.floor(endsMs - monotonicMs())
      if (!first.wasIdleCut || !request.isIdempotent || leftMs <= 0) throw error
      return await new OneExchange(request, leftMs, signal).run(http, false)
    }
  }

  close(): void {
    for (const each of this.agents.values()) void each.then(({ agent }) => agent.destroy())
  }

  private agentFor(protocol: string): Promise<{ http: Http; agent: HttpAgent }> {
    let known = this.agents.get(protocol)
    if (known === undefined) {
      known = load(protocol)
      this.agents.set(protocol, known)
    }
    return known
  }
}

async function load(protocol: string): Promise<{ http: Http; agent: HttpAgent }> {
  const http: Http = protocol === 'https:' ? await import('node:https') : await import('node:http')
  const agent = new http.Agent({
    keepAlive: true,
    maxSockets: SOCKET_COUNT_MAX,
    maxFreeSockets: FREE_SOCKET_COUNT_MAX,
    scheduling: 'lifo',
    timeout: FREE_MS,
  })
  return { http, agent }
}

class OneExchange {
  private readonly request: WireRequest
  private readonly timeoutMs: number
  private readonly signal: AbortSignal
  private readonly done = Promise.withResolvers<Exchange>()
  private outgoing: ClientRequest | undefined
  private timer: NodeJS.Timeout | undefined
  private isConnected = false
  /** It failed on a connection that had served before, before anything came. */
  wasIdleCut = false
  private isAnswered = false
  private isSettled = false

  constructor(request: WireRequest, timeoutMs: number, signal: AbortSignal) {
    this.request = request
    this.timeoutMs = timeoutMs
    this.signal = signal
  }

  async run(http: Http, agent: HttpAgent | false): Promise<Exchange> {
    this.signal.addEventListener('abort', this.aborted, { once: true })
    this.timer = setTimeout(() => this.fail(this.overdue()), this.timeoutMs)
    try {
      this.send(http, agent)
    } catch (error) {
      // Node refuses headers with characters that would end them.
      this.fail(markUnsent(new HearthError('BAD_REQUEST', (error as Error).message)))
    }
    return await this.done.promise
  }

  private send(http: Http, agent: HttpAgent | false): void {
    const { method, url, socketPath, headers, body } = this.request
    const options: RequestOptions = { method, agent, headers: { ...headers } }
    if (body !== undefined || !BODILESS.has(method))
      (options.headers as Record<string, unknown>)['content-length'] = body?.length ?? 0
    if (socketPath !== undefined) options.socketPath = socketPath
    const outgoing = http.request(url, options)
    this.outgoing = outgoing
    outgoing.on('socket', socket => {
      if (!socket.connecting) this.isConnected = true
      else socket.once('connect', () => (this.isConnected = true))
    })
    outgoing.on('response', incoming => this.answered(incoming))
    outgoing.on('error', error => {
      const { code } = error as NodeJS.ErrnoException
      const isCut = code === 'ECONNRESET' || code === 'EPIPE'
      this.wasIdleCut = isCut && outgoing.reusedSocket && !this.isAnswered
      this.fail(this.broken(error))
    })
    outgoing.on('close', () => {
      // What came is the body's business from then on: it may be in the decoder yet.
      if (!this.isAnswered) this.fail(this.broken(new Error('the connection was closed')))
    })
    outgoing.end(body)
  }

  private answered(incoming: IncomingMessage): void {
    const { request } = this
    this.isAnswered = true
    const headers = joined(incoming)
    const taker = new BodyTaker(request.maxBodyBytes, (error, body) => {
      if (error !== undefined) return this.fail(this.broken(error))
      const { status, url } = { status: incoming.statusCode!, url: request.url.href }
      this.settle(() => this.done.resolve({ status, headers, body: body!, url }))
    })
    taker.take(incoming, request.method === 'HEAD' || BODILESS_STATUS.has(incoming.statusCode!))
  }

  private readonly aborted = (): void => this.fail(this.signal.reason)

  private fail(error: unknown): void {
    this.settle(() => {
      this.done.reject(error)
      this.outgoing?.destroy()
    })
  }

  private settle(settle: () => void): void {
    if (this.isSettled) return
    this.isSettled = true
    clearTimeout(this.timer)
    this.signal.removeEventListener('abort', this.aborted)
    settle()
  }

  private overdue(): HearthError {
    const { method, url } = this.request
    const text = `${method} ${url.href} was not answered within ${this.timeoutMs} ms`
    return this.noted(new HearthError('TIMEOUT', text))
  }

  private broken(error: Error): HearthError {
    if (error instanceof HearthError) return error
    const { code } = error as NodeJS.ErrnoException
    const { method, url } = this.request
    const what = code?.startsWith('HPE_')
      ? `what it answers is no HTTP (${code})`
      : code === 'ECONNRESET'
        ? 'the connection was cut before the answer was whole'
        : error.message || code
    const text = `${method} ${url.href} failed: ${what}`
    return this.noted(new HearthError('UNAVAILABLE', text, { cause: error }))
  }

  /** Before there is a connection nothing can have been sent. */
  private noted(error: HearthError): HearthError {
    return this.isConnected ? error : markUnsent(error)
  }
}

/** Requests that have no body say nothing of its length. */
const BODILESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'DELETE'])
/** Answers that have none, whatever their headers say of its length and encoding (RFC 9110, 6.4.1). */
const BODILESS_STATUS: ReadonlySet<number> = new Set([204, 304])

function joined({ headers }: IncomingMessage): Record<string, string> {
  const entries = Object.entries(headers).filter(([, value]) => value !== undefined)
  return Object.fromEntries(
    entries.map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value!]),
  )
}
