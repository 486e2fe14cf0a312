/** LiveTable: a table whose cells change in place, or the words that stand there when there is nothing to list.
 *  Owns:   its elements.   Thread: a browser's.
 *  Holds:  (1) a row's element stays while there are rows, so that nothing jumps and no element is made for each tick.
 *          (2) wider than its place it scrolls by itself, and by keyboard. */

import { element, setAttribute, setText } from './dom.ts'

export interface Column {
  readonly title: string
  readonly kind?: 'number' | 'code' | 'state'
}

export interface TableWords {
  readonly caption: string
  /** In place of a table without rows. */
  readonly empty: string
  readonly columns: readonly Column[]
}

export class LiveTable {
  private readonly columns: readonly Column[]
  private readonly place: HTMLElement
  private readonly body: HTMLTableSectionElement
  private readonly empty: HTMLElement

  constructor(container: HTMLElement, { caption, empty, columns }: TableWords) {
    this.columns = columns
    this.body = element('tbody')
    const titles = columns.map(({ title, kind }) =>
      element('th', { scope: 'col', class: kind === 'number' ? 'number' : '' }, title),
    )
    const head = element('thead', {}, element('tr', {}, ...titles))
    const table = element('table', {}, element('caption', {}, caption), head, this.body)
    this.place = element('div', { class: 'scroll', role: 'region', 'aria-label': caption }, table)
    this.empty = element('p', { class: 'empty' }, empty)
    this.place.hidden = true
    container.append(this.place, this.empty)
    const { place } = this
    new ResizeObserver(() => {
      if (place.scrollWidth > place.clientWidth) place.tabIndex = 0
      else place.removeAttribute('tabindex')
    }).observe(place)
  }

  /** `words`: other ones than the empty table's own. */
  show(rows: readonly (readonly string[])[], words?: string): void {
    if (words !== undefined) setText(this.empty, words)
    this.empty.hidden = rows.length > 0
    this.place.hidden = rows.length === 0
    const { body } = this
    while (body.rows.length > rows.length) body.deleteRow(-1)
    while (body.rows.length < rows.length) body.append(this.emptyRow())
    for (const [at, cells] of rows.entries()) this.fill(body.rows[at]!, cells)
  }

  private emptyRow(): HTMLTableRowElement {
    const cells = this.columns.map(({ kind }, at) => {
      const cell =
        at === 0 ? element('th', { scope: 'row' }) : element('td', { class: classOf(kind) })
      if (kind === 'state') cell.append(element('span', { class: 'badge' }))
      return cell
    })
    return element('tr', {}, ...cells)
  }

  private fill(row: HTMLTableRowElement, cells: readonly string[]): void {
    for (const [at, { kind }] of this.columns.entries()) {
      const cell = row.cells[at]!
      const text = cells[at] ?? ''
      if (kind !== 'state') {
        setText(cell, text)
        continue
      }
      setText(cell.firstElementChild!, text)
      setAttribute(cell.firstElementChild!, 'data-state', text)
    }
  }
}

/** A state is shown by what stands in its cell. */
function classOf(kind: Column['kind']): string {
  return kind === 'number' || kind === 'code' ? kind : ''
}
