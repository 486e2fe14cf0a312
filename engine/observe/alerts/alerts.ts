/** Alerts: the engine looks at itself every ten seconds, and says what is wrong to whoever is configured. Loaded only where it is.
 *  Owns:   the state of each alert, what was sent, what is recent.   Not here: measuring (measures.ts), delivery (delivery.ts).
 *  Thread: main.
 *  Holds:  (1) an alert is sent when it begins, again after `repeat`, and when it is over; a restart changes nothing of that.
 *          (2) at most `dailyCap` within 24 hours; an end is sent whenever its beginning was.  (3) tables are bounded:
 *          SUBJECT_COUNT_MAX alerts, RECENT_COUNT_MAX that are over. */

import { hostname } from 'node:os'
import { ALERT_NAMES, type AlertName } from '../../alert_names.ts'
import { wallMs } from '../../clock.ts'
import type { AlertFigures, AlertsJson, ChannelAnswer } from '../../figures.ts'
import { log } from '../../log.ts'
import type { Families } from '../families.ts'
import type { Observer } from '../observer.ts'
import { AlertFile, type KeptAlerts } from './alert_file.ts'
import { ALERTS, type AlertSpec } from './alert_spec.ts'
import { type Bounds, StateOfAlert } from './alert_state.ts'
import { Delivery, type DeliveryOptions } from './delivery.ts'
import { Measuring } from './measures.ts'
import type { AlertMessage, ChannelOptions } from './message.ts'
import { shownValue } from './shown_value.ts'

export interface AlertsOptions {
  readonly host?: string | undefined
  readonly dailyCap: number
  /** 0: never again. */
  readonly repeatMs: number
  readonly rules: Readonly<Record<string, RuleOptions>>
  readonly channels: ChannelOptions
  /** Where it is kept what was sent. */
  readonly stateDir: string
  readonly delivery?: Partial<DeliveryOptions>
}

export interface RuleOptions {
  readonly enabled?: boolean | undefined
  readonly threshold?: number | undefined
  readonly clear?: number | undefined
  readonly forMs?: number | undefined
}

export const LOOK_EVERY_MS = 10_000
export const SUBJECT_COUNT_MAX = 512
export const RECENT_COUNT_MAX = 100
/** What is not measured any more, as a pool that is gone, ends its alert. */
export const UNSEEN_MS_MAX = 600_000
const DAY_MS = 24 * 3_600_000

interface Alert {
  readonly name: AlertName
  readonly subject: string
  readonly state: StateOfAlert
  /** 0: it was not. */
  sentMs: number
}

export class Alerts {
  private readonly options: AlertsOptions
  private readonly host: string
  private readonly rules: ReadonlyMap<AlertName, AlertSpec & Bounds>
  private readonly measuring: Measuring
  private readonly alerts = new Map<string, Alert>()
  private readonly recent: AlertFigures[] = []
  /** When alerts were sent, of the last 24 hours. */
  private sentMs: number[] = []
  private readonly delivery: Delivery
  private readonly file: AlertFile
  private lookedMs = Number.NEGATIVE_INFINITY
  private readonly unsubscribe: () => void

  constructor(options: AlertsOptions, observer?: Observer) {
    this.options = options
    this.host = options.host ?? hostname()
    this.rules = rulesOf(options.rules)
    this.measuring = new Measuring(
      name => this.rules.get(name)?.threshold ?? ALERTS[name].threshold,
    )
    this.delivery = new Delivery(options.channels, options.delivery, () =>
      this.file.write(this.kept()),
    )
    this.file = new AlertFile(options.stateDir)
    this.restore(wallMs())
    const onSample = observer?.onSample(({ families, atMs }) => {
      if (atMs - this.lookedMs >= LOOK_EVERY_MS) this.look(families, atMs)
    })
    this.unsubscribe = onSample ?? (() => undefined)
  }

