/** DirectConnection: a connection of the command's own to Postgres, past the engine and its pools.
 *  Owns:   one libpq connection (the sole importer of the class that pg-native sees, on our own binding).   Not here: what is asked.
 *  Thread: main of a command.
 *  Holds:  (1) one query at a time, in order; its answer, or why there is none, goes to whoever asked.  (2) a server looks once a
 *          second whether this process still lives, so what a killed one was doing is rolled back soon.  (3) values are text. */

import PQ from '../../native-bindings/libpq/index.cjs'
import { type ErrorDetails, HearthError } from '../errors.ts'

const CONNECT_MS_MAX = 10_000
const IDLE = 0
const IN_TRANSACTION = 2

export type Row = readonly (string | null)[]

export interface Answer {
  readonly rows: readonly Row[]
  /** The command tag, such as `CREATE TABLE`; of several statements, the last one's. */
  readonly command: string
}

interface Waiting {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
}

/** The session's settings: nothing of a role's or a database's may make a migration wait for ever, or read its text otherwise. */
const SETTINGS = `set client_encoding to 'UTF8'; set standard_conforming_strings to on; set datestyle to 'ISO';
  set client_min_messages to warning; set idle_in_transaction_session_timeout to 0;
  select set_config('client_connection_check_interval', '1000', false)
  where version() like '%linux%' and current_setting('client_connection_check_interval', true) is not null`

export class DirectConnection {
  private readonly pq = new PQ()
  private waiting: Waiting | undefined
  private answer: Answer = NOTHING
  private failure: HearthError | undefined
  private lost: string | undefined
  private applicationName = ''

  /** Connects to a libpq URI or keyword string. Rejects with UNAVAILABLE, in libpq's words, which hold no password. */
  static async open(url: string, applicationName: string): Promise<DirectConnection> {
    const connection = new DirectConnection()
    await connection.connect(url)
    connection.applicationName = applicationName.slice(0, NAME_LENGTH_MAX)
    await connection.applySettings()
    return connection
  }

  /** Again, after RESET ALL. */
  async applySettings(): Promise<void> {
    await this.run(SETTINGS)
    await this.ask(`select set_config('application_name', $1, false)`, [this.applicationName])
  }

  /** Runs statements as they stand, in the simple protocol. Rejects with DATABASE (position: characters from 1), or UNAVAILABLE. */
  run(sql: string): Promise<Answer> {
    return this.send(() => this.pq.sendQuery(sql))
  }

  /** One statement with parameters. */
  ask(sql: string, params: readonly (string | null)[] = []): Promise<Answer> {
    return this.send(() => this.pq.sendQueryParams(sql, params))
  }

  /** The first column of the first row; null without one. */
  async value(sql: string, params: readonly (string | null)[] = []): Promise<string | null> {
    return (await this.ask(sql, params)).rows[0]?.[0] ?? null
  }

  /** In a transaction that has not failed. */
  get isInTransaction(): boolean {
    return this.lost === undefined && this.pq.transactionStatus() === IN_TRANSACTION
  }

  /** In no transaction. */
  get isIdle(): boolean {
    return this.lost === undefined && this.pq.transactionStatus() === IDLE
  }

  get isLost(): boolean {
    return this.lost !== undefined
  }

  /** Asks the server to stop what runs, which is rejected with SQLSTATE 57014; while nothing does, the connection is closed. */
  cancel(): void {
    if (this.waiting !== undefined) this.pq.cancel()
    else if (this.lost === undefined) this.lose('cancelled')
  }

  close(): void {
    this.lost ??= 'it was closed'
    this.pq.finish()
  }

  private connect(url: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (why: string) => {
        clearTimeout(timer)
        this.close()
        const text = why.trim().replace(/\s*\n\s*/g, ' · ')
        reject(new HearthError('UNAVAILABLE', `Postgres cannot be reached: ${text}`))
      }
      const timer = setTimeout(
        () => fail(`no connection within ${CONNECT_MS_MAX} ms`),
        CONNECT_MS_MAX,
      )
      this.pq.connect(url, error => {
        if (error !== null) return fail(error.message)
        clearTimeout(timer)
        this.pq.on('readable', () => this.read())
        this.pq.startReader()
        resolve()
      })
    })
  }

  private send(dispatch: () => boolean): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.lost !== undefined) return reject(lostError(this.lost))
      this.answer = NOTHING
      this.failure = undefined
      this.waiting = { resolve, reject }
      if (!dispatch()) this.lose(this.pq.errorMessage())
    })
  }

  private read(): void {
    const { pq } = this
    if (!pq.consumeInput()) return this.lose(pq.errorMessage())
    if (this.waiting === undefined) return
    while (!pq.isBusy()) {
      if (!pq.getResult()) return this.finish()
      const status = pq.resultStatus()
      if (status === 'PGRES_COPY_IN' || status === 'PGRES_COPY_OUT' || status === 'PGRES_COPY_BOTH')
        return this.lose('COPY from or to the client is not possible in a migration')
      if (status === 'PGRES_FATAL_ERROR' || status === 'PGRES_BAD_RESPONSE')
        this.failure ??= this.errorOf()
      else this.answer = this.answerOf()
    }
  }

  private answerOf(): Answer {
    const { pq } = this
    const rows: (string | null)[][] = []
    const columns = pq.nfields()
    for (let row = 0; row < pq.ntuples(); row++) {
      const cells: (string | null)[] = []
      for (let column = 0; column < columns; column++)
        cells.push(pq.getisnull(row, column) ? null : pq.getvalue(row, column))
      rows.push(cells)
    }
    return { rows, command: pq.cmdStatus() }
  }

  private errorOf(): HearthError {
    const fields = this.pq.resultErrorFields()
    const context = fields['context'] === undefined ? '' : `context: ${fields['context']}`
    const detail = [fields['messageDetail'], context].filter(text => text).join('\n  ')
    const details: ErrorDetails = {
      sqlState: fields['sqlState'],
      detail: detail === '' ? undefined : detail,
      hint: fields['messageHint'],
      position: fields['statementPosition'] ? Number(fields['statementPosition']) : undefined,
    }
    const message = fields['messagePrimary'] ?? this.pq.resultErrorMessage().trim()
    return new HearthError('DATABASE', message, details)
  }

  private finish(): void {
    const { waiting, failure, answer } = this
    this.waiting = undefined
    if (failure !== undefined) waiting?.reject(failure)
    else waiting?.resolve(answer)
  }

  private lose(why: string): void {
    const { waiting, failure } = this
    const reason = failure?.message ?? why.trim()
    this.lost = reason
    this.waiting = undefined
    this.pq.stopReader()
    this.pq.finish()
    waiting?.reject(lostError(reason))
  }
}

function lostError(why: string): HearthError {
  const text = why.replace(/\s*\n\s*/g, ' · ')
  return new HearthError('UNAVAILABLE', `the connection to Postgres was lost (${text})`)
}

/** NAMEDATALEN - 1. */
const NAME_LENGTH_MAX = 63
const NOTHING: Answer = { rows: [], command: '' }
