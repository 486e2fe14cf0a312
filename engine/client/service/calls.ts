/** ServiceCalls: calls of one service: from the cache, or over the wire with the breaker's leave, again and again, or twice at once.
 *  Owns:   how these fit together.   Not here: each of them: plan.ts, http_cache.ts, shared_breaker.ts, retry.ts, hedge.ts,
 *          redirects.ts, wire.ts.
 *  Thread: the client's.
 *  Holds:  (1) a call ends by its deadline.  (2) the breaker has one outcome of every attempt that it let through.  (3) what may
 *          have been carried out is not sent again, unless it is idempotent.
 *
 *      call → cache ─ fresh ─▶ answer
 *               └ fetch → attempt ─▶ breaker.admit → (hedged) redirects → wire ─ 2xx, 3xx, 4xx ─▶ answer, kept if it may be
 *                            ▲                                             └ 5xx, 429, cut, late ─┐
 *                            └──────── backoff, or Retry-After, within the deadline ◀─────────────┘ */

import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs, wallMs } from '../../clock.ts'
import { HearthError } from '../../errors.ts'
import type { ServiceParts } from '../service.ts'
import { Answer, type Exchange } from './answer.ts'
import { firstOf, Hedging } from './hedge.ts'
import { HttpCache } from './http_cache.ts'
import { type Plan, planOf } from './plan.ts'
import { followed, isMisled } from './redirects.ts'
import {
  backoffMs,
  isFailure,
  isPassing,
  isTemporary,
  isTimeout,
  retryAfterMs,
  wasUnsent,
} from './retry.ts'
import { SharedBreaker } from './shared_breaker.ts'
import type { ServiceOptions } from './types.ts'
import { Wire } from './wire.ts'

/** Calls of one service that are under way at a time. */
export const CALLS_UNDERWAY_MAX = 1_024
const ENTRY_BYTES = 16 * 1024

/** What an attempt came to: an answer of whatever status, or an error. */
type Outcome = { readonly exchange: Exchange } | { readonly error: unknown }

export class ServiceCalls {
  private readonly name: string
  private readonly parts: ServiceParts
  private readonly wire = new Wire()
  private readonly hedging = new Hedging()
  private readonly cache: HttpCache
  private readonly closing = new AbortController()
  private opening: Promise<SharedBreaker> | undefined
  private breaker: SharedBreaker | undefined
  private underway = 0

  constructor(name: string, parts: ServiceParts) {
    this.name = name
    this.parts = parts
    this.cache = new HttpCache(parts.cache, name, () => {
      const { maxValueBytes = 0 } = parts.connection.greeting as { maxValueBytes?: number }
      return maxValueBytes - ENTRY_BYTES
    })
  }

  async call(method: string, path: string, options: ServiceOptions): Promise<Answer> {
    this.closing.signal.throwIfAborted()
    const breaker = this.breaker ?? (await (this.opening ??= this.open()))
    const plan = planOf(breaker.facts, method, path, options)
    plan.signal?.throwIfAborted()
    if (this.underway >= CALLS_UNDERWAY_MAX)
      throw new HearthError('BUSY', `${CALLS_UNDERWAY_MAX} calls of ${this.name} are under way`)
    this.underway++
    this.hedging.begun()
    const call = new Call(plan, breaker, this.wire, this.hedging, this.closing.signal)
    try {
      return await this.run(plan, call)
    } catch (error) {
      throw withId(error, plan.correlationId)
    } finally {
      this.underway--
    }
  }

  close(): void {
    this.closing.abort(new HearthError('CLOSED', 'this client has been closed'))
    this.breaker?.close()
    this.wire.close()
  }

  private async run(plan: Plan, call: Call): Promise<Answer> {
    const fetch = (headers: Plan['headers']) => call.fetch(headers)
    if (plan.isCached) {
      const { exchange, from } = await this.cache.get(plan, fetch)
      return new Answer(exchange, plan.correlationId, call.attempts, from)
    }
    const exchange = await fetch(plan.headers)
    if (!SAFE.has(plan.method) && exchange.status < 400) await this.cache.forget(plan)
    return new Answer(exchange, plan.correlationId, call.attempts)
  }

  private async open(): Promise<SharedBreaker> {
    try {
      this.breaker = await SharedBreaker.open(this.parts.connection, this.name)
      return this.breaker
    } finally {
      this.opening = undefined
    }
  }
}

const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

class Call {
  attempts = 0
  private readonly plan: Plan
  private readonly breaker: SharedBreaker
  private readonly wire: Wire
  private readonly hedging: Hedging
  /** The caller's, and the client's end. */
  private readonly signal: AbortSignal
  private readonly endsAtMs: number

