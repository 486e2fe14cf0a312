/** Observer: what looks at the engine from outside hangs on: metrics, their series, the HTTP side. Loaded when first needed.
 *  Owns:   the timer that takes a sample every other second, the HTTP server.
 *  Not here: counting, which goes on whether anybody looks or not.
 *  Thread: main.
 *  Holds:  (1) one collection at a time for the series; a scrape makes its own.  (2) nothing is sampled before somebody looks. */

import { monotonicMs, wallMs } from '../clock.ts'
import type {
  AlertsJson,
  ChannelAnswer,
  Health,
  MetricsJson,
  SeriesJson,
  ServerMetrics,
} from '../figures.ts'
import type { AlertsConfig } from './alerts/open.ts'
import type { Families } from './families.ts'
import { HttpServer } from './http_server.ts'
import { listenOf, originOf } from './listen.ts'
import { collect, type MetricParts } from './metrics.ts'
import { metricsJson } from './metrics_json.ts'
import { routesOf } from './routes.ts'
import { Sampler } from './sampler.ts'
import { SERIES_EVERY_MS, Series } from './series.ts'

export interface ObserverParts extends MetricParts {
  /** Starting and stopping the engine is alive, and not ready. */
  phase(): 'starting' | 'serving' | 'stopping'
  health(): Promise<Health>
}

/** The newest collection, at most SERIES_EVERY_MS old: reading it costs nothing. */
export interface Snapshot {
  /** Since 1970. */
  readonly atMs: number
  readonly families: Families
}

/** What the observer knows of alerts.ts, which is loaded only where alerts are on. */
export interface ObservedAlerts {
  list(): AlertsJson
  test(channel?: string): Promise<ChannelAnswer[]>
  close(): Promise<void>
}

interface AlertingConfig {
  readonly alerts: AlertsConfig
  readonly engine: { readonly stateDir: string }
}

const NO_ALERTS: AlertsJson = {
  isOn: false,
  active: [],
  recent: [],
  channels: [],
  sentToday: 0,
  dailyCap: 0,
}

export class Observer {
  readonly series = new Series()
  /** Undefined before the first. */
  latest: Snapshot | undefined
  /** Where the HTTP side is: http://127.0.0.1:9464; undefined: nowhere. */
  url: string | undefined
  /** The engine's own, where they are on. */
  alerts: ObservedAlerts | undefined
  private readonly parts: ObserverParts
  private readonly sampler = new Sampler()
  private readonly timer: NodeJS.Timeout
  private readonly listeners = new Set<(snapshot: Snapshot) => void>()
  private isSampling = false
  private server: HttpServer | undefined

  constructor(parts: ObserverParts) {
    this.parts = parts
    this.timer = setInterval(() => void this.sample(), SERIES_EVERY_MS).unref()
    void this.sample()
  }

  /** Calls back after each sample, with the series up to date. Returns what ends it. */
  onSample(listener: (snapshot: Snapshot) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Everything as it is now: one question to each worker. */
  collect(): Promise<Families> {
    return collect(this.parts)
  }

  async metrics(): Promise<MetricsJson> {
    return metricsJson(await this.collect(), wallMs())
  }

  seriesSince(sinceMs: number): SeriesJson {
    return this.series.json(sinceMs)
  }

  alertsJson(): AlertsJson {
    return this.alerts?.list() ?? NO_ALERTS
  }

  /** What the postgres worker tells of each server. */
  async servers(): Promise<ServerMetrics[]> {
    const { servers } = (await this.parts.pool.metrics()) as { servers?: unknown }
    return (servers ?? []) as ServerMetrics[]
  }

  /** The slow log without parameters, newest first; null: no database, or query insight is off. */
  async slow(): Promise<object[] | null> {
    const found = await this.parts.pool.insight('slow')
    if (!Array.isArray(found)) return null
    return found.map(({ params: _, ...statement }) => statement)
  }

  health(): Promise<Health> {
    return this.parts.health()
  }

  get phase(): 'starting' | 'serving' | 'stopping' {
    return this.parts.phase()
  }

  /** Opens the HTTP side where http.listen says. Rejects with UNAVAILABLE when the port is taken. */
  async listen(words: string, allowedHosts: readonly string[]): Promise<void> {
    const listen = listenOf(words)
    this.server = new HttpServer(routesOf(this), [listen.host, ...allowedHosts])
    const port = await this.server.listen(listen)
    this.url = originOf({ ...listen, port })
  }

  /** The engine's own alerts, from its configuration. */
  async openAlerts({ alerts, engine }: AlertingConfig): Promise<void> {
    const { openAlerts } = await import('./alerts/open.ts')
    this.alerts = openAlerts(alerts, engine.stateDir, this)
  }

  async close(): Promise<void> {
    clearInterval(this.timer)
    await this.alerts?.close()
    await this.server?.close()
  }

  private async sample(): Promise<void> {
    if (this.isSampling || this.parts.phase() !== 'serving') return
    this.isSampling = true
    const beganMs = monotonicMs()
    try {
      const families = await this.collect()
      const atMs = wallMs()
      this.series.add(atMs, this.sampler.row(families, beganMs))
      this.latest = { atMs, families }
      for (const listener of this.listeners) listener(this.latest)
    } finally {
      this.isSampling = false
    }
  }
}
