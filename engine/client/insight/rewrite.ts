/** rewrite: a statement that is asked for one value after another, as one that takes them all.
 *  Owns:   nothing: pure functions.   Thread: the client's.
 *  Holds:  it is a suggestion in words of the statement's own text: nobody runs it. */

import { SqlTokens, TOKEN } from '../../sql_tokens.ts'

export interface Rewrite {
  /** Undefined: there is no simple one. */
  readonly text: string | undefined
  readonly note: string | undefined
}

/** `select * from t where id = $1` → `select * from t where id = any($1)`. */
export function takingMany(text: string): Rewrite {
  if (/^insert\b/.test(text)) {
    return {
      text: undefined,
      note: 'insert many rows at once: insert … select … from unnest($1::…[], $2::…[]), or COPY',
    }
  }
  const found = equalityIn(text)
  if (found === undefined)
    return { text: undefined, note: 'ask for all of them at once, with a join to the parent' }
  const { column, start, end, parameter } = found
  const many = `${text.slice(0, start)}= any(${parameter})${text.slice(end)}`
  return { text: many, note: noteOn(text, column) }
}

/** The last `column = $n` behind the first WHERE: what varies is what narrows most, and stands last as a rule. */
function equalityIn(text: string) {
  const tokens = new SqlTokens(text)
  let isBehindWhere = false
  let column = ''
  let operator: { start: number; column: string } | undefined
  let best: { column: string; start: number; end: number; parameter: string } | undefined
  while (tokens.next()) {
    const { kind, start, end } = tokens
    const word = tokens.text
    if (kind === TOKEN.parameter && operator !== undefined && isBehindWhere) {
      const found = { column: operator.column, start: operator.start, end, parameter: word }
      if (best === undefined || (isKey(found.column) && !isKey(best.column))) best = found
    }
    operator = word === '=' && column !== '' ? { start, column } : undefined
    if (word === 'where') isBehindWhere = true
    column = kind === TOKEN.word || kind === TOKEN.name ? word : ''
  }
  return best
}

function isKey(column: string): boolean {
  return /(^|_)id"?$/i.test(column)
}

function noteOn(text: string, column: string): string | undefined {
  if (!/^(select|with)\b/.test(text)) return undefined
  if (/\blimit \$/.test(text))
    return 'with a limit for each: select … from unnest($1) as wanted, lateral (… limit …) as each'
  const list = text.slice(6, text.indexOf(' from '))
  const hasColumn =
    list.includes('*') || new RegExp(`\\b${column.replace(/\W/g, '.')}\\b`).test(list)
  return hasColumn ? undefined : `select ${column} too, to tell the rows apart`
}
