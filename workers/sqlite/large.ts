/** large: values too long for their row, kept as pieces so that neither a write nor a read holds a whole one in memory.
 *  Owns:   how a value is cut.   Not here: transactions (group.ts), replies (ops.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) pieces 0 … n-1 of an entry make up its value; all but the last have CHUNK_BYTES, before they are compressed.
 *          (2) they are written in the transaction of their entry, and go with it by the foreign key. */

import { checksum, verify } from './checksum.ts'
import type { Compression } from './compression.ts'
import { type Meta, metaText, readMeta } from './meta.ts'
import { CHUNK_BYTES, type Statements } from './statements.ts'

/** Writes a value under a key, whose former pieces must be gone; returns the id of its row. */
export function putLarge(
  statements: Statements,
  compression: Compression,
  key: string,
  goneAtMs: number,
  version: number,
  meta: Meta,
  value: Buffer,
): number {
  // All pieces are compressed or none is: the first tells whether it is worth it.
  const isPacked =
    compression.isOn && compression.pack(value.subarray(0, CHUNK_BYTES)) !== undefined
  const whole = metaText(isPacked ? { ...meta, z: 1 } : meta)
  const [id] = statements.putWithMeta.get(key, goneAtMs, version, value.length, whole, null, null)!
  for (let number = 0, at = 0; at < value.length; number++, at += CHUNK_BYTES) {
    const piece = value.subarray(at, Math.min(at + CHUNK_BYTES, value.length))
    const bytes = isPacked ? compression.packAlways(piece) : piece
    statements.putPart.run(id, number, checksum(bytes, 0, bytes.length, version), bytes)
  }
  return id
}

/** Copies value[offset, offset + limit) to the beginning of `target`; returns how many bytes, -1 when it is not that version. */
export function readLarge(
  statements: Statements,
  compression: Compression,
  key: string,
  version: number,
  offset: number,
  limit: number,
  target: Buffer,
): number {
  const found = statements.getLarge.get(key)
  if (found === undefined) return -1
  const [id, foundVersion, bytes, meta] = found
  if (foundVersion !== version || bytes === null) return -1
  const isPacked = readMeta(meta).z === 1
  const end = Math.min(bytes, offset + Math.min(limit, target.length))
  let filled = 0
  while (offset + filled < end) {
    const at = offset + filled
    const part = statements.getPart.get(id, Math.floor(at / CHUNK_BYTES))
    if (part === undefined) return -1
    verify(part[0], version, part[1])
    const piece = isPacked ? compression.unpack(part[0]) : part[0]
    filled += piece.copy(target, filled, at % CHUNK_BYTES, (at % CHUNK_BYTES) + end - at)
  }
  return filled
}
