/** Database: `hearth.db` and `hearth.database(name)`: SQL through the engine's pools.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  a statement is sent to Postgres at most once; an error says whether it may have been carried out. */

import { PRIORITY, type Priority } from '../protocol/spec.ts'
import type { TraceContext } from '../trace_context.ts'
import { CachedQueries, type QueryCacheOptions } from './cached_queries.ts'
import type { Connection } from './connection.ts'
import { type CopyOptions, type CopySource, copyFrom, copyTo } from './copy.ts'
import { checkNames, checkParams, checkSignal, checkText, milliseconds } from './options.ts'
import { QueryRequest } from './query_request.ts'
import { answerOf, mergedContext, requestContext } from './request_context.ts'
import type { SharedMemory } from './shared_memory.ts'
import { ExplainCacheRequest, RefreshRequest } from './sql_requests.ts'
import { type StreamOptions, streamRows } from './stream.ts'
import { type OnNotification, Subscription } from './subscription.ts'
import { runTransaction, type Transaction, type TransactionOptions } from './transaction.ts'

export interface QueryOptions extends TraceContext {
  /** The statement is cancelled at the server after so many milliseconds. Default 30 000. */
  readonly timeoutMs?: number
  /** Aborted: the statement is cancelled at the server, and the promise rejects at once with the signal's reason. */
  readonly signal?: AbortSignal
  /** Whose turn is first when statements wait for a connection: `critical`, `normal` (the default), `batch`. A critical read may
   *  also go to the primary when that is quicker. */
  readonly priority?: Priority
  /** Takes the result from the cache, or keeps it there, if that may be: a write of a table that it reads ends it. */
  readonly cache?: QueryCacheOptions
}

export interface QueryResult<Row = Record<string, unknown>> {
  rows: Row[]
  /** Rows returned or changed; null for a command that counts none. */
  rowCount: number | null
  /** Frozen: results of the same columns share it. */
  fields: readonly { readonly name: string; readonly dataTypeId: number }[]
  /** The command's tag, such as SELECT or INSERT. */
  command: string
  /** Who answered. */
  source: 'primary' | 'memory' | 'sqlite' | `replica:${string}`
  /** The id in logs, of a statement that was asked in a context. */
  correlationId?: string
}

/** What explainCache() tells. */
export interface CacheExplanation {
  readonly cacheable: boolean
  /** Why not; undefined when it is. */
  readonly reason?: string
  /** `schema.table` of what it reads, through views and partitions. */
  readonly tables: readonly string[]
  readonly side: 'read' | 'write' | 'unknown'
}

export interface ListenOptions {
  /** Aborted: the subscription is closed. */
  readonly signal?: AbortSignal
}

const QUERY_MS = 30_000
/** The engine answers with the statement's own TIMEOUT first. */
const ANSWER_MS = 2_000
const CONTEXT_OPTIONS = ['traceparent', 'tracestate', 'correlationId']
const QUERY_OPTIONS = ['timeoutMs', 'signal', 'cache', 'priority', ...CONTEXT_OPTIONS]

export class Database {
  private readonly connection: Connection
  private readonly name: string
  private readonly cached: CachedQueries
  private readonly context: TraceContext | undefined
  /** The argument `correlationId` of whatever is asked next. */
  private readonly newId = (): string => requestContext(this.context)

  constructor(
    connection: Connection,
    sharedMemory: SharedMemory,
    name: string,
    context?: TraceContext,
  ) {
    this.connection = connection
    this.name = name
    this.context = context
    this.cached = new CachedQueries(connection, sharedMemory, name)
  }

  /** Runs one statement, autocommit, with `$1` … parameters. Rejects with HearthError: DATABASE carries the SQLSTATE. */
  query<Row = Record<string, unknown>>(
    sql: string,
    params: readonly unknown[] = [],
    options: QueryOptions = {},
  ): Promise<QueryResult<Row>> {
    checkText('sql', sql)
    checkParams(params)
    checkNames(options, QUERY_OPTIONS)
    checkSignal(options.signal)
    const timeoutMs = milliseconds('timeoutMs', options.timeoutMs, QUERY_MS)
    const { cache, signal } = options
    const priority = priorityOf(options.priority)
    const database = this.name
    if (cache !== undefined) {
      const statement = { database, timeoutMs, priority, sql, params }
      const newId = () => requestContext(mergedContext(options, this.context))
      const answer = this.cached.query(statement, cache, timeoutMs + ANSWER_MS, newId, signal)
      return answer as Promise<QueryResult<Row>>
    }
    const correlationId = requestContext(mergedContext(options, this.context))
    const statement = { database, timeoutMs, priority, correlationId, sql, params }
    const answer = this.connection.request(
      new QueryRequest(statement),
      timeoutMs + ANSWER_MS,
      signal,
    )
    return answerOf<QueryResult<Row>>(correlationId, answer)
  }

