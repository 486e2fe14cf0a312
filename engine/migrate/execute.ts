/** execute: sends the statements of one script, and says of an error where in the file it is.
 *  Owns:   the words of such an error.   Not here: transactions (apply.ts).
 *  Thread: main of a command.
 *  Holds:  (1) line and column are those of the file, of the very character that Postgres names, else of the statement's first.
 *          (2) what ends a script's transaction behind our back is noticed. */

import { type ErrorDetails, HearthError, isHearthError } from '../errors.ts'
import type { DirectConnection } from './direct_connection.ts'
import { characterAt, type Statement } from './parser.ts'
import { excerptAt, type Place, placeAt } from './place.ts'
import type { Script } from './project.ts'

/** What failed, with its place; `cause` is what the server said. */
export class ScriptError extends HearthError {
  readonly place: Place
  /** Which statement of the script, from 0. */
  readonly index: number

  constructor(error: HearthError, script: Script, statement: Statement, index: number) {
    const { position, sqlState, detail, hint } = error
    // Of an error within a function `position` is about that function's text, and comes as another field.
    const at =
      position === undefined
        ? statement.start
        : statement.start + characterAt(statement.sql, position - 1)
    const place = placeAt(script.text, at)
    const head = `${script.path}:${place.line}:${place.column}: ${error.message}`
    const details: ErrorDetails = { sqlState, detail, hint, cause: error }
    super(error.code, `${head}\n${excerptAt(script.text, place)}`, details)
    this.place = place
    this.index = index
    for (const field of ['place', 'index'] as const)
      Object.defineProperty(this, field, { enumerable: field === 'place' })
  }
}

/** Runs one statement. Rejects with ScriptError. */
export async function runStatement(
  connection: DirectConnection,
  script: Script,
  index: number,
): Promise<void> {
  const statement = script.statements[index]!
  try {
    await connection.run(statement.sql)
  } catch (error) {
    if (isHearthError(error)) throw new ScriptError(error, script, statement, index)
    throw error
  }
  if (!script.header.isTransaction || connection.isInTransaction) return
  const why = new HearthError(
    'BAD_REQUEST',
    'it ended the transaction of its migration, which is committed for it; take that out, or write `-- hearth: no-transaction` at the top',
  )
  throw new ScriptError(why, script, statement, index)
}

/** Timeouts of a script: of the transaction, or of the session where there is none. */
export async function setTimeouts(
  connection: DirectConnection,
  lockTimeoutMs: number,
  statementTimeoutMs: number,
  isLocal: boolean,
): Promise<void> {
  await connection.ask(
    `select set_config('lock_timeout', $1, $3), set_config('statement_timeout', $2, $3)`,
    [
      String(Math.ceil(lockTimeoutMs)),
      String(Math.ceil(statementTimeoutMs)),
      isLocal ? 'true' : 'false',
    ],
  )
}
