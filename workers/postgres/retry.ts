/** retry: whether a statement that failed is asked again, and when.
 *  Owns:   nothing: pure rules.   Not here: waiting (retries.ts), what a connection does at once by itself (shared_pool.ts: a
 *          statement that was prepared for tables as they were, or that stood behind the one with which a connection ended).
 *  Thread: postgres worker.
 *  Holds:  a second time is only for what did not run, for what the server rolled back whole by itself, and for what reads alone.
 *
 *      not sent: no connection could be made           pauses, `retries` times; never, where it was a breaker's trial
 *      lost in flight, and it only reads               once nearly at once, over another connection; then pauses
 *      lost in flight, and it may write                never: its outcome is unknown
 *      40001, 40P01 (rolled back for another's sake)   short pauses, CONFLICT_COUNT_MAX times
 *      the breaker opened meanwhile                    pauses; while another statement tries, as soon as that may be over
 *      a refused login, the deadline, a full queue, given up, any other answer of the server (40003 and 08007, which are unknown
 *      outcomes, among them)                           never
 *
 *  Source: PostgreSQL's manual, 13.5 "Serialization Failure Handling"; pgx's SafeToRetry, for what was not sent. */

import type { HearthError } from '../../engine/errors.ts'
import { knownOf } from './fault.ts'

export interface RetrySettings {
  /** How often, at most; 0: never. */
  readonly retries: number
  /** The first pause; each next one is twice as long. A quarter more or less, at random. */
  readonly backoffMs: number
}

/** What of a statement's way so far decides. */
export interface Tried {
  /** Pauses that it has waited out. */
  readonly retries: number
  /** It was sent again nearly at once, over another connection. */
  readonly wasMoved: boolean
  readonly conflicts: number
}

export interface Retry {
  /** `move`: nearly at once, over another connection; `wait`: while another statement's trial is under way. */
  readonly kind: 'pause' | 'conflict' | 'move' | 'wait'
  readonly delayMs: number
}

export const CONFLICT_COUNT_MAX = 5
const CONFLICT_MS = 10
/** Connections of one server end together: a moment later those that have ended too are known. */
const MOVE_MS = 25
/** A retryAfterMs up to this says that another one's trial is under way, not that the breaker is open. */
const TRIAL_WAIT_MS_MAX = 250

/** When to ask again, from now, or undefined: not at all. `mayRepeat`: it is proven to change nothing; `isTrial`: it was let
 *  through to find out whether the server is back, which it is not: whoever asks after it is told so at once. */
export function retryOf(
  error: HearthError,
  tried: Tried,
  mayRepeat: boolean,
  settings: RetrySettings,
  isTrial = false,
): Retry | undefined {
  if (settings.retries === 0) return undefined
  if (error.code === 'CIRCUIT_OPEN') {
    const isFirst = tried.retries === 0 && !tried.wasMoved && tried.conflicts === 0
    if (isFirst) return undefined
    const { retryAfterMs = 0 } = error
    if (retryAfterMs > TRIAL_WAIT_MS_MAX) return pause(tried, settings)
    return { kind: 'wait', delayMs: jittered(retryAfterMs) }
  }
  const { fault, mayHaveRun } = knownOf(error)
  if (fault === 'unreachable' && !mayHaveRun) return isTrial ? undefined : pause(tried, settings)
  if (fault === 'lost' && mayRepeat)
    return tried.wasMoved ? pause(tried, settings) : { kind: 'move', delayMs: jittered(MOVE_MS) }
  const isConflict = error.sqlState === '40001' || error.sqlState === '40P01'
  if (isConflict && fault === undefined && tried.conflicts < CONFLICT_COUNT_MAX)
    return { kind: 'conflict', delayMs: jittered(CONFLICT_MS * 2 ** tried.conflicts) }
  return undefined
}

function pause({ retries }: Tried, settings: RetrySettings): Retry | undefined {
  if (retries >= settings.retries) return undefined
  return { kind: 'pause', delayMs: jittered(settings.backoffMs * 2 ** retries) }
}

/** A quarter more or less, so that those who failed together do not come back together. */
function jittered(ms: number): number {
  return ms * (0.75 + Math.random() / 2)
}
