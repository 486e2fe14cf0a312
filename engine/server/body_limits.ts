/** BodyLimits: how long the body of a request may be, by its operation.
 *  Owns:   nothing.   Not here: what happens to a longer one (session.ts).
 *  Thread: main.   Holds: no limit is beyond what a header can say. */

import { COPY_CHUNK_BYTES_MAX, MANY_KEYS_BYTES_MAX } from '../limits.ts'
import { SCALAR_BYTES_MAX } from '../protocol/body.ts'
import { BODY_BYTES_MAX } from '../protocol/header.ts'
import { OPS } from '../protocol/spec.ts'

/** Bodies other than values and statements are a key and a few numbers. */
const SMALL_BODY_BYTES_MAX = 128 * 1024
/** What an entry has besides key and value: 32 tags of 256 bytes, and numbers. */
const ENTRY_BYTES_MAX = 9 * 1024
const QUERY_BODY_BYTES_MAX = 8 * 1024 * 1024

/** The most bytes that the body of an operation may have, for a cache with keys and values of these lengths. */
export function bodyBytesMax(
  cache: { readonly maxKeyBytes: number; readonly maxValueBytes: number },
  op: number,
): number {
  const entryBytes = cache.maxValueBytes + cache.maxKeyBytes
  if (op === OPS.SET.code) return Math.min(BODY_BYTES_MAX, entryBytes + 64)
  if (op === OPS.STORE.code || op === OPS.FILL.code || op === OPS.SET_MANY.code)
    return Math.min(BODY_BYTES_MAX, entryBytes + ENTRY_BYTES_MAX)
  if (op === OPS.GET_MANY.code) return MANY_KEYS_BYTES_MAX
  if (
    op === OPS.QUERY.code ||
    op === OPS.QUERY_CACHED.code ||
    op === OPS.EXECUTE.code ||
    op === OPS.STREAM.code
  )
    return QUERY_BODY_BYTES_MAX
  if (op === OPS.COPY_WRITE.code) return COPY_CHUNK_BYTES_MAX + SCALAR_BYTES_MAX
  return SMALL_BODY_BYTES_MAX
}
