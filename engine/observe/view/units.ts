/** units: figures as people read them, on the page and in the terminal.
 *  Owns:   their words.   Thread: any, a browser's too.
 *  Holds:  a figure that is not known is `–`, never 0. */

export const UNKNOWN = '–'

/** 12345 → `12 345`. */
export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ' ')
}

/** 3250585 → `3.1 MiB`. */
export function bytes(value: number): string {
  if (value < 1024) return `${Math.round(value)} B`
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
  return whole === 0 ? '-' : percent(part / whole)
}

/** 0.931 → `93.1 %`. */
export function percent(value: number): string {
  return `${(100 * value).toFixed(1)} %`
}

/** 1234.5 → `1 235/s`, 0.25 → `0.3/s`. */
export function rate(value: number): string {
  return `${value > 0 && value < 10 ? value.toFixed(1) : count(Math.round(value))}/s`
}

/** 14:03:07, in the reader's own time. */
export function clockTime(atMs: number): string {
  const at = new Date(atMs)
  return [at.getHours(), at.getMinutes(), at.getSeconds()]
    .map(part => String(part).padStart(2, '0'))
    .join(':')
}

export type Unit = 'share' | 'perSecond' | 'ms' | 'bytes' | 'count'

const SHOW: Readonly<Record<Unit, (value: number) => string>> = {
  share: percent,
  perSecond: rate,
  ms: duration,
  bytes,
  count: value => count(Math.round(value)),
}

/** A figure in its unit; `–` when it is not known. */
export function shown(value: number | null | undefined, unit: Unit): string {
  return value === null || value === undefined || Number.isNaN(value) ? UNKNOWN : SHOW[unit](value)
}
