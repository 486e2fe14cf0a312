/** verify: whether files, history and the live catalog still say the same, object by object.
 *  Owns:   nothing.   Not here: words (cli/migrate_words.ts).   Thread: main of a command.
 *  Holds:  it changes nothing, and takes no lock that anybody would wait for. */

import { type CatalogChange, changesBetween, takeCatalog } from './catalog.ts'
import { type Problem, standingOf } from './checks.ts'
import type { DirectConnection } from './direct_connection.ts'
import { type Applied, type RunRow, readApplied, readCatalog, readRuns } from './history.ts'
import { holderOf } from './lock.ts'
import type { Migration } from './project.ts'
import { readMigrations } from './runner.ts'

export interface Overview {
  readonly migrations: readonly Migration[]
  readonly applied: readonly Applied[]
  readonly pending: readonly Migration[]
  readonly problems: readonly Problem[]
  readonly runs: readonly RunRow[]
  /** Who is at it now, in words. */
  readonly holder: string | undefined
}

export interface Verdict extends Overview {
  /** From the catalog as the last migration left it to the live one. Undefined: no migration ever ran. */
  readonly drift: readonly CatalogChange[] | undefined
}

export async function overviewOf(connection: DirectConnection, folder: string): Promise<Overview> {
  const migrations = await readMigrations(folder)
  const applied = await readApplied(connection)
  const { pending, problems } = standingOf(migrations, applied, folder)
  const runs = await readRuns(connection, RUNS_SHOWN)
  const holder = await holderOf(connection)
  return { migrations, applied, pending, problems, runs, holder }
}

export async function verify(connection: DirectConnection, folder: string): Promise<Verdict> {
  const overview = await overviewOf(connection, folder)
  const kept = await readCatalog(connection)
  const drift = kept && changesBetween(kept, await takeCatalog(connection))
  return { ...overview, drift }
}

const RUNS_SHOWN = 100
