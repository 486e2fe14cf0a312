/** rows: the result of a statement read from a ROWS body, against msgpackr for the map that RESULT carried before.
 *  Owns:   one body a trial.   Thread: main of a trial's process.
 *  Holds:  both ways give equal rows, fields and counts, before anything is timed. */

import assert from 'node:assert/strict'
import { decodeValue, encodeValue } from '../../engine/protocol/payload.ts'
import { type Rows, readRows } from '../../engine/protocol/rows.ts'
import { type Gate, type MicroBench, measure, type Row, type Size, type Trial } from '../harness.ts'

const READS = { smoke: 50, real: 2_000 } as const
/** The benches of drivers ask for these: an id, a name, a measured value. */
const FIELDS = [
  { name: 'id', dataTypeId: 23 },
  { name: 'name', dataTypeId: 25 },
  { name: 'v', dataTypeId: 701 },
]

export const bench: MicroBench = {
  title: 'rows of three columns, read by the client',
  isNot:
    'Not a query: this is the client’s side alone, and neither Postgres nor the encoder in C is in it.',
  trials: [
    trial('1 row', 1, fromRows),
    trial('1 row: msgpackr', 1, fromMap),
    trial('100 rows', 100, fromRows),
    trial('100 rows: msgpackr', 100, fromMap),
  ],
  gates: rows => [gate('1 row', 2, rows), gate('100 rows', 1.2, rows)],
}

type Reader = (result: Rows) => () => Rows

function trial(name: string, rowCount: number, readerOf: Reader): Trial {
  const run = (size: Size) => {
    const result = resultOf(rowCount)
    const read = readerOf(result)
    assert.deepEqual(read(), result)
    const round = (): number => {
      let hash = 0
      for (let i = 0; i < READS[size]; i++) {
        const { rows } = read()
        hash = (hash * 31 + (rows[i % rows.length]!['id'] as number)) | 0
      }
      return hash
    }
    return measure(size, READS[size], round)
  }
  return { name, run }
}

function gate(name: string, atLeast: number, rows: ReadonlyMap<string, Row>): Gate {
  const speed = (of: string): number => rows.get(of)!.figures['thousand/s']!
  const title = `${name}, read from ROWS, against the same by msgpackr`
  return { name: title, actual: speed(name) / speed(`${name}: msgpackr`), atLeast }
}

function resultOf(rowCount: number): Rows {
  const rows = Array.from({ length: rowCount }, (_, i) => ({
    id: 1_000 + i,
    name: `name ${1_000 + i}`,
    v: i / 3,
  }))
  return { rows, rowCount, fields: FIELDS, command: 'SELECT', source: 'primary' }
}

function fromRows({ rows, rowCount, fields, command, source }: Rows): () => Rows {
  const shape = encodeValue(fields.flatMap(({ name, dataTypeId }) => [name, dataTypeId]))
  const values = rows.flatMap(row => Object.values(row))
  const body = Buffer.concat(
    [source, Buffer.from(shape), command, rowCount, values].map(encodeValue),
  )
  return () => readRows(body, 0, body.length)
}

function fromMap(result: Rows): () => Rows {
  const body = encodeValue(result)
  return () => decodeValue(body) as Rows
}
