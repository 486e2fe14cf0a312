/** InsightOps: what main adds to query insight: who clients are, and what the cache answered without the worker.
 *  Owns:   nothing; the counts of cached results are in cache_outcomes.ts.   Not here: the figures, which the postgres worker keeps.
 *  Thread: main.
 *  Holds:  (1) the worker is told of a client before the first statement of that client.  (2) a question is answered with all that main
 *          had counted before it. */

import type { Lease, Receiver } from '../pool/lease.ts'
import {
  BodyReader,
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeText,
  writeUint,
} from '../protocol/body.ts'
import { databaseKey } from '../protocol/query_key.ts'
import { OPS } from '../protocol/spec.ts'
import type { ReplyWriter } from './reply.ts'
import type { SqlOps } from './sql_ops.ts'

/** The worker is told of what the cache answered this often, if there was anything. */
const TELL_MS = 5_000

export class InsightOps {
  private readonly request = new BodyReader()
  private readonly sql: SqlOps

  constructor(sql: SqlOps, isOn: boolean) {
    this.sql = sql
    sql.outcomes.isOn = isOn
    sql.outcomes.onFirst = () => setTimeout(() => this.tell(true), TELL_MS).unref()
  }

  /** COUNT_IN_PLACE. */
  countInPlace(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): void {
    const request = this.request.reset(bytes, start, end)
    const database = request.text()
    const sql = request.text()
    const count = request.uint()
    request.done()
    this.sql.outcomes.note(databaseKey(database, sql), database, sql, 'inPlace', count)
    replies.ok(id)
  }

  /** Sends what was counted to the worker; what there is no room for now waits. */
  tell(isPublished = false): void {
    const { outcomes } = this.sql
    const lease = this.sql.lease()
    if (outcomes.count === 0 || lease === undefined || !lease.isOpen) return
    const body = outcomes.take()
    lease.send(OPS.CACHE_OUTCOMES.code, nobody, undefined, 0, 0, body, 0, body.length)
    if (isPublished) lease.publish()
  }
}

/** Tells a worker who has the number of a client. False: no room now. */
export function introduce(lease: Lease, { client, caller }: ReplyWriter): boolean {
  const body = Buffer.allocUnsafe(SCALAR_BYTES_MAX + textBytesMax(caller))
  const end = writeText(body, writeUint(body, 0, client), caller)
  return lease.send(OPS.INTRODUCE.code, nobody, undefined, 0, 0, body, 0, end)
}

const nobody: Receiver = { receive: () => undefined, fail: () => undefined }
