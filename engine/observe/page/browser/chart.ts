/** chart: lines over the last ten minutes, drawn by uPlot, of which this is the only importer.
 *  Owns:   the canvas.   Not here: what is shown (../../view/charts.ts), its legend and its words (live_figure.ts).
 *  Thread: a browser's.
 *  Holds:  (1) one uPlot for the life of the page: data and size change, nothing is made anew.  (2) colours are the style sheet's,
 *          read at each drawing, so that light and dark are followed. */

import uPlot from 'uplot'
import type { Chart, Tone } from '../../view/charts.ts'
import type { History } from '../../view/history.ts'
import { clockTime, shown, type Unit } from '../../view/units.ts'

/** As long as the series; less while there is less. */
const WINDOW_MS_MAX = 600_000
const WINDOW_MS_MIN = 120_000
const HEIGHT_PX = 170
const SOFT = '2e'
const DASH = [5, 4]
/** Every chart's crosshair is at the same time. */
const SYNC_KEY = 'hearth'

/** A line that the values are to be held against, such as a target. */
export interface Bound {
  readonly label: string
  readonly value: number | null
}

export class ChartDrawing {
  private readonly chart: Chart
  private readonly plot: uPlot

  /** `onPoint` is told which sample the pointer is at; null: none. */
  constructor(container: HTMLElement, chart: Chart, onPoint: (at: number | null) => void) {
    this.chart = chart
    const width = Math.max(100, container.clientWidth)
    const options = optionsOf(chart, width, plot => onPoint(plot.cursor.idx ?? null))
    this.plot = new uPlot(options, [[], ...chart.lines.map(() => []), []], container)
    new ResizeObserver(() => {
      const { clientWidth } = container
      if (clientWidth > 0 && clientWidth !== this.plot.width)
        this.plot.setSize({ width: clientWidth, height: HEIGHT_PX })
    }).observe(container)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () =>
      this.plot.redraw(false, true),
    )
  }

  show(history: History, bound: Bound | undefined): void {
    const columns = this.chart.lines.map(({ name }) => history.column(name))
    const lines = this.chart.isStacked === true ? stacked(columns).reverse() : columns
    const limit = history.atMs.map(() => bound?.value ?? null)
    this.plot.setData([history.atMs, ...lines, limit])
  }
}

/** Each line on those before it; the first stays the lowest. */
function stacked(columns: readonly (number | null)[][]): (number | null)[][] {
  const sums: (number | null)[][] = []
  for (const column of columns) {
    const below = sums.at(-1)
    sums.push(column.map((value, at) => (value === null ? null : value + (below?.[at] ?? 0))))
  }
  return sums
}

function optionsOf(chart: Chart, width: number, onPoint: (plot: uPlot) => void): uPlot.Options {
  const { unit } = chart
  // The sum is drawn first: where the rest is nothing, the lowest line is to be seen.
  const lines = chart.isStacked === true ? [...chart.lines].reverse() : chart.lines
  const axis = {
    stroke: () => styleOf('--quiet'),
    grid: { stroke: () => styleOf('--rule'), width: 1 },
    ticks: { show: false },
    font: '11px system-ui, sans-serif',
  }
  return {
    width,
    height: HEIGHT_PX,
    ms: 1,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, sync: { key: SYNC_KEY }, y: false },
    scales: {
      x: { time: true, range: (_, first, last) => windowOf(first ?? 0, last ?? 0) },
      y: { range: (_, __, most) => [0, topOf(unit, most)] },
    },
    axes: [
      {
        ...axis,
        size: 28,
        space: 60,
        incrs: [60_000, 120_000, 300_000],
        values: (_, splits) => splits.map(at => clockTime(at).slice(0, 5)),
      },
      {
        ...axis,
        size: 66,
        space: 36,
        ...(unit === 'bytes' ? { incrs: BYTE_STEPS } : {}),
        ...(unit === 'count' ? { incrs: COUNT_STEPS } : {}),
        values: (_, splits) => splits.map(value => axisWords(value, unit)),
      },
    ],
    series: [
      {},
      ...lines.map(({ tone, isDashed }, at) => ({
        stroke: () => toneOf(tone),
        width: 2,
        ...(isDashed === true ? { dash: DASH } : {}),
        ...(at === 0 || chart.isStacked ? { fill: () => toneOf(tone) + SOFT } : {}),
        points: { show: false, filter: lonely },
      })),
      { stroke: () => styleOf('--quiet'), width: 1, dash: [2, 4], points: { show: false } },
    ],
    ...(chart.isStacked === true
      ? { bands: lines.slice(1).map((_, at) => ({ series: [at + 1, at + 2] as [number, number] })) }
      : {}),
    hooks: { setCursor: [onPoint] },
  }
}

/** Samples with nothing known beside them: no line reaches these, so each gets a point. */
function lonely(plot: uPlot, series: number): number[] {
  const values = plot.data[series] as (number | null)[]
  return values.flatMap((value, at) =>
    value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null
      ? [at]
      : [],
  )
}

const BYTE_STEPS = Array.from({ length: 40 }, (_, at) => 2 ** at)
const COUNT_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000]

function windowOf(firstMs: number, lastMs: number): [number, number] {
  const windowMs = Math.min(Math.max(lastMs - firstMs, WINDOW_MS_MIN), WINDOW_MS_MAX)
  return [lastMs - windowMs, lastMs]
}

function topOf(unit: Unit, most: number | null): number {
  if (unit === 'share') return 1
  const least = unit === 'ms' ? 0.05 : unit === 'bytes' ? 1024 : 1
  return Math.max((most ?? 0) * 1.1, least)
}

function axisWords(value: number, unit: Unit): string {
  if (unit === 'share') return `${Math.round(value * 100)} %`
  return value === 0 ? '0' : shown(value, unit).replace('.0 ', ' ')
}

function toneOf(tone: Tone): string {
  return styleOf(`--${tone}`)
}

function styleOf(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim()
}
