/** Transaction: `db.transaction(fn)`: a function's statements, all of them or none.
 *  Owns:   the handle of the transaction while the function runs.   Not here: what happens at the server (workers/postgres).
 *  Thread: the client's.
 *  Holds:  (1) the function's value is given only after COMMIT was answered.  (2) the whole is run again only when it cannot have
 *          had an effect (40001, 40P01), and only as often as was asked for.  (3) after its end nothing more can be asked in it. */

import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import { OPS } from '../protocol/spec.ts'
import type { Connection } from './connection.ts'
import type { QueryOptions, QueryResult } from './database.ts'
import { checkNames, checkParams, checkSignal, checkText, milliseconds, whole } from './options.ts'
import { answerOf } from './request_context.ts'
import { BeginRequest, EndRequest, ExecuteRequest, type Handle } from './sql_requests.ts'
import { type StreamOptions, streamRows } from './stream.ts'

export type Isolation = 'read committed' | 'repeatable read' | 'serializable'

export interface TransactionOptions {
  /** Left out: the database's own default, which is read committed unless somebody changed it. */
  readonly isolation?: Isolation
  /** The server refuses writes (25006). */
  readonly readOnly?: boolean
  /** With serializable and readOnly: waits for a moment from which on it can neither fail nor hold up others. */
  readonly deferrable?: boolean
  /** How often the whole function may be run again after a serialization failure (40001) or a deadlock (40P01): 0 (the
   *  default) never, 5 at most is sensible, 20 the most that is taken. */
  readonly retries?: number
  /** Of the whole, every run of the function included; unlimited unless set. */
  readonly timeoutMs?: number
  /** A pause in which nothing is asked; after it the transaction is rolled back. Default: as configured (60 000). */
  readonly idleTimeoutMs?: number
  /** Aborted: the statement that runs is cancelled, the transaction rolled back, and the promise rejects with its reason. */
  readonly signal?: AbortSignal
}

const TRANSACTION_OPTIONS = [
  'isolation',
  'readOnly',
  'deferrable',
  'retries',
  'timeoutMs',
  'idleTimeoutMs',
  'signal',
]
const ISOLATIONS: readonly string[] = ['read committed', 'repeatable read', 'serializable']
const RETRIES_MAX = 20
const BACKOFF_MS = 10
const BACKOFF_MS_MAX = 1_000
const QUERY_MS = 30_000
/** The engine answers within its own limits first; this is for an engine that has stopped. */
const ANSWER_MS = 2_000
const END_MS = 60_000
/** So that a promise that waits for a lock of the server's is not given up by us before the server. */
const BEGIN_MS = 60_000

/** A function's view of its transaction. */
export class Transaction {
  private readonly session: Session
  private readonly depth: number
  private isEnded = false
  private inner: Transaction | undefined

  constructor(session: Session, depth: number) {
    this.session = session
    this.depth = depth
  }

  /** Runs one statement in the transaction; several at once are run one after the other. An error leaves the transaction failed:
   *  until its end, or the end of the nested one that it happened in, the server refuses everything else (25P02). */
  async query<Row = Record<string, unknown>>(
    sql: string,
    params: readonly unknown[] = [],
    options: QueryOptions = {},
  ): Promise<QueryResult<Row>> {
    checkText('sql', sql)
    checkParams(params)
    checkNames(options, ['timeoutMs', 'signal'])
    checkSignal(options.signal)
    const timeoutMs = milliseconds('timeoutMs', options.timeoutMs, QUERY_MS)
    this.checkOpen()
    return (await this.session.query(sql, params, timeoutMs, options.signal)) as QueryResult<Row>
  }

  /** As db.stream(), in this transaction: it sees what was written here, and ends with it at the latest. */
  stream<Row = Record<string, unknown>>(
    sql: string,
    params: readonly unknown[] = [],
    options: Omit<StreamOptions, 'idleTimeoutMs'> = {},
  ): AsyncGenerator<Row[], void, void> {
    this.checkOpen()
    const { connection, database, handle, newId } = this.session
    return streamRows<Row>(connection, database, sql, params, options, newId, handle)
  }

