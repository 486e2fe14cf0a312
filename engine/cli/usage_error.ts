/** UsageError: a command line that cannot be carried out: exit code 2.
 *  Owns:   the error, and which name somebody most likely meant.   Thread: main.
 *  Holds:  its code is the contract's BAD_REQUEST, so programs match one set of codes. */

import { editDistance, nearest } from '../config/nearest.ts'
import { HearthError } from '../errors.ts'

export class UsageError extends HearthError {
  /** Whose usage line helps. */
  readonly command: string | undefined

  constructor(message: string, command?: string) {
    super('BAD_REQUEST', message)
    Object.defineProperty(this, 'command', { value: command, enumerable: false })
  }
}

/** The nearest of `names`, unless even that is far off. */
export function closest(found: string, names: readonly string[]): string | undefined {
  const best = nearest(found, names)
  if (best === undefined) return undefined
  const isNear = best.startsWith(found) || editDistance(found, best) <= Math.max(1, best.length / 2)
  return isNear && found !== '' ? best : undefined
}
