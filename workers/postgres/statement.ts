/** Statement: what a text is, as far as the pool must know before and after it runs.
 *  Owns:   a bounded table of texts it has looked at.   Not here: which tables it reads or writes.
 *  Thread: postgres worker.
 *  Holds:  (1) a text that would change the session, or open a transaction, is refused before it is sent.
 *          (2) `isRead` is only said of what cannot write by its own grammar; functions may, so it never permits a repeat. */

import { createHash } from 'node:crypto'
import { HearthError } from '../../engine/errors.ts'
import { afterComment } from '../../engine/sql_comment.ts'
import { commentOf } from '../../engine/trace_context.ts'
import type { Mark } from './insight/recorder.ts'
import type { Guard } from './role_guard.ts'

export interface Statement {
  readonly sql: string
  /** The name under which connections prepare it: the same text has the same name everywhere. */
  readonly name: string
  readonly isRead: boolean
  readonly isPreparable: boolean
  /** It may leave something in the session that no command tag tells of (a temporary table, an advisory lock). */
  readonly leavesTraces: boolean
  /** Its first word, in small letters. */
  readonly word: string
  /** Why it may not run by itself on a shared connection; undefined: it may. */
  readonly aloneRefusal: string | undefined
  /** Why it may not run in a transaction that the engine has open; undefined: it may. */
  readonly insideRefusal: string | undefined
  /** How often it was asked; the second time it is worth preparing. */
  uses: number
  /** What one execution takes, by those seen so far; NaN before the first. */
  expectedMs: number
  /** It has shown itself short enough to share a connection with others. */
  isShort: boolean
  /** Where its figures are; undefined: it is not recorded. */
  mark: Mark | undefined
}

/** A statement that takes less is short: what waits behind a few of them waits no longer than a planner's mood. */
export const SHORT_MS = 5

/** The same with a comment behind it, for one execution: it is not prepared. Itself, unless there is something to tell of. */
export function commented(statement: Statement, correlationId: string): Statement {
  const comment = commentOf(correlationId)
  if (comment === '') return statement
  return { ...statement, sql: statement.sql + comment, name: '', isPreparable: false }
}

/** Notes how long an execution took. */
export function learnDuration(statement: Statement, tookMs: number): void {
  const { expectedMs } = statement
  statement.expectedMs = Number.isNaN(expectedMs) ? tookMs : expectedMs + (tookMs - expectedMs) / 4
  statement.isShort = statement.expectedMs < SHORT_MS
}

/** 26000: the server has no such prepared statement. 0A000: its tables changed ("cached plan must not change result type").
 *  42P05: the session had one of that name already. In each case the statement did not run. */
export const PREPARE_AGAIN: ReadonlySet<string> = new Set(['26000', '0A000', '42P05'])

const KNOWN_COUNT_MAX = 1_000
const KNOWN_TEXT_LENGTH_MAX = 16_384

export class Statements {
  private readonly known = new Map<string, Statement>()
  private readonly guard: Guard | undefined

  /** `guard`: refuses what these statements may not do because of who asks them. */
  constructor(guard?: Guard) {
    this.guard = guard
  }

  /** A statement that runs by itself. Throws BAD_REQUEST for one that does not belong on a shared connection. */
  of(sql: string): Statement {
    const statement = this.look(sql)
    statement.uses++
    return statement
  }

  /** The same, without counting it as asked. */
  look(sql: string): Statement {
    const statement = this.known.get(sql) ?? this.add(sql)
    if (statement.aloneRefusal !== undefined)
      throw new HearthError('BAD_REQUEST', statement.aloneRefusal)
    return statement
  }

  /** A statement within a transaction. Throws BAD_REQUEST for one that would leave it. */
  inside(sql: string): Statement {
    const statement = this.known.get(sql) ?? this.add(sql)
    if (statement.insideRefusal !== undefined)
      throw new HearthError('BAD_REQUEST', statement.insideRefusal)
    statement.uses++
    return statement
  }

  /** A COPY from or to its client. Throws BAD_REQUEST for anything else. */
  copy(sql: string, direction: 'in' | 'out'): Statement {
    const statement = this.examined(sql)
    const form = direction === 'in' ? /\bfrom\s+stdin\b/i : /\bto\s+stdout\b/i
    if (statement.word === 'copy' && form.test(sql)) return statement
    const meant =
      direction === 'in' ? 'copyFrom() takes COPY … FROM STDIN' : 'copyTo() takes COPY … TO STDOUT'
    throw new HearthError('BAD_REQUEST', `${meant} alone (nothing was sent)`)
  }

  private add(sql: string): Statement {
    const statement = this.examined(sql)
    if (sql.length > KNOWN_TEXT_LENGTH_MAX) return statement
    if (this.known.size >= KNOWN_COUNT_MAX) this.forgetOldest()
    this.known.set(sql, statement)
    return statement
  }

  private examined(sql: string): Statement {
    const refusal = this.guard?.(sql)
    if (refusal !== undefined) throw refusal
    return examine(sql)
  }

  /** The older half goes at once: cheaper than moving each text at each use, and a hot one is back by its next use. */
  private forgetOldest(): void {
    let left = KNOWN_COUNT_MAX / 2
    for (const sql of this.known.keys()) {
      if (left-- === 0) return
      this.known.delete(sql)
    }
  }
}

