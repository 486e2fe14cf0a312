/** Ops: the postgres worker's answers to frames: the databases by name, requests decoded, results encoded.
 *  Owns:   one Database for each configured one.   Not here: rings and loops (../loop.ts).
 *  Thread: postgres worker.
 *  Holds:  every frame gets one closing reply; rows leave as msgpack, encoded once. */

import { HearthError, isHearthError, toHearthError } from '../../engine/errors.ts'
import { BodyReader } from '../../engine/protocol/body.ts'
import { decodeValue, encodeValue } from '../../engine/protocol/payload.ts'
import { OPS, REPLIES } from '../../engine/protocol/spec.ts'
import type { Handler, Replies, RequestFrame } from '../handler.ts'
import {
  type Database,
  POOL_DEFAULTS,
  type PoolOptions,
  RESULT_BYTES_MAX,
  type Result,
} from './database.ts'
import { Pool } from './pool.ts'

export interface DatabaseConfig {
  /** A libpq URI or keyword string. */
  readonly url: string
  readonly pool?: Partial<PoolOptions> | undefined
}

export interface PostgresConfig {
  /** By name; `main` is what a query without a name means. */
  readonly databases: Readonly<Record<string, DatabaseConfig>>
}

const DEFAULT_DATABASE = 'main'

export function createPostgresHandler(config: PostgresConfig): Handler {
  const databases = new Map<string, Database>()
  for (const [name, { url, pool }] of Object.entries(config.databases)) {
    databases.set(name, new Pool({ name, url, ...POOL_DEFAULTS, ...pool }))
  }
  return new PostgresHandler(databases)
}

class PostgresHandler implements Handler {
  readonly ops = [OPS.QUERY.code]
  private readonly databases: ReadonlyMap<string, Database>
  private readonly reader = new BodyReader()

  constructor(databases: ReadonlyMap<string, Database>) {
    this.databases = databases
  }

  handle(frame: RequestFrame, replies: Replies): void {
    const { ticket } = frame
    try {
      if (frame.op !== OPS.QUERY.code)
        throw new HearthError('PROTOCOL', `operation ${frame.op} is not for Postgres`)
      this.query(frame, replies)
    } catch (error) {
      // What msgpackr throws on bytes that are no msgpack is the sender's mistake.
      replies.fail(ticket, isHearthError(error) ? error : toHearthError(error, 'PROTOCOL'))
    }
  }

  stats(): Record<string, unknown> {
    return Object.fromEntries(
      [...this.databases].map(([name, database]) => [name, database.stats()]),
    )
  }

  async close(): Promise<void> {
    await Promise.all([...this.databases.values()].map(database => database.close()))
  }

  private query(frame: RequestFrame, replies: Replies): void {
    const { ticket } = frame
    const reader = this.reader.reset(frame.bytes, frame.start, frame.end)
    const name = reader.text()
    const timeoutMs = reader.uint()
    const correlationId = reader.text()
    const sql = reader.text()
    const params = decodeValue(frame.bytes, reader.raw(), frame.end)
    if (!Array.isArray(params))
      throw new HearthError('BAD_REQUEST', 'params must be an array', { correlationId })
    this.database(name, correlationId)
      .query({ sql, params, timeoutMs, correlationId })
      .then(
        result => send(replies, ticket, result, correlationId),
        error => replies.fail(ticket, error),
      )
  }

  private database(name: string, correlationId: string): Database {
    const database = this.databases.get(name || DEFAULT_DATABASE)
    if (database !== undefined) return database
    const known = [...this.databases.keys()].join(', ') || 'none'
    throw new HearthError(
      'NOT_CONFIGURED',
      `there is no database "${name || DEFAULT_DATABASE}" (configured: ${known}); set postgres.<name>.url`,
      { correlationId },
    )
  }
}

function send(replies: Replies, ticket: number, result: Result, correlationId: string) {
  let body: Uint8Array
  try {
    body = encodeValue({ ...result, source: 'primary' })
  } catch (error) {
    return replies.fail(ticket, toHearthError(error))
  }
  if (body.length > RESULT_BYTES_MAX) {
    const text = `the result has ${body.length} bytes, a frame holds ${RESULT_BYTES_MAX}: stream it, or ask for less`
    return replies.fail(ticket, new HearthError('VALUE_TOO_LARGE', text, { correlationId }))
  }
  replies.reply(REPLIES.RESULT.code, ticket, body)
}