  /** One look at a collection, as it was at `nowMs`. */
  look(families: Families, nowMs: number): void {
    this.lookedMs = nowMs
    let isChanged = false
    for (const [name, rule] of this.rules) {
      for (const [subject, value] of this.measuring.measure(name, families, nowMs))
        if (this.take(name, rule, subject, value, nowMs)) isChanged = true
    }
    if (this.endUnseen(nowMs)) isChanged = true
    if (isChanged) this.file.write(this.kept())
  }

  list(): AlertsJson {
    const active = [...this.alerts.values()].filter(({ state }) => state.isFiring)
    const shown = active.map(alert => this.figures(alert, null))
    shown.sort((a, b) => rank(a) - rank(b) || b.sinceMs - a.sinceMs)
    const dayAgoMs = wallMs() - DAY_MS
    return {
      isOn: true,
      active: shown,
      recent: this.recent.toReversed(),
      channels: [...this.delivery.channels],
      sentToday: this.sentMs.filter(sentMs => sentMs > dayAgoMs).length,
      dailyCap: this.options.dailyCap,
    }
  }

  /** Sends a message to every channel, or to one, and resolves with what each answered. No cap, no retries. */
  test(channel?: string): Promise<ChannelAnswer[]> {
    const atMs = wallMs()
    const message: AlertMessage = {
      id: `hearth/${this.host}/test`,
      kind: 'test',
      alert: 'test',
      subject: '',
      severity: 'warning',
      host: this.host,
      summary: 'this is a test: alerts of Hearth arrive here',
      advice: 'Nothing is to be done.',
      value: null,
      threshold: null,
      unit: null,
      sinceMs: atMs,
      atMs,
      note: null,
    }
    return this.delivery.test(message, channel)
  }

  async close(): Promise<void> {
    this.unsubscribe()
    await this.delivery.close()
    await this.file.close(this.kept())
  }

  private take(
    name: AlertName,
    rule: AlertSpec & Bounds,
    subject: string,
    value: number,
    nowMs: number,
  ): boolean {
    const key = `${name} ${subject}`
    let alert = this.alerts.get(key)
    if (alert === undefined) {
      if (this.alerts.size >= SUBJECT_COUNT_MAX) return false
      alert = { name, subject, state: new StateOfAlert(), sentMs: 0 }
      this.alerts.set(key, alert)
    }
    const happened = alert.state.take(value, rule, nowMs)
    if (happened === 'resolved') this.end(alert, nowMs)
    else if (happened === 'fires') this.begin(alert, nowMs)
    else return this.isDue(alert, nowMs) && this.tell(alert, nowMs)
    return true
  }

  private begin(alert: Alert, nowMs: number): void {
    const { name, subject, state } = alert
    log('warn', 'alert', { alert: name, subject, summary: summaryOf(name, subject, state.value) })
    this.tell(alert, nowMs)
  }

  /** It lasts, and was not sent for so long, or not at all since there were too many. */
  private isDue({ state, sentMs }: Alert, nowMs: number): boolean {
    const { repeatMs } = this.options
    if (state.state !== 'firing') return false
    return sentMs === 0 || (repeatMs > 0 && nowMs - sentMs >= repeatMs)
  }

  /** Sends it unless the day's number is reached; false: it was not sent. */
  private tell(alert: Alert, nowMs: number): boolean {
    this.sentMs = this.sentMs.filter(sentMs => sentMs > nowMs - DAY_MS)
    const { dailyCap } = this.options
    if (this.sentMs.length >= dailyCap) return false
    const message = this.message(alert, alert.sentMs > 0 ? 'still firing' : 'firing', nowMs)
    const isLast = this.sentMs.length === dailyCap - 1
    const note = `This is the last of ${dailyCap} within 24 hours (alerts.daily_cap): for more, ask hearth alert list.`
    if (!this.delivery.offer(isLast ? { ...message, note } : message)) return false
    this.sentMs.push(nowMs)
    alert.sentMs = nowMs
    return true
  }

  private end(alert: Alert, nowMs: number): void {
    this.recent.push(this.figures(alert, nowMs))
    if (this.recent.length > RECENT_COUNT_MAX) this.recent.shift()
    log('info', 'alert is over', { alert: alert.name, subject: alert.subject })
    if (alert.sentMs > 0) this.delivery.offer(this.message(alert, 'resolved', nowMs))
    alert.sentMs = 0
  }

