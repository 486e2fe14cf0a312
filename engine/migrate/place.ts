/** place: where in a file something is, as people find it: line, column, and the line itself with a caret under it.
 *  Owns:   nothing.   Thread: any.   Holds: line and column count from 1, a column in characters as an editor shows them. */

export interface Place {
  readonly line: number
  readonly column: number
}

export function placeAt(text: string, at: number): Place {
  const before = text.slice(0, at)
  const lineStart = before.lastIndexOf('\n') + 1
  const line = before.split('\n').length
  return { line, column: [...before.slice(lineStart)].length + 1 }
}

/** Two lines: that of the text, and a caret under the column. A long line is cut around it. */
export function excerptAt(text: string, { line, column }: Place): string {
  const full = [...(text.split('\n')[line - 1] ?? '').replace(/\r$/, '').replaceAll('\t', ' ')]
  const from = Math.max(0, Math.min(column - 1 - WIDTH / 2, full.length - WIDTH))
  const cut = Math.floor(from)
  const shown = full.slice(cut, cut + WIDTH).join('')
  const head = `${line} | ${cut > 0 ? '…' : ''}`
  return `${head}${shown}\n${' '.repeat([...head].length + column - 1 - cut)}^`
}

const WIDTH = 100
