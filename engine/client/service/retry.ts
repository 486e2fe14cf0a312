/** retry: what may be tried again, and when.
 *  Owns:   the rules.   Not here: trying (calls.ts).   Thread: the client's.
 *  Holds:  a call that may have been carried out is repeated only if it is idempotent. */

import { HearthError } from '../../errors.ts'

/** Calls that never reached the service: their errors, whoever throws them on. */
const unsent = new WeakSet<object>()

export function markUnsent<Failure extends object>(error: Failure): Failure {
  unsent.add(error)
  return error
}

export function wasUnsent(error: unknown): boolean {
  return typeof error === 'object' && error !== null && unsent.has(error)
}

/** Answers after which it may be better soon. 501 and 505 will be the same the next time. */
export function isTemporary(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 505)
}

/** Answers that speak against the service, and not against the request. */
export function isFailure(status: number): boolean {
  return status >= 500
}

/** Errors that another attempt may not meet. */
export function isPassing(error: unknown): boolean {
  return error instanceof HearthError && (error.code === 'UNAVAILABLE' || error.code === 'TIMEOUT')
}

export function isTimeout(error: unknown): boolean {
  return error instanceof HearthError && error.code === 'TIMEOUT'
}

/** The pause before a retry (1, 2 …): twice as long each time, of which half is random, so that clients of a service that comes back
 *  do not come all at once. */
export function backoffMs(firstMs: number, retry: number): number {
  return firstMs * 2 ** (retry - 1) * (0.5 + Math.random() / 2)
}

/** Retry-After in milliseconds, given as seconds or a date (RFC 9110, 10.2.3); 0 when there is none, or it makes no sense. */
export function retryAfterMs(value: string | undefined, nowMs: number): number {
  if (value === undefined) return 0
  if (/^\s*\d{1,9}\s*$/.test(value)) return Number(value) * 1_000
  const dateMs = Date.parse(value)
  return Number.isNaN(dateMs) ? 0 : Math.max(0, dateMs - nowMs)
}
