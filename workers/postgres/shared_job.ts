/** SharedJob: one autocommit statement on its way over a shared connection.
 *  Owns:   nothing.   Thread: postgres worker.
 *  Holds:  `isDone` turns true once, with its one answer. */

import { PRIORITY } from '../../engine/protocol/spec.ts'
import type { Replies } from '../handler.ts'
import type { Slot } from './lane.ts'
import { UNTRIED } from './retries.ts'
import type { Tried } from './retry.ts'
import type { Statement } from './statement.ts'

export interface SharedJob {
  readonly ticket: number
  readonly replies: Replies
  readonly statement: Statement
  readonly correlationId: string
  /** One msgpack array: params[paramsStart, paramsEnd). */
  params: Buffer
  paramsStart: number
  paramsEnd: number
  readonly startedMs: number
  readonly deadlineMs: number
  /** The wait for a connection ends here. */
  acquireUntilMs: number
  /** When it was given to a connection last. */
  sentMs: number
  /** With which it passed its server's breaker (admission.ts). */
  pass: number
  /** It was let through to find out whether the server is back. */
  isTrial: boolean
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
  /** As in the frame: see priority.ts. */
  priority: number
  /** Whose it is; 0 where nobody tells. */
  client: number
  /** It is known to change nothing: any server may have it, and it may be asked twice. */
  isRead: boolean
  /** Only a server that has all that was written may have it. */
  isFresh: boolean
  /** How often it was given to another server. */
  moves: number
  /** Rows of its answer, once that is there; below 0: nobody has looked. */
  rows: number
}

/** A job that has not been placed; its parameters are set by whoever keeps them. */
export function jobOf(
  ticket: number,
  replies: Replies,
  statement: Statement,
  correlationId: string,
  startedMs: number,
  deadlineMs: number,
): SharedJob {
  return {
    ticket,
    replies,
    statement,
    correlationId,
    params: NO_BYTES,
    paramsStart: 0,
    paramsEnd: 0,
    startedMs,
    deadlineMs,
    acquireUntilMs: deadlineMs,
    sentMs: startedMs,
    pass: 0,
    isTrial: false,
    tried: UNTRIED,
    slot: undefined,
    isUnwanted: false,
    repeats: 0,
    isMended: false,
    cancelledMs: 0,
    isDone: false,
    priority: PRIORITY.normal,
    client: 0,
    isRead: false,
    isFresh: false,
    moves: 0,
    rows: -1,
  }
}

/** The same request once more, for another server: what the first one answers goes nowhere. */
export function copyOf(job: SharedJob): SharedJob {
  job.isDone = true
  return {
    ...job,
    slot: undefined,
    repeats: 0,
    isMended: false,
    cancelledMs: 0,
    isDone: false,
    moves: job.moves + 1,
  }
}

const NO_BYTES = Buffer.alloc(0)
