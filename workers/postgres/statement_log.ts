/** statement_log: a line of the log for each statement that failed or was slow, with the id it had from its client on.
 *  Owns:   what is slow, and how many lines a second there may be.   Thread: postgres worker; one log a thread.
 *  Holds:  (1) neither a statement's text nor its parameters are logged, nor the server's words, which may quote them.
 *          (2) past the bound lines are counted, and the next one says how many were left out. */

import { monotonicMs } from '../../engine/clock.ts'
import type { HearthError } from '../../engine/errors.ts'
import { log } from '../../engine/log.ts'
import { contextFields } from '../../engine/trace_context.ts'

const LINES_A_SECOND_MAX = 10

let slowMs = Number.POSITIVE_INFINITY
let secondMs = 0
let lines = 0
let leftOut = 0

/** From so many milliseconds on a statement is slow, its wait for a connection included. Infinity: none is. */
export function setSlowStatementMs(ms: number): void {
  slowMs = ms
}

/** A statement has been answered. `word`: its first; empty for one of our own, which is no news. */
export function noteStatement(
  database: string,
  word: string,
  correlationId: string,
  startedMs: number,
  error: HearthError | undefined,
): void {
  if (word === '') return
  const nowMs = monotonicMs()
  const tookMs = nowMs - startedMs
  const isSlow = tookMs >= slowMs
  if ((error === undefined && !isSlow) || !mayLog(nowMs)) return
  const fields: Record<string, unknown> = {
    ...contextFields(correlationId),
    database,
    command: word,
    tookMs: Math.round(tookMs * 1_000) / 1_000,
  }
  if (error !== undefined) fields['code'] = error.code
  if (error?.sqlState !== undefined) fields['sqlState'] = error.sqlState
  if (leftOut > 0) fields['leftOut'] = leftOut
  leftOut = 0
  log(isSlow ? 'warn' : 'info', error === undefined ? 'slow statement' : 'failed statement', fields)
}

function mayLog(nowMs: number): boolean {
  if (nowMs - secondMs >= 1_000) {
    secondMs = nowMs
    lines = 0
  }
  if (lines < LINES_A_SECOND_MAX) {
    lines++
    return true
  }
  leftOut++
  return false
}
