/** Databases under test: both pools of one, asked as the worker's loop asks them, closed when their test is over.
 *  Owns:   the databases of the running test, and the promises of what is unanswered.   Thread: main of a test process.
 *  Holds:  a second answer to one ticket is an error of the test. */

import type { TestContext } from 'node:test'
import { monotonicMs } from '../../engine/clock.ts'
import type { HearthError } from '../../engine/errors.ts'
import { encodeValue } from '../../engine/protocol/payload.ts'
import { type Rows, readRows } from '../../engine/protocol/rows.ts'
import type { Replies } from '../../workers/handler.ts'
import { BREAKER_DEFAULTS, type BreakerOptions } from '../../workers/postgres/breaker_options.ts'
import {
  type ClusterOptions,
  POOL_DEFAULTS,
  type PoolOptions,
} from '../../workers/postgres/database.ts'
import { PostgresDatabase } from '../../workers/postgres/postgres_database.ts'
import { loadClusterPart } from '../../workers/postgres/servers/part.ts'
import type { Statement } from '../../workers/postgres/statement.ts'
import { Underway } from '../../workers/postgres/underway.ts'
import './newest_libpq.ts'

await loadClusterPart()

export interface TestDatabase {
  readonly database: PostgresDatabase
  /** Asks, and lets what was asked go at once. timeoutMs 0: the pool's own. */
  query(
    sql: string,
    params?: readonly unknown[],
    timeoutMs?: number,
    client?: number,
  ): Promise<Rows>
  /** Asks several statements as one drain of the ring does: they leave together. */
  together(
    asked: readonly (readonly [sql: string, params?: readonly unknown[], timeoutMs?: number])[],
  ): Promise<Rows>[]
  /** Ticket of the statement asked last. */
  readonly lastTicket: number
  value(sql: string, params?: unknown[]): Promise<unknown>
}

class TestReplies implements Replies {
  readonly waiting = new Map<number, PromiseWithResolvers<Rows>>()

  reply(_op: number, ticket: number, body: Uint8Array, start = 0, end = body.length): void {
    this.take(ticket).resolve(readRows(Buffer.from(body.subarray(start, end)), 0, end - start))
  }

  fail(ticket: number, error: HearthError): void {
    this.take(ticket).reject(error)
  }

  private take(ticket: number): PromiseWithResolvers<Rows> {
    const found = this.waiting.get(ticket)
    if (found === undefined) throw new Error(`ticket ${ticket} was answered twice`)
    this.waiting.delete(ticket)
    return found
  }
}

export function openDatabase(
  t: TestContext,
  url: string,
  options: Partial<PoolOptions> & { readonly cluster?: Partial<ClusterOptions> } = {},
  breaker: Partial<BreakerOptions> = {},
  isRepeatable?: (statement: Statement) => boolean,
): TestDatabase {
  const spec = { name: 'main', url, ...POOL_DEFAULTS, ...options }
  const settings = { ...BREAKER_DEFAULTS, ...breaker }
  const database = new PostgresDatabase(spec, new Underway(), settings, undefined, isRepeatable)
  t.after(() => database.close())
  const replies = new TestReplies()
  let ticket = 0
  const ask = (
    sql: string,
    params: readonly unknown[] = [],
    timeoutMs = 0,
    client = 0,
  ): Promise<Rows> => {
    const waiting = Promise.withResolvers<Rows>()
    replies.waiting.set(++ticket, waiting)
    const bytes = encodeValue(params)
    const correlationId = `test-${ticket}`
    const body = { bytes, start: 0, end: bytes.length }
    const place = { ticket, sql, timeoutMs, correlationId, client, ...body }
    try {
      database.query(place, replies, monotonicMs())
    } catch (error) {
      replies.fail(ticket, error as HearthError)
    }
    return waiting.promise
  }
  const query: TestDatabase['query'] = (...asked) => {
    const answer = ask(...asked)
    database.flush()
    return answer
  }
  return {
    database,
    query,
    together: asked => {
      const answers = asked.map(each => ask(...each))
      database.flush()
      return answers
    },
    get lastTicket() {
      return ticket
    },
    value: async (sql, params) => Object.values((await query(sql, params)).rows[0] ?? {})[0],
  }
}
