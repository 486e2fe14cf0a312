/** prometheus: metrics as text, exposition format 0.0.4.
 *  Owns:   nothing.   Not here: the samples (families.ts).
 *  Thread: main.
 *  Holds:  what `promtool check metrics` accepts: HELP and TYPE before the samples, buckets that add up, the last of them +Inf.
 *  Source: prometheus.io/docs/instrumenting/exposition_formats (2024). */

import { DURATION_BOUNDS_MS, type HistogramFigures } from '../histogram.ts'
import type { Families } from './families.ts'

export const PROMETHEUS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

export function prometheusText(families: Families): string {
  let text = ''
  for (const [name, spec, samples] of families.all()) {
    text += `# HELP ${name} ${escaped(spec.help)}\n# TYPE ${name} ${spec.type}\n`
    for (const { labels, value } of samples) {
      const pairs = spec.labels.map((label, i) => `${label}="${quoted(labels[i]!)}"`).join(',')
      text +=
        typeof value === 'number'
          ? `${name}${pairs === '' ? '' : `{${pairs}}`} ${numberText(value)}\n`
          : histogramText(name, pairs, value)
    }
  }
  return text
}

function histogramText(name: string, pairs: string, figures: HistogramFigures): string {
  const more = pairs === '' ? '' : `${pairs},`
  const all = pairs === '' ? '' : `{${pairs}}`
  let text = ''
  let count = 0
  for (let i = 0; i <= DURATION_BOUNDS_MS.length; i++) {
    count += figures[i + 1]!
    text += `${name}_bucket{${more}le="${LE[i]}"} ${count}\n`
  }
  return `${text}${name}_sum${all} ${numberText(figures[0]! / 1e3)}\n${name}_count${all} ${count}\n`
}

/** Bounds as they stand in `le`: in seconds. */
const LE = [...DURATION_BOUNDS_MS.map(boundMs => String(boundMs / 1e3)), '+Inf']

function numberText(value: number): string {
  if (value === Infinity) return '+Inf'
  return value === -Infinity ? '-Inf' : String(value)
}

function escaped(help: string): string {
  return help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
}

function quoted(label: string): string {
  return escaped(label).replaceAll('"', '\\"')
}
