/** MetricSources: where parts that come and go register what they count and how they are: services, limits, alerts.
 *  Owns:   the lists.   Not here: the table of metrics (metric_spec.ts), who asks (metrics.ts, overview.ts).
 *  Thread: main.
 *  Holds:  asking is synchronous and cheap; a source that throws is left out, and the rest is shown. */

import type { PartHealth } from '../figures.ts'
import type { MetricName } from './metric_spec.ts'

/** `labels` in the order of the metric's row. */
export type Report = (name: MetricName, labels: readonly string[], value: number) => void
export type MetricSource = (report: Report) => void
/** By the part's name, such as `service.data-api`. */
export type HealthSource = () => Record<string, PartHealth>

export class MetricSources {
  private readonly metrics = new Set<MetricSource>()
  private readonly healths = new Set<HealthSource>()

  /** `source` is called at each collection, and reports current values. Returns what takes it out again. */
  addMetrics(source: MetricSource): () => void {
    this.metrics.add(source)
    return () => this.metrics.delete(source)
  }

  /** `source` is called for each look at health; what is not ok in it makes the engine degraded. */
  addHealth(source: HealthSource): () => void {
    this.healths.add(source)
    return () => this.healths.delete(source)
  }

  report(report: Report): void {
    for (const source of this.metrics) quietly(() => source(report))
  }

  health(): Record<string, PartHealth> {
    const parts: Record<string, PartHealth> = {}
    for (const source of this.healths) quietly(() => Object.assign(parts, source()))
    return parts
  }
}

function quietly(run: () => unknown): void {
  try {
    run()
  } catch {
    // A part that is half closed; its samples are missing, and that shows.
  }
}
