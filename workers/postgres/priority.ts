/** priority: whose turn is first among those who wait for a connection.
 *  Owns:   nothing.   Thread: postgres worker.
 *  Holds:  of equals whoever came first is first; nobody who has a connection loses it to a better one. */

import { PRIORITY } from '../../engine/protocol/spec.ts'

interface Prioritized {
  readonly priority?: number | undefined
}

/** Whether one goes before another that came earlier. */
export function goesBefore(some: Prioritized, other: Prioritized): boolean {
  return rankOf(some) < rankOf(other)
}

/** Where somebody stands in a line, whose head is list[first]. */
export function placeIn(list: readonly Prioritized[], first: number, comer: Prioritized): number {
  let place = list.length
  while (place > first && goesBefore(comer, list[place - 1]!)) place--
  return place
}

/** Unknown ones are normal: an engine may be older than its client. */
function rankOf({ priority }: Prioritized): number {
  if (priority === PRIORITY.critical) return 0
  return priority === PRIORITY.batch ? 2 : 1
}
