/** shown_value: a measured value in words, as messages and README's table have it.
 *  Owns:   nothing.   Thread: any.   Holds: three digits at most that are its own; units as README writes them. */

import type { AlertUnit } from './alert_spec.ts'

/** A value in words, as messages and the table have it. */
export function shownValue(value: number, unit: AlertUnit): string {
  if (unit === 'share') return `${Number((value * 100).toFixed(1))} %`
  if (unit === 'bytes') {
    const at = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(1, value)) / 10)))
    return `${Number((value / 1024 ** at).toFixed(1))} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][at]}`
  }
  if (unit === 'seconds' || unit === 'left') return shownSeconds(value)
  return String(Number(value.toPrecision(3)))
}

function shownSeconds(seconds: number): string {
  if (seconds === 0) return '0 s'
  if (seconds < 1) return `${Number((seconds * 1e3).toPrecision(3))} ms`
  if (seconds < 120) return `${Number(seconds.toPrecision(3))} s`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`
  return `${Number((seconds / 3_600).toFixed(1))} h`
}
