/** stream: `db.stream(sql)`: a query's rows in batches, as fast as they are taken and no faster.
 *  Owns:   one cursor at the engine, from the first batch that is asked for to the end of the loop.
 *  Thread: the client's.
 *  Holds:  (1) at most two pieces (of about 30 KiB) and one batch are in memory.  (2) however the loop ends, the cursor is closed.
 *          (3) every batch but the last has exactly batchRows rows. */

import { OPS } from '../protocol/spec.ts'
import type { Connection } from './connection.ts'
import type { QueryResult } from './database.ts'
import { checkNames, checkParams, checkSignal, checkText, milliseconds, whole } from './options.ts'
import { EndRequest, FetchRequest, type Handle, StreamRequest } from './sql_requests.ts'

export interface StreamOptions {
  /** Rows in each batch but the last. Default 1 000. */
  readonly batchRows?: number
  /** Of the whole, the time that is spent on the batches included; unlimited unless set. */
  readonly timeoutMs?: number
  /** How long the loop may spend on its batches without another piece being asked for. Default: as configured (60 000). */
  readonly idleTimeoutMs?: number
  /** Aborted: the query is cancelled at the server, and the loop throws its reason. */
  readonly signal?: AbortSignal
}

const STREAM_OPTIONS = ['batchRows', 'timeoutMs', 'idleTimeoutMs', 'signal']
const BATCH_ROWS = 1_000
/** The engine's own limits come first; this is for an engine that has stopped. */
export const ANSWER_MS_MAX = 300_000

/** The rows of a query in batches; `within` a transaction that is open, or in one of its own. Throws what is wrong with its
 *  arguments at once, everything else in the loop. */
export function streamRows<Row>(
  connection: Connection,
  database: string,
  sql: string,
  params: readonly unknown[],
  options: StreamOptions,
  newId: () => string,
  within?: Handle,
): AsyncGenerator<Row[], void, void> {
  checkText('sql', sql)
  checkParams(params)
  checkNames(options, STREAM_OPTIONS)
  checkSignal(options.signal)
  const batchRows = whole('batchRows', options.batchRows, BATCH_ROWS, 1)
  const timeoutMs = milliseconds('timeoutMs', options.timeoutMs, 0)
  const idleTimeoutMs = milliseconds('idleTimeoutMs', options.idleTimeoutMs, 0)
  const limits = { timeoutMs, idleTimeoutMs }
  const { number = 0, epoch } = within ?? {}
  const id = newId()
  const request = new StreamRequest(number, epoch, database, limits, id, sql, params)
  return batches<Row>(connection, request, batchRows, options.signal)
}

async function* batches<Row>(
  connection: Connection,
  request: StreamRequest,
  batchRows: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Row[], void, void> {
  const number = (await connection.request(request, ANSWER_MS_MAX, signal)) as number
  const handle = { number, epoch: connection.epoch }
  const close = closer(connection, handle)
  signal?.addEventListener('abort', close)
  let isWhole = false
  const ask = (): Promise<Row[]> => {
    const piece = connection.request(new FetchRequest(handle), ANSWER_MS_MAX, signal)
    piece.catch(() => undefined) // It is awaited later, or nobody wants it any more.
    return piece.then(result => (result as QueryResult<Row>).rows)
  }
  try {
    let next = ask()
    let batch: Row[] = []
    for (;;) {
      const rows = await next
      if (rows.length === 0) break
      next = ask()
      next.catch(() => undefined)
      for (let at = 0; at < rows.length; ) {
        const taken = Math.min(batchRows - batch.length, rows.length - at)
        if (taken === rows.length && batch.length === 0) batch = rows
        else for (let i = 0; i < taken; i++) batch.push(rows[at + i]!)
        at += taken
        if (batch.length < batchRows) break
        yield batch
        signal?.throwIfAborted()
        batch = []
      }
    }
    await commit(connection, handle)
    isWhole = true
    if (batch.length > 0) yield batch
  } finally {
    signal?.removeEventListener('abort', close)
    if (!isWhole) await close()
  }
}

/** What was read to its end may have written, by what it called: that stands. Its connection is free before the last batch is
 *  given out. */
export async function commit(connection: Connection, handle: Handle): Promise<void> {
  await connection.request(new EndRequest(OPS.COMMIT.code, handle), ANSWER_MS_MAX)
}

/** Closes a handle, once; what fails then was closed by other means. */
export function closer(connection: Connection, handle: Handle): () => Promise<void> {
  let closed: Promise<void> | undefined
  return () => {
    closed ??= connection.request(new EndRequest(OPS.CLOSE.code, handle), ANSWER_MS_MAX).then(
      () => undefined,
      () => undefined,
    )
    return closed
  }
}
