/** Step: one thing that is done in a transaction, in its turn.
 *  Owns:   the types.   Not here: turns (transaction.ts).
 *  Thread: postgres worker.
 *  Holds:  a step is answered once, by resolve or by reject. */

import type { Parameter } from 'pg-native'
import { monotonicMs } from '../../engine/clock.ts'
import type { HearthError } from '../../engine/errors.ts'
import type { Member } from './lists.ts'
import type { Answered } from './pool.ts'
import type { ReadResult } from './results.ts'
import type { Statement } from './statement.ts'

export interface Step {
  readonly statement: Statement
  readonly params: Parameter[]
  readonly correlationId: string
  /** 0: the pool's statement timeout. */
  readonly timeoutMs: number
  resolve(result: ReadResult): void
  reject(error: HearthError): void
  /** Told when it is given to the connection. */
  readonly sent?: () => void
  /** In place of sending the statement: whoever speaks with the server himself, and calls back as a statement would. */
  readonly perform?: (member: Member, answered: Answered) => void
  /** With `perform`: it is to come to an end, and to call back. */
  readonly stop?: (member: Member) => void
}

/** A step with what becomes of it. */
export interface Queued extends Step {
  startedMs: number
  /** Why it was stopped, by our doing. */
  stopReason: HearthError | undefined
}

/** A statement of our own. */
export function stepOf(
  statement: Statement,
  correlationId: string,
  resolve: () => void,
  reject: (error: HearthError) => void,
): Queued {
  const startedMs = monotonicMs()
  const stopReason = undefined
  return {
    statement,
    params: [],
    correlationId,
    timeoutMs: 0,
    resolve,
    reject,
    startedMs,
    stopReason,
  }
}
