/** Errors of Postgres as HearthErrors: which code, which words, and what is known about the outcome.
 *  Owns:   nothing.   Thread: postgres worker.
 *  Holds:  (1) a statement that may have run is never said to have failed: its outcome is called unknown.
 *          (2) no password: libpq's messages carry none, and the URL is never quoted. */

import { type ErrorDetails, HearthError } from '../../engine/errors.ts'
import { RESULT_BYTES_MAX, WAITING_COUNT_MAX } from './database.ts'
import { type Fault, marked } from './fault.ts'

/** libpq's diagnostic fields, by the names of npm libpq. */
export type ErrorFields = Record<string, string | undefined>

/** The server's answer to a statement that ran and failed: nothing of it stands. */
export function databaseError(
  fields: ErrorFields,
  text: string,
  correlationId: string,
): HearthError {
  const sqlState = fields['sqlState']
  const details: ErrorDetails = {
    sqlState,
    detail: fields['messageDetail'],
    hint: fields['messageHint'],
    position: fields['statementPosition'] ? Number(fields['statementPosition']) : undefined,
    correlationId,
  }
  const message = fields['messagePrimary'] ?? text.trim()
  return new HearthError(sqlState === '25006' ? 'READ_ONLY' : 'DATABASE', message, details)
}

/** The connection ended while the statement was out. */
export function lostError(
  isRead: boolean,
  why: string,
  sqlState: string | undefined,
  correlationId: string,
) {
  const outcome = isRead
    ? 'the statement only reads, so it may be asked again'
    : 'outcome unknown: look whether it took effect before repeating it'
  const message = `the connection to Postgres was lost while the statement ran (${oneLine(why)}); ${outcome}`
  return marked(new HearthError('UNAVAILABLE', message, { sqlState, correlationId }), 'lost', true)
}

/** Nothing reached the server, or nothing that it could have run. */
export function unreachableError(why: string, correlationId?: string): HearthError {
  const message = `Postgres cannot be reached (${oneLine(why)}); the statement was not run`
  return marked(new HearthError('UNAVAILABLE', message, { correlationId }), 'unreachable', false)
}

/** Cancelled at the server by our deadline or its statement_timeout: rolled back. */
export function cancelledError(timeoutMs: number, correlationId: string): HearthError {
  return new HearthError(
    'TIMEOUT',
    `the statement was cancelled at the server after ${Math.round(timeoutMs)} ms; nothing of it stands`,
    { sqlState: '57014', correlationId },
  )
}

/** Its requester gave it up: by CANCEL, or by going away. */
export function givenUpError(wasSent: boolean, correlationId: string): HearthError {
  const outcome = wasSent
    ? 'the statement was cancelled at the server: nothing of it stands'
    : 'nothing was sent'
  const error = new HearthError('DATABASE', `given up by whoever asked; ${outcome}`, {
    sqlState: '57014',
    correlationId,
  })
  return wasSent ? error : marked(error, undefined, false)
}

/** The connection ended within a transaction whose COMMIT was not sent. */
export function rolledBackError(why: string, correlationId: string, sqlState?: string) {
  return new HearthError(
    'UNAVAILABLE',
    `the connection to Postgres was lost in the transaction (${oneLine(why)}); the server rolled it back, nothing of it stands`,
    { sqlState, correlationId },
  )
}

/** The connection ended while COMMIT was out, or the server says that it does not know itself (40003, 08007). */
export function unknownCommitError(why: string, correlationId: string, sqlState?: string) {
  return new HearthError(
    'UNAVAILABLE',
    `COMMIT was not answered (${oneLine(why)}); outcome unknown: look whether the transaction took effect before repeating it`,
    { sqlState, correlationId },
  )
}

/** COMMIT of a transaction in which a statement had failed: Postgres answers it with ROLLBACK. */
export function failedTransactionError(correlationId: string): HearthError {
  const message =
    'a statement of the transaction had failed, so it was rolled back instead of committed; nothing of it stands'
  return new HearthError('DATABASE', message, { sqlState: '25P02', correlationId })
}

/** `what` says which limit it was. */
export function expiredError(what: string, correlationId: string): HearthError {
  return new HearthError('TIMEOUT', `rolled back: ${what}; nothing of it stands`, { correlationId })
}

