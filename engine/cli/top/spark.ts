/** spark: figures over time, and parts of a whole, as a line of block characters.
 *  Owns:   nothing.   Thread: any.
 *  Holds:  what is returned is exactly as wide as asked for. */

const LEVELS = '▁▂▃▄▅▆▇█'

/** The newest value stands at the right; what is not known is a blank. `most`: what the highest block stands for. */
export function spark(values: readonly (number | null)[], width: number, most: number): string {
  const newest = values.slice(-width)
  const line = newest.map(value => (value === null ? ' ' : levelOf(value, most))).join('')
  return line.padStart(width)
}

function levelOf(value: number, most: number): string {
  const level = most <= 0 ? 0 : Math.round((value / most) * (LEVELS.length - 1))
  return LEVELS[Math.min(LEVELS.length - 1, Math.max(0, level))]!
}

/** `████░░░░`: `share` from 0 to 1. */
export function bar(share: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width)
  return '█'.repeat(filled) + '░'.repeat(width - filled)
}
