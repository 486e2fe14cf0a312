/** ByteCount: COUNT_BYTES: how much the keys of a range take, a batch of them at a time.
 *  Owns:   nothing.   Not here: who is held to it (engine/router/byte_quotas.ts).
 *  Thread: the sqlite worker.
 *  Holds:  rows that have expired count until they are removed: they take their room. */

import type { BodyReader } from '../../engine/protocol/body.ts'
import { encodeValue } from '../../engine/protocol/payload.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies, RequestFrame } from '../handler.ts'
import type { Parts } from './parts.ts'

const BATCH_ROWS = 1_000

/** Answers COUNT_BYTES; a tier that cannot be read has nothing of anybody's. */
export function countBytes(
  parts: Parts,
  reader: BodyReader,
  frame: RequestFrame,
  replies: Replies,
): void {
  const from = reader.text()
  const below = reader.text()
  reader.done()
  let counted: [bytes: number, next: string | null] = [0, null]
  if (parts.isReady()) {
    try {
      parts.group.beforeRead()
      const [last, rows, bytes] = parts.store.statements!.bytesIn().get(from, below, BATCH_ROWS)!
      counted = [bytes, rows < BATCH_ROWS ? null : last]
    } catch (error) {
      parts.group.readFailed(error, replies)
    }
  }
  replies.reply(REPLIES.RESULT.code, frame.ticket, encodeValue(counted))
}
