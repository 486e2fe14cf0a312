/** dependencies: what the health of a service is, given that of what it depends on.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  a service is never better than ok, and never down because another is: it may still serve. */

import type { PartHealth, Status } from '../figures.ts'

/** Adds the state of each dependency (another service, or a part of the engine) to a service's health. */
export function dependencyHealth(
  own: PartHealth,
  dependsOn: readonly string[],
  statusOf: (name: string) => Status | undefined,
): PartHealth {
  if (dependsOn.length === 0) return own
  const dependencies: Record<string, Status> = {}
  for (const name of dependsOn) dependencies[name] = statusOf(name) ?? 'down'
  const bad = dependsOn.filter(name => dependencies[name] !== 'ok')
  if (bad.length === 0 || own.status !== 'ok') return { ...own, dependencies }
  const reason = `it depends on ${bad.map(name => `${name}, which is ${dependencies[name]}`).join(', and on ')}`
  return { ...own, status: 'degraded', reason, dependencies }
}
