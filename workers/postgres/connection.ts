/** Connection: one pg-native client (the sole importer), one statement at a time, prepared where that pays.
 *  Owns:   the client, its prepared statements, the statement that is out.
 *  Thread: postgres worker.
 *  Holds:  (1) every run() is answered once, whatever becomes of the connection.  (2) `mayHaveRun` is false only when the
 *          server cannot have executed the statement.  (3) after `lost` the client is closed and says nothing more.
 *
 *  run:  ─▶ [deallocate the oldest] ─▶ prepare ─▶ execute ─▶ answer        second use of a text on
 *        ─▶ query ─▶ answer                                               first use, or not preparable
 *                     execute ─ 26000, 0A000 ─▶ prepare ─▶ execute        once */

import type Client from 'pg-native'
import type { Notification, Parameter } from 'pg-native'
import { assert } from '../../engine/assert.ts'
import { type Origin, PRIMARY } from './database.ts'
import type { ErrorFields } from './errors.ts'
import type { PreparedCounts } from './pool_figures.ts'
import { type Prepared, PreparedStatements } from './prepared.ts'
import { type ReadResult, readResult } from './results.ts'
import type { Statement } from './statement.ts'

/** What became of a statement. */
export type Outcome =
  | { readonly kind: 'result'; readonly result: ReadResult }
  /** The server said no, and the connection is in order. */
  | { readonly kind: 'refused'; readonly fields: ErrorFields; readonly text: string }
  /** The connection is gone. */
  | {
      readonly kind: 'lost'
      readonly why: string
      readonly sqlState: string | undefined
      readonly mayHaveRun: boolean
    }

type Stage = 'query' | 'evict' | 'prepare' | 'execute'

export const TRANSACTION_STATUS = { idle: 0, active: 1, open: 2, failed: 3, unknown: 4 } as const

export class Connection {
  /** Told when the connection is lost while no statement is out. */
  onLost: (why: string) => void = () => {}
  readonly prepared = new PreparedStatements()
  private readonly client: Client<ReadResult>
  private readonly counts: PreparedCounts
  private readonly origin: Origin
  private statement!: Statement
  private params!: Parameter[]
  private done: ((outcome: Outcome) => void) | undefined
  private stage: Stage = 'query'
  private entry: Prepared | undefined
  private preparing = ''
  private isFresh = false
  private isEncoded = false
  private isSending = false
  private isCancelled = false
  private isClosed = false
  private readFailure: Error | undefined

  constructor(client: Client<ReadResult>, counts: PreparedCounts, origin = PRIMARY) {
    this.client = client
    this.counts = counts
    this.origin = origin
    client.on('error', (error: Error) => this.lose(error.message))
    client._consumeQueryResults = pq => this.read(pq)
  }

  /** 0 idle, 1 active, 2 in a transaction, 3 in a failed one, 4 no connection. */
  get transactionStatus(): number {
    return this.isClosed ? TRANSACTION_STATUS.unknown : this.client.pq.transactionStatus()
  }

  /** A statement is out, and its answer to come. */
  get isRunning(): boolean {
    return this.done !== undefined
  }

  /** `isEncoded`: the result is wanted as the body of a ROWS reply. */
  run(
    statement: Statement,
    params: Parameter[],
    done: (outcome: Outcome) => void,
    isEncoded = false,
  ): void {
    assert(this.done === undefined, 'a connection runs one statement at a time')
    assert(!this.isClosed, 'the connection is closed')
    this.statement = statement
    this.params = params
    this.done = done
    this.isEncoded = isEncoded
    this.isCancelled = false
    this.entry = this.prepared.use(statement)
    this.isFresh = this.entry === undefined
    if (this.entry !== undefined) {
      this.counts.hits++
      this.execute()
    } else if (statement.isPreparable && statement.uses > 1 && this.mayPrepare()) {
      this.counts.misses++
      this.makeRoom()
    } else {
      this.send('query', () => this.client.query(statement.sql, params, this.answered))
    }
  }

  /** In a failed transaction nothing can be prepared, nor given up: the statement's own refusal says what is the matter. */
  private mayPrepare(): boolean {
    return this.client.pq.transactionStatus() !== TRANSACTION_STATUS.failed
  }

  /** Asks the server to stop; the answer still comes through run()'s callback. */
  cancel(done: () => void) {
    this.isCancelled = true
    if (this.isClosed) return done()
    this.client.cancel(() => done())
  }

  /** From now on notifications are read as they come. */
  receiveNotifications(onNotification: (channel: string, payload: string) => void): void {
    this.client.on('notification', ({ relname, extra }: Notification) =>
      onNotification(relname, extra),
    )
  }

  /** Hands the client to somebody who speaks with libpq himself, while no statement is out: for COPY. */
  get driver(): Client<ReadResult> {
    return this.client
  }

  /** Closes at once; a statement that is out is answered as lost. */
  close(why: string): void {
    this.lose(why)
  }

  private makeRoom() {
    const evicted = this.prepared.evict()
    if (evicted === undefined) return this.prepare()
    this.counts.evictions++
    this.send('evict', () => this.client.query(`deallocate ${quoted(evicted)}`, [], this.answered))
  }

  private prepare(): void {
    const { sql } = this.statement
    this.preparing = this.prepared.nameOf(this.statement)
    const name = this.preparing
    this.send('prepare', () => this.client.prepare(name, sql, this.params.length, this.answered))
  }

