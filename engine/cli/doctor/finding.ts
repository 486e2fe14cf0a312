/** finding: what a check of `hearth doctor` has found.
 *  Owns:   the types, and how one is made.   Thread: main.
 *  Holds:  what is not ok says how to mend it. */

import type { LoadedConfig } from '../../config/load.ts'

export type Verdict = 'ok' | 'warn' | 'fail'

export interface Finding {
  readonly status: Verdict
  /** What was found, in words. */
  readonly found: string
  /** What to do about it; of a finding that is ok: nothing. */
  readonly mend?: string
}

export interface Patient {
  /** Undefined: it cannot be read, which is a finding of its own. */
  readonly loaded: LoadedConfig | undefined
  /** Why it cannot. */
  readonly refusal: string | undefined
  /** The root of the system's own files, `/`. */
  readonly root: string
}

/** A patient whose configuration could be read. */
export interface ReadPatient extends Patient {
  readonly loaded: LoadedConfig
}

/** One row of the table of checks. Nothing found: there is nothing to say here, as without a database. */
export interface Check {
  readonly name: string
  /** It cannot be made without a configuration. */
  readonly needsConfig?: true
  run(patient: ReadPatient): readonly Finding[] | Promise<readonly Finding[]>
}

export function ok(found: string): Finding {
  return { status: 'ok', found }
}

export function warn(found: string, mend: string): Finding {
  return { status: 'warn', found, mend }
}

export function fail(found: string, mend: string): Finding {
  return { status: 'fail', found, mend }
}
