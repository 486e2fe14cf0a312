/** rows: the body of a ROWS reply as row objects; its layout and the rules of values are in PROTOCOL.md.
 *  Owns:   one cursor a thread.   Not here: columns (row_shape.ts); who writes these bodies (native-bindings/src/result_encode.c).
 *  Thread: any; in Hearth the client's alone.
 *  Holds:  (1) what is not a body throws PROTOCOL, and nothing is read past its end.  (2) no row, Buffer or text shares memory
 *          with the bytes.  (3) a str in a column whose type is no text is passed on as it is. */

import { readUtf8 } from '../bytes.ts'
import { HearthError } from '../errors.ts'
import { PG_KINDS } from './pg_types.ts'
import { ARRAY, type Field, type RowShape, shapeOf } from './row_shape.ts'

export type { Field } from './row_shape.ts'

export interface Rows {
  readonly rows: Record<string, unknown>[]
  /** What Postgres counted, null where it counts nothing. */
  readonly rowCount: number | null
  /** Frozen, and shared by all results with these columns. */
  readonly fields: readonly Field[]
  readonly command: string
  readonly source: string
}

const JSON_KIND = PG_KINDS.indexOf('json')
const TIMESTAMP = PG_KINDS.indexOf('timestamp')
const TIMESTAMPTZ = PG_KINDS.indexOf('timestamptz')

/** Postgres has six dimensions at most. */
const ARRAY_DEPTH_MAX = 6

/** Reads the body of a ROWS reply from `start` to `end`. Throws PROTOCOL when it is none. */
export function readRows(bytes: Buffer, start: number, end: number): Rows {
  return cursor.read(bytes, start, end)
}

class RowsCursor {
  private bytes: Buffer = Buffer.alloc(0)
  private at = 0
  private end = 0

  read(bytes: Buffer, start: number, end: number): Rows {
    if (start < 0 || end > bytes.length) throw malformed('bytes of its own')
    this.bytes = bytes
    this.at = start
    this.end = end
    const source = this.plainText()
    const shape = this.shape()
    const command = this.plainText()
    const rowCount = this.rowCount()
    const rows = this.rows(shape)
    if (this.at !== this.end) throw malformed('its end')
    return { rows, rowCount, fields: shape.fields, command, source }
  }

  private rows(shape: RowShape): Record<string, unknown>[] {
    const { names, kinds } = shape
    const columnCount = names.length
    const count = this.arrayCount(this.byte())
    if (columnCount === 0) return this.emptyRows(count)
    if (count % columnCount !== 0) throw malformed('whole rows')
    const rows: Record<string, unknown>[] = []
    for (let left = count; left > 0; left -= columnCount) {
      const row: Record<string, unknown> = {}
      for (let i = 0; i < columnCount; i++) row[names[i]!] = this.value(kinds[i]!)
      rows.push(row)
    }
    return rows
  }

  /** Rows without columns: a nil each. */
  private emptyRows(count: number): Record<string, unknown>[] {
    const rows: Record<string, unknown>[] = []
    for (let i = 0; i < count; i++) {
      if (this.byte() !== 0xc0) throw malformed('nil for a row without columns')
      rows.push({})
    }
    return rows
  }

