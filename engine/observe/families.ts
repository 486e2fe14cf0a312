/** Families: the samples of one collection, by metric.
 *  Owns:   the samples.   Not here: where they come from (metrics.ts), how they are written (prometheus.ts, metrics_json.ts).
 *  Thread: main.
 *  Holds:  (1) a sample has as many labels as its metric's row.  (2) at most SAMPLES_MAX of a metric. */

import { assert } from '../assert.ts'
import type { HistogramFigures } from '../histogram.ts'
import { METRICS, type MetricName, type MetricSpec, SAMPLES_MAX } from './metric_spec.ts'

export interface Sample {
  /** In the order of the row. */
  readonly labels: readonly string[]
  /** Of a histogram: its figures. */
  readonly value: number | HistogramFigures
}

export class Families {
  private readonly samples = new Map<MetricName, Sample[]>()

  add(name: MetricName, labels: readonly string[], value: number | HistogramFigures): void {
    const spec: MetricSpec = METRICS[name]
    assert(labels.length === spec.labels.length, `${name} has the labels ${spec.labels.join(', ')}`)
    let list = this.samples.get(name)
    if (list === undefined) this.samples.set(name, (list = []))
    if (list.length < SAMPLES_MAX) list.push({ labels, value })
  }

  of(name: MetricName): readonly Sample[] {
    return this.samples.get(name) ?? []
  }

  /** The value of one sample; undefined: there is none. */
  value(name: MetricName, ...labels: string[]): number | undefined {
    const found = this.of(name).find(sample =>
      labels.every((label, i) => sample.labels[i] === label),
    )
    return typeof found?.value === 'number' ? found.value : undefined
  }

  /** The sum over all samples of a metric that have this label's value; without one, over all. */
  sum(name: MetricName, label?: string, wanted?: string): number {
    const at = label === undefined ? -1 : (METRICS[name].labels as readonly string[]).indexOf(label)
    let sum = 0
    for (const { labels, value } of this.of(name))
      if (typeof value === 'number' && (at < 0 || labels[at] === wanted)) sum += value
    return sum
  }

  /** In the order of the table; metrics without a sample are left out. */
  *all(): Generator<readonly [MetricName, MetricSpec, readonly Sample[]]> {
    for (const name of Object.keys(METRICS) as MetricName[]) {
      const list = this.samples.get(name)
      if (list !== undefined) yield [name, METRICS[name], list]
    }
  }
}
