/** inversion: what undoes one statement, or why nothing does.
 *  Owns:   the types and their few constructors.   Not here: the rules (invert.ts and its neighbours).   Thread: any.
 *  Holds:  a refusal says why in words for the file's reader. */

import type { Lookup } from './lookup.ts'

export type Inversion =
  /** In the order in which they are to run. Nothing to be done: none. */
  | { readonly sql: readonly string[]; readonly refused?: undefined }
  | { readonly sql?: undefined; readonly refused: string }

export const NOTHING: Inversion = { sql: [] }

export function sql(...statements: string[]): Inversion {
  return { sql: statements }
}

export function refused(why: string): Inversion {
  return { refused: why }
}

/** A rule looks before its statement runs, and answers with what is to be asked after it. */
export type After = () => Promise<Inversion> | Inversion

/** What a rule may ask, and what the migration has made so far. */
export interface Surroundings {
  readonly lookup: Lookup
  /** Oids of relations that this migration made: what is done to them goes with them. */
  readonly created: Set<string>
  /** Statements go by themselves: CONCURRENTLY is possible. */
  readonly isTransaction: boolean
}
