/** SharedBreaker: one service as the engine knows it: where it is, and the breaker that all processes of the host share.
 *  Owns:   this process's copy of the state, and what it has not reported yet.   Not here: the breaker itself (services/services.ts).
 *  Thread: the client's.
 *  Holds:  (1) while it is open a call is refused here, without asking anybody.  (2) a failure is reported before its caller hears of
 *          it, so that after the one that opens it the next call is refused.  (3) without the engine calls go through: what was known
 *          of the service last is used. */

import { monotonicMs } from '../../clock.ts'
import { HearthError } from '../../errors.ts'
import { literalGlob } from '../../glob.ts'
import { SPACE } from '../../protocol/pub_sub_spec.ts'
import { type BreakerNews, CALL, type ServiceFacts } from '../../protocol/service_spec.ts'
import type { Connection } from '../connection.ts'
import { type PatternSubscription, subscribe } from '../pattern_subscription.ts'
import { ReportCallsRequest, ServiceRequest, TryServiceRequest } from '../service_requests.ts'

/** Successes may wait so long to be reported. */
const REPORT_MS = 50
const NO_PASS = 0

export class SharedBreaker {
  facts: ServiceFacts
  private readonly connection: Connection
  private subscription: PatternSubscription<BreakerNews> | undefined
  private state: BreakerNews['state'] = 'closed'
  private refusedUntilMs = -Infinity
  private succeededCount = 0
  private succeededSinceMs = 0
  private timer: NodeJS.Timeout | undefined

  /** Asks the engine for the service; rejects with NOT_CONFIGURED, or UNAVAILABLE while the engine is down. */
  static async open(connection: Connection, name: string): Promise<SharedBreaker> {
    const breaker = new SharedBreaker(connection, await factsOf(connection, name))
    const source = {
      space: SPACE.services,
      glob: literalGlob(name),
      itemOf: (_channel: string, news: unknown) => news as BreakerNews,
    }
    const onGap = () => void breaker.refresh().catch(() => undefined)
    breaker.subscription = await subscribe(connection, source, breaker.take, { onGap })
    try {
      // It may have changed between the first question and the subscription.
      await breaker.refresh()
      return breaker
    } catch (error) {
      breaker.close()
      throw error
    }
  }

  private constructor(connection: Connection, facts: ServiceFacts) {
    this.connection = connection
    this.facts = facts
    this.take(facts)
  }

  /** Lets a call through: its pass; a promise of it where the engine has to be asked. Throws CIRCUIT_OPEN. */
  admit(): number | Promise<number> {
    if (this.state === 'closed') return NO_PASS
    const leftMs = this.refusedUntilMs - monotonicMs()
    if (leftMs > 0) throw this.refusal(leftMs)
    return this.connection.state === 'open' ? this.tryOnce() : NO_PASS
  }

  /** The service answered a call that began at `beganMs`. */
  succeeded(beganMs: number, pass: number): void {
    if (pass !== NO_PASS) return void this.report([CALL.succeeded, 1, 0, pass])
    this.succeededCount++
    this.succeededSinceMs = beganMs
    this.timer ??= setTimeout(() => void this.reportSuccesses(), REPORT_MS).unref()
  }

  /** It did not, or with a 5xx. Resolves once the breaker knows. */
  async failed(beganMs: number, pass: number): Promise<void> {
    const ended = this.takeSuccesses()
    await this.report([...ended, CALL.failed, 1, agoMs(beganMs), pass])
  }

  /** The call shows nothing of the service: it was given up. */
  spared(pass: number): void {
    if (pass !== NO_PASS) void this.report([CALL.spared, 1, 0, pass])
  }

  close(): void {
    clearTimeout(this.timer)
    this.subscription?.close()
  }

  private readonly take = ({ state, retryAfterMs }: BreakerNews): void => {
    this.state = state
    this.refusedUntilMs = state === 'open' ? monotonicMs() + retryAfterMs : -Infinity
  }

  private async refresh(): Promise<void> {
    this.facts = await factsOf(this.connection, this.facts.name)
    this.take(this.facts)
  }

  private async tryOnce(): Promise<number> {
    try {
      return (await this.connection.request(new TryServiceRequest(this.facts.name))) as number
    } catch (error) {
      if (!(error instanceof HearthError) || error.code !== 'CIRCUIT_OPEN') return NO_PASS
      this.refusedUntilMs = monotonicMs() + (error.retryAfterMs ?? 0)
      throw error
    }
  }

  private refusal(leftMs: number): HearthError {
    const text = `the breaker service:${this.facts.name} is open; the service has failed repeatedly`
    return new HearthError('CIRCUIT_OPEN', text, { retryAfterMs: Math.ceil(leftMs) })
  }

  private takeSuccesses(): number[] {
    clearTimeout(this.timer)
    this.timer = undefined
    if (this.succeededCount === 0) return []
    const outcome = [CALL.succeeded, this.succeededCount, agoMs(this.succeededSinceMs), NO_PASS]
    this.succeededCount = 0
    return outcome
  }

  private reportSuccesses(): Promise<void> {
    return this.report(this.takeSuccesses())
  }

  /** Never rejects: without the engine nobody counts. */
  private async report(outcomes: number[]): Promise<void> {
    if (outcomes.length === 0 || this.connection.state !== 'open') return
    const request = new ReportCallsRequest(this.facts.name, outcomes)
    await this.connection.request(request).catch(() => undefined)
  }
}

async function factsOf(connection: Connection, name: string): Promise<ServiceFacts> {
  return (await connection.request(new ServiceRequest(name))) as ServiceFacts
}

/** Rounded down, so that a call never seems to have begun before it did. */
function agoMs(beganMs: number): number {
  return Math.max(0, Math.floor(monotonicMs() - beganMs))
}
