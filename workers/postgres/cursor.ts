/** Cursor: a query read piece by piece, as its reader asks for more.
 *  Owns:   how many rows the next piece has.   Not here: the transaction around it (transaction.ts), its handle (session_ops.ts).
 *  Thread: postgres worker.
 *  Holds:  a piece is about PIECE_BYTES_MAX at most where rows are of a kind: the first is small, and each next one is measured
 *          by the widest rows that were seen lately. */

import type { Parameter } from 'pg-native'
import { HearthError } from '../../engine/errors.ts'
import { WRITE_BYTES } from '../../engine/limits.ts'
import type { Cancelable } from './database.ts'
import { plain } from './session.ts'
import { commented, type Statement } from './statement.ts'
import type { Transaction } from './transaction.ts'

/** A reply of this size goes through buffers that are used again. Measured with 300 000 rows: pieces of 128 KiB were hardly faster on
 *  a socket (0 to 20 %), and cost three times the memory at the peak. */
const PIECE_BYTES_MAX = WRITE_BYTES - 2048
const FIRST_ROWS = 64
const ROWS_MAX = 16_384
/** How much a piece may grow from one to the next, and how fast a wide row is forgotten. */
const GROWTH_MAX = 8
const FORGETTING = 0.8

const PREFIX = (name: string) => `declare ${name} no scroll cursor for `

let cursorCount = 0

export interface CursorEvents {
  opened(): void
  failed(error: HearthError): void
}

export class Cursor {
  private readonly transaction: Transaction
  /** The transaction is its own, and ends with it. */
  private readonly isOwn: boolean
  private readonly name = `hearth_${++cursorCount}`
  private rows = FIRST_ROWS
  private rowBytes = 0

  constructor(transaction: Transaction, isOwn: boolean) {
    this.transaction = transaction
    this.isOwn = isOwn
  }

  /** Declares it; `statement` must be one that reads. */
  open(
    statement: Statement,
    params: Parameter[],
    correlationId: string,
    { opened, failed }: CursorEvents,
  ): Cancelable {
    const prefix = PREFIX(this.name)
    return this.transaction.run({
      statement: plain(prefix + commented(statement, correlationId).sql),
      params,
      correlationId,
      timeoutMs: 0,
      resolve: opened,
      reject: error => failed(withoutPrefix(error, prefix.length)),
    })
  }

  /** The next rows, at most so many (0: as many as make a piece), as the body of a ROWS reply; none: that was the end. */
  fetch(
    rowsMax: number,
    correlationId: string,
    resolve: (body: Buffer) => void,
    reject: (error: HearthError) => void,
  ): Cancelable {
    const rows = rowsMax === 0 ? this.rows : Math.min(rowsMax, this.rows)
    return this.transaction.run({
      statement: plain(`fetch forward ${rows} from ${this.name}`),
      params: [],
      correlationId,
      timeoutMs: 0,
      resolve: ({ body, count }) => {
        this.learn(count, body!.length)
        resolve(body!)
      },
      reject,
    })
  }

  /** It was read to its end: what it did stands, for functions that it called may have written. */
  commit(correlationId: string, resolve: () => void, reject: (error: HearthError) => void): void {
    if (this.isOwn) this.transaction.commit(correlationId, resolve, reject)
    else this.close(correlationId, resolve)
  }

  /** Calls back when the server is done with it. */
  close(correlationId: string, done: () => void): void {
    if (this.isOwn) return this.transaction.close(done)
    const statement = plain(`close ${this.name}`)
    const own = { statement, params: [], correlationId, timeoutMs: 0 }
    this.transaction.run({ ...own, resolve: done, reject: done })
  }

  private learn(count: number, bytes: number): void {
    if (count === 0) return
    this.rowBytes = Math.max(bytes / count, this.rowBytes * FORGETTING)
    const fitting = Math.floor(PIECE_BYTES_MAX / this.rowBytes)
    this.rows = Math.max(1, Math.min(fitting, this.rows * GROWTH_MAX, ROWS_MAX))
  }
}

/** Throws BAD_REQUEST for what cannot be read by a cursor. */
export function checkStreamable(statement: Statement): void {
  if (/^(select|values|table|with)$/.test(statement.word)) return
  throw new HearthError(
    'BAD_REQUEST',
    'a stream reads: SELECT, VALUES, TABLE, or a WITH that does not write; for anything else use query() (nothing was sent)',
  )
}

/** Positions count in the text that was given, not in ours around it. */
function withoutPrefix(error: HearthError, prefixLength: number): HearthError {
  const { position } = error
  if (position === undefined || position <= prefixLength) return error
  return new HearthError(error.code, error.message, { ...error, position: position - prefixLength })
}
