/** Probe: has the server analyse statements: each as the body of a temporary function, in a transaction that is rolled back.
 *  Owns:   one loan of a connection while it lasts.   Not here: which statements (analysis.ts), what is asked (question.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) nothing of it stays: no function, no schema, no prepared statement, no transaction.  (2) the statement
 *          is never executed, and cannot carry another with it.  (3) it waits LOCK_MS_MAX for a lock, STEP_MS_MAX for a step, and
 *          keeps a connection for about LOAN_MS_MAX.
 *
 *      begin ─▶ limits ─▶ [prepare ─▶ types of $1 … ─▶ deallocate] ─▶ create function … begin atomic STATEMENT; end
 *            ─▶ search_path ─▶ QUESTION ─▶ rollback
 *
 *  Since release 14 a body between BEGIN ATOMIC and END is parsed and analysed when the function is made: names are looked up along
 *  the search_path, overloads and casts are chosen, and the result is kept as a tree (pg_proc.prosqlbody). The extended protocol
 *  takes one command a message, so a text that ends the body and goes on is refused as a whole.
 *
 *  What one analysis costs the server, on releases 15 and 18: 5 ms (on a busy machine; 3 of them to plan QUESTION), AccessShare locks
 *  (for a write RowExclusive) meanwhile, one transaction id, and six or seven dead rows in pg_namespace, pg_proc and pg_depend, which
 *  autovacuum takes. Nothing is announced to other sessions, because it does not commit. Event triggers on CREATE FUNCTION do
 *  fire, log_statement = 'ddl' logs it, and pg_stat_statements with track_utility counts it, a text each. */

import { monotonicMs } from '../../../engine/clock.ts'
import type { HearthError } from '../../../engine/errors.ts'
import { type Outcome, TRANSACTION_STATUS } from '../connection.ts'
import { oneLine } from '../errors.ts'
import type { Member } from '../lists.ts'
import type { Pool } from '../pool.ts'
import type { Borrower } from '../queue.ts'
import { plain, ROLLBACK } from '../session.ts'
import type { Statement } from '../statement.ts'
import type { Facts } from './facts.ts'
import { unknownFacts } from './facts.ts'
import { type Answer, QUESTION } from './question.ts'
import { verdict } from './verdict.ts'

/** DDL elsewhere holds its lock for long or not at all; meanwhile the statement is of unknown kind, and runs on the primary. */
const LOCK_MS_MAX = 100
/** The server's limit of one step, and beyond it ours, should the server be silent. */
const STEP_MS_MAX = 1_000
const STEP_MS_MARGIN = 500
const ACQUIRE_MS_MAX = 2_000
const LOAN_MS_MAX = 100

export interface Examined {
  readonly text: string
  done(facts: Facts): void
}

export interface ProbeEvents {
  /** The next statement to examine; undefined: there is none. */
  next(): Examined | undefined
  /** The loan is over, or there was none: then `why` says so. */
  ended(why: string | undefined): void
}

export class Probe implements Borrower {
  readonly correlationId = 'analysis'
  readonly startedMs = monotonicMs()
  readonly acquireUntilMs = this.startedMs + ACQUIRE_MS_MAX
  private readonly pool: Pool
  private readonly events: ProbeEvents
  private member: Member | undefined
  /** Ends the wait for the answer to the step that is out. */
  private settle: ((outcome: Outcome) => void) | undefined
  private isPrepared = false

  constructor(pool: Pool, events: ProbeEvents) {
    this.pool = pool
    this.events = events
  }

  start(): void {
    this.pool.lend(this)
  }

  granted(member: Member): void {
    this.member = member
    void this.examineAll(member)
  }

  refused(error: HearthError): void {
    this.events.ended(error.message)
  }

  deserted(): void {
    this.isGone('the server does not answer')
  }

  /** Not told: its connection is never without a statement of it. */
  lost(): void {}
  overdue(): void {}

  private async examineAll(member: Member): Promise<void> {
    const untilMs = monotonicMs() + LOAN_MS_MAX
    while (this.member !== undefined && monotonicMs() < untilMs) {
      const examined = this.events.next()
      if (examined === undefined) break
      examined.done(await this.examine(member, examined.text))
      // A cancellation may still arrive: the pool waits that out.
      if (member.wasCancelled || member.connection.transactionStatus !== TRANSACTION_STATUS.idle)
        break
    }
    if (this.member !== undefined) this.pool.giveBack(member)
    this.member = undefined
    this.events.ended(undefined)
  }

  /** Never rejects. */
  private async examine(member: Member, sql: string): Promise<Facts> {
    this.isPrepared = false
    let facts: Facts
    try {
      facts = await this.analyse(sql)
    } catch (error) {
      facts = doubtful(error as Error)
    }
    if (this.member === undefined || member.wasCancelled) return facts
    const isOver = await this.succeeds(ROLLBACK)
    // Then the session is as it was lent, whatever its commands were called; else the pool resets it.
    if (isOver && !this.isPrepared && this.member !== undefined) member.isDirty = false
    return facts
  }

