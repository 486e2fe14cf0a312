/** frame: blocks as the lines of a screen: a head that stays, a window on the rest that scrolls, a foot with the keys.
 *  Owns:   where things stand.   Not here: their content (blocks.ts), the terminal (terminal.ts).
 *  Thread: main.
 *  Holds:  (1) a frame has exactly as many lines as the screen, none wider than it.  (2) colours count for no width. */

import { clockTime, percent, shown, uptime } from '../../observe/view/units.ts'
import { styled } from '../output.ts'
import { type Block, blocksOf, stateWords } from './blocks.ts'
import type { Look } from './look.ts'

const ESC = '\x1b'
const WIDTH_MIN = 40
/** From this on, blocks stand in two columns. */
const TWO_COLUMNS_FROM = 160
const GAP_CHARS = 4
const INDENT_CHARS = 2
const KEYS = 'q quit   p pause   ↑ ↓ scroll   Tab next part'

export interface Size {
  readonly columns: number
  readonly rows: number
}

export interface Position {
  /** The first line shown of what scrolls. */
  readonly line: number
  readonly isPaused: boolean
  /** Since 1970; undefined: the engine answers. */
  readonly lostSinceMs: number | undefined
}

export interface Body {
  readonly lines: readonly string[]
  /** Where a block begins, by line. */
  readonly starts: readonly number[]
}

/** Everything, for whoever prints it once. */
export function plainText(look: Look, columns: number): string {
  const { lines } = bodyOf(look, columns)
  return [headOf(look), '', ...lines].map(line => line.trimEnd()).join('\n')
}

export function bodyOf(look: Look, columns: number): Body {
  if (columns < TWO_COLUMNS_FROM) {
    const lines: string[] = []
    const starts: number[] = []
    for (const block of blocksOf(look, Math.max(WIDTH_MIN, columns - INDENT_CHARS - 1))) {
      starts.push(lines.length)
      lines.push(...blockLines(block))
    }
    return { lines: lines.slice(0, -1), starts }
  }
  const width = Math.floor((columns - GAP_CHARS - 1) / 2)
  const blocks = blocksOf(look, width - INDENT_CHARS)
  const [left, right] = halves(blocks.map(blockLines))
  const lines = Array.from({ length: Math.max(left.length, right.length) }, (_, at) =>
    `${fitted(left[at] ?? '', width)}${' '.repeat(GAP_CHARS)}${right[at] ?? ''}`.trimEnd(),
  )
  return { lines, starts: [0] }
}

function blockLines({ title, lines }: Block): string[] {
  return [
    styled('bold', title),
    ...lines.map(line => (line === '' ? '' : ' '.repeat(INDENT_CHARS) + line)),
    '',
  ]
}

/** In order, so that both are about as long. */
function halves(blocks: readonly string[][]): [string[], string[]] {
  const total = blocks.reduce((sum, lines) => sum + lines.length, 0)
  const left: string[] = []
  const right: string[] = []
  for (const lines of blocks)
    (right.length === 0 && left.length + lines.length / 2 <= total / 2 ? left : right).push(
      ...lines,
    )
  return [left, right]
}

/** The lines of the screen. `look`: undefined before the first answer. */
export function frameOf(look: Look | undefined, body: Body, at: Position, size: Size): string[] {
  const state = stateOf(at)
  const head = look === undefined ? 'Hearth' : headOf(look)
  const shownLines = body.lines.slice(at.line, at.line + size.rows - 3)
  while (shownLines.length < size.rows - 3) shownLines.push('')
  const below = Math.max(0, body.lines.length - at.line - (size.rows - 3))
  const more = below > 0 ? `   ${below} more lines below` : ''
  const lines = [
    // First, so that a narrow terminal does not cut it.
    state === '' ? head : `${state}   ${head}`,
    '',
    ...shownLines,
    styled('dim', KEYS + more),
  ]
  return lines.slice(0, size.rows).map(line => fitted(line, size.columns - 1).trimEnd())
}

/** The line that can be scrolled to last. */
export function lineMaxOf(body: Body, rows: number): number {
  return Math.max(0, body.lines.length - (rows - 3))
}

function headOf({ overview, history }: Look): string {
  const { status, uptimeMs, clients, tiers, misses, hitRateTarget } = overview
  const hits = tiers.reduce((sum, tier) => sum + tier.hits, 0)
  const all = hits + misses
  const target = hitRateTarget ? ` (target ${percent(hitRateTarget)})` : ''
  const parts = [
    `${styled('bold', 'Hearth')} ${stateWords(status)}`,
    uptimeMs === null ? '' : `up ${uptime(uptimeMs)}`,
    `requests ${shown(history.latest('requestsPerSecond'), 'perSecond')}`,
    all === 0 ? '' : `hits ${percent(hits / all)}${target}`,
    `${shown(clients, 'count')} clients`,
  ]
  return parts.filter(part => part !== '').join(' · ')
}

function stateOf({ isPaused, lostSinceMs }: Position): string {
  if (isPaused) return styled(['black', 'bgYellow'], ' paused ')
  if (lostSinceMs === undefined) return ''
  return styled(['black', 'bgYellow'], ` no answer since ${clockTime(lostSinceMs)} `)
}

/** Cut, or filled with blanks, to a width; colours are kept, and ended at the cut. */
export function fitted(line: string, width: number): string {
  let text = ''
  let used = 0
  for (const part of line.split(COLOURS)) {
    if (part.startsWith(ESC)) {
      text += part
      continue
    }
    for (const char of part) {
      if (used === width) break
      text += printable(char)
      used++
    }
  }
  return text + ' '.repeat(width - used)
}

const COLOURS = new RegExp(`(${ESC}\\[[\\d;]*m)`)

/** A name from elsewhere must not move the cursor. */
function printable(char: string): string {
  const code = char.codePointAt(0)!
  return code < 0x20 || (code >= 0x7f && code < 0xa0) ? '·' : char
}
