/** body: the arguments of a frame, written and read in place, one msgpack value after another.
 *  Owns:   nothing; a BodyReader is a cursor that its holder reuses.   Not here: whole values (payload.ts).
 *  Thread: any.
 *  Holds:  (1) no call allocates, but for `text()`.  (2) a reader never passes its end: bytes that are not what the
 *          table says throw HearthError PROTOCOL.
 *
 *  Only the msgpack forms that the arguments need are known here: str, bin, unsigned integers, float64, nil, array heads. */

import { readUtf8, writeUtf8 } from '../bytes.ts'
import { HearthError } from '../errors.ts'

/** The most a str header or an unsigned integer takes. */
export const SCALAR_BYTES_MAX = 9

const NIL = 0xc0
const FLOAT64 = 0xcb
const UINT8 = 0xcc
const UINT16 = 0xcd
const UINT32 = 0xce
const UINT64 = 0xcf
const STR8 = 0xd9
const STR16 = 0xda
const STR32 = 0xdb
const FIXSTR = 0xa0
const FIXARRAY = 0x90
const ARRAY16 = 0xdc
const ARRAY32 = 0xdd
const BIN8 = 0xc4
const BIN16 = 0xc5
const BIN32 = 0xc6

const EMPTY = Buffer.alloc(0)

/** Bytes that a text may take at most, header included: three a UTF-16 unit. */
export function textBytesMax(text: string): number {
  return 5 + text.length * 3
}

/** Writes a str; returns the position behind it. The caller has made room for textBytesMax(text). */
export function writeText(target: Buffer, at: number, text: string): number {
  const length = text.length
  if (length < 32) {
    // Short ASCII, the shape of nearly every key: a loop costs less than the call into native code.
    let cursor = at + 1
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i)
      if (unit > 0x7f) return writeLongText(target, at, text)
      target[cursor++] = unit
    }
    target[at] = FIXSTR | length
    return cursor
  }
  return writeLongText(target, at, text)
}

function writeLongText(target: Buffer, at: number, text: string): number {
  const bytes = writeUtf8(target, text, at + 5)
  const head = writeTextHeader(target, at, bytes)
  if (head !== at + 5) target.copyWithin(head, at + 5, at + 5 + bytes)
  return head + bytes
}

/** How long the header of a str of so many UTF-8 bytes is. */
export function textHeaderBytes(bytes: number): number {
  return bytes < 32 ? 1 : bytes < 0x100 ? 2 : bytes < 0x1_0000 ? 3 : 5
}

/** Writes the header of a str of so many UTF-8 bytes; returns where its bytes go. */
export function writeTextHeader(target: Buffer, at: number, bytes: number): number {
  if (bytes < 32) {
    target[at] = FIXSTR | bytes
    return at + 1
  }
  if (bytes < 0x100) {
    target[at] = STR8
    target[at + 1] = bytes
    return at + 2
  }
  if (bytes < 0x1_0000) {
    target[at] = STR16
    target[at + 1] = bytes >>> 8
    target[at + 2] = bytes
    return at + 3
  }
  target[at] = STR32
  target.writeUInt32BE(bytes, at + 1)
  return at + 5
}

/** Writes an unsigned integer in its shortest form, past 32 bits as float64; returns the position behind it. */
export function writeUint(target: Buffer, at: number, value: number): number {
  if (value < 0x80) {
    target[at] = value
    return at + 1
  }
  if (value < 0x100) {
    target[at] = UINT8
    target[at + 1] = value
    return at + 2
  }
  if (value < 0x1_0000) {
    target[at] = UINT16
    target[at + 1] = value >>> 8
    target[at + 2] = value
    return at + 3
  }
  if (value <= 0xffff_ffff) {
    target[at] = UINT32
    target.writeUInt32BE(value, at + 1)
    return at + 5
  }
  return writeTime(target, at, value)
}

/** Writes milliseconds since 1970 (Infinity: never) as float64; returns the position behind it. */
export function writeTime(target: Buffer, at: number, timeMs: number): number {
  target[at] = FLOAT64
  target.writeDoubleBE(timeMs, at + 1)
  return at + 9
}

export function writeNil(target: Buffer, at: number): number {
  target[at] = NIL
  return at + 1
}

/** Writes the head of an array of so many elements, at most 2^32 - 1; returns the position behind it. */
export function writeArrayHead(target: Buffer, at: number, count: number): number {
  if (count < 16) {
    target[at] = FIXARRAY | count
    return at + 1
  }
  target[at] = ARRAY32
  target.writeUInt32BE(count, at + 1)
  return at + 5
}

/** What the head of an array takes at most. */
export const ARRAY_HEAD_BYTES_MAX = 5

