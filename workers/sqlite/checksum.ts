/** checksum: whether a value of the file is, byte for byte, what was written under its version.
 *  Owns:   the checksum of a value or of a piece of one.   Not here: what is done about damage (store.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) SQLite itself sees damage only where its pages stop making sense: noise within a value it would give out.
 *          (2) a row that an earlier release wrote has none, and is given as it is.
 *
 *  Two lanes of xxHash's 32-bit round: 60 ns for 100 bytes, and no module or native call. */

import type { Row } from './statements.ts'

const PRIME_1 = 0x9e37_79b1
const PRIME_2 = 0x85eb_ca77
const PRIME_3 = 0xc2b2_ae3d

/** Of bytes[start, end), bound to a version: 32 bits, as a signed int. */
export function checksum(bytes: Uint8Array, start: number, end: number, version: number): number {
  let one = (version | 0) ^ PRIME_1
  let two = (end - start) ^ PRIME_2
  let at = start
  for (const last = end - 8; at <= last; at += 8) {
    one = round(one, wordAt(bytes, at))
    two = round(two, wordAt(bytes, at + 4))
  }
  for (; at < end; at++) one = round(one, bytes[at]!)
  const sum = Math.imul(one ^ (two << 13) ^ (two >>> 19), PRIME_3)
  return sum ^ (sum >>> 16)
}

/** Throws as SQLite does for a damaged file where a value is not what its checksum says; `sum` null: it has none. */
export function verify(value: Uint8Array, version: number, sum: number | null): void {
  if (sum === null || checksum(value, 0, value.length, version) === sum) return
  throw Object.assign(new Error('a value is not what was written'), { code: 'SQLITE_CORRUPT' })
}

/** The same for a row as it was read; one whose value is in pieces has none here. */
export function verifyRow(row: Row): void {
  const value = row[3]
  if (value !== null) verify(value, row[1], row[4] ?? null)
}

function round(lane: number, word: number): number {
  const mixed = (lane + Math.imul(word, PRIME_2)) | 0
  return Math.imul((mixed << 13) | (mixed >>> 19), PRIME_1)
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
}
