/** A frame's header on the socket, eight bytes, little-endian:
 *
 *      0                 4                 8
 *      | op:8 | bytes:24 | request id : 32 | body ...
 *
 *  Owns:   the layout.   Not here: the body (body.ts), finding frames in a stream (deframer.ts).
 *  Thread: any.
 *  Holds:  `bytes` counts the body alone, so a body is shorter than 16 MiB. The op is the low byte of the first word,
 *          so one load and one mask give it. */

export const HEADER_BYTES = 8
export const BODY_BYTES_MAX = 0xff_ffff

/** Writes a header at `at`; returns where the body starts. */
export function writeHeader(
  target: Buffer,
  at: number,
  op: number,
  id: number,
  bodyBytes: number,
): number {
  writeU32(target, at, (bodyBytes << 8) | op)
  writeU32(target, at + 4, id)
  return at + HEADER_BYTES
}

/** The first word of a header: `opOf` and `bodyBytesOf` take it apart. */
export function readWord(source: Buffer, at: number): number {
  return readU32(source, at)
}

export function opOf(word: number): number {
  return word & 0xff
}

export function bodyBytesOf(word: number): number {
  return word >>> 8
}

export function readId(source: Buffer, at: number): number {
  return readU32(source, at + 4)
}

// Four byte accesses, no call: Buffer.readUInt32LE checks its arguments each time, which shows in a profile of gets.
function readU32(source: Buffer, at: number): number {
  return (
    (source[at]! | (source[at + 1]! << 8) | (source[at + 2]! << 16) | (source[at + 3]! << 24)) >>> 0
  )
}

function writeU32(target: Buffer, at: number, value: number): void {
  target[at] = value
  target[at + 1] = value >>> 8
  target[at + 2] = value >>> 16
  target[at + 3] = value >>> 24
}
