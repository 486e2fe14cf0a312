/** migrate_refresh: tells the running engine, if there is one, that a migration has changed a database.
 *  Owns:   the words of that.   Not here: what the engine does then (workers/postgres/ops.ts, REFRESH).   Thread: main.
 *  Holds:  (1) when it says so, nothing cached or prepared before the migration is used any more.  (2) an engine that cannot be
 *          reached is no failure: those that listen to the database were told with the commit. */

import type { Hearth } from '../client/index.ts'
import { isHearthError } from '../errors.ts'
import { openEngine } from './client.ts'
import type { Input } from './input.ts'

export interface Refreshed {
  readonly isRefreshed: boolean
  readonly reason?: string
}

const TRY_MS_MAX = 2_000

/** `names`: those under which it may be known there. */
export async function refreshEngine(input: Input, names: readonly string[]): Promise<Refreshed> {
  let hearth: Hearth | undefined
  try {
    hearth = await openEngine(input, TRY_MS_MAX)
    for (const name of names) await hearth.database(name).refresh()
    return { isRefreshed: true }
  } catch (error) {
    if (!isHearthError(error)) throw error
    return { isRefreshed: false, reason: error.message }
  } finally {
    await hearth?.close()
  }
}

export function refreshedText({ isRefreshed, reason }: Refreshed): string {
  if (isRefreshed)
    return 'the engine was told: cached results and prepared statements from before are gone'
  return `no engine could be told here (${reason?.split(';')[0]}); any that has cached results of this database was told by NOTIFY`
}