  private value(kind: number): unknown {
    const head = this.byte()
    if (head < 0x80) return head
    if (head >= 0xe0) return head - 0x100
    if (head >= 0xa0 && head < 0xc0) return this.text(head & 0x1f, kind)
    switch (head) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xc4:
        return this.binary(this.byte())
      case 0xc5:
        return this.binary(this.be16())
      case 0xc6:
        return this.binary(this.be32())
      case 0xcb:
        return this.float64(kind)
      case 0xcc:
        return this.byte()
      case 0xcd:
        return this.be16()
      case 0xce:
        return this.be32()
      case 0xd0:
        return (this.byte() << 24) >> 24
      case 0xd1:
        return (this.be16() << 16) >> 16
      case 0xd2:
        return this.be32() | 0
      case 0xd3:
        return this.int64()
      case 0xd9:
        return this.text(this.byte(), kind)
      case 0xda:
        return this.text(this.be16(), kind)
      case 0xdb:
        return this.text(this.be32(), kind)
      default:
        if (kind < ARRAY) throw malformed('a value of its type')
        return this.array(head, kind & ~ARRAY, 1)
    }
  }

  private array(head: number, kind: number, depth: number): unknown[] {
    const count = this.arrayCount(head)
    const values: unknown[] = []
    for (let i = 0; i < count; i++) {
      const next = this.at < this.end ? this.bytes[this.at]! : 0
      if ((next & 0xf0) !== 0x90 && next !== 0xdc && next !== 0xdd) {
        values.push(this.value(kind))
        continue
      }
      if (depth === ARRAY_DEPTH_MAX) throw malformed(`at most ${ARRAY_DEPTH_MAX} dimensions`)
      this.at++
      values.push(this.array(next, kind, depth + 1))
    }
    return values
  }

  /** A value has a byte at least, so a count beyond the bytes that are left is refused before anything is made for it. */
  private arrayCount(head: number): number {
    let count = 0
    if ((head & 0xf0) === 0x90) count = head & 0x0f
    else if (head === 0xdc) count = this.be16()
    else if (head === 0xdd) count = this.be32()
    else throw malformed('an array')
    if (count > this.end - this.at) throw malformed('as many values as it says')
    return count
  }

  private shape(): RowShape {
    const head = this.byte()
    let length = 0
    if (head === 0xc4) length = this.byte()
    else if (head === 0xc5) length = this.be16()
    else if (head === 0xc6) length = this.be32()
    else throw malformed('its columns')
    const start = this.take(length)
    return shapeOf(this.bytes, start, this.at)
  }

  private rowCount(): number | null {
    const value = this.value(0)
    if (value === null || (typeof value === 'number' && Number.isInteger(value) && value >= 0))
      return value
    throw malformed('a count of rows')
  }

  private plainText(): string {
    const value = this.value(0)
    if (typeof value !== 'string') throw malformed('a str')
    return value
  }

  private text(length: number, kind: number): unknown {
    const start = this.take(length)
    const text = readText(this.bytes, start, this.at)
    return kind === JSON_KIND ? parsed(text) : text
  }

  private binary(length: number): Buffer {
    const start = this.take(length)
    // A copy, and not out of the pool: what a row keeps must not keep more than itself.
    return Buffer.from(Uint8Array.prototype.slice.call(this.bytes, start, this.at).buffer)
  }

  private float64(kind: number): unknown {
    const value = this.bytes.readDoubleBE(this.take(8))
    if (kind === TIMESTAMPTZ) return Number.isFinite(value) ? new Date(value) : value
    return kind === TIMESTAMP && Number.isFinite(value) ? localDate(value) : value
  }

  private int64(): bigint {
    return this.bytes.readBigInt64BE(this.take(8))
  }

  private byte(): number {
    if (this.at >= this.end) throw malformed('more bytes')
    return this.bytes[this.at++]!
  }

  private be16(): number {
    const at = this.take(2)
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!
  }

  private be32(): number {
    const { bytes } = this
    const at = this.take(4)
    return (
      ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
    )
  }

  /** Steps over so many bytes; where they begin. */
  private take(length: number): number {
    const start = this.at
    if (length > this.end - start) throw malformed('more bytes')
    this.at = start + length
    return start
  }
}

const cursor = new RowsCursor()

/** A wall clock, given as if it were UTC's, as a Date that shows it in this process's time zone. */
function localDate(wallMs: number): Date {
  const wall = new Date(wallMs)
  const year = wall.getUTCFullYear()
  const date = new Date(
    year,
    wall.getUTCMonth(),
    wall.getUTCDate(),
    wall.getUTCHours(),
    wall.getUTCMinutes(),
    wall.getUTCSeconds(),
    wall.getUTCMilliseconds(),
  )
  if (year < 0 || year > 99) return date
  // The constructor takes these years for 1900 and on.
  date.setFullYear(year, wall.getUTCMonth(), wall.getUTCDate())
  date.setHours(
    wall.getUTCHours(),
    wall.getUTCMinutes(),
    wall.getUTCSeconds(),
    wall.getUTCMilliseconds(),
  )
  return date
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Short ASCII in fours: the call into native code costs 40 ns, four units 5 (bench/micro/rows.bench.ts). */
function readText(bytes: Buffer, start: number, end: number): string {
  if (end - start > 12) return readUtf8(bytes, start, end)
  let text = ''
  let at = start
  for (; at + 4 <= end; at += 4) {
    const a = bytes[at]!
    const b = bytes[at + 1]!
    const c = bytes[at + 2]!
    const d = bytes[at + 3]!
    if ((a | b | c | d) > 0x7f) return readUtf8(bytes, start, end)
    text += String.fromCharCode(a, b, c, d)
  }
  for (; at < end; at++) {
    const unit = bytes[at]!
    if (unit > 0x7f) return readUtf8(bytes, start, end)
    text += String.fromCharCode(unit)
  }
  return text
}

function malformed(expected: string): HearthError {
  return new HearthError('PROTOCOL', `malformed result: expected ${expected}`)
}
