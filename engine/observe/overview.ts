/** overview: the figures of `stats()` and the verdicts of `health()`, gathered from every part.
 *  Owns:   how they are put together.   Not here: the figures themselves, which each part keeps.
 *  Thread: main.
 *  Holds:  a part that does not answer in time is left out of stats and is `down` in health; gathering never throws. */

import type { Memory } from '../cache/memory.ts'
import { monotonicMs } from '../clock.ts'
import type { EngineStats, Health, PartHealth, Status } from '../figures.ts'
import type { WorkerPool } from '../pool/pool.ts'
import type { CacheCounters } from '../router/cache_ops.ts'
import { footprint } from './footprint.ts'

export interface Parts {
  readonly memory: Memory
  readonly pool: WorkerPool
  readonly counters: CacheCounters
  readonly hasPostgres: boolean
  clientCount(): number
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
      memory: memory.stats(),
      sqlite: {
        ...workers['sqlite'],
        hits: counters.sqliteHits,
        misses: counters.misses,
        writes: counters.writes,
        failedWrites: counters.failedWrites,
      },
      pools: (workers['postgres'] ?? {}) as Record<string, Figures>,
      workers: pool.state(),
      clients: this.parts.clientCount(),
      uptimeMs: Math.round(monotonicMs() - this.startedMs),
      ...footprint(),
    }
  }

  async health(): Promise<Health> {
    const workers = await this.parts.pool.stats()
    const parts: Record<string, PartHealth> = {
      memory: { status: 'ok' },
      sqlite: sqliteHealth(workers['sqlite']),
    }
    if (this.parts.hasPostgres) {
      for (const [name, figures] of Object.entries(workers['postgres'] ?? { main: undefined })) {
        parts[`postgres.${name}`] = poolHealth(figures as Figures | undefined)
      }
    }
    return { status: worst(parts), parts }
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
  const down = figures['down']
  return down === undefined ? { status: 'ok' } : { status: 'down', reason: String(down) }
}

/** A cache without its second tier, or an engine without its database, still serves what it has: degraded, not down. */
function worst(parts: Record<string, PartHealth>): Status {
  return Object.values(parts).every(({ status }) => status === 'ok') ? 'ok' : 'degraded'
}