  private execute(): void {
    const name = this.entry!.name
    this.send('execute', () => this.client.execute(name, this.params, this.answered))
  }

  /** pg-native calls back in the middle of `dispatch` when libpq would not even take the statement. */
  private send(stage: Stage, dispatch: () => void): void {
    this.stage = stage
    this.isSending = true
    try {
      dispatch()
    } catch (error) {
      // The binding threw while it took the arguments apart: nothing went out.
      if (this.done === undefined) throw error
      this.refused({}, (error as Error).message)
    }
    this.isSending = false
  }

  private readonly answered = (
    error: Error | string | undefined,
    _rows: unknown,
    result?: ReadResult,
  ) => {
    if (this.done === undefined) return // lost meanwhile, and answered so
    if (error !== undefined && error !== null) return this.failed(error)
    if (this.stage === 'query' || this.stage === 'execute') return this.completed(result)
    if (this.isCancelled)
      return this.refused({ sqlState: '57014' }, 'cancelled before it was executed')
    if (this.stage === 'evict') return this.prepare()
    this.entry = this.prepared.add(this.statement, this.preparing)
    this.execute()
  }

  private completed(result: ReadResult | undefined) {
    if (this.readFailure !== undefined) {
      const { message } = this.readFailure
      this.readFailure = undefined
      return this.refused({}, `the result could not be read: ${message}`)
    }
    if (result === undefined || Array.isArray(result))
      return this.refused({}, 'the server gave no single result')
    if (result.count > 100 || (result.body?.length ?? 0) > KEPT_BYTES_MAX) this.client.pq.clear() // pg-native would keep it until the next one
    this.finish({ kind: 'result', result })
  }

  private failed(error: Error | string) {
    const { pq } = this.client
    const text = typeof error === 'string' ? error : error.message
    const wasSent = !this.isSending || typeof error === 'string'
    const fields = wasSent ? pq.resultErrorFields() : {}
    const isOver = pq.transactionStatus() === TRANSACTION_STATUS.unknown
    if (isOver || typeof error === 'string' || SERVER_GONE.test(fields['sqlState'] ?? '')) {
      return this.lose(fields['messagePrimary'] ?? text, wasSent, fields['sqlState'])
    }
    if (this.stage === 'evict' && fields['sqlState'] === UNKNOWN_NAME) return this.prepare()
    if (this.isCancelled || !this.canMend(fields['sqlState'])) return this.refused(fields, text)
    this.counts.mended++
    this.mend(fields['sqlState']!)
  }

  /** A statement prepared earlier that the server no longer has, or whose tables changed: it did not run. Within a transaction
   *  nothing can be mended, since the transaction has failed. */
  private canMend(sqlState: string | undefined): boolean {
    if (this.client.pq.transactionStatus() !== TRANSACTION_STATUS.idle) return false
    if (this.stage === 'prepare') return sqlState === DUPLICATE_NAME
    return (
      this.stage === 'execute' &&
      !this.isFresh &&
      (sqlState === UNKNOWN_NAME || sqlState === STALE_PLAN)
    )
  }

  private mend(sqlState: string) {
    if (sqlState === DUPLICATE_NAME) {
      // Names derive from the text, so this is the same statement, left by an earlier user of the session.
      this.entry = this.prepared.add(this.statement, this.preparing)
      return this.execute()
    }
    this.isFresh = true // from now on: no second time
    this.prepared.forget(this.statement)
    if (sqlState === UNKNOWN_NAME) return this.prepare()
    const name = this.prepared.nameOf(this.statement)
    this.send('evict', () => this.client.query(`deallocate ${quoted(name)}`, [], this.answered))
  }

  private refused(fields: ErrorFields, text: string): void {
    this.finish({ kind: 'refused', fields, text })
  }

  private lose(why: string, wasSent = true, sqlState?: string) {
    if (this.isClosed) return
    this.isClosed = true
    const mayHaveRun = wasSent && (this.stage === 'query' || this.stage === 'execute')
    // An error result that came before the end says why: "terminating connection due to administrator command".
    const fields = this.client._queryError === undefined ? {} : this.client.pq.resultErrorFields()
    const reason = fields['messagePrimary'] ?? why
    this.client.end()
    if (this.done === undefined) return this.onLost(reason)
    this.finish({ kind: 'lost', why: reason, sqlState: sqlState ?? fields['sqlState'], mayHaveRun })
  }

  private finish(outcome: Outcome): void {
    const done = this.done!
    this.done = undefined
    done(outcome)
  }

  /** Runs inside pg-native's socket callback, where an exception would end the worker. */
  private read(pq: Client['pq']): ReadResult {
    try {
      return readResult(pq, this.isEncoded, this.origin.source)
    } catch (error) {
      this.readFailure = error as Error
      return NO_RESULT
    }
  }
}

const NO_RESULT: ReadResult = {
  body: undefined,
  isTooLarge: false,
  command: '',
  rowCount: null,
  count: 0,
}

/** A result up to this may stay in libpq until the next one. */
const KEPT_BYTES_MAX = 16_384
const UNKNOWN_NAME = '26000'
const STALE_PLAN = '0A000'
const DUPLICATE_NAME = '42P05'
/** 57P01 admin_shutdown, 57P02 crash_shutdown, 57P03 cannot_connect_now, 57P05 idle_session_timeout; the rest of class 08
 *  but 08P01, which is a statement with the wrong number of parameters. */
const SERVER_GONE = /^(57P0[1235]|080|25P03)/

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
