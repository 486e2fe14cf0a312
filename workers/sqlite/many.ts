/** many: what was found of many keys, as one reply to main.
 *  Owns:   nothing.   Not here: finding it (reads.ts).
 *  Thread: the sqlite worker.
 *  Holds:  each key that was found has a record: its index, then TIER.sqlite with key, fresh until, version, grace, flags,
 *          tags and value, or TIER.later, or TIER.alone for a value in pieces. */

import {
  ARRAY_HEAD_BYTES_MAX,
  BIN_HEAD_BYTES,
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeArrayHead,
  writeBinHead,
  writeText,
  writeTime,
  writeUint,
} from '../../engine/protocol/body.ts'
import { ENTRY_FLAG, TIER } from '../../engine/protocol/cache_spec.ts'
import { freshUntilMs, readMeta } from './meta.ts'
import type { Parts } from './parts.ts'
import type { Row } from './statements.ts'

export interface FoundOne {
  readonly index: number
  /** Left out: the reply is long enough without it. */
  readonly row?: Row
}

/** The body of FOUND_MANY. */
export function writeMany(
  parts: Parts,
  keys: readonly string[],
  found: readonly FoundOne[],
): Buffer {
  const pieces: Buffer[] = []
  for (const { index, row } of found) {
    const value = row?.[3]
    if (row !== undefined && value != null) {
      pieces.push(...recordOf(parts, index, keys[index]!, row, value))
      continue
    }
    const mark = Buffer.allocUnsafe(SCALAR_BYTES_MAX + 1)
    const tier = row === undefined ? TIER.later : TIER.alone
    pieces.push(mark.subarray(0, writeUint(mark, writeUint(mark, 0, index), tier)))
  }
  return Buffer.concat(pieces)
}

/** One entry in the form of FOUND_MANY; `index` may mean something else to who asked. */
export function recordOf(
  parts: Parts,
  index: number,
  key: string,
  row: Row,
  stored: Buffer,
): Buffer[] {
  const { tags, store, entries } = parts
  const [goneAtMs, version, metaText] = row
  const meta = readMeta(metaText)
  const hashes = meta.t === undefined ? [] : tags.hashes(store.statements!, meta)
  const value = meta.z === 1 ? entries.compression.unpack(stored) : stored
  const head = Buffer.allocUnsafe(
    SCALAR_BYTES_MAX * (6 + hashes.length) +
      textBytesMax(key) +
      ARRAY_HEAD_BYTES_MAX +
      BIN_HEAD_BYTES,
  )
  let at = writeUint(head, 0, index)
  at = writeUint(head, at, TIER.sqlite)
  at = writeText(head, at, key)
  at = writeTime(head, at, freshUntilMs(goneAtMs, meta))
  at = writeTime(head, at, version)
  at = writeUint(head, at, meta.g ?? 0)
  at = writeUint(head, at, meta.a === 1 ? ENTRY_FLAG.adaptive : 0)
  at = writeArrayHead(head, at, hashes.length)
  for (const hash of hashes) at = writeUint(head, at, hash >>> 0)
  at = writeBinHead(head, at, value.length)
  return [head.subarray(0, at), value]
}