  /** A part that can fail by itself: a savepoint, to which everything goes back when the function throws. One at a time; until it
   *  has ended, what is asked of the outer transaction belongs to it too. */
  async transaction<Value>(run: (transaction: Transaction) => Promise<Value>): Promise<Value> {
    if (typeof run !== 'function') throw new TypeError('transaction() takes a function')
    this.checkOpen()
    if (this.inner !== undefined) {
      throw new HearthError(
        'BAD_REQUEST',
        'a nested transaction of this one has not ended yet: await it, or nest by its own transaction()',
      )
    }
    const name = `hearth_${this.depth + 1}`
    const inner = new Transaction(this.session, this.depth + 1)
    this.inner = inner
    try {
      await this.session.query(`savepoint ${name}`)
      return await this.runInner(inner, name, run)
    } finally {
      inner.end()
      this.inner = undefined
    }
  }

  /** Nothing more can be asked of it, nor of those nested in it. */
  end(): void {
    this.isEnded = true
    this.inner?.end()
  }

  private async runInner<Value>(
    inner: Transaction,
    name: string,
    run: (transaction: Transaction) => Promise<Value>,
  ): Promise<Value> {
    try {
      const value = await run(inner)
      inner.end()
      await this.session.query(`release savepoint ${name}`)
      return value
    } catch (error) {
      inner.end()
      const undo = `rollback to savepoint ${name}`
      // When even that fails, the whole transaction has: whoever asks next is told by its server.
      await this.session.query(undo).then(
        () => this.session.query(`release savepoint ${name}`),
        () => undefined,
      )
      throw error
    }
  }

  private checkOpen(): void {
    this.session.check()
    if (!this.isEnded) return
    throw new HearthError('CLOSED', 'this transaction has ended already; nothing was sent')
  }
}

/** One BEGIN at the engine, and all that is asked in it. */
class Session {
  readonly connection: Connection
  readonly database: string
  readonly handle: Handle
  readonly newId: () => string
  /** A statement met a serialization failure or a deadlock. */
  hadConflict = false
  private reason: unknown

  constructor(connection: Connection, database: string, handle: Handle, newId: () => string) {
    this.connection = connection
    this.database = database
    this.handle = handle
    this.newId = newId
  }

  async query(
    sql: string,
    params: readonly unknown[] = [],
    timeoutMs = QUERY_MS,
    signal?: AbortSignal,
  ): Promise<unknown> {
    this.check()
    const id = this.newId()
    const request = new ExecuteRequest(this.handle, timeoutMs, id, sql, params)
    try {
      // Those before it have their time first; the engine answers each within its own.
      return await answerOf(id, this.connection.request(request, timeoutMs + BEGIN_MS, signal))
    } catch (error) {
      if (isConflict(error)) this.hadConflict = true
      throw error
    }
  }

  check(): void {
    if (this.reason !== undefined) throw this.reason
  }

  commit(): Promise<unknown> {
    return this.connection.request(new EndRequest(OPS.COMMIT.code, this.handle), END_MS)
  }

  /** Rolls back; the error with which that fails is of no interest, for then nothing stands either. */
  close(reason?: unknown): Promise<unknown> {
    this.reason ??= reason
    const request = new EndRequest(OPS.CLOSE.code, this.handle)
    return this.connection.request(request, END_MS).catch(() => undefined)
  }
}

/** Runs a function in a transaction, and again where that was asked for and helps. */
export async function runTransaction<Value>(
  connection: Connection,
  database: string,
  run: (transaction: Transaction) => Promise<Value>,
  options: TransactionOptions,
  newId: () => string,
): Promise<Value> {
  if (typeof run !== 'function') throw new TypeError('transaction() takes a function')
  checkOptions(options)
  const retries = whole('retries', options.retries, 0, 0)
  if (retries > RETRIES_MAX) throw new TypeError(`retries must be ${RETRIES_MAX} at most`)
  const untilMs = monotonicMs() + (options.timeoutMs ?? Infinity)
  for (let attempt = 0; ; attempt++) {
    const outcome = await attemptOnce(connection, database, run, options, untilMs, newId)
    if ('value' in outcome) return outcome.value
    if (!outcome.isConflict || attempt >= retries || monotonicMs() >= untilMs) throw outcome.error
    const mostMs = Math.min(BACKOFF_MS * 2 ** attempt, BACKOFF_MS_MAX)
    // Those who met each other come back apart.
    await sleep(mostMs * (0.5 + Math.random()), undefined, { signal: options.signal }).catch(() => {
      throw options.signal!.reason
    })
  }
}

