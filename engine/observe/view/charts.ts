/** charts: which figures are shown over time together, in which unit, and what each chart says in words.
 *  Owns:   CHARTS.   Not here: drawing (../page/browser/chart.ts, cli/top), the figures' meaning (../sampler.ts).
 *  Thread: any, a browser's too; plain data.
 *  Holds:  a line is told from others by its dash and its label too, never by its colour alone. */

import type { SeriesName } from '../series.ts'
import type { History } from './history.ts'
import { shown, type Unit } from './units.ts'

/** A role, not a colour: each side has its own for light and dark. */
export type Tone = 'first' | 'second' | 'third' | 'bad'

export interface Line {
  readonly name: SeriesName
  readonly label: string
  readonly tone: Tone
  readonly isDashed?: true
}

export interface Chart {
  readonly title: string
  readonly unit: Unit
  /** Shares that add up are drawn one on the other. */
  readonly isStacked?: true
  readonly lines: readonly Line[]
}

const latency = (title: string, p50: SeriesName, p99: SeriesName): Chart => ({
  title,
  unit: 'ms',
  lines: [
    { name: p99, label: '99th percentile', tone: 'second' },
    { name: p50, label: 'median', tone: 'first', isDashed: true },
  ],
})

export const CHARTS = {
  hits: {
    title: 'Hit rate by tier',
    unit: 'share',
    isStacked: true,
    lines: [
      { name: 'memoryHitShare', label: 'memory', tone: 'first' },
      { name: 'sqliteHitShare', label: 'SQLite', tone: 'second' },
    ],
  },
  requests: {
    title: 'Requests',
    unit: 'perSecond',
    lines: [
      { name: 'requestsPerSecond', label: 'over the socket', tone: 'first' },
      { name: 'readsPerSecond', label: 'cache reads, in place too', tone: 'third', isDashed: true },
      { name: 'errorsPerSecond', label: 'failed', tone: 'bad' },
    ],
  },
  gets: latency('Gets', 'getP50Ms', 'getP99Ms'),
  sets: latency('Sets', 'setP50Ms', 'setP99Ms'),
  queries: latency('Queries', 'queryP50Ms', 'queryP99Ms'),
  connections: {
    title: 'Connections to Postgres',
    unit: 'count',
    lines: [
      { name: 'poolInUseCount', label: 'in use', tone: 'first' },
      { name: 'poolIdleCount', label: 'idle', tone: 'third', isDashed: true },
      { name: 'poolWaitingCount', label: 'requests waiting', tone: 'bad' },
    ],
  },
  statements: latency('Statements in Postgres', 'statementP50Ms', 'statementP99Ms'),
  lag: {
    title: 'Replica lag',
    unit: 'ms',
    lines: [{ name: 'replicaLagMs', label: 'furthest behind', tone: 'second' }],
  },
  memory: {
    title: 'Own memory above a bare Node',
    unit: 'bytes',
    lines: [{ name: 'privateOverNodeBytes', label: 'above a bare Node', tone: 'first' }],
  },
} as const satisfies Record<string, Chart>

export type ChartName = keyof typeof CHARTS

/** What a chart shows, as a sentence for each line: its value now, and between which values it was. */
export function summaryOf(chart: Chart, history: History): string {
  const minutes = Math.round((history.lastAtMs - (history.atMs[0] ?? 0)) / 60_000)
  const over = minutes > 1 ? `the last ${minutes} minutes` : 'the last minute'
  const parts = chart.lines.map(({ name, label }) => {
    const known = history.column(name).filter(value => value !== null)
    if (known.length === 0) return `${label}: nothing yet`
    const [least, most] = [Math.min(...known), Math.max(...known)]
    const now = shown(history.latest(name), chart.unit)
    const lowest = shown(least, chart.unit)
    return `${label}: ${now} now, ${lowest} to ${shown(most, chart.unit)} over ${over}`
  })
  return `${chart.title}. ${parts.join('; ')}.`
}