const READ = /^(select|values|table|show)$/
const LOCKING_OR_INTO = /\bfor\s+(no\s+key\s+update|update|share|key\s+share)\b|\binto\b/i
const PREPARABLE = /^(select|values|table|insert|update|delete|merge|with)$/
// `temp` alone is what a sensor's column is called; only where it makes a table does it count.
const TRACES =
  /\b(?:create|into)\s+(?:or\s+replace\s+)?(?:(?:local|global)\s+)?temp(?:orary)?\b|\bpg_temp\b|\b(?:set_config|setseed|pg_(?:try_)?advisory_lock(?:_shared)?|dblink_connect\w*)\s*\(/i
/** Their bodies may set anything, and their tag says nothing of it. */
const RUNS_OTHERS = /^(do|call)$/
const IN_TRANSACTION =
  /^(begin|start|commit|end|rollback|abort|savepoint|release|lock|declare|fetch|move|close)$/
const IN_SESSION = /^(set|reset|prepare|execute|deallocate|discard|listen|unlisten|load)$/

function examine(sql: string): Statement {
  const start = startOf(sql)
  const word = wordAt(sql, start)
  if (sql.includes('\0'))
    throw new HearthError('BAD_REQUEST', 'the statement has a zero character in it')
  const isCopyStream = word === 'copy' && /\b(stdin|stdout)\b/i.test(sql)
  return {
    sql,
    name: `h_${createHash('sha1').update(sql).digest('base64url').slice(0, 16)}`,
    isRead: READ.test(word) && !LOCKING_OR_INTO.test(sql),
    isPreparable: PREPARABLE.test(word),
    leavesTraces: RUNS_OTHERS.test(word) || TRACES.test(sql),
    word,
    aloneRefusal: isCopyStream ? refusedCopy() : aloneRefusal(word),
    insideRefusal: isCopyStream ? refusedCopy() : insideRefusal(word, sql.slice(start, start + 60)),
    uses: 0,
    expectedMs: Number.NaN,
    isShort: false,
    mark: undefined,
  }
}

function aloneRefusal(word: string): string | undefined {
  if (/^(listen|unlisten)$/.test(word)) return refusedListen(word)
  const why = IN_TRANSACTION.test(word)
    ? 'belongs in a transaction'
    : IN_SESSION.test(word)
      ? 'changes or needs a session of its own'
      : undefined
  if (why === undefined) return undefined
  return (
    `${word.toUpperCase()} ${why}, and query() runs each statement by itself on a shared connection: ` +
    'use a transaction instead (nothing was sent)'
  )
}

/** `head`: the text from its first word on. */
function insideRefusal(word: string, head: string): string | undefined {
  if (/^(listen|unlisten)$/.test(word)) return refusedListen(word)
  if (!LEAVES_TRANSACTION.test(word) || RETURNS_TO_SAVEPOINT.test(head)) return undefined
  if (word === 'prepare' && !/^prepare\s+transaction\b/i.test(head)) return undefined
  return (
    `${word.toUpperCase()} would leave the transaction, which commits when its function returns and rolls back when it ` +
    'throws; to undo a part of it, nest tx.transaction() (nothing was sent)'
  )
}

const LEAVES_TRANSACTION = /^(begin|start|commit|end|rollback|abort|prepare)$/
const RETURNS_TO_SAVEPOINT = /^rollback\s+(?:(?:work|transaction)\s+)?to\b/i

function refusedListen(word: string): string {
  return `${word.toUpperCase()} on a shared connection would reach nobody: use listen(channel, …) instead (nothing was sent)`
}

function refusedCopy(): string {
  return 'COPY from or to the client needs a stream: use copyFrom() or copyTo() instead (nothing was sent)'
}

/** Where the first word is: behind spaces, comments (which nest) and brackets. A scanner and not an expression: one that allows
 *  all this can be made to try for hours. */
export function startOf(sql: string): number {
  let at = 0
  for (;;) {
    const two = sql.slice(at, at + 2)
    if (two === '--') at = endOf(sql, '\n', at)
    else if (two === '/*') at = afterComment(sql, at + 2)
    else if (two !== '' && ' \t\n\r\f\v('.includes(two[0]!)) at++
    else return at
  }
}

/** '' where something else than a word stands. */
function wordAt(sql: string, start: number): string {
  return /^[a-z]*/i.exec(sql.slice(start, start + 20))![0].toLowerCase()
}

function endOf(sql: string, mark: string, from: number): number {
  const found = sql.indexOf(mark, from)
  return found < 0 ? sql.length : found + mark.length
}

/** Command tags after which a connection is no longer as new. A function may run such commands without a tag: that
 *  is seen where the text itself says so (`leavesTraces`), and not where it is hidden in a function of the database. */
export function changesSession(command: string): boolean {
  return SESSION_COMMANDS.has(command)
}

const SESSION_COMMANDS = new Set([
  'SET',
  'RESET',
  'PREPARE',
  'DEALLOCATE',
  'DISCARD',
  'LISTEN',
  'UNLISTEN',
  'LOAD',
  'DECLARE',
])
