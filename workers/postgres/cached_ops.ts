/** CachedOps: statements whose effect on what is cached must be known: what goes before each of them once main watches writes.
 *  Owns:   nothing.   Not here: what a statement reads and writes (analysis/), who is told (write_watch.ts), how it is run
 *          (postgres_database.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) while main watches, no statement is sent before it is known, or found out that it cannot be, what it writes.
 *          (2) a result is offered to the cache only of a proven read.
 *
 *      QUERY ─ known? ─▶ expect its writes ─▶ run          not known: asked of the server first, once for each text
 *      QUERY_TO_CACHE ─ known? ─▶ CACHEABLE, or why not ─▶ run */

import { monotonicMs } from '../../engine/clock.ts'
import { HearthError, isHearthError, toHearthError } from '../../engine/errors.ts'
import {
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeArrayHead,
  writeText,
  writeUint,
} from '../../engine/protocol/body.ts'
import { decodeValue, encodeValue } from '../../engine/protocol/payload.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import { explainCache, paramRefusal } from './analysis/explain_cache.ts'
import type { Facts } from './analysis/facts.ts'
import { givenUpError } from './errors.ts'
import type { PostgresDatabase } from './postgres_database.ts'
import type { QueryFrame } from './query_frame.ts'
import type { Underway } from './underway.ts'
import type { WriteWatch } from './write_watch.ts'

export class CachedOps {
  private readonly writes: WriteWatch
  private readonly underway: Underway
  /** Databases of which a statement came since main watches. */
  private readonly watched = new Set<PostgresDatabase>()

  constructor(writes: WriteWatch, underway: Underway) {
    this.writes = writes
    this.underway = underway
  }

  /** Runs a statement once its facts are known. Throws BAD_REQUEST. */
  query(database: PostgresDatabase, frame: QueryFrame, isToCache: boolean, nowMs: number): void {
    if (!this.watched.has(database)) {
      // Found for explain() or a retry: DDL that came since then was not noticed.
      this.watched.add(database)
      database.analysis.forgetAll()
    }
    const statement = database.statements.look(frame.sql)
    const facts = database.analysis.of(statement, nowMs)
    if (facts !== undefined) return this.run(database, frame, facts, isToCache, nowMs)
    const { underway, writes } = this
    const { ticket, correlationId } = frame
    // The frame is valid only now.
    const bytes = Buffer.from(frame.bytes.subarray(frame.start, frame.end))
    const kept = { ...frame, bytes, start: 0, end: bytes.length }
    let isUnwanted = false
    underway.begin(ticket)
    underway.set(ticket, {
      cancel: () => {
        isUnwanted = true
      },
    })
    database.analysis.find(statement).then(found => {
      underway.end(ticket)
      try {
        if (isUnwanted) throw givenUpError(false, correlationId)
        const foundMs = monotonicMs()
        const timeoutMs = leftOf(frame, foundMs - nowMs)
        this.run(database, { ...kept, timeoutMs }, found, isToCache, foundMs)
        database.flush()
      } catch (error) {
        writes.fail(ticket, isHearthError(error) ? error : toHearthError(error, 'PROTOCOL'))
      }
    })
  }

  /** Answers EXPLAIN_CACHE. */
  explain(database: PostgresDatabase, ticket: number, sql: string): void {
    const statement = database.statements.look(sql)
    database.analysis.find(statement).then(facts => {
      this.writes.reply(REPLIES.RESULT.code, ticket, encodeValue(explainCache(facts)))
    })
  }

  private run(
    database: PostgresDatabase,
    frame: QueryFrame,
    facts: Facts,
    isToCache: boolean,
    nowMs: number,
  ): void {
    const { writes } = this
    writes.expect(frame.ticket, database.name, facts.writes)
    // Nothing but what the server is asked about: a command is run as it comes, and CALL may have committed before it fails.
    if (facts.side === 'unknown' && database.statements.look(frame.sql).isPreparable)
      writes.expectRefusal(frame.ticket)
    if (facts.mayChangeSchema) {
      database.analysis.forgetAll()
      writes.after(frame.ticket, () => database.analysis.forgetAll())
    }
    if (isToCache) {
      database.outside.start()
      const { mark } = database.statements.look(frame.sql)
      this.offer(frame, facts, mark?.recorder.lastedMs(mark) ?? 0)
    }
    database.query(frame, writes, nowMs)
  }

  /** CACHEABLE: whether the result that follows may be kept, and how long results of the statement last, as query insight saw it. */
  private offer({ ticket, bytes, start, end }: QueryFrame, facts: Facts, lastedMs: number): void {
    const params = facts.hasTimeParameter ? (decodeValue(bytes, start, end) as unknown[]) : []
    const refusal = facts.cacheRefusal ?? paramRefusal(facts, params) ?? ''
    const tables = refusal === '' ? facts.reads : []
    const body = Buffer.allocUnsafe(textBytesMax(refusal) + SCALAR_BYTES_MAX * (tables.length + 2))
    let at = writeUint(body, writeText(body, 0, refusal), lastedMs)
    at = writeArrayHead(body, at, tables.length)
    for (const table of tables) at = writeUint(body, at, table)
    this.writes.reply(REPLIES.CACHEABLE.code, ticket, body, 0, at)
  }
}

/** What is left of a deadline; 0: there is none. Throws TIMEOUT. */
function leftOf({ timeoutMs, correlationId }: QueryFrame, goneMs: number): number {
  if (timeoutMs === 0) return 0
  if (goneMs < timeoutMs) return Math.ceil(timeoutMs - goneMs)
  const text = `what the statement writes was not known after ${Math.round(goneMs)} ms; nothing was sent`
  throw new HearthError('TIMEOUT', text, { correlationId })
}