/** Writes the head of a bin of so many bytes; returns where they go. Always BIN_HEAD_BYTES long. */
export function writeBinHead(target: Buffer, at: number, bytes: number): number {
  target[at] = BIN32
  target.writeUInt32BE(bytes, at + 1)
  return at + BIN_HEAD_BYTES
}

export const BIN_HEAD_BYTES = 5

export class BodyReader {
  bytes: Buffer = EMPTY
  at = 0
  end = 0
  /** The range of the str last read by `textRange`. */
  textStart = 0
  textEnd = 0

  reset(bytes: Buffer, start: number, end: number): this {
    this.bytes = bytes
    this.at = start
    this.end = end
    return this
  }

  /** Reads a str without decoding it: its range is then in textStart and textEnd. */
  textRange(): void {
    const head = this.byte()
    let length: number
    if ((head & 0xe0) === FIXSTR) length = head & 0x1f
    else if (head === STR8) length = this.byte()
    else if (head === STR16) length = this.be16()
    else if (head === STR32) length = this.be32()
    else throw malformed('a str', head)
    this.textStart = this.at
    this.textEnd = this.at + length
    if (this.textEnd > this.end) throw malformed('a str within the frame', head)
    this.at = this.textEnd
  }

  text(): string {
    this.textRange()
    return readUtf8(this.bytes, this.textStart, this.textEnd)
  }

  uint(): number {
    const head = this.byte()
    if (head < 0x80) return head
    if (head === UINT8) return this.byte()
    if (head === UINT16) return this.be16()
    if (head === UINT32) return this.be32()
    if (head === FLOAT64 || head === UINT64) {
      const value = head === FLOAT64 ? this.float64() : this.be32() * 2 ** 32 + this.be32()
      if (Number.isSafeInteger(value) && value >= 0) return value
    }
    throw malformed('an unsigned integer', head)
  }

  /** Milliseconds since 1970, Infinity for never. */
  time(): number {
    const head = this.byte()
    if (head === FLOAT64) return this.float64()
    this.at--
    return this.uint()
  }

  /** The head of an array: how many elements follow. */
  arrayHead(): number {
    const head = this.byte()
    if ((head & 0xf0) === FIXARRAY) return head & 0x0f
    if (head === ARRAY16) return this.be16()
    if (head === ARRAY32) return this.be32()
    throw malformed('an array', head)
  }

  /** Reads a bin without copying it: its range is then in textStart and textEnd. */
  binRange(): void {
    const head = this.byte()
    let length: number
    if (head === BIN8) length = this.byte()
    else if (head === BIN16) length = this.be16()
    else if (head === BIN32) length = this.be32()
    else throw malformed('a bin', head)
    this.textStart = this.at
    this.textEnd = this.at + length
    if (this.textEnd > this.end) throw malformed('a bin within the frame', head)
    this.at = this.textEnd
  }

  /** An unsigned integer; -1 for nil. */
  maybeUint(): number {
    if (this.peek() !== NIL) return this.uint()
    this.at++
    return -1
  }

  /** A float64. */
  number(): number {
    const head = this.byte()
    if (head !== FLOAT64) throw malformed('a float64', head)
    return this.float64()
  }

  /** A ttl: undefined for the default, a number of milliseconds, or a policy's name. */
  ttl(): number | string | undefined {
    const head = this.peek()
    if (head === NIL) {
      this.at++
      return undefined
    }
    const isText = (head & 0xe0) === FIXSTR || (head >= STR8 && head <= STR32)
    return isText ? this.text() : this.uint()
  }

  /** The arguments must end here. */
  done(): void {
    if (this.at !== this.end) throw malformed('the end of the frame', this.bytes[this.at]!)
  }

  /** A raw value must begin here: at least one byte is left. */
  raw(): number {
    if (this.at >= this.end) throw malformed('a value', -1)
    return this.at
  }

  private peek(): number {
    if (this.at >= this.end) throw malformed('one more argument', -1)
    return this.bytes[this.at]!
  }

  private byte(): number {
    const byte = this.peek()
    this.at++
    return byte
  }

  private be16(): number {
    return (this.byte() << 8) | this.byte()
  }

  private be32(): number {
    return ((this.byte() << 24) | (this.byte() << 16) | (this.byte() << 8) | this.byte()) >>> 0
  }

  private float64(): number {
    if (this.at + 8 > this.end) throw malformed('a float64 within the frame', FLOAT64)
    this.at += 8
    return this.bytes.readDoubleBE(this.at - 8)
  }
}

function malformed(expected: string, found: number): HearthError {
  const what = found < 0 ? 'the frame ended' : `found byte 0x${found.toString(16).padStart(2, '0')}`
  return new HearthError('PROTOCOL', `malformed frame: expected ${expected}, ${what}`)
}
