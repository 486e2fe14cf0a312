/** overview: the figures of `stats()` and the verdicts of `health()`, gathered from every part.
 *  Owns:   how they are put together.   Not here: the figures themselves, which each part keeps.
 *  Thread: main.
 *  Holds:  a part that does not answer in time is left out of stats and is `down` in health; gathering never throws. */

import type { Memory } from '../cache/memory.ts'
import { monotonicMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import type {
  AlertsJson,
  CacheFigures,
  ChannelAnswer,
  EngineStats,
  Health,
  LimitFigures,
  MetricsJson,
  PartHealth,
  QueryCacheFigures,
  ReadFigures,
  SeriesJson,
  ServiceFigures,
  Status,
  WarmedFigures,
} from '../figures.ts'

import type { WorkerPool } from '../pool/pool.ts'
import type { CacheCounters } from '../router/cache_state.ts'
import type { Namespaces } from '../router/namespaces.ts'
import { footprint } from './footprint.ts'
import type { HitRate } from './hit_rate.ts'
import type { MetricSources } from './metric_sources.ts'
import type { Observer } from './observer.ts'

export interface Parts {
  readonly memory: Memory
  readonly pool: WorkerPool
  readonly counters: CacheCounters
  readonly namespaces: Namespaces
  readonly queryCache: QueryCacheFigures
  readonly hitRate: HitRate
  readonly hasPostgres: boolean
  clientCount(): number
  limits(): LimitFigures
  warmed(): WarmedFigures | undefined
  /** Undefined when none is registered. */
  services(): ServiceParts | undefined
  readonly sources: MetricSources
  phase(): 'starting' | 'serving' | 'stopping'
  observer(): Promise<Observer>
}

export interface ServiceParts {
  figures(): Record<string, ServiceFigures>
  health(parts: Readonly<Record<string, PartHealth>>): Record<string, PartHealth>
}

type Figures = Record<string, unknown>

export class EngineOverview {
  private readonly parts: Parts
  private readonly startedMs = monotonicMs()

  constructor(parts: Parts) {
    this.parts = parts
  }

  async stats(): Promise<EngineStats> {
    const { memory, pool, counters } = this.parts
    const workers = await pool.stats()
    return {
      memory: { ...memory.stats(), warmed: this.parts.warmed() ?? null },
      sqlite: {
        ...workers['sqlite'],
        hits: counters.sqliteHits,
        misses: counters.misses,
        writes: counters.writes,
        failedWrites: counters.failedWrites,
      },
      cache: this.cache(),
      queryCache: { ...this.parts.queryCache },
      limits: this.parts.limits(),
      namespaces: this.parts.namespaces.figures(),
      pools: (workers['postgres'] ?? {}) as Record<string, Figures>,
      services: this.parts.services()?.figures() ?? {},
      workers: pool.state(),
      clients: this.parts.clientCount(),
      uptimeMs: Math.round(this.uptimeMs()),
      ...footprint(),
    }
  }

  uptimeMs(): number {
    return monotonicMs() - this.startedMs
  }

  async metrics(): Promise<MetricsJson> {
    return (await this.parts.observer()).metrics()
  }

  async series(sinceMs: number): Promise<SeriesJson> {
    return (await this.parts.observer()).seriesSince(sinceMs)
  }

  async alerts(): Promise<AlertsJson> {
    return (await this.parts.observer()).alertsJson()
  }

  /** Rejects with NOT_CONFIGURED where there is no such channel; '' means all. */
  async testAlerts(channel: string): Promise<ChannelAnswer[]> {
    const { alerts } = await this.parts.observer()
    const answers = await alerts?.test(channel === '' ? undefined : channel)
    if (answers !== undefined && answers.length > 0) return answers
    const words =
      channel === ''
        ? 'no channel for alerts is configured (alerts.*)'
        : `alerts.${channel} is not configured`
    throw new HearthError('NOT_CONFIGURED', words)
  }

  /** All reads so far, by what answered them. */
  reads(): ReadFigures {
    const { memory, counters } = this.parts
    return {
      memoryHits: memory.stats().hits,
      sqliteHits: counters.sqliteHits,
      misses: counters.misses,
    }
  }

  private cache(): CacheFigures {
    const { counters, hitRate } = this.parts
    const { memoryHits, sqliteHits, misses } = this.reads()
    const all = memoryHits + sqliteHits + misses
    const share = (count: number): number | null => (all === 0 ? null : count / all)
    return {
      hitRate: share(memoryHits + sqliteHits),
      memoryHitRate: share(memoryHits),
      sqliteHitRate: share(sqliteHits),
      recentHitRate: hitRate.recent,
      hitRateTarget: hitRate.target,
      invalidatedTags: counters.invalidatedTags,
      invalidatedPatterns: counters.invalidatedPatterns,
    }
  }

  async health(): Promise<Health> {
    const workers = await this.parts.pool.stats()
    const parts: Record<string, PartHealth> = {
      memory: { status: 'ok' },
      sqlite: sqliteHealth(workers['sqlite']),
      cache: cacheHealth(this.parts.hitRate),
    }
    if (this.parts.hasPostgres) {
      for (const [name, figures] of Object.entries(workers['postgres'] ?? { main: undefined })) {
        parts[`postgres.${name}`] = poolHealth(figures as Figures | undefined)
      }
    }
    Object.assign(parts, this.parts.services()?.health(parts))
    Object.assign(parts, this.parts.sources.health())
    const phase = this.parts.phase()
    if (phase === 'serving') return { status: worst(parts), parts }
    parts['engine'] = { status: 'down', reason: `the engine is ${phase}` }
    return { status: 'down', parts }
  }
}

/** Never worse than ok: few hits are a reason to look, not a fault. */
function cacheHealth({ recent, target, warning }: HitRate): PartHealth {
  return {
    status: 'ok',
    hitRate: recent,
    hitRateTarget: target,
    ...(warning === undefined ? {} : { warning }),
  }
}

function sqliteHealth(figures: Figures | undefined): PartHealth {
  if (figures === undefined)
    return {
      status: 'degraded',
      reason: 'the sqlite worker does not answer; it is being restarted',
    }
  if (figures['state'] === 'ok') return { status: 'ok' }
  return { status: 'degraded', reason: `tier 2 is out of use: ${figures['reason']}` }
}

function poolHealth(figures: Figures | undefined): PartHealth {
  if (figures === undefined)
    return { status: 'down', reason: 'the postgres worker does not answer; it is being restarted' }
  const { down, problem, servers } = figures
  const shown = servers === undefined ? {} : { servers: servers as Figures[] }
  if (down !== undefined) return { status: 'down', reason: String(down), ...shown }
  const breakers = Object.entries((figures['breakers'] ?? {}) as Record<string, { state: string }>)
  const reasons = breakers
    .filter(([, { state }]) => state !== 'closed')
    .map(([side, { state }]) => `the breaker of its ${side} is ${state}`)
  if (problem !== undefined) reasons.push(String(problem))
  const reason = reasons.join(', ')
  const outside = (figures['outside'] as { reason?: string } | undefined)?.reason
  const more = { ...(outside === undefined ? {} : { warning: outside }), ...shown }
  return reason === '' ? { status: 'ok', ...more } : { status: 'degraded', reason, ...more }
}

/** A cache without its second tier, or an engine without its database, still serves what it has: degraded, not down. */
function worst(parts: Record<string, PartHealth>): Status {
  return Object.values(parts).every(({ status }) => status === 'ok') ? 'ok' : 'degraded'
}
