/** Units: durations (`250ms 30s 5m 1h 7d`) and sizes (`64KiB 4MiB`) between their text and plain
 *  numbers.
 *  Owns:   the two tables of units and the words that say what was expected.
 *  Thread: any.
 *  Holds:  (1) parse(format(n)) === n.  (2) A number of either kind is a safe integer, never
 *          negative.
 *
 *  Every size suffix counts in 1024s, in any case: systemd's `K`, Redis's `kb` and Postgres's `kB`
 *  all mean 1024 bytes, so `64K`, `64KB` and `64KiB` are one size here. A size without suffix is in
 *  bytes; a duration without unit is refused, since seconds and milliseconds are both a reasonable
 *  guess. */

import { HearthError } from '../errors.ts'

export const DURATION_EXPECTED = 'a duration with its unit, such as 250ms, 30s, 5m, 1h or 7d'
export const SIZE_EXPECTED = 'a size such as 64KiB or 4MiB, or a whole number of bytes'
export const RATE_EXPECTED = 'so many within so long, such as "100/1m", or "unlimited"'

const UNLIMITED = 'unlimited'
const RATE_MAX = 1_000_000_000
const RATE_WINDOW_MS_MAX = 24 * 24 * 3_600_000

/** Milliseconds in `30s`. Throws BAD_REQUEST that says what was found and expected. */
export function parseDuration(text: string): number {
  return durationMs(text) ?? refuse(text, DURATION_EXPECTED)
}

/** Bytes in `64KiB`. Throws BAD_REQUEST that says what was found and expected. */
export function parseSize(text: string): number {
  return sizeBytes(text) ?? refuse(text, SIZE_EXPECTED)
}

/** So many within so long: `100/1m`. Infinity: `unlimited`. Undefined where the text is none. */
export function rateOf(text: string): { max: number; windowMs: number } | undefined {
  if (text.trim() === UNLIMITED) return { max: Infinity, windowMs: Infinity }
  const match = /^(\d{1,10}) ?\/ ?(\S.*)$/.exec(text.trim())
  const windowMs = match === null ? undefined : durationMs(match[2]!)
  const max = Number(match?.[1])
  const isRate = windowMs !== undefined && windowMs > 0 && windowMs <= RATE_WINDOW_MS_MAX
  return isRate && max > 0 && max <= RATE_MAX ? { max, windowMs } : undefined
}

/** The text that reads back as the same. */
export function formatRate({ max, windowMs }: { max: number; windowMs: number }): string {
  return max === Infinity ? UNLIMITED : `${max}/${formatDuration(windowMs)}`
}

/** The same without the throw: undefined where the text is no duration. `0` needs no unit. */
export function durationMs(text: string): number | undefined {
  const match = /^(\d{1,16}(?:\.\d{1,9})?) ?(ms|s|m|h|d)$/.exec(text.trim())
  if (match === null) return text.trim() === '0' ? 0 : undefined
  return wholeOf(Number(match[1]) * DURATION_UNITS[match[2] as keyof typeof DURATION_UNITS])
}

export function sizeBytes(text: string): number | undefined {
  const match = /^(\d{1,16}(?:\.\d{1,9})?) ?(?:([kmgt])(?:i?b)?|b)?$/i.exec(text.trim())
  if (match === null) return undefined
  const suffix = match[2]?.toUpperCase() as keyof typeof SIZE_UNITS | undefined
  return wholeOf(Number(match[1]) * (suffix === undefined ? 1 : SIZE_UNITS[suffix]))
}

/** The shortest text that parses back to the same number: 90000 → `90s`, 3600000 → `1h`. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    // A day is written as 24h, as the documentation does; only several days get their own unit.
    if (unit === 'd' && ms <= DURATION_UNITS.d) continue
    if (ms > 0 && ms % DURATION_UNITS[unit] === 0) return `${ms / DURATION_UNITS[unit]}${unit}`
  }
  return `${ms}ms`
}

export function formatSize(bytes: number): string {
  for (const suffix of ['T', 'G', 'M', 'K'] as const) {
    if (bytes > 0 && bytes % SIZE_UNITS[suffix] === 0)
      return `${bytes / SIZE_UNITS[suffix]}${suffix}iB`
  }
  return String(bytes)
}

const DURATION_UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const SIZE_UNITS = { K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 } as const

/** `1.5s` is 1500 ms; `0.0001s` is no whole millisecond and no number of ours. */
function wholeOf(value: number): number | undefined {
  const whole = Math.round(value)
  return Number.isSafeInteger(whole) && Math.abs(whole - value) < 1e-6 ? whole : undefined
}

function refuse(text: string, expected: string): never {
  throw new HearthError(
    'BAD_REQUEST',
    `found ${JSON.stringify(text.slice(0, 40))}, expected ${expected}`,
  )
}
