/** watch: has writes made past the engine end cached results: installs the triggers, removes them, says which are there.
 *  Owns:   the words.   Not here: the steps (../watch_install.ts).   Thread: main.
 *  Holds:  exit code 1 when a table could not be done; of `status`, unless every table is watched. */

import type { Database } from '../../client/database.ts'
import { withEngine } from '../client.ts'
import type { Input } from '../input.ts'
import { complain, print, printJson, styled } from '../output.ts'
import { closest, UsageError } from '../usage_error.ts'
import { type Failed, install, remove, status } from '../watch_install.ts'
import type { Chosen } from '../watch_tables.ts'

const ACTIONS: Record<
  string,
  (db: Database, chosen: Chosen, isJson: boolean, name: string) => Promise<number>
> = { install: runInstall, remove: runRemove, status: runStatus }

export async function run(input: Input): Promise<number> {
  const [word, ...names] = input.operands as [string, ...string[]]
  const action = Object.hasOwn(ACTIONS, word) ? ACTIONS[word] : undefined
  if (action === undefined) {
    const near = closest(word, Object.keys(ACTIONS))
    const hint = near === undefined ? 'install, remove or status' : `'${near}'?`
    throw new UsageError(`watch does not know '${word}'; did you mean ${hint}`, 'watch')
  }
  const { schema, db = 'main' } = input.options
  if (schema !== undefined && names.length > 0)
    throw new UsageError('tables and --schema exclude each other: write SCHEMA.TABLE', 'watch')
  const chosen = { names, schema }
  return await withEngine(input, hearth => action(hearth.database(db), chosen, input.isJson, db))
}

async function runInstall(db: Database, chosen: Chosen, isJson: boolean, name: string) {
  const report = await install(db, chosen)
  const { installed, already, failed, followsNewTables, hasTwoPhase } = report
  if (isJson) printJson({ database: name, ...report, failed: failed.map(plainFailure) })
  else {
    print(
      `watching ${tables(installed.length + already)} of ${name}: ${installed.length} newly, ${already} as before`,
    )
    print(
      followsNewTables
        ? 'tables that are created from now on are watched too'
        : 'tables that are created from now on are not: run this again (only a superuser may have that done by Postgres, ' +
            'and only for the whole database)',
    )
    if (hasTwoPhase)
      print(
        'note: Postgres refuses PREPARE TRANSACTION after a write to a watched table, and this server has it turned on',
      )
  }
  return outcome(failed, isJson)
}

async function runRemove(db: Database, chosen: Chosen, isJson: boolean, name: string) {
  const { removed, failed } = await remove(db, chosen)
  if (isJson) printJson({ database: name, removed, failed: failed.map(plainFailure) })
  else print(`no longer watching ${tables(removed.length)} of ${name}`)
  return outcome(failed, isJson)
}

async function runStatus(db: Database, chosen: Chosen, isJson: boolean, name: string) {
  const found = await status(db, chosen)
  const { watched, unwatched, followsNewTables } = found
  if (isJson) printJson({ database: name, ...found })
  else {
    print(`watched: ${watched.length} of ${tables(watched.length + unwatched.length)} of ${name}`)
    print(`new tables are ${followsNewTables ? 'watched as they are created' : 'not watched'}`)
    if (unwatched.length > 0) {
      print(
        '\nwrites to these from elsewhere than through the engine are seen by nobody, and cached\n' +
          'results of them live by their TTL alone (`hearth watch install`):',
      )
      print(unwatched.map(table => styled('yellow', `  ${table}`)).join('\n'))
    }
  }
  return unwatched.length === 0 ? 0 : 1
}

function outcome(failed: readonly Failed[], isJson: boolean): number {
  if (!isJson)
    for (const { table, error } of failed)
      complain(
        `hearth: ${error.code}: ${table}: ${error.message}${error.sqlState === undefined ? '' : ` (SQLSTATE ${error.sqlState})`}`,
      )
  return failed.length === 0 ? 0 : 1
}

function plainFailure({ table, error }: Failed) {
  const { code, message, sqlState } = error
  return { table, code, message, sqlState }
}

function tables(count: number): string {
  return count === 1 ? '1 table' : `${count} tables`
}
