/** fault: what is known of an error besides its words: whether its statement ran, and whether the server is to blame.
 *  Owns:   that knowledge, by error: it stays in this thread and never crosses a border.   Not here: the words (errors.ts).
 *  Thread: postgres worker.
 *  Holds:  what is not marked is no fault of the server's, and its statement may have run. */

import type { HearthError } from '../../engine/errors.ts'

/** unreachable: no connection could be made. refused: nor will one be, before somebody mends the configuration. lost: one that
 *  had the statement ended. silent: the server answered neither the statement nor its cancellation. */
export type Fault = 'unreachable' | 'refused' | 'lost' | 'silent'

export interface Known {
  /** Undefined: the server is not to blame. */
  readonly fault: Fault | undefined
  /** False: it was not sent, or the server has not read it. */
  readonly mayHaveRun: boolean
}

const known = new WeakMap<HearthError, Known>()

/** Marks an error; returns it. */
export function marked(
  error: HearthError,
  fault: Fault | undefined,
  mayHaveRun: boolean,
): HearthError {
  known.set(error, { fault, mayHaveRun })
  return error
}

export function knownOf(error: HearthError): Known {
  return known.get(error) ?? UNMARKED
}

const UNMARKED: Known = { fault: undefined, mayHaveRun: true }

/** Whether the server itself has spoken: with rows, with an error of its own, or by stopping at a cancellation. */
export function isAnswer(error: HearthError): boolean {
  if (error.code === 'VALUE_TOO_LARGE' || error.code === 'READ_ONLY') return true
  return error.sqlState !== undefined && known.get(error) === undefined
}

/** The connection, not the statement: the server may be gone. */
export function isTransportFault(error: HearthError): boolean {
  const { fault } = knownOf(error)
  return fault !== undefined && fault !== 'silent'
}
