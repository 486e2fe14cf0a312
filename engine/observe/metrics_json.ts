/** metrics_json: the same metrics for programs that are no Prometheus: the page, `hearth top`, `hearth.metrics()`.
 *  Owns:   nothing.   Not here: the shape's types (figures.ts), the samples (families.ts).
 *  Thread: main.
 *  Holds:  names, labels and units are those of Prometheus; only durations have percentiles besides, worked out here. */

import type { JsonSample, MetricsJson } from '../figures.ts'
import { countOf, DURATION_BOUNDS_MS, type HistogramFigures, percentileOf } from '../histogram.ts'
import type { Families, Sample } from './families.ts'

export function metricsJson(families: Families, atMs: number): MetricsJson {
  const metrics: MetricsJson['metrics'] = {}
  for (const [name, { type, labels, help }, samples] of families.all())
    metrics[name] = { type, help, samples: samples.map(sample => sampleJson(labels, sample)) }
  return { atMs, metrics }
}

function sampleJson(names: readonly string[], { labels, value }: Sample): JsonSample {
  const named = Object.fromEntries(names.map((name, i) => [name, labels[i]!]))
  if (typeof value === 'number')
    return { labels: named, value: Number.isFinite(value) ? value : null }
  return { labels: named, ...histogramJson(value) }
}

function histogramJson(figures: HistogramFigures): Omit<JsonSample, 'labels'> {
  const seconds = (rank: number): number | null => {
    const ms = percentileOf(figures, rank)
    return Number.isNaN(ms) ? null : ms / 1e3
  }
  let below = 0
  const buckets = figures.slice(1).map((count, i): [number | null, number] => {
    below += count
    return [i < DURATION_BOUNDS_MS.length ? DURATION_BOUNDS_MS[i]! / 1e3 : null, below]
  })
  const count = countOf(figures)
  return { count, sum: figures[0]! / 1e3, p50: seconds(0.5), p99: seconds(0.99), buckets }
}
