/** row_shape: the columns of a result as its reader needs them, known again by their bytes.
 *  Owns:   the shapes last seen in this thread.   Not here: values (rows.ts).
 *  Thread: any; each has shapes of its own.
 *  Holds:  (1) a shape is found by its bytes, all of them: a hash that two share costs time, never a wrong answer.
 *          (2) at most SHAPE_COUNT_MAX are kept; past that the older half goes. */

import { HearthError } from '../errors.ts'
import { hashKey } from '../hash.ts'
import { BodyReader } from './body.ts'
import { PG_KINDS, PG_TYPES } from './pg_types.ts'

export interface Field {
  readonly name: string
  /** The oid of the column's type in pg_type. */
  readonly dataTypeId: number
}

export interface RowShape {
  readonly bytes: Buffer
  /** Frozen, and shared by all results of this shape. */
  readonly fields: readonly Field[]
  /** The keys of a row object. */
  readonly names: readonly string[]
  /** Places in PG_KINDS, by column; ARRAY is added for arrays. */
  readonly kinds: readonly number[]
}

export const ARRAY = 16

const SHAPE_COUNT_MAX = 256
/** A shape with more bytes (a thousand columns) is read each time. */
const SHAPE_BYTES_MAX = 64 * 1024

const KIND_BY_OID = new Map<number, number>()
for (const { oid, arrayOid, kind } of PG_TYPES) {
  KIND_BY_OID.set(oid, PG_KINDS.indexOf(kind)).set(arrayOid, PG_KINDS.indexOf(kind) | ARRAY)
}

const known = new Map<number, RowShape>()
const reader = new BodyReader()
let last: RowShape | undefined

/** The shape that these bytes are. Throws PROTOCOL when they are none. */
export function shapeOf(bytes: Buffer, start: number, end: number): RowShape {
  if (last !== undefined && isSame(last.bytes, bytes, start, end)) return last
  const hash = hashKey(0, bytes, start, end)
  const found = known.get(hash)
  if (found !== undefined && isSame(found.bytes, bytes, start, end)) return (last = found)
  const shape = readShape(bytes, start, end)
  if (end - start > SHAPE_BYTES_MAX) return shape
  if (known.size >= SHAPE_COUNT_MAX) dropOlderHalf()
  known.set(hash, shape)
  return (last = shape)
}

function isSame(mine: Buffer, bytes: Buffer, start: number, end: number): boolean {
  const { length } = mine
  if (length !== end - start) return false
  for (let i = 0; i < length; i++) if (mine[i] !== bytes[start + i]) return false
  return true
}

function readShape(source: Buffer, start: number, end: number): RowShape {
  const bytes = Buffer.from(source.subarray(start, end)) // a copy: the source is a socket's buffer
  const { count, at } = readCount(bytes)
  if (count % 2 !== 0) throw new HearthError('PROTOCOL', 'malformed result: a column without type')
  const fields: Field[] = []
  const kinds: number[] = []
  reader.reset(bytes, at, bytes.length)
  for (let i = 0; i < count; i += 2) {
    const field = { name: reader.text(), dataTypeId: reader.uint() }
    fields.push(Object.freeze(field))
    kinds.push(KIND_BY_OID.get(field.dataTypeId) ?? 0)
  }
  reader.done()
  // This one key an object takes for something else.
  const names = fields.map(({ name }) => (name === '__proto__' ? '__proto_' : name))
  return { bytes, fields: Object.freeze(fields), names, kinds }
}

function readCount(bytes: Buffer): { count: number; at: number } {
  const head = bytes[0] ?? 0
  if ((head & 0xf0) === 0x90) return { count: head & 0x0f, at: 1 }
  if (head === 0xdc && bytes.length >= 3) return { count: bytes.readUInt16BE(1), at: 3 }
  throw new HearthError('PROTOCOL', 'malformed result: its columns are no array')
}

function dropOlderHalf(): void {
  let excess = known.size - SHAPE_COUNT_MAX / 2
  for (const hash of known.keys()) {
    if (excess-- <= 0) break
    known.delete(hash)
  }
}
