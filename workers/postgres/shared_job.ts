/** SharedJob: one autocommit statement on its way over a shared connection.
 *  Owns:   nothing.   Thread: postgres worker.
 *  Holds:  `isDone` turns true once, with its one answer. */

import type { Replies } from '../handler.ts'
import type { Slot } from './lane.ts'
import type { Tried } from './retry.ts'
import type { Statement } from './statement.ts'

export interface SharedJob {
  readonly ticket: number
  readonly replies: Replies
  readonly statement: Statement
  readonly correlationId: string
  /** One msgpack array: params[paramsStart, paramsEnd). */
  readonly params: Buffer
  readonly paramsStart: number
  readonly paramsEnd: number
  readonly startedMs: number
  readonly deadlineMs: number
  /** The wait for a connection ends here. */
  readonly acquireUntilMs: number
  /** With which it passed its server's breaker (admission.ts). */
  pass: number
  /** How often it was asked again, after it had failed. */
  readonly tried: Tried
  /** The prepared statement it was sent with last. */
  slot: Slot | undefined
  /** Nobody waits for it any more: cancelled as soon as it runs. */
  isUnwanted: boolean
  /** How often it was sent again, each time known not to have run. */
  repeats: number
  /** It was prepared again. */
  isMended: boolean
  /** A cancel was asked for while it ran. */
  cancelledMs: number
  isDone: boolean
}
