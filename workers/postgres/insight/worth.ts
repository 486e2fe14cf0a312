/** worth: whether results of a statement are worth fetching before anybody asks for them.
 *  Owns:   nothing: pure but for what it asks the server.   Not here: the rule of cache advice (engine/steady.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) of what nothing is known nothing is fetched.  (2) only what the server has analysed as a read is: nobody has asked for
 *          it, and a function of its may write by now.
 *
 *  A result that is kept is looked at only when it has ended: by its time, or because a table of it was written, so mostly when it is
 *  another one. Each answer that the cache gave meanwhile is a look, too, which found it as it was. */

import { HearthError } from '../../../engine/errors.ts'
import { steadyShare } from '../../../engine/steady.ts'
import { type Facts, isProvenRead } from '../analysis/facts.ts'
import type { PostgresDatabase } from '../postgres_database.ts'
import { fingerprintOf } from './fingerprint.ts'
import type { Recorder } from './recorder.ts'
import { nameOf, OUTCOMES } from './slots.ts'

/** What the cache gave as it was; stale results and shared ones tell nothing. */
const KEPT: readonly (typeof OUTCOMES)[number][] = ['memory', 'sqlite', 'inPlace']
const LISTEN_MS_MAX = 3_000

/** Resolves once writes from elsewhere are listened for, or cannot be. Rejects with UNAVAILABLE when the database does not answer,
 *  throws BAD_REQUEST for what is no statement of its own. */
export async function isWorthFetching(
  recorder: Recorder,
  database: PostgresDatabase,
  sql: string,
): Promise<boolean> {
  if (!isSteady(recorder, database.name, sql)) return false
  const statement = database.statements.look(sql)
  if (!(await database.outside.settled(LISTEN_MS_MAX)))
    throw new HearthError('UNAVAILABLE', 'the database does not answer')
  let facts: Facts = await database.analysis.find(statement)
  // Whatever began to watch meanwhile may have had everything forgotten.
  if (facts.isPassing) facts = await database.analysis.find(statement)
  if (facts.isPassing) throw new HearthError('UNAVAILABLE', facts.doubt ?? 'nothing is known of it')
  return isProvenRead(facts) === true && facts.cacheRefusal === undefined
}

function isSteady({ slots, changes }: Recorder, database: string, sql: string): boolean {
  const slot = slots.find(database, nameOf(fingerprintOf(sql)))
  if (slot === undefined) return false
  const at = slot * OUTCOMES.length
  const kept = KEPT.reduce((sum, name) => sum + slots.outcomes[at + OUTCOMES.indexOf(name)]!, 0)
  const looks = (changes.looks[slot] ?? 0) + kept
  return steadyShare(looks, changes.found[slot] ?? 0) !== undefined
}
