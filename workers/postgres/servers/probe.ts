/** Probe: one connection to one server for the engine's own questions: how it is, and what it is told in a failover.
 *  Owns:   that connection, opened when it is needed, kept while it answers.   Not here: what is asked (observation.ts, failover.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) never one of a pool's connections: a full pool says nothing of its server's health.  (2) a question is answered or
 *          fails within its time; the connection that did not answer is closed.  (3) questions go one after the other. */

import { readRows } from '../../../engine/protocol/rows.ts'
import { type Connection, TRANSACTION_STATUS } from '../connection.ts'
import { openConnection } from '../connection_dial.ts'
import type { PoolSpec } from '../database.ts'
import { oneLine } from '../errors.ts'
import { plain, withName } from '../session.ts'

export type Row = Record<string, unknown>

export class Probe {
  /** Told when the connection is lost at rest: the server may be gone. */
  onLost: () => void = () => {}
  private readonly spec: PoolSpec
  private connection: Connection | undefined
  private opening: Promise<Connection> | undefined
  private last: Promise<unknown> = Promise.resolve()
  private isClosed = false

  constructor(spec: PoolSpec) {
    // Its statements are few and short; their limits are here, not at the server.
    this.spec = { ...spec, url: withName(spec.url) }
  }

  /** The rows of one statement. Rejects with an Error: the server's or libpq's words, or that there was no answer in time. */
  ask(sql: string, withinMs: number): Promise<Row[]> {
    const answer = this.last.then(() => this.askNow(sql, withinMs))
    this.last = answer.catch(() => undefined)
    return answer
  }

  close(): void {
    this.isClosed = true
    this.drop('the engine is shutting down')
  }

  private async askNow(sql: string, withinMs: number): Promise<Row[]> {
    if (this.isClosed) throw new Error('closed')
    const silent = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      silent.reject(new NoAnswer(`no answer within ${withinMs} ms`))
      this.drop('no answer')
    }, withinMs)
    try {
      return await Promise.race([this.run(sql), silent.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  private async run(sql: string): Promise<Row[]> {
    const connection = this.connection ?? (await this.open())
    // Its last answer and its end may have come together, before anybody could be told.
    if (connection.transactionStatus === TRANSACTION_STATUS.unknown) {
      this.forget(connection)
      throw new Error('the connection was lost')
    }
    return new Promise((resolve, reject) => {
      connection.run(
        plain(sql),
        [],
        outcome => {
          if (outcome.kind === 'refused')
            return reject(new Refusal(oneLine(outcome.text), outcome.fields['sqlState']))
          if (outcome.kind === 'lost') {
            this.forget(connection)
            return reject(new Error(oneLine(outcome.why)))
          }
          const { body } = outcome.result
          resolve(body === undefined ? [] : readRows(body, 0, body.length).rows)
        },
        true,
      )
    })
  }

  /** An attempt that is still under way is waited for, and not joined by a second: a frozen server would collect them. */
  private open(): Promise<Connection> {
    this.opening ??= openConnection(this.spec, { hits: 0, misses: 0, evictions: 0, mended: 0 })
      .then(connection => {
        if (this.isClosed) {
          connection.close('no longer needed')
          throw new Error('closed')
        }
        this.connection = connection
        connection.onLost = () => {
          this.forget(connection)
          if (!this.isClosed) this.onLost()
        }
        return connection
      })
      .finally(() => {
        this.opening = undefined
      })
    return this.opening
  }

  private drop(why: string): void {
    const { connection } = this
    this.connection = undefined
    if (connection === undefined) return
    connection.onLost = () => {}
    connection.close(why)
  }

  private forget(connection: Connection): void {
    if (this.connection === connection) this.connection = undefined
  }
}

/** The server answered, and said no. */
export class Refusal extends Error {
  readonly sqlState: string | undefined
  constructor(text: string, sqlState: string | undefined) {
    super(text)
    this.sqlState = sqlState
  }
}

/** It accepted a connection or a question, and then said nothing. */
export class NoAnswer extends Error {}
