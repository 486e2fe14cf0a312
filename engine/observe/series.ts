/** Series: the last ten minutes of chosen figures, a sample every other second, for the page, `hearth top` and alerts.
 *  Owns:   a ring of samples in typed arrays, 40 KiB.   Not here: what the figures are (sampler.ts).
 *  Thread: main.
 *  Holds:  (1) its size is fixed.  (2) a figure that was not known is NaN here, null in JSON.  (3) a figure's unit is the last word
 *          of its name; a share is from 0 to 1. */

import type { SeriesJson } from '../figures.ts'

export const SERIES_EVERY_MS = 2_000
export const SERIES_SAMPLE_COUNT = 300

export const SERIES = [
  'requestsPerSecond',
  'errorsPerSecond',
  'inFlightCount',
  'getP50Ms',
  'getP99Ms',
  'setP50Ms',
  'setP99Ms',
  'queryP50Ms',
  'queryP99Ms',
  'readsPerSecond',
  'memoryHitShare',
  'sqliteHitShare',
  'missShare',
  'evictionsPerSecond',
  'memoryBytes',
  'sqliteBytes',
  'statementsPerSecond',
  'statementP50Ms',
  'statementP99Ms',
  'acquireP99Ms',
  'poolInUseCount',
  'poolIdleCount',
  'poolWaitingCount',
  'breakersOpenCount',
  'replicaLagMs',
  'rateLimitedPerSecond',
  'servicesDownCount',
  'clientCount',
  'ringDepthBytes',
  'workerRestartCount',
  'privateBytes',
  'privateOverNodeBytes',
] as const

export type SeriesName = (typeof SERIES)[number]
export type SeriesRow = Record<SeriesName, number>

export class Series {
  private readonly atMs = new Float64Array(SERIES_SAMPLE_COUNT)
  private readonly columns = SERIES.map(() => new Float32Array(SERIES_SAMPLE_COUNT))
  /** Samples ever taken; the newest stands at (count - 1) % SERIES_SAMPLE_COUNT. */
  private count = 0

  /** `atMs`: since 1970, and always later than the one before. */
  add(atMs: number, row: SeriesRow): void {
    const at = this.count++ % SERIES_SAMPLE_COUNT
    this.atMs[at] = atMs
    for (let i = 0; i < SERIES.length; i++) this.columns[i]![at] = row[SERIES[i]!]
  }

  /** The newest value of a figure; NaN: there is none. */
  latest(name: SeriesName): number {
    if (this.count === 0) return Number.NaN
    return this.columns[SERIES.indexOf(name)]![(this.count - 1) % SERIES_SAMPLE_COUNT]!
  }

  /** The mean of a figure over its samples of the last `windowMs`; NaN: none is known. */
  mean(name: SeriesName, windowMs: number): number {
    const column = this.columns[SERIES.indexOf(name)]!
    const wanted = Math.min(this.size, Math.ceil(windowMs / SERIES_EVERY_MS))
    let sum = 0
    let known = 0
    for (let i = this.count - wanted; i < this.count; i++) {
      const value = column[i % SERIES_SAMPLE_COUNT]!
      if (Number.isNaN(value)) continue
      sum += value
      known++
    }
    return sum / known
  }

  /** The samples taken after `sinceMs`, oldest first. */
  json(sinceMs: number): SeriesJson {
    const places: number[] = []
    for (let i = this.count - this.size; i < this.count; i++) {
      const at = i % SERIES_SAMPLE_COUNT
      if (this.atMs[at]! > sinceMs) places.push(at)
    }
    const values: SeriesJson['values'] = {}
    for (const [i, name] of SERIES.entries())
      values[name] = places.map(at => shown(this.columns[i]![at]!))
    return { everyMs: SERIES_EVERY_MS, atMs: places.map(at => this.atMs[at]!), values }
  }

  private get size(): number {
    return Math.min(this.count, SERIES_SAMPLE_COUNT)
  }
}

/** A float32 has six digits that are its own. */
function shown(value: number): number | null {
  return Number.isFinite(value) ? Number(value.toPrecision(6)) : null
}
