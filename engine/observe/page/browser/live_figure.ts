/** LiveFigure: a chart with its title, its legend with values, its words for whoever does not see it, and its figures as a table.
 *  Owns:   the figure's elements.   Not here: drawing (chart.ts).
 *  Thread: a browser's.
 *  Holds:  (1) the drawing has the summary as its name; it changes silently.  (2) the table is filled only while it is open. */

import { type Chart, summaryOf } from '../../view/charts.ts'
import type { History } from '../../view/history.ts'
import { clockTime, shown } from '../../view/units.ts'
import { type Bound, ChartDrawing } from './chart.ts'
import { element, setAttribute, setText } from './dom.ts'
import { LiveTable } from './live_table.ts'

const MINUTE_MS = 60_000

export class LiveFigure {
  private readonly chart: Chart
  private readonly drawing: ChartDrawing
  private readonly image: HTMLElement
  private readonly empty = element('p', { class: 'empty' }, 'Nothing yet')
  private readonly values: HTMLElement[]
  private readonly boundValue = element('b')
  private readonly boundItem = element('li')
  private readonly details: HTMLDetailsElement
  private readonly table: LiveTable
  private history: History | undefined
  /** Which sample the pointer is at; null: the newest is shown. */
  private at: number | null = null

  constructor(container: HTMLElement, chart: Chart) {
    this.chart = chart
    this.values = chart.lines.map(() => element('b'))
    const items = chart.lines.map(({ label, tone, isDashed }, at) => {
      const swatch = element('span', {
        class: `swatch tone-${tone}${isDashed === true ? ' dashed' : ''}`,
      })
      return element('li', {}, swatch, `${label} `, this.values[at]!)
    })
    this.boundItem.hidden = true
    const legend = element('ul', { class: 'legend' }, ...items, this.boundItem)
    const caption = element('figcaption', {}, element('strong', {}, chart.title), legend)
    this.image = element('div', { class: 'drawing', role: 'img', 'aria-label': chart.title })
    this.image.append(this.empty)
    const summary = element('summary', {}, `${chart.title} as a table`)
    this.details = element('details', {}, summary)
    this.table = new LiveTable(this.details, {
      caption: `${chart.title}: the mean of each minute`,
      empty: 'Nothing yet',
      columns: [
        { title: 'Minute' },
        ...chart.lines.map(({ label }) => ({ title: label, kind: 'number' as const })),
      ],
    })
    this.details.addEventListener('toggle', () => this.fillTable())
    container.append(element('figure', {}, caption, this.image, this.details))
    this.drawing = new ChartDrawing(this.image, chart, at => {
      this.at = at
      this.fillLegend()
    })
  }

  show(history: History, bound?: Bound): void {
    this.history = history
    this.drawing.show(history, bound)
    this.empty.hidden = this.chart.lines.some(({ name }) =>
      history.column(name).some(value => value !== null),
    )
    this.boundItem.hidden = (bound?.value ?? null) === null
    if (bound !== undefined && !this.boundItem.hidden) {
      if (this.boundItem.firstChild === null)
        this.boundItem.append(`${bound.label} `, this.boundValue)
      setText(this.boundValue, shown(bound.value, this.chart.unit))
    }
    setAttribute(this.image, 'aria-label', summaryOf(this.chart, history))
    this.fillLegend()
    this.fillTable()
  }

  private fillLegend(): void {
    if (this.history === undefined) return
    for (const [i, { name }] of this.chart.lines.entries()) {
      const column = this.history.column(name)
      const value = this.at === null ? column.at(-1) : column[this.at]
      setText(this.values[i]!, shown(value, this.chart.unit))
    }
  }

  private fillTable(): void {
    if (!this.details.open || this.history === undefined) return
    const { history } = this
    const minutes = Map.groupBy(history.atMs.keys(), at =>
      Math.floor(history.atMs[at]! / MINUTE_MS),
    )
    const rows = [...minutes].map(([minute, places]) => [
      clockTime(minute * MINUTE_MS).slice(0, 5),
      ...this.chart.lines.map(({ name }) => {
        const column = history.column(name)
        return shown(meanOf(places.map(at => column[at] ?? null)), this.chart.unit)
      }),
    ])
    this.table.show(rows.reverse())
  }
}

/** Null: none is known. */
function meanOf(values: readonly (number | null)[]): number | null {
  const known = values.filter(value => value !== null)
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length
}