/** Something was asked of what is closed already. */
export function endedError(correlationId: string): HearthError {
  return new HearthError('CLOSED', 'it was closed before; nothing was sent', { correlationId })
}

export function leftError(correlationId: string): HearthError {
  return new HearthError(
    'BAD_REQUEST',
    'the statement ended the transaction by itself; it commits when its function returns, and rolls back when it throws',
    { correlationId },
  )
}

/** The deadline passed and the server has not answered the cancellation either. */
export function silentError(
  timeoutMs: number,
  isRead: boolean,
  correlationId: string,
): HearthError {
  const outcome = isRead ? '' : '; outcome unknown: look whether it took effect before repeating it'
  const message = `no answer from Postgres within ${Math.round(timeoutMs)} ms, nor to the cancellation${outcome}`
  return marked(new HearthError('TIMEOUT', message, { correlationId }), 'silent', true)
}

/** A failed login will fail again; anything else in the connect phase passes sooner or later. libpq gives no SQLSTATE
 *  for it, only words, and the words of the transient ones (57P03, 53300, 57P01) are few. */
export function isLoginFailure(message: string): boolean {
  if (TRANSIENT.test(message)) return false
  return LASTING.test(message)
}

/** FATAL: the server itself refused. The others are libpq's on a url or a file that it cannot use. */
const LASTING =
  /\bFATAL:|password supplied|SCRAM|SSL|certificate|\bURI\b|invalid (connection option|integer value|port|\w+ value)|missing "="/i

const TRANSIENT =
  /starting up|shutting down|in recovery|recovery mode|too many (connections|clients)|connection slots|terminating connection|could not fork|not yet accepting/i

/** The refusal of a login, which is passed on to every request until it is tried again. */
export function loginError(message: string, correlationId: string): HearthError {
  const text = `Postgres refused the connection (${oneLine(message)}); check the url of this database`
  return marked(new HearthError('UNAVAILABLE', text, { correlationId }), 'refused', false)
}

/** No connection came free; nothing was sent. */
export function exhaustedError(
  name: string,
  waitedMs: number,
  why: string,
  isDown: boolean,
  correlationId: string,
): HearthError {
  const message = `no connection to database "${name}" came free within ${Math.round(waitedMs)} ms (${why}); nothing was sent`
  const code = isDown ? 'UNAVAILABLE' : 'POOL_EXHAUSTED'
  const fault: Fault | undefined = isDown ? 'unreachable' : undefined
  return marked(new HearthError(code, message, { correlationId }), fault, false)
}

/** The breaker of this database's reads or writes keeps them back; `last` is the failure that opened it. */
export function circuitOpenError(
  breaker: string,
  retryAfterMs: number,
  last: string,
  correlationId: string,
): HearthError {
  const message = `the breaker "${breaker}" is open after repeated failures (the last: ${oneLine(last)}); nothing was sent`
  const error = new HearthError('CIRCUIT_OPEN', message, { retryAfterMs, correlationId })
  return marked(error, undefined, false)
}

export function closedError(name: string): HearthError {
  return new HearthError('CLOSED', `the pool of database "${name}" is closed; nothing was sent`)
}

export function busyError(name: string, correlationId: string): HearthError {
  return new HearthError(
    'BUSY',
    `${WAITING_COUNT_MAX} requests wait for database "${name}" already; nothing was sent`,
    { correlationId },
  )
}

export function openError(correlationId: string): HearthError {
  return new HearthError(
    'BAD_REQUEST',
    'the statement left a transaction or a COPY open, which was rolled back: use a transaction instead',
    { correlationId },
  )
}

export function tooLargeError(correlationId: string): HearthError {
  return new HearthError(
    'VALUE_TOO_LARGE',
    `the result is larger than ${RESULT_BYTES_MAX} bytes: stream it, or ask for less`,
    { correlationId },
  )
}

export function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' · ')
}

export function notConfiguredError(cause: Error): HearthError {
  return new HearthError(
    'NOT_CONFIGURED',
    `Postgres needs libpq, which could not be loaded (${oneLine(cause.message)}): install it ` +
      '(Debian, Ubuntu: apt install libpq5), or set engine.libpq to its path',
    { cause },
  )
}

/** Whether a server that refuses a connection so takes nobody's. */
export function isDownFailure(text: string | undefined): boolean {
  return text !== undefined && /refused|No such file|starting up|recovery/.test(text)
}
