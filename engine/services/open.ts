/** open: the registry of services, for an engine that has any.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  an engine without services loads nothing of them but this. */

import type { BreakerSettings } from '../breaker/breaker.ts'
import type { Router } from '../router/router.ts'
import type { ServiceOptions } from './health_check.ts'
import type { ServiceMetric, Services } from './services.ts'

interface Sources {
  addMetrics(
    source: (
      sample: (name: ServiceMetric, labels: readonly string[], value: number) => void,
    ) => void,
  ): unknown
}

/** Loads what is configured, begins to watch it, and hands the router its requests; undefined when nothing is. */
export async function openServices(
  services: Readonly<Record<string, ServiceOptions>>,
  breaker: BreakerSettings,
  router: Router,
  metrics: Sources,
): Promise<Services | undefined> {
  if (Object.keys(services).length === 0) return undefined
  const { Services } = await import('./services.ts')
  const opened = new Services(services, breaker, router.pubSub.services)
  router.services = opened
  metrics.addMetrics(sample => opened.report(sample))
  opened.start()
  return opened
}
