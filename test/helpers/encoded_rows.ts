/** encoded_rows: what a statement answers, through the C encoder and the reader of ROWS, as text and in binary.
 *  Owns:   nothing; whoever opens a Pq closes it.   Thread: main of a test process.
 *  Holds:  a binary result comes from a binary cursor, so that it needs no more of the binding than exec(). */

import assert from 'node:assert/strict'
import { PG_TYPES } from '../../engine/protocol/pg_types.ts'
import { type Rows, readRows } from '../../engine/protocol/rows.ts'
import type { Pq } from './native_clients.ts'

const BYTES_MAX = 0xff_ffff
const BINARY = new Set(PG_TYPES.filter(type => type.binary !== 'none').map(type => type.oid))

/** The last result of a connection. */
export function lastRows(pq: Pq): Rows {
  assert.match(pq.resultStatus(), /^PGRES_(TUPLES|COMMAND|EMPTY_QUERY)/, pq.resultErrorMessage())
  const body = pq.$encodeResult('primary', BYTES_MAX)
  assert.ok(body !== undefined, 'the result is too large')
  return readRows(body, 0, body.length)
}

/** Runs a statement; values come in their text form. */
export function textRows(pq: Pq, sql: string, params?: unknown[]): Rows {
  if (params === undefined) pq.exec(sql)
  else pq.execParams(sql, params)
  return lastRows(pq)
}

/** Runs a query; values come in their binary form. */
export function binaryRows(pq: Pq, sql: string): Rows {
  pq.exec('begin')
  pq.exec(`declare binary_rows binary cursor for ${sql}`)
  try {
    assert.equal(pq.resultStatus(), 'PGRES_COMMAND_OK', pq.resultErrorMessage())
    pq.exec('fetch all from binary_rows')
    return lastRows(pq)
  } finally {
    pq.exec('rollback')
  }
}

/** Whether the encoder knows the binary form of every column. */
export function isBinaryKnown(rows: Rows): boolean {
  return rows.fields.every(field => BINARY.has(field.dataTypeId))
}