  /** Whether the result of a statement may be cached, and if not, why; which tables it reads; nothing is run. */
  async explainCache(sql: string): Promise<CacheExplanation> {
    checkText('sql', sql)
    const request = new ExplainCacheRequest(this.name, this.newId(), sql)
    return (await this.connection.request(request)) as CacheExplanation
  }

  /** After the schema was changed past the engine, by a migration tool: when it resolves, cached results and prepared statements from
   *  before are not used any more, by anybody. `hearth migrate` does it by itself. */
  async refresh(): Promise<void> {
    await this.connection.request(new RefreshRequest(this.name, this.newId()))
  }

  /** Runs a function in a transaction: committed when it returns, rolled back when it throws; resolves with its value after COMMIT.
   *  A COMMIT whose answer was lost rejects with UNAVAILABLE: the outcome is unknown then. An abort that comes after COMMIT was
   *  sent is too late. When this process ends, or its connection, the engine rolls back at once. */
  transaction<Value>(
    run: (transaction: Transaction) => Promise<Value>,
    options: TransactionOptions = {},
  ): Promise<Value> {
    return runTransaction(this.connection, this.name, run, options, this.newId)
  }

  /** The rows of a query in batches of `batchRows`, read by a cursor as fast as the loop takes them. It holds one connection of the
   *  pool until the loop ends. */
  stream<Row = Record<string, unknown>>(
    sql: string,
    params: readonly unknown[] = [],
    options: StreamOptions = {},
  ): AsyncGenerator<Row[], void, void> {
    return streamRows<Row>(this.connection, this.name, sql, params, options, this.newId)
  }

  /** Subscribes to a channel of NOTIFY, by the name that pg_notify() is given; resolves once the server has confirmed it. The
   *  payloads go to the callback, or are looped over: `for await (const payload of subscription)`. All subscriptions of a database
   *  share one connection of the engine's. */
  async listen(
    channel: string,
    onNotification?: OnNotification,
    options: ListenOptions = {},
  ): Promise<Subscription> {
    checkText('channel', channel)
    if (onNotification !== undefined && typeof onNotification !== 'function')
      throw new TypeError('listen() takes a function for its notifications')
    checkNames(options, ['signal'])
    checkSignal(options.signal)
    const { signal } = options
    signal?.throwIfAborted()
    const subscription = new Subscription(this.connection, this.name, channel, onNotification)
    const close = () => subscription.close()
    signal?.addEventListener('abort', close, { once: true })
    subscription.once('close', () => signal?.removeEventListener('abort', close))
    await subscription.untilOpen().catch(error => {
      throw signal?.aborted ? signal.reason : error
    })
    return subscription
  }

  /** Copies bytes into a table: `sql` is a COPY … FROM STDIN, `source` any iterable of strings or bytes. All of it stands, or (when
   *  the source throws, or the server refuses) nothing. */
  async copyFrom(
    sql: string,
    source: CopySource,
    options: CopyOptions = {},
  ): Promise<{ rowCount: number }> {
    return await copyFrom(this.connection, this.name, sql, source, options, this.newId)
  }

  /** Copies a table or a query out: `sql` is a COPY … TO STDOUT. Chunks of at most 64 KiB, cut anywhere. */
  copyTo(sql: string, options: CopyOptions = {}): AsyncGenerator<Buffer, void, void> {
    return copyTo(this.connection, this.name, sql, options, this.newId)
  }
}

function priorityOf(name: Priority | undefined): number {
  if (name === undefined) return PRIORITY.normal
  if (Object.hasOwn(PRIORITY, name)) return PRIORITY[name]
  throw new TypeError(`priority must be one of ${Object.keys(PRIORITY).join(', ')}`)
}