  private endUnseen(nowMs: number): boolean {
    let isChanged = false
    for (const [key, alert] of this.alerts) {
      if (nowMs - alert.state.seenMs < UNSEEN_MS_MAX) continue
      if (alert.state.isFiring) {
        this.end(alert, nowMs)
        isChanged = true
      }
      this.alerts.delete(key)
    }
    return isChanged
  }

  private message(
    { name, subject, state }: Alert,
    kind: AlertMessage['kind'],
    nowMs: number,
  ): AlertMessage {
    const { severity, advice, unit } = ALERTS[name]
    return {
      id: `hearth/${this.host}/${name}${subject === '' ? '' : `/${subject}`}`,
      kind,
      alert: name,
      subject,
      severity,
      host: this.host,
      summary: summaryOf(name, subject, state.value),
      advice,
      value: finite(state.value),
      threshold: this.rules.get(name)!.threshold,
      unit,
      sinceMs: state.sinceMs,
      atMs: nowMs,
      note: null,
    }
  }

  private figures({ name, subject, state, sentMs }: Alert, untilMs: number | null): AlertFigures {
    return {
      alert: name,
      subject,
      severity: ALERTS[name].severity,
      summary: summaryOf(name, subject, state.value),
      advice: ALERTS[name].advice,
      value: finite(state.value),
      threshold: this.rules.get(name)!.threshold,
      sinceMs: state.sinceMs,
      untilMs,
      sentMs: sentMs === 0 ? null : sentMs,
    }
  }

  private kept(): KeptAlerts {
    const firing = [...this.alerts.values()].filter(({ state }) => state.isFiring)
    const alerts = firing.map(({ name, subject, sentMs, state }) => {
      return { name, subject, sentMs, sinceMs: state.sinceMs, value: finite(state.value) }
    })
    const queued = this.delivery.queued()
    return { alerts, sentMs: this.sentMs, recent: this.recent, queued }
  }

  private restore(nowMs: number): void {
    const { alerts, sentMs, recent, queued } = this.file.read()
    this.sentMs = sentMs
    this.delivery.restore(queued)
    this.recent.push(...recent.slice(-RECENT_COUNT_MAX))
    for (const { name, subject, sentMs, sinceMs, value } of alerts.slice(0, SUBJECT_COUNT_MAX)) {
      if (!this.rules.has(name as AlertName)) continue
      const state = new StateOfAlert()
      state.restore(sinceMs, value ?? Number.NaN, nowMs)
      const alert = { name: name as AlertName, subject, state, sentMs }
      this.alerts.set(`${name} ${subject}`, alert)
    }
  }
}

/** Each alert that is looked at, with what is configured. A threshold that is set takes `clear` along. */
function rulesOf(
  options: Readonly<Record<string, RuleOptions>>,
): ReadonlyMap<AlertName, AlertSpec & Bounds> {
  const rules = new Map<AlertName, AlertSpec & Bounds>()
  for (const name of ALERT_NAMES) {
    const spec: AlertSpec = ALERTS[name]
    const { enabled = true, threshold = spec.threshold, forMs = spec.forMs } = options[name] ?? {}
    const scaled = spec.threshold === 0 ? threshold : (threshold * spec.clear) / spec.threshold
    const isShare = spec.unit === 'share' && spec.when === 'below'
    const clear = options[name]?.clear ?? (isShare ? Math.min(1, scaled) : scaled)
    if (enabled) rules.set(name, { ...spec, threshold, forMs, clear })
  }
  return rules
}

function summaryOf(name: AlertName, subject: string, value: number): string {
  const { summary, unit } = ALERTS[name]
  return summary.replaceAll('{subject}', subject).replaceAll('{value}', shownValue(value, unit))
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null
}

function rank({ severity }: AlertFigures): number {
  return severity === 'critical' ? 0 : 1
}
