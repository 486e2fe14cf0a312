/** Services: the registry of HTTP services: where they are, what they are like now, and one breaker each for all clients.
 *  Owns:   the breakers, and the answers to SERVICE, REPORT_CALLS, TRY_SERVICE.   Not here: HTTP calls, which clients make in their own
 *          processes (client/service); checks (health_check.ts).
 *  Thread: main; loaded only when services are configured.
 *  Holds:  (1) a change of a breaker is told to every subscriber before the report that caused it is answered.  (2) a trial is given to
 *          one caller at a time.  (3) what a client reports counts as breaker.ts says: calls that began before the last failure are of
 *          the same incident, those that began before the breaker changed decide nothing. */

import { Breaker, type BreakerSettings, NO_PASS } from '../breaker/breaker.ts'
import { monotonicMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import type { PartHealth, ServiceFigures } from '../figures.ts'
import { log } from '../log.ts'
import { BodyReader } from '../protocol/body.ts'
import { encodeValue } from '../protocol/payload.ts'
import {
  type BreakerNews,
  CALL,
  CALL_FIELDS,
  CALLS_COUNT_MAX,
  type ServiceFacts,
} from '../protocol/service_spec.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { Space } from '../router/pub_sub.ts'
import type { ReplyWriter } from '../router/reply.ts'
import { dependencyHealth } from './dependencies.ts'
import { HealthCheck, type ServiceOptions } from './health_check.ts'

/** Calls that one report can speak of; more count no further. */
const REPORTED_COUNT_MAX = 10_000

/** As numbers of hearth_breaker_state. */
const BREAKER_STATES = ['closed', 'half-open', 'open']
export type ServiceMetric =
  | 'hearth_service_up'
  | 'hearth_breaker_state'
  | 'hearth_breaker_transitions_total'

export class Services {
  private readonly services = new Map<string, Service>()
  private readonly space: Pick<Space, 'send'>
  private readonly request = new BodyReader()

  /** `space` is where breakers are subscribed to. */
  constructor(
    configured: Readonly<Record<string, ServiceOptions>>,
    breaker: BreakerSettings,
    space: Pick<Space, 'send'>,
  ) {
    this.space = space
    for (const [name, options] of Object.entries(configured)) {
      const service = new Service(name, options, breaker, () => this.tell(service))
      this.services.set(name, service)
    }
  }

  start(): void {
    for (const { check } of this.services.values()) check.start()
  }

  stop(): void {
    for (const { check } of this.services.values()) check.stop()
  }

  /** Takes a request of the codes above; throws what is wrong with it. */
  take(
    op: number,
    replies: ReplyWriter,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    const request = this.request.reset(bytes, start, end)
    const service = this.serviceOf(request.text())
    if (op === OPS.REPORT_CALLS.code) {
      countAll(service, request)
      replies.ok(id)
      return
    }
    request.done()
    if (op === OPS.TRY_SERVICE.code) return replies.count(id, service.tryOnce(monotonicMs()))
    const body = encodeValue(service.facts(monotonicMs()))
    replies.frame(REPLIES.RESULT.code, id, body, 0, body.length)
  }

  figures(): Record<string, ServiceFigures> {
    const nowMs = monotonicMs()
    return Object.fromEntries(
      [...this.services].map(([name, service]) => [name, service.figures(nowMs)]),
    )
  }

  /** Samples of the metrics that are about services; labels in the order of the metric's row. */
  report(sample: (name: ServiceMetric, labels: readonly string[], value: number) => void): void {
    const nowMs = monotonicMs()
    for (const service of this.services.values()) {
      const { up, breaker } = service.figures(nowMs)
      const { name } = service.breaker
      if (up !== null) sample('hearth_service_up', [service.name], Number(up))
      sample('hearth_breaker_state', [name], BREAKER_STATES.indexOf(breaker.state))
      for (const [to, count] of Object.entries(breaker.transitions))
        sample('hearth_breaker_transitions_total', [name, to.replace('-', '_')], count)
    }
  }

  /** Parts of `health()`, given those of the engine, on which services may depend. */
  health(engineParts: Readonly<Record<string, PartHealth>>): Record<string, PartHealth> {
    const own = new Map([...this.services].map(([name, service]) => [name, service.health()]))
    const statusOf = (name: string) => (own.get(name) ?? engineParts[name])?.status
    const parts: Record<string, PartHealth> = {}
    for (const [name, service] of this.services)
      parts[`service.${name}`] = dependencyHealth(
        own.get(name)!,
        service.options.dependsOn ?? [],
        statusOf,
      )
    return parts
  }

  private serviceOf(name: string): Service {
    const service = this.services.get(name)
    if (service !== undefined) return service
    const names = [...this.services.keys()].join(', ')
    const text = `no service is called '${name.slice(0, 64)}'; there are ${names}: add [services.<name>] with its url to the configuration`
    throw new HearthError('NOT_CONFIGURED', text)
  }

  /** A breaker has changed: its state goes to whoever calls the service, so that they need not ask. */
  private tell(service: Service): void {
    const nowMs = monotonicMs()
    const news = service.news(nowMs)
    log(news.state === 'open' ? 'warn' : 'info', 'breaker', {
      breaker: service.breaker.name,
      ...news,
    })
    const body = Buffer.concat([encodeValue(service.name), encodeValue(news)])
    this.space.send(service.name, body, 0, body.length)
  }
}

class Service {
  readonly name: string
  readonly options: ServiceOptions
  readonly breaker: Breaker
  readonly check: HealthCheck
  private calls = 0
  private failedCalls = 0
  /** When the pass that calls now get was made: those that began earlier have an older one. */
  private passSinceMs = -Infinity

  constructor(name: string, options: ServiceOptions, settings: BreakerSettings, tell: () => void) {
    this.name = name
    this.options = options
    this.breaker = new Breaker(`service:${name}`, settings, () => {
      this.passSinceMs = monotonicMs()
      tell()
    })
    this.check = new HealthCheck(name, options)
  }

  /** `count` calls with the same outcome, the last of which began at `beganMs`; `pass` is a trial's, or NO_PASS. */
  ended(outcome: number, count: number, beganMs: number, pass: number, nowMs: number): void {
    if (outcome !== CALL.spared) this.calls += count
    if (outcome === CALL.failed) this.failedCalls += count
    const { breaker } = this
    if (pass === NO_PASS && breaker.state !== 'closed') return
    const current = pass === NO_PASS ? breaker.admit(nowMs) : pass
    const own = pass === NO_PASS && beganMs < this.passSinceMs ? current - 1 : current
    if (outcome === CALL.spared) breaker.spared(own)
    else if (outcome === CALL.succeeded)
      for (let i = 0; i < count; i++) breaker.succeeded(own, nowMs)
    else for (let i = 0; i < count; i++) breaker.failed(own, nowMs)
    if (pass === NO_PASS && breaker.state === 'closed' && breaker.admit(nowMs) !== current)
      this.passSinceMs = nowMs
  }

  /** A trial's pass; NO_PASS when none is needed. Throws CIRCUIT_OPEN. */
  tryOnce(nowMs: number): number {
    const { breaker } = this
    if (breaker.state === 'closed') return NO_PASS
    const pass = breaker.admit(nowMs)
    if (pass !== NO_PASS) return pass
    const text = `the breaker ${breaker.name} is ${breaker.state}; the service has failed repeatedly`
    throw new HearthError('CIRCUIT_OPEN', text, { retryAfterMs: breaker.retryAfterMs(nowMs) })
  }

  news(nowMs: number): BreakerNews {
    return { state: this.breaker.state, retryAfterMs: this.breaker.retryAfterMs(nowMs) }
  }

  facts(nowMs: number): ServiceFacts {
    const { url, timeoutMs, retries, backoffMs, hedgeAfterMs, maxBodyBytes } = this.options
    const settings = { url, timeoutMs, retries, backoffMs, hedgeAfterMs, maxBodyBytes }
    return { name: this.name, ...settings, ...this.news(nowMs) }
  }

  figures(nowMs: number): ServiceFigures {
    return {
      url: this.options.url,
      calls: this.calls,
      failedCalls: this.failedCalls,
      ...this.check.figures(),
      breaker: this.breaker.figures(nowMs),
    }
  }

  health(): PartHealth {
    const breaker = this.breaker.figures(monotonicMs())
    const health = { ...this.check.health(), breaker }
    const { state } = breaker
    if (health.status !== 'ok' || state === 'closed') return health
    return { ...health, status: 'degraded', reason: `its breaker is ${state}` }
  }
}

function countAll(service: Service, request: BodyReader): void {
  const fields = request.arrayHead()
  if (fields % CALL_FIELDS !== 0 || fields > CALLS_COUNT_MAX * CALL_FIELDS)
    throw new HearthError('PROTOCOL', `${fields} numbers are no outcomes of calls`)
  const nowMs = monotonicMs()
  let left = REPORTED_COUNT_MAX
  for (let i = 0; i < fields; i += CALL_FIELDS) {
    const outcome = request.uint()
    const count = Math.min(request.uint(), left)
    left -= count
    const beganMs = nowMs - request.uint()
    service.ended(outcome, count, beganMs, request.uint(), nowMs)
  }
  request.done()
}
