/** Table: rows of text in aligned columns, and figures as people read them.
 *  Owns:   widths and units.   Thread: any.
 *  Holds:  a cell is one line; colours count for no width. */

import { stripVTControlCharacters } from 'node:util'

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

/** 12345 → `12 345`. */
export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ' ')
}

/** 3250585 → `3.1 MiB`. */
export function bytes(value: number): string {
  if (value < 1024) return `${value} B`
  const units = ['KiB', 'MiB', 'GiB', 'TiB']
  let scaled = value / 1024
  let at = 0
  for (; scaled >= 1024 && at < units.length - 1; at++) scaled /= 1024
  return `${scaled.toFixed(1)} ${units[at]}`
}

/** 0.0834 → `83 µs`, 1.94 → `1.9 ms`, 2300 → `2.3 s`. */
export function duration(ms: number): string {
  if (ms < 0.9995) return `${Math.round(ms * 1_000)} µs`
  if (ms < 100) return `${ms.toFixed(1)} ms`
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`
}

/** 754321 → `12m 34s`. */
export function uptime(ms: number): string {
  const seconds = Math.floor(ms / 1_000)
  const [days, hours, minutes] = [seconds / 86_400, seconds / 3_600, seconds / 60].map(Math.floor)
  if (days! > 0) return `${days}d ${hours! % 24}h`
  if (hours! > 0) return `${hours}h ${minutes! % 60}m`
  return minutes! > 0 ? `${minutes}m ${seconds % 60}s` : `${seconds}s`
}

export function share(part: number, whole: number): string {
  return whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)} %`
}