  constructor(
    plan: Plan,
    breaker: SharedBreaker,
    wire: Wire,
    hedging: Hedging,
    closing: AbortSignal,
  ) {
    this.plan = plan
    this.breaker = breaker
    this.wire = wire
    this.hedging = hedging
    this.signal = plan.signal === undefined ? closing : AbortSignal.any([plan.signal, closing])
    this.endsAtMs = monotonicMs() + plan.deadlineMs
  }

  /** The service's answer, or the error of the last attempt. */
  async fetch(headers: Plan['headers']): Promise<Exchange> {
    for (let retry = 1; ; retry++) {
      const outcome = await this.attempt(headers)
      const pauseMs = this.pauseMs(outcome, retry)
      if (pauseMs === undefined) {
        if ('error' in outcome) throw outcome.error
        return outcome.exchange
      }
      await sleep(pauseMs, undefined, { signal: this.signal }).catch(() => undefined)
      this.signal.throwIfAborted()
      // An answer, or error, of the service says more than that its breaker has opened meanwhile.
      try {
        this.pass = await this.breaker.admit()
      } catch (refusal) {
        if ('exchange' in outcome) return outcome.exchange
        throw (refusal as HearthError).code === 'CIRCUIT_OPEN' ? outcome.error : refusal
      }
    }
  }

  /** What the breaker gave for the attempt that comes; undefined: it has not been asked. */
  private pass: number | undefined

  private async attempt(headers: Plan['headers']): Promise<Outcome> {
    const pass = this.pass ?? (await this.breaker.admit())
    this.pass = undefined
    this.attempts++
    const beganMs = monotonicMs()
    try {
      const exchange = await this.hedged(headers, pass)
      if (isFailure(exchange.status)) await this.breaker.failed(beganMs, pass)
      else this.breaker.succeeded(beganMs, pass)
      this.hedging.answered(monotonicMs() - beganMs)
      return { exchange }
    } catch (error) {
      // A body that is too long, or a redirect that leads nowhere, came from a service that answers.
      // One that the deadline left less time than an attempt has shows nothing.
      const isCut = this.endsAtMs - beganMs < this.plan.timeoutMs && isTimeout(error)
      if (isPassing(error) && !isMisled(error) && !isCut) await this.breaker.failed(beganMs, pass)
      else this.breaker.spared(pass)
      return { error }
    }
  }

  /** How long until the next attempt; undefined: there is none. */
  private pauseMs(outcome: Outcome, retry: number): number | undefined {
    const { plan } = this
    if (retry > plan.retries) return undefined
    let askedMs = 0
    if ('exchange' in outcome) {
      const { status, headers } = outcome.exchange
      if (!isTemporary(status) || !plan.isIdempotent) return undefined
      askedMs = retryAfterMs(headers['retry-after'], wallMs())
    } else {
      const { error } = outcome
      if (!isPassing(error) || isMisled(error)) return undefined
      if (!plan.isIdempotent && !wasUnsent(error)) return undefined
    }
    const pauseMs = Math.max(askedMs, backoffMs(plan.backoffMs, retry))
    return monotonicMs() + pauseMs < this.endsAtMs ? pauseMs : undefined
  }

  /** A trial is not hedged: the breaker has let one call through. */
  private hedged(headers: Plan['headers'], pass: number): Promise<Exchange> {
    const delayMs = pass === 0 ? this.hedging.delayMs(this.plan.hedgeAfterMs) : undefined
    const start = (signal?: AbortSignal) => this.exchange(headers, signal)
    if (delayMs === undefined) return start()
    return firstOf(
      start,
      delayMs,
      () => this.hedging.take(),
      ({ status }) => !isTemporary(status),
    )
  }

  private exchange(headers: Plan['headers'], signal: AbortSignal | undefined): Promise<Exchange> {
    const { plan, wire } = this
    const all = signal === undefined ? this.signal : AbortSignal.any([this.signal, signal])
    const attemptEndsMs = monotonicMs() + Math.min(plan.timeoutMs, this.endsAtMs - monotonicMs())
    return followed({ ...plan, headers }, request => {
      const leftMs = Math.max(1, Math.ceil(attemptEndsMs - monotonicMs()))
      return wire.exchange(request, leftMs, all)
    })
  }
}

/** The same error, with the id by which the service's log knows the call. */
function withId(error: unknown, correlationId: string): unknown {
  const isOwn = error instanceof HearthError && error.code !== 'CLOSED'
  if (isOwn && error.correlationId === undefined)
    Object.defineProperty(error, 'correlationId', { value: correlationId, enumerable: true })
  return error
}
