/** found: an entry of tier 2 as it goes to main: FOUND for a plain one, FOUND_EXTRA for one with grace, tags or compression.
 *  Owns:   the reply buffer.   Not here: finding it (reads.ts).
 *  Thread: the sqlite worker.
 *  Holds:  a plain entry is copied once and nothing of it is decoded. */

import { copyBytes } from '../../engine/bytes.ts'
import { PART_BYTES } from '../../engine/limits.ts'
import {
  ARRAY_HEAD_BYTES_MAX,
  SCALAR_BYTES_MAX,
  writeArrayHead,
  writeTime,
  writeUint,
} from '../../engine/protocol/body.ts'
import { ENTRY_FLAG } from '../../engine/protocol/cache_spec.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import { freshUntilMs, readMeta } from './meta.ts'
import type { Parts } from './parts.ts'
import type { Row } from './statements.ts'

/** Room for what stands before a value: key, times, tags. A longer head makes the buffer grow. */
const HEAD_BYTES = 2_048

export class FoundWriter {
  bytes: Buffer = Buffer.allocUnsafeSlow(HEAD_BYTES + PART_BYTES)
  /** The reply last written: its op, and its end in `bytes`. */
  op = 0
  end = 0
  private readonly parts: Parts

  constructor(parts: Parts) {
    this.parts = parts
  }

  /** Writes the reply for a row that was found and may be given; `key` is the str as the request had it. Large values are
   *  announced only. */
  write(source: Buffer, keyStart: number, keyEnd: number, row: Row, largeBytes: number): void {
    const value = row[3]
    const keyBytes = keyEnd - keyStart
    if (row[2] !== null || value === null) {
      this.grow(keyBytes, value === null ? 0 : value.length)
      copyBytes(source, keyStart, keyEnd, this.bytes, 0)
      this.writeExtra(keyBytes, row, largeBytes)
      return
    }
    this.grow(keyBytes, value.length)
    copyBytes(source, keyStart, keyEnd, this.bytes, 0)
    const at = writeTime(this.bytes, writeTime(this.bytes, keyBytes, row[0]), row[1])
    copyBytes(value, 0, value.length, this.bytes, at)
    this.op = REPLIES.FOUND.code
    this.end = at + value.length
  }

  private writeExtra(headAt: number, row: Row, largeBytes: number): void {
    const { tags, store, entries } = this.parts
    const [goneAtMs, version, metaText, stored] = row
    const meta = readMeta(metaText)
    const hashes = tags.hashes(store.statements!, meta)
    let at = writeTime(this.bytes, headAt, freshUntilMs(goneAtMs, meta))
    at = writeTime(this.bytes, at, version)
    if (stored !== null) {
      at = writeUint(this.bytes, at, meta.g ?? 0)
      at = writeUint(this.bytes, at, meta.a === 1 ? ENTRY_FLAG.adaptive : 0)
    }
    at = writeArrayHead(this.bytes, at, hashes.length)
    for (const hash of hashes) at = writeUint(this.bytes, at, hash >>> 0)
    if (stored === null) {
      this.op = REPLIES.FOUND_LARGE.code
      this.end = writeUint(this.bytes, at, largeBytes)
      return
    }
    const value = meta.z === 1 ? entries.compression.unpack(stored) : stored
    if (at + value.length > this.bytes.length) {
      const head = this.bytes
      this.bytes = Buffer.allocUnsafeSlow(at + value.length + HEAD_BYTES)
      copyBytes(head, 0, at, this.bytes, 0)
    }
    copyBytes(value, 0, value.length, this.bytes, at)
    this.op = REPLIES.FOUND_EXTRA.code
    this.end = at + value.length
  }

  private grow(keyBytes: number, valueBytes: number): void {
    const need = keyBytes + EXTRA_BYTES + valueBytes
    if (need > this.bytes.length) this.bytes = Buffer.allocUnsafeSlow(need + HEAD_BYTES)
  }
}

/** Two times, two numbers and the hashes of all the tags that an entry may have. */
const EXTRA_BYTES = SCALAR_BYTES_MAX * (4 + 32) + ARRAY_HEAD_BYTES_MAX
