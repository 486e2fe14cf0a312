/** Table: rows of text in aligned columns, and figures as people read them.
 *  Owns:   widths.   Not here: units (observe/view/units.ts).   Thread: any.
 *  Holds:  a cell is one line; colours count for no width. */

import { stripVTControlCharacters } from 'node:util'

export { bytes, count, duration, share, uptime } from '../observe/view/units.ts'

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right' | undefined
}

const GAP = '  '

/** The lines of a table: titles, a rule, rows. A row shorter than the columns leaves the rest empty. */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string[] {
  const widths = columns.map(({ title }, at) =>
    rows.reduce((most, row) => Math.max(most, widthOf(row[at] ?? '')), widthOf(title)),
  )
  const line = (cells: readonly string[]) =>
    columns
      .map(({ align }, at) => padded(cells[at] ?? '', widths[at]!, align))
      .join(GAP)
      .trimEnd()
  return [
    line(columns.map(({ title }) => title)),
    widths.map(width => '─'.repeat(width)).join(GAP),
    ...rows.map(line),
  ]
}

function padded(cell: string, width: number, align: Column['align']): string {
  const space = ' '.repeat(width - widthOf(cell))
  return align === 'right' ? space + cell : cell + space
}

function widthOf(cell: string): number {
  let width = 0
  for (const _ of stripVTControlCharacters(cell)) width++
  return width
}
