/** loan: a connection that is lent for a few statements of insight's own, behind everybody else who wants one.
 *  Owns:   one loan of a connection while it lasts.   Not here: what is asked (explain.ts, proof.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) all of it is one transaction, which is rolled back.  (2) it waits ACQUIRE_MS_MAX at most, and only where nobody does.
 *          (3) errors have the server's SQLSTATE, not its words, which may quote values. */

import type { Parameter } from 'pg-native'
import { monotonicMs } from '../../../engine/clock.ts'
import type { HearthError } from '../../../engine/errors.ts'
import { PRIORITY } from '../../../engine/protocol/spec.ts'
import type { Outcome } from '../connection.ts'
import type { Member } from '../lists.ts'
import type { Pool } from '../pool.ts'
import type { Borrower } from '../queue.ts'
import { plain, ROLLBACK } from '../session.ts'

const ACQUIRE_MS_MAX = 1_000
const MARGIN_MS = 500

/** Runs one statement; resolves with its rows as text. */
export type Ask = (sql: string, params?: Parameter[]) => Promise<string[][]>

/** Lends a connection to `use`, in a transaction begun by `begin`; each statement may take `timeoutMs`. */
export function borrow<T>(
  pool: Pool,
  begin: string,
  timeoutMs: number,
  use: (ask: Ask) => Promise<T>,
): Promise<T> {
  if (pool.queue.count > 0) return Promise.reject(new Error('no connection is free'))
  return new Promise((resolve, reject) => {
    pool.lend(new Loan(pool, begin, timeoutMs, use, resolve, reject))
  })
}

class Loan<T> implements Borrower {
  readonly correlationId = 'insight'
  readonly priority = PRIORITY.batch
  readonly startedMs = monotonicMs()
  readonly acquireUntilMs = this.startedMs + ACQUIRE_MS_MAX
  private readonly pool: Pool
  private readonly begin: string
  private readonly timeoutMs: number
  private readonly use: (ask: Ask) => Promise<T>
  private readonly resolve: (value: T) => void
  private readonly reject: (error: Error) => void
  private member: Member | undefined

  constructor(
    pool: Pool,
    begin: string,
    timeoutMs: number,
    use: (ask: Ask) => Promise<T>,
    resolve: (value: T) => void,
    reject: (error: Error) => void,
  ) {
    this.pool = pool
    this.begin = begin
    this.timeoutMs = timeoutMs
    this.use = use
    this.resolve = resolve
    this.reject = reject
  }

  granted(member: Member): void {
    this.member = member
    this.run().then(this.resolve, this.reject)
  }

  refused(_error: HearthError): void {
    this.reject(new Error('no connection is free'))
  }

  deserted(): void {
    this.member = undefined
    this.reject(new Error('the server does not answer'))
  }

  /** Not told: its connection is never without a statement of it. */
  lost(): void {}
  overdue(): void {}

  private async run(): Promise<T> {
    try {
      await this.ask(this.begin)
      await this.ask(limits(this.timeoutMs))
      return await this.use((sql, params) => this.ask(sql, params))
    } finally {
      if (this.member !== undefined) await this.ask(ROLLBACK.sql).catch(() => undefined)
      const { member } = this
      this.member = undefined
      if (member !== undefined) this.pool.giveBack(member)
    }
  }

  private ask(sql: string, params: Parameter[] = []): Promise<string[][]> {
    const { member } = this
    if (member === undefined) return Promise.reject(new Error('the connection was lost'))
    const untilMs = monotonicMs() + this.timeoutMs + MARGIN_MS
    return new Promise((resolve, reject) => {
      const answered = (outcome: Outcome) => {
        if (outcome.kind === 'lost') {
          this.member = undefined
          return reject(new Error('the connection was lost'))
        }
        if (outcome.kind === 'refused') {
          const state = outcome.fields['sqlState']
          return reject(new Error(state === undefined ? 'refused' : `SQLSTATE ${state}`))
        }
        resolve(rowsOf(member))
      }
      this.pool.run(member, plain(sql), params, untilMs, answered)
    })
  }
}

function rowsOf(member: Member): string[][] {
  const { pq } = member.connection.driver
  const rows: string[][] = []
  for (let row = 0; row < pq.ntuples(); row++) {
    const values: string[] = []
    for (let column = 0; column < pq.nfields(); column++) values.push(pq.getvalue(row, column))
    rows.push(values)
  }
  return rows
}

function limits(timeoutMs: number): string {
  return `select pg_catalog.set_config('statement_timeout', '${Math.ceil(timeoutMs)}', true),
    pg_catalog.set_config('lock_timeout', '100', true)`
}
