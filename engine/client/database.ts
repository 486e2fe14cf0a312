/** Database: `hearth.db` and `hearth.database(name)`: SQL through the engine's pools.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  a statement is sent to Postgres at most once; an error says whether it may have been carried out. */

import { correlationId } from '../correlation.ts'
import type { Connection } from './connection.ts'
import { QueryRequest } from './requests.ts'

export interface QueryOptions {
  /** The statement is cancelled at the server after so many milliseconds. Default 30 000. */
  readonly timeoutMs?: number
}

export interface QueryResult<Row = Record<string, unknown>> {
  rows: Row[]
  /** Rows returned or changed. */
  rowCount: number
  fields: { name: string; dataTypeId: number }[]
  /** The command's tag, such as SELECT or INSERT. */
  command: string
  /** Who answered. */
  source: 'primary' | 'memory' | 'sqlite' | `replica:${string}`
}

const QUERY_MS = 30_000
/** The engine answers with the statement's own TIMEOUT first. */
const ANSWER_MS = 2_000
const QUERY_OPTIONS: ReadonlySet<string> = new Set(['timeoutMs'])

export class Database {
  private readonly connection: Connection
  private readonly name: string

  constructor(connection: Connection, name: string) {
    this.connection = connection
    this.name = name
  }

  /** Runs one statement, autocommit, with `$1` … parameters. Rejects with HearthError: DATABASE carries the SQLSTATE. */
  query<Row = Record<string, unknown>>(
    sql: string,
    params: readonly unknown[] = [],
    options: QueryOptions = {},
  ): Promise<QueryResult<Row>> {
    if (typeof sql !== 'string') throw new TypeError('sql must be a string')
    if (!Array.isArray(params)) throw new TypeError('params must be an array')
    for (const name in options) {
      if (!QUERY_OPTIONS.has(name))
        throw new TypeError(`unknown option '${name}'; there is timeoutMs`)
    }
    const timeoutMs = options.timeoutMs ?? QUERY_MS
    if (!(timeoutMs > 0)) throw new TypeError('timeoutMs must be a number of milliseconds above 0')
    const request = new QueryRequest(this.name, Math.ceil(timeoutMs), correlationId(), sql, params)
    return this.connection.request(request, timeoutMs + ANSWER_MS) as Promise<QueryResult<Row>>
  }
}