type Attempt<Value> = { value: Value } | { error: unknown; isConflict: boolean }

async function attemptOnce<Value>(
  connection: Connection,
  database: string,
  run: (transaction: Transaction) => Promise<Value>,
  options: TransactionOptions,
  untilMs: number,
  newId: () => string,
): Promise<Attempt<Value>> {
  const { isolation = '', readOnly = false, deferrable = false, signal } = options
  const leftMs = Math.max(untilMs - monotonicMs(), 1)
  const timeoutMs = leftMs === Infinity ? 0 : Math.ceil(leftMs)
  const idleTimeoutMs = milliseconds('idleTimeoutMs', options.idleTimeoutMs, 0)
  const limits = { timeoutMs, idleTimeoutMs }
  const id = newId()
  const begin = new BeginRequest(database, limits, id, isolation, readOnly, deferrable)
  const number = (await connection.request(begin, leftMs + BEGIN_MS, signal)) as number
  const session = new Session(connection, database, { number, epoch: connection.epoch }, newId)
  const transaction = new Transaction(session, 0)
  const ender = new Ender(leftMs, signal)
  try {
    const value = await Promise.race([run(transaction), ender.promise])
    ender.stop()
    transaction.end()
    await session.commit()
    return { value }
  } catch (error) {
    transaction.end()
    const isEnded = ender.isOver
    ender.stop()
    const closed = session.close(isEnded ? error : undefined)
    // Whoever gave it up does not wait for the server; anybody else finds its locks released.
    if (!isEnded) await closed
    const isRolledBack = error instanceof HearthError && error.sqlState === '25P02'
    return { error, isConflict: isConflict(error) || (isRolledBack && session.hadConflict) }
  }
}

/** What ends a transaction from outside: its time, or its signal. */
class Ender {
  readonly promise: Promise<never>
  isOver = false
  private readonly timer: NodeJS.Timeout | undefined
  private readonly signal: AbortSignal | undefined
  private readonly reject: (reason: unknown) => void

  constructor(leftMs: number, signal: AbortSignal | undefined) {
    const { promise, reject } = Promise.withResolvers<never>()
    promise.catch(() => undefined)
    this.promise = promise
    this.reject = reject
    this.signal = signal
    // The engine's own limit comes first, and says more; this is for a function that asks nothing of it.
    if (leftMs < TIMER_MS_MAX) this.timer = setTimeout(this.expired, leftMs + ANSWER_MS / 20)
    signal?.addEventListener('abort', this.aborted)
    if (signal?.aborted) this.aborted()
  }

  stop(): void {
    clearTimeout(this.timer)
    this.signal?.removeEventListener('abort', this.aborted)
  }

  private readonly expired = (): void => {
    this.isOver = true
    const text = 'the transaction took longer than its timeoutMs; rolled back, nothing of it stands'
    this.reject(new HearthError('TIMEOUT', text))
  }

  private readonly aborted = (): void => {
    this.isOver = true
    this.reject(this.signal!.reason)
  }
}

/** setTimeout takes no more. */
const TIMER_MS_MAX = 2 ** 31 - 1_000

function isConflict(error: unknown): boolean {
  return error instanceof HearthError && (error.sqlState === '40001' || error.sqlState === '40P01')
}

function checkOptions(options: TransactionOptions): void {
  checkNames(options, TRANSACTION_OPTIONS)
  checkSignal(options.signal)
  milliseconds('timeoutMs', options.timeoutMs, 0)
  milliseconds('idleTimeoutMs', options.idleTimeoutMs, 0)
  const { isolation } = options
  if (isolation !== undefined && !ISOLATIONS.includes(isolation))
    throw new TypeError(`isolation must be one of ${ISOLATIONS.join(', ')}`)
}