  private async analyse(sql: string): Promise<Facts> {
    await this.step(BEGIN)
    const release = Number(await this.step(LIMITS))
    if (release < RELEASE_MIN)
      return unknownFacts('Postgres analyses statements for Hearth from release 14 on')
    const types = HAS_PARAMETER.test(sql) ? await this.typesOf(sql) : ''
    await this.step(
      plain(
        // The line's end is for a comment that the statement ends with.
        `create function pg_temp.hearth_probe(${types}) returns void language sql begin atomic ${sql}\n; end`,
      ),
    )
    await this.step(CATALOG_NAMES)
    return verdict(sql, JSON.parse(await this.step(ASK)) as Answer)
  }

  /** What the server takes $1 … for. */
  private async typesOf(sql: string): Promise<string> {
    await this.step(plain(`prepare hearth_probe as ${sql}\n`))
    this.isPrepared = true // which a rollback does not undo
    const types = await this.step(TYPES)
    await this.step(DEALLOCATE)
    this.isPrepared = false
    return types
  }

  /** The first value of the first row, or ''. Throws Refused. */
  private async step(statement: Statement): Promise<string> {
    let value = ''
    const outcome = await this.run(statement, ({ driver }) => {
      value = driver.pq.ntuples() > 0 ? driver.pq.getvalue(0, 0) : ''
    })
    if (outcome.kind === 'result') return value
    if (outcome.kind === 'lost') throw new Refused(outcome.why, outcome.sqlState)
    throw new Refused(outcome.fields['messagePrimary'] ?? outcome.text, outcome.fields['sqlState'])
  }

  private async succeeds(statement: Statement): Promise<boolean> {
    return this.member !== undefined && (await this.run(statement)).kind === 'result'
  }

  /** `read` is called while libpq still has the result. */
  private run(
    statement: Statement,
    read?: (connection: Member['connection']) => void,
  ): Promise<Outcome> {
    const { member } = this
    if (member === undefined) return Promise.resolve(GONE)
    const untilMs = monotonicMs() + STEP_MS_MAX + STEP_MS_MARGIN
    return new Promise(resolve => {
      this.settle = resolve
      this.pool.run(member, statement, [], untilMs, outcome => {
        if (outcome.kind === 'lost') this.member = undefined
        if (outcome.kind === 'result') read?.(member.connection)
        this.settle = undefined
        resolve(outcome)
      })
    })
  }

  private isGone(why: string): void {
    this.member = undefined
    this.settle?.({ ...GONE, why })
    this.settle = undefined
  }
}

class Refused extends Error {
  readonly sqlState: string | undefined

  constructor(message: string, sqlState: string | undefined) {
    super(message)
    this.sqlState = sqlState
  }
}

function doubtful({ message, sqlState }: Error & { sqlState?: string | undefined }): Facts {
  const isPassing = sqlState === undefined || PASSING.test(sqlState)
  return unknownFacts(`the server did not analyse it: ${oneLine(message)}`, isPassing)
}

/** Locks, operators, resources, the end of the connection, serialization, a disk; a standby that becomes the primary. Not 57014: what
 *  took too long once takes too long again. */
const PASSING = /^(55P03|57P|53|08|40|58|25006)/

const GONE = {
  kind: 'lost',
  why: 'the connection is gone',
  sqlState: undefined,
  mayHaveRun: false,
} as const

/** Of release 14: BEGIN ATOMIC. */
const RELEASE_MIN = 140_000
const HAS_PARAMETER = /\$\d/

const BEGIN = plain('begin isolation level read committed read write')
const DEALLOCATE = plain('deallocate hearth_probe')
const TYPES = plain(
  `select pg_catalog.array_to_string(parameter_types::pg_catalog.text[], ', ') from pg_catalog.pg_prepared_statements
   where name = 'hearth_probe'`,
)
/** What holds during an analysis alone. No compiler, and indexes where the planner would think of whole catalogs: it takes what
 *  `seen` may hold for thousands of times what it does (3 ms, and 1 with them). */
const SETTINGS = {
  lock_timeout: LOCK_MS_MAX,
  statement_timeout: STEP_MS_MAX,
  check_function_bodies: 'off',
  quote_all_identifiers: 'off',
  jit: 'off',
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
}
/** set_config and not SET, whose tag says that the session was changed. */
const LIMITS = plain(
  `select pg_catalog.current_setting('server_version_num'), ${Object.entries(SETTINGS)
    .map(([name, value]) => `pg_catalog.set_config('${name}', '${value}', true)`)
    .join(', ')}`,
)
/** Nobody's function or operator comes before those that QUESTION means. */
const CATALOG_NAMES = plain(`select pg_catalog.set_config('search_path', 'pg_catalog', true)`)
/** Not prepared: a schema is made and undone each time, and that makes the server plan everything anew. */
const ASK = plain(QUESTION)
