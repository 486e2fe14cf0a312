/** result_request: a request for a cached result, as a client would write it.
 *  Owns:   nothing: a pure function.   Thread: main.   Holds: the body is as QUERY_CACHED has it. */

import {
  ARRAY_HEAD_BYTES_MAX,
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeArrayHead,
  writeNil,
  writeText,
  writeUint,
} from '../protocol/body.ts'
import type { Keeping } from './query_flight.ts'

export interface ResultRequest {
  readonly database: string
  readonly sql: string
  /** msgpack. */
  readonly params: Buffer
  readonly keeping: Keeping
  readonly timeoutMs: number
  /** As in the frame. */
  readonly priority: number
}

const CORRELATION_ID = 'warming'

export function requestFor(request: ResultRequest): Buffer {
  const { database, sql, params, keeping, timeoutMs, priority } = request
  const { ttl, staleMs, tags, bounds } = keeping
  const texts = [database, CORRELATION_ID, sql, typeof ttl === 'string' ? ttl : '', ...tags]
  const textBytes = texts.reduce((sum, text) => sum + textBytesMax(text), 0)
  const body = Buffer.allocUnsafe(
    textBytes + ARRAY_HEAD_BYTES_MAX + SCALAR_BYTES_MAX * 8 + params.length,
  )
  const ttlEnd =
    ttl === undefined
      ? writeNil(body, 0)
      : typeof ttl === 'string'
        ? writeText(body, 0, ttl)
        : writeUint(body, 0, ttl)
  let at = writeUint(body, writeUint(body, ttlEnd, staleMs), 0)
  at = writeUint(body, writeUint(body, at, bounds?.minMs ?? 0), bounds?.maxMs ?? 0)
  at = writeArrayHead(body, at, tags.length)
  for (const tag of tags) at = writeText(body, at, tag)
  at = writeUint(body, writeText(body, at, database), timeoutMs)
  at = writeText(body, writeText(body, writeUint(body, at, priority), CORRELATION_ID), sql)
  return body.subarray(0, at + params.copy(body, at))
}
