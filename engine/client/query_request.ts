/** QueryRequest: one statement as the client sends it, and its rows as they come back.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  parameters that are plain scalars, as nearly all are, are written in place; anything else is encoded whole. */

import {
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeNil,
  writeText,
  writeTime,
  writeUint,
} from '../protocol/body.ts'
import { encodeValue } from '../protocol/payload.ts'
import { readRows } from '../protocol/rows.ts'
import { OPS } from '../protocol/spec.ts'
import type { Request } from './inflight.ts'

/** A statement, as far as its request must know it. */
export interface StatementRequest {
  readonly database: string
  readonly timeoutMs: number
  readonly priority: number
  readonly correlationId: string
  readonly sql: string
  readonly params: readonly unknown[]
}

export class QueryRequest implements Request {
  readonly op: number = OPS.QUERY.code
  readonly isRepeatable = false
  readonly isCancelable = true
  private readonly statement: StatementRequest
  /** The parameters as msgpack, when there are others than scalars among them. */
  private readonly encoded: Buffer | undefined
  private readonly paramsBytesMax: number

  constructor(statement: StatementRequest) {
    this.statement = statement
    this.paramsBytesMax = scalarsBytesMax(statement.params)
    if (this.paramsBytesMax >= 0) return
    this.encoded = encodeValue(statement.params)
    this.paramsBytesMax = this.encoded.length
  }

  bodyBytesMax(): number {
    const { database, correlationId, sql } = this.statement
    const textBytes = textBytesMax(database) + textBytesMax(correlationId) + textBytesMax(sql)
    return textBytes + SCALAR_BYTES_MAX * 2 + this.paramsBytesMax
  }

  write(target: Buffer, at: number): number {
    const { database, timeoutMs, priority, correlationId, sql, params } = this.statement
    let end = writeText(target, at, database)
    end = writeUint(target, writeUint(target, end, timeoutMs), priority)
    end = writeText(target, end, correlationId)
    end = writeText(target, end, sql)
    if (this.encoded !== undefined) return end + this.encoded.copy(target, end)
    return writeScalars(target, end, params)
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return readRows(bytes, start, end)
  }
}

/** Writes parameters as a QueryRequest does, from the target's beginning; their end, or -1 when there is no room. */
export function writeParams(target: Buffer, params: readonly unknown[]): number {
  const bytesMax = scalarsBytesMax(params)
  if (bytesMax >= 0) return bytesMax <= target.length ? writeScalars(target, 0, params) : -1
  const encoded = encodeValue(params)
  return encoded.length <= target.length ? encoded.copy(target) : -1
}

const SCALAR_COUNT_MAX = 15
const FIXARRAY = 0x90
const FALSE = 0xc2
const TRUE = 0xc3
const INT32 = 0xd2

/** Bytes that the parameters take at most, -1 when they are not all scalars. */
function scalarsBytesMax(params: readonly unknown[]): number {
  if (params.length > SCALAR_COUNT_MAX) return -1
  let bytes = 1
  for (let i = 0; i < params.length; i++) {
    const value = params[i]
    if (typeof value === 'string') bytes += textBytesMax(value)
    else if (typeof value === 'number' || typeof value === 'boolean' || value === null)
      bytes += SCALAR_BYTES_MAX
    else return -1
  }
  return bytes
}

function writeScalars(target: Buffer, at: number, params: readonly unknown[]): number {
  target[at] = FIXARRAY | params.length
  let end = at + 1
  for (let i = 0; i < params.length; i++) {
    const value = params[i] as string | number | boolean | null
    if (typeof value === 'string') end = writeText(target, end, value)
    else if (typeof value === 'number') end = writeNumber(target, end, value)
    else if (value === null) end = writeNil(target, end)
    else target[end++] = value ? TRUE : FALSE
  }
  return end
}

function writeNumber(target: Buffer, at: number, value: number): number {
  // -0 is no integer of msgpack, and past 32 bits a number is a float64, as everywhere in this protocol.
  if ((value | 0) !== value || Object.is(value, -0)) return writeTime(target, at, value)
  if (value >= 0) return writeUint(target, at, value)
  target[at] = INT32
  return target.writeInt32BE(value, at + 1)
}
