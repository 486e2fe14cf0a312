/** large: values too long for their row, kept as pieces so that neither a write nor a read holds a whole one in memory.
 *  Owns:   how a value is cut.   Not here: transactions (group.ts), replies (ops.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) pieces 0 … n-1 of an entry make up its value; all but the last have CHUNK_BYTES.  (2) they are written in the
 *          transaction of their entry, and go with it by the foreign key. */

import { CHUNK_BYTES, type Statements } from './statements.ts'

/** Writes bytes[start, end) under a key, whose former pieces must be gone; returns SQLite's last inserted rowid. */
export function putLarge(
  statements: Statements,
  key: string,
  expiresAtMs: number,
  version: number,
  bytes: Buffer,
  start: number,
  end: number,
): number | bigint {
  const { lastInsertRowid } = statements.put.run(key, expiresAtMs, version, end - start, null)
  const [id] = statements.getLarge.get(key)!
  for (let number = 0, at = start; at < end; number++, at += CHUNK_BYTES) {
    statements.putPart.run(id, number, bytes.subarray(at, Math.min(at + CHUNK_BYTES, end)))
  }
  return lastInsertRowid
}

/** Copies value[offset, offset + limit) to the beginning of `target`; returns how many bytes, -1 when it is not that version. */
export function readLarge(
  statements: Statements,
  key: string,
  version: number,
  offset: number,
  limit: number,
  target: Buffer,
): number {
  const found = statements.getLarge.get(key)
  if (found === undefined) return -1
  const [id, foundVersion, bytes] = found
  if (foundVersion !== version || bytes === null) return -1
  const end = Math.min(bytes, offset + Math.min(limit, target.length))
  let filled = 0
  while (offset + filled < end) {
    const at = offset + filled
    const part = statements.getPart.get(id, Math.floor(at / CHUNK_BYTES))
    if (part === undefined) return -1
    filled += part[0].copy(target, filled, at % CHUNK_BYTES, (at % CHUNK_BYTES) + end - at)
  }
  return filled
}
