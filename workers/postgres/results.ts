/** Results: what a PGresult is to the worker: the body of a ROWS reply, encoded in C, and the little that is looked at here.
 *  Owns:   nothing.   Thread: postgres worker.
 *  Holds:  no value is decoded; a result larger than a frame holds is given up on the way, and says so. */

import type { Libpq } from 'pg-native'
import { RESULT_BYTES_MAX } from './database.ts'

export interface ReadResult {
  /** Undefined when nobody asked for it, or when it is too large. */
  readonly body: Buffer | undefined
  readonly isTooLarge: boolean
  /** First word of the command tag. */
  readonly command: string
  /** Rows returned or changed; null for a command that counts none. */
  readonly rowCount: number | null
  /** Rows that came. */
  readonly count: number
}

/** `source` says who answered. */
export function readResult(pq: Libpq, isWanted: boolean, source: string): ReadResult {
  const body = isWanted ? pq.$encodeResult(source, RESULT_BYTES_MAX) : undefined
  const tag = pq.cmdStatus()
  const space = tag.indexOf(' ')
  const tuples = pq.cmdTuples()
  return {
    body,
    isTooLarge: isWanted && body === undefined,
    command: space < 0 ? tag : tag.slice(0, space),
    rowCount: tuples === '' ? null : Number(tuples),
    count: pq.ntuples(),
  }
}
