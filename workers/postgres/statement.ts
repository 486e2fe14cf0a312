/** Statement: what a text is, as far as the pool must know before and after it runs.
 *  Owns:   a bounded table of texts it has looked at.   Not here: which tables it reads or writes.
 *  Thread: postgres worker.
 *  Holds:  (1) a text that would change the session, or open a transaction, is refused before it is sent.
 *          (2) `isRead` is only said of what cannot write by its own grammar; functions may, so it never permits a repeat. */

import { createHash } from 'node:crypto'
import { HearthError } from '../../engine/errors.ts'

export interface Statement {
  readonly sql: string
  /** The name under which connections prepare it: the same text has the same name everywhere. */
  readonly name: string
  readonly isRead: boolean
  readonly isPreparable: boolean
  /** It may leave something in the session that no command tag tells of (a temporary table, an advisory lock). */
  readonly leavesTraces: boolean
  /** How often it was asked; the second time it is worth preparing. */
  uses: number
}

const KNOWN_COUNT_MAX = 1_000
const KNOWN_TEXT_LENGTH_MAX = 16_384

export class Statements {
  private readonly known = new Map<string, Statement>()

  /** Throws BAD_REQUEST for a text that does not belong on a shared connection. */
  of(sql: string): Statement {
    let statement = this.known.get(sql)
    if (statement === undefined) {
      statement = examine(sql)
      if (sql.length > KNOWN_TEXT_LENGTH_MAX) return statement
      if (this.known.size >= KNOWN_COUNT_MAX) this.forgetOldest()
      this.known.set(sql, statement)
    }
    statement.uses++
    return statement
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
  const word = firstWord(sql)
  if (sql.includes('\0'))
    throw new HearthError('BAD_REQUEST', 'the statement has a zero character in it')
  if (IN_TRANSACTION.test(word)) throw refused(word, 'belongs in a transaction')
  if (IN_SESSION.test(word)) throw refused(word, 'changes or needs a session of its own')
  if (word === 'copy' && /\b(stdin|stdout)\b/i.test(sql)) throw refused(word, 'needs a stream')
  return {
    sql,
    name: `h_${createHash('sha1').update(sql).digest('base64url').slice(0, 16)}`,
    isRead: READ.test(word) && !LOCKING_OR_INTO.test(sql),
    isPreparable: PREPARABLE.test(word),
    leavesTraces: RUNS_OTHERS.test(word) || TRACES.test(sql),
    uses: 0,
  }
}

/** Behind spaces, comments (which nest) and brackets; '' where something else stands. A scanner and not an expression:
 *  one that allows all this can be made to try for hours. */
function firstWord(sql: string): string {
  let at = 0
  for (;;) {
    const two = sql.slice(at, at + 2)
    if (two === '--') at = endOf(sql, '\n', at)
    else if (two === '/*') at = endOfComment(sql, at + 2)
    else if (two !== '' && ' \t\n\r\f\v('.includes(two[0]!)) at++
    else break
  }
  return /^[a-z]*/i.exec(sql.slice(at, at + 20))![0].toLowerCase()
}

function endOf(sql: string, mark: string, from: number): number {
  const found = sql.indexOf(mark, from)
  return found < 0 ? sql.length : found + mark.length
}

function endOfComment(sql: string, from: number): number {
  let at = from
  for (let depth = 1; depth > 0; ) {
    const close = sql.indexOf('*/', at)
    if (close < 0) return sql.length
    const open = sql.indexOf('/*', at)
    const isOpening = open >= 0 && open < close
    depth += isOpening ? 1 : -1
    at = (isOpening ? open : close) + 2
  }
  return at
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

function refused(word: string, why: string): HearthError {
  return new HearthError(
    'BAD_REQUEST',
    `${word.toUpperCase()} ${why}, and query() runs each statement by itself on a shared connection: ` +
      'use a transaction instead (nothing was sent)',
  )
}
