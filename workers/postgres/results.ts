/** Results: a PGresult into rows, with what a statement's columns are looked up once.
 *  Owns:   nothing between calls; a Shape belongs to the connection that prepared its statement.
 *  Thread: postgres worker.
 *  Holds:  reading stops as soon as a result cannot fit a frame, so that it costs no more memory than one that does. */

import type { Libpq } from 'pg-native'
import { type Field, RESULT_BYTES_MAX, type Result } from './database.ts'
import { type Parser, parserOf } from './types.ts'

/** What is the same for every result of a prepared statement (Postgres refuses to run it once that changes). */
export interface Shape {
  readonly fields: readonly Field[]
  readonly names: readonly string[]
  readonly parsers: readonly (Parser | undefined)[]
  readonly namesBytes: number
}

export interface ReadResult extends Result {
  readonly shape: Shape
  readonly isTooLarge: boolean
}

export function readShape(pq: Libpq): Shape {
  const fields: Field[] = []
  const names: string[] = []
  for (let column = 0; column < pq.nfields(); column++) {
    const name = pq.fname(column)
    fields.push({ name, dataTypeId: pq.ftype(column) })
    names.push(name === '__proto__' ? '__proto_' : name) // a key that objects treat specially
  }
  const parsers = fields.map(field => parserOf(field.dataTypeId))
  return {
    fields,
    names,
    parsers,
    namesBytes: names.reduce((sum, name) => sum + name.length + 2, 1),
  }
}

export function readResult(pq: Libpq, known: Shape | undefined): ReadResult {
  const shape = known ?? readShape(pq)
  const tag = pq.cmdStatus()
  const space = tag.indexOf(' ')
  const tuples = pq.cmdTuples()
  const rows: Record<string, unknown>[] = []
  const isTooLarge = !readRows(pq, shape, rows)
  return {
    rows,
    rowCount: tuples === '' ? null : Number(tuples),
    fields: shape.fields,
    command: space < 0 ? tag : tag.slice(0, space),
    shape,
    isTooLarge,
  }
}

/** False when the texts alone are more than a frame holds: values that shrink by encoding (hex) count half. */
function readRows(pq: Libpq, shape: Shape, rows: Record<string, unknown>[]): boolean {
  const { names, parsers } = shape
  const rowCount = pq.ntuples()
  let bytes = 0
  for (let index = 0; index < rowCount; index++) {
    const row: Record<string, unknown> = {}
    for (let column = 0; column < names.length; column++) {
      const text = pq.getvalue(index, column)
      if (text.length === 0 && pq.getisnull(index, column)) {
        row[names[column]!] = null
        continue
      }
      const parse = parsers[column]
      row[names[column]!] = parse === undefined ? text : parse(text)
      bytes += text.length >>> 1
    }
    bytes += shape.namesBytes
    if (bytes > RESULT_BYTES_MAX) {
      rows.length = 0
      return false
    }
    rows.push(row)
  }
  return true
}
