/** fingerprint: what all texts have in common that differ in literals, lists, comments, spaces and capitals alone.
 *  Owns:   nothing: pure functions.   Not here: tokens (engine/sql_tokens.ts), who counts them (recorder.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) no literal of the text is in it: each is a parameter, numbered in the order in which they stand.
 *          (2) a list of IN or ARRAY counts as one of its elements, the rows of VALUES as one.  (3) it costs as much as
 *          READ_CHARS of text at most, and is no longer than FINGERPRINT_CHARS_MAX. */

import { SqlTokens, TOKEN } from '../../../engine/sql_tokens.ts'

/** Of a longer text, which is a list of rows as a rule, the beginning decides. */
const READ_CHARS = 8_192
export const FINGERPRINT_CHARS_MAX = 2_048

/** `SELECT * FROM t WHERE a IN (1, 2) -- why` → `select * from t where a in ($1)`. */
export function fingerprintOf(sql: string): string {
  const out: string[] = []
  const tokens = new SqlTokens(sql, READ_CHARS)
  while (tokens.next()) add(out, tokens)
  if (out.at(-1) === ';') out.pop()
  if (sql.length > READ_CHARS) cutOpenGroup(out)
  return joined(out).slice(0, FINGERPRINT_CHARS_MAX)
}

/** Literals stand as '?' until they are numbered. */
function add(out: string[], tokens: SqlTokens): void {
  const { kind } = tokens
  if (kind === TOKEN.number) {
    dropSign(out)
    out.push('?')
  } else if (kind === TOKEN.text) {
    const type = out.at(-1)
    if (type !== undefined && TYPES.has(type)) out.splice(-1, 1, '?', '::', type)
    else if (type !== '?') out.push('?') // two strings on two lines are one
  } else if (kind === TOKEN.word) out.push(tokens.text.toLowerCase())
  else out.push(tokens.text)
  if (kind !== TOKEN.symbol) return
  if (out.at(-1) === ')') closeGroup(out)
  else if (out.at(-1) === ']') closeArray(out)
}

/** `= -5` is a number as `= 5` is; `a - 5` is a difference. */
function dropSign(out: string[]): void {
  const sign = out.at(-1)
  if (sign !== '-' && sign !== '+') return
  const before = out.at(-2)
  if (before === undefined || /^[(,<>=+*/%[-]/.test(before) || BEFORE_VALUE.has(before)) out.pop()
}

/** A list of IN becomes its first element; a row of VALUES that is like the one before it goes. */
function closeGroup(out: string[]): void {
  const open = openOf(out, '(')
  if (open < 0) return
  const before = out[open - 1]
  if (before === 'in') out.splice(open + 2, out.length - open - 3)
  else if (before === ',' && out[open - 2] === ')') {
    const length = out.length - open
    const earlier = open - 1 - length
    if (out[earlier] === '(' && /^(values|,)$/.test(out[earlier - 1] ?? ''))
      out.splice(open - 1, length + 1)
  }
}

function closeArray(out: string[]): void {
  const open = openOf(out, '[')
  if (open > 0 && out[open - 1] === 'array') out.splice(open + 2, out.length - open - 3)
}

/** Where the group that has just been closed begins, if it has nothing but literals and parameters; else -1. */
function openOf(out: string[], mark: string): number {
  for (let at = out.length - 2; at >= 0; at--) {
    const token = out[at]!
    if (token === mark) return at < out.length - 2 ? at : -1
    if (token !== ',' && token !== '?' && !isParameter(token)) return -1
  }
  return -1
}

/** What was cut in the middle of a group is as if the group had not begun. */
function cutOpenGroup(out: string[]): void {
  const end = out.lastIndexOf(')')
  if (end > 0) out.length = end + 1
  out.push('…')
}

function joined(out: readonly string[]): string {
  const numbers = new Map<string, number>()
  let count = 0
  let text = ''
  let last = ''
  for (const token of out) {
    let shown = token
    if (token === '?') shown = `$${++count}`
    else if (isParameter(token)) {
      if (!numbers.has(token)) numbers.set(token, ++count)
      shown = `$${numbers.get(token)}`
    }
    if (text !== '' && hasSpace(last, token)) text += ' '
    text += shown
    last = token
  }
  return text
}

function hasSpace(last: string, token: string): boolean {
  if (NONE_AFTER.has(last) || NONE_BEFORE.has(token)) return false
  if (token !== '(' && token !== '[') return true
  return !/[\w"$]$/.test(last) || BEFORE_VALUE.has(last)
}

function isParameter(token: string): boolean {
  return token.charCodeAt(0) === 36 && token.length > 1
}

const NONE_AFTER: ReadonlySet<string> = new Set(['(', '[', '.', '::'])
const NONE_BEFORE: ReadonlySet<string> = new Set([',', ')', ']', '.', '::', ';'])
/** Words behind which a value or a bracket stands, and no call. */
const BEFORE_VALUE: ReadonlySet<string> = new Set(
  (
    'all and any as between by case distinct else except exists from group having ilike in intersect into is join ' +
    'lateral like limit not offset on or order over returning select set some then union using values when where with'
  ).split(' '),
)
/** Types that are written before a literal: `interval '1 day'` becomes `$1::interval`, which can still be planned. */
const TYPES: ReadonlySet<string> = new Set(
  'bigint bytea cidr date inet int integer interval json jsonb numeric text time timestamp timestamptz timetz uuid'.split(
    ' ',
  ),
)
