/** role_guard: refuses statements that would leave the Postgres role, or the read-only mode, that their client's role is held to.
 *  Owns:   the patterns.   Not here: how a connection gets its role (role_databases.ts).
 *  Thread: postgres worker.
 *  Holds:  what names such a way is refused, wherever in the text it stands, in a literal too: it errs towards refusing.
 *
 *  Postgres has no role that a session cannot leave: SET ROLE may be undone by whoever writes the next statement. This closes the
 *  ways that a text shows. A function of the database that runs a text it is given is not seen, so whoever lets untrusted people
 *  write SQL gives them a database entry of their own, whose url logs in as their role. */

import { HearthError } from '../../engine/errors.ts'
import { startOf } from './statement.ts'

export interface HeldTo {
  /** '': the login's own. */
  readonly role: string
  readonly isReadOnly: boolean
}

export type Guard = (sql: string) => HearthError | undefined

/** First words that run code, in which anything may stand; and what must not be made, since it would. */
const RUNS_CODE = /^(?:do|call|load)\b/i
const MAKES = /^(?:create|alter)\b/i
const CODE =
  /\b(?:function|procedure|routine|aggregate|trigger|rule|extension|operator|language|cast)\b/i
/** Runs a text that is given to it; or is a way to set_config(). */
const RUNS_TEXT =
  /query_to_xml|cursor_to_xml|ts_stat|ts_rewrite|dblink|crosstab|connectby|xpath_table|pg_settings/i
/** An identifier or literal that may spell any of these. */
const ESCAPES = /\bu&\s*["']/i
/** Of set_config() only settings of an application are harmless: those with a dot, given as they are. */
const SETS_CONFIG = /set_config(?!"?\s*\(\s*'[a-z_]\w*\.\w+'\s*,)/i
const SETTING = /^(?:set|reset|discard)\b/i
const NAMES_ROLE = /role|authorization|\ball\b/i
const NAMES_MODE = /read_only|\bread\b[\s\S]*\bwrite\b|characteristics|\ball\b/i

/** Comments may stand between any two words: only single words are looked for behind the first. */
export function guardFor({ role, isReadOnly }: HeldTo): Guard {
  const what = role === '' ? 'the read-only mode' : `the Postgres role "${role}"`
  return sql => {
    const head = sql.slice(startOf(sql))
    const isSetting = SETTING.test(head)
    const isLeaving =
      RUNS_CODE.test(head) ||
      (MAKES.test(head) && CODE.test(sql)) ||
      RUNS_TEXT.test(sql) ||
      ESCAPES.test(sql) ||
      SETS_CONFIG.test(sql) ||
      (isSetting && role !== '' && NAMES_ROLE.test(sql)) ||
      (isSetting && isReadOnly && NAMES_MODE.test(sql))
    if (!isLeaving) return undefined
    const text = `the statement could leave ${what}, to which the role of this client is held: it sets the role or the mode, or runs code`
    return new HearthError('FORBIDDEN', `${text} (nothing was sent)`)
  }
}
