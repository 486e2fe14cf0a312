/** predicates: the conditions of a plan's node, as an index could serve them.
 *  Owns:   nothing: pure functions.   Not here: which index follows (candidates.ts).
 *  Thread: the client's.
 *  Holds:  what is not understood is left out: it asks for no index. Alternatives (OR) are not understood. */

import { SqlTokens, TOKEN } from '../../sql_tokens.ts'

export type PredicateKind = 'equal' | 'range' | 'prefix' | 'null' | 'notNull' | 'true' | 'false'

export interface Predicate {
  readonly kind: PredicateKind
  /** The column's name, or the text of an expression such as `lower(email)`. */
  readonly subject: string
  readonly isExpression: boolean
  /** Whose column it is; undefined where the plan has one table. */
  readonly alias: string | undefined
  /** The other side, when that is a column of another table. */
  readonly other: { readonly alias: string; readonly column: string } | undefined
}

interface Token {
  readonly kind: number
  readonly text: string
}

/** `((a = 1) AND (lower(b) ~~ 'x%'::text))` → two predicates. */
export function predicatesOf(condition: string): Predicate[] {
  return conjuncts(tokensOf(condition))
    .map(predicateOf)
    .filter(found => found !== undefined)
}

/** `lower(email) DESC` of a sort key: the subject and its alias; undefined when it is neither column nor call. */
export function sortSubject(key: string): Predicate | undefined {
  const plain = key.replace(/ (ASC|DESC)?( ?NULLS (FIRST|LAST))?$/, '').replace(/ DESC$/, '')
  return operandOf(tokensOf(plain), 'range')
}

function tokensOf(text: string): Token[] {
  const tokens = new SqlTokens(text)
  const found: Token[] = []
  while (tokens.next()) found.push({ kind: tokens.kind, text: tokens.text })
  return found
}

function conjuncts(tokens: readonly Token[]): Token[][] {
  const inner = unwrapped(tokens)
  const parts: Token[][] = [[]]
  let depth = 0
  for (const token of inner) {
    if (token.text === '(') depth++
    else if (token.text === ')') depth--
    if (depth === 0 && token.text === 'OR') return []
    if (depth === 0 && token.text === 'AND') parts.push([])
    else parts.at(-1)!.push(token)
  }
  return parts.length === 1 ? [[...inner]] : parts.flatMap(conjuncts)
}

/** Without brackets around the whole. */
function unwrapped(tokens: readonly Token[]): readonly Token[] {
  let found = tokens
  while (found[0]?.text === '(' && closeOf(found, 0) === found.length - 1)
    found = found.slice(1, -1)
  return found
}

function closeOf(tokens: readonly Token[], open: number): number {
  let depth = 0
  for (let at = open; at < tokens.length; at++) {
    if (tokens[at]!.text === '(') depth++
    else if (tokens[at]!.text === ')' && --depth === 0) return at
  }
  return -1
}

const KINDS: Record<string, PredicateKind> = {
  '=': 'equal',
  '<': 'range',
  '>': 'range',
  '<=': 'range',
  '>=': 'range',
  '~~': 'prefix',
}

function predicateOf(tokens: readonly Token[]): Predicate | undefined {
  const texts = tokens.map(({ text }) => text)
  const end = texts.slice(-3).join(' ')
  if (end === 'IS NOT NULL') return operandOf(tokens.slice(0, -3), 'notNull')
  if (end.endsWith('IS NULL')) return operandOf(tokens.slice(0, -2), 'null')
  if (texts[0] === 'NOT') return operandOf(tokens.slice(1), 'false')
  const at = operatorAt(tokens)
  if (at < 0) return operandOf(tokens, 'true')
  const kind = KINDS[texts[at]!]
  if (kind === undefined) return undefined
  const [left, right] = [tokens.slice(0, at), tokens.slice(at + 1)]
  if (kind === 'prefix' && right[0]?.text !== "'?%'") return undefined
  const subject = operandOf(left, kind)
  const other = operandOf(right, kind)
  if (subject === undefined) return isConstant(left) ? other : undefined
  if (other === undefined) return isConstant(right) ? subject : undefined
  if (other.isExpression || subject.isExpression) return undefined
  if (subject.alias === undefined || other.alias === undefined) return undefined
  return { ...subject, other: { alias: other.alias, column: other.subject } }
}

/** The operator outside all brackets. */
function operatorAt(tokens: readonly Token[]): number {
  let depth = 0
  for (let at = 0; at < tokens.length; at++) {
    const { kind, text } = tokens[at]!
    if (text === '(' || text === '[') depth++
    else if (text === ')' || text === ']') depth--
    else if (depth === 0 && kind === TOKEN.symbol && !/^(::|\.|,)$/.test(text)) return at
  }
  return -1
}

/** No column in it: parameters, literals, casts, `ANY (…)`, and now(). */
function isConstant(tokens: readonly Token[]): boolean {
  return tokens.every(({ kind, text }, at) => {
    if (kind === TOKEN.name) return false
    if (kind !== TOKEN.word) return true
    const before = tokens[at - 1]?.text
    return before === '::' || CONSTANT_WORDS.test(text) || isTypeWord(tokens, at)
  })
}

const CONSTANT_WORDS = /^(ANY|now|CURRENT_\w+|true|false|statement_timestamp|NULL)$/

/** `timestamp with time zone`, `character varying`, behind `::`. */
function isTypeWord(tokens: readonly Token[], at: number): boolean {
  let before = at
  while (before >= 0 && tokens[before]!.kind === TOKEN.word) before--
  return tokens[before]?.text === '::'
}

/** A column, with its casts, or a call of a function on columns; else undefined. */
function operandOf(tokens: readonly Token[], kind: PredicateKind): Predicate | undefined {
  const plain = withoutCast(tokens)
  const [first, second, third] = plain
  if (first === undefined) return undefined
  const isName = (token: Token | undefined) =>
    token?.kind === TOKEN.name || (token?.kind === TOKEN.word && !/^[A-Z]/.test(token.text))
  const base = { kind, other: undefined }
  if (plain.length === 1 && isName(first))
    return { ...base, subject: unquoted(first.text), isExpression: false, alias: undefined }
  if (plain.length === 3 && isName(first) && second!.text === '.' && isName(third))
    return {
      ...base,
      subject: unquoted(third!.text),
      isExpression: false,
      alias: unquoted(first.text),
    }
  const isCall = isName(first) && second?.text === '(' && closeOf(plain, 1) === plain.length - 1
  if (!isCall || !IMMUTABLE.test(first.text)) return undefined
  const { text, alias } = withoutAlias(plain)
  return { ...base, subject: text, isExpression: true, alias }
}

/** Functions that an index may have, and people filter by. */
const IMMUTABLE = /^(lower|upper|md5|abs|length|btrim|ltrim|rtrim)$/

function withoutCast(tokens: readonly Token[]): readonly Token[] {
  const inner = unwrapped(tokens)
  let depth = 0
  for (let at = 0; at < inner.length; at++) {
    if (inner[at]!.text === '(') depth++
    else if (inner[at]!.text === ')') depth--
    else if (depth === 0 && inner[at]!.text === '::') return withoutCast(inner.slice(0, at))
  }
  return inner
}

function withoutAlias(tokens: readonly Token[]): { text: string; alias: string | undefined } {
  let alias: string | undefined
  let text = ''
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at]!
    if (tokens[at + 1]?.text === '.') {
      alias = unquoted(token.text)
      at++
    } else text += token.text
  }
  return { text, alias }
}

export function unquoted(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name
}
