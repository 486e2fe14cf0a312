/** masking: what is shown of values: of parameters and of the expressions of a plan.
 *  Owns:   nothing: pure functions.   Thread: postgres worker.
 *  Holds:  what is masked says what kind of value it was, never which. Of a LIKE pattern it says besides whether it begins with text,
 *          which is what an index for it depends on. */

import { SqlTokens, TOKEN } from '../../../engine/sql_tokens.ts'

const VALUE_COUNT_MAX = 16
const VALUE_CHARS_MAX = 64

/** Parameters as the slow log has them: `text(12)`, or the value itself if that is allowed. */
export function shownValues(values: readonly unknown[], isAllowed: boolean): string[] {
  return values.slice(0, VALUE_COUNT_MAX).map(isAllowed ? shown : kindOf)
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : kindOrText(value)
  return text.length > VALUE_CHARS_MAX ? `${text.slice(0, VALUE_CHARS_MAX)}…` : text
}

function kindOrText(value: unknown): string {
  if (value instanceof Date) return value.toISOString()
  if (value instanceof Uint8Array) return kindOf(value)
  if (typeof value === 'object' && value !== null) {
    const text = JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? `${each}` : each))
    return text ?? kindOf(value)
  }
  return String(value)
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (typeof value === 'string') return `text(${value.length})`
  if (value instanceof Date) return 'time'
  if (value instanceof Uint8Array) return `bytes(${value.length})`
  if (Array.isArray(value)) return `array(${value.length})`
  return typeof value === 'bigint' ? 'number' : typeof value
}

/** A plan as EXPLAIN (FORMAT JSON) gives it, with the values in its expressions masked. */
export function maskedPlan(node: unknown, key = ''): unknown {
  if (typeof node === 'string') return NAMES.has(key) ? node : maskedExpression(node)
  if (Array.isArray(node)) return node.map(each => maskedPlan(each, key))
  if (typeof node !== 'object' || node === null) return node
  return Object.fromEntries(
    Object.entries(node).map(([name, value]) => [name, maskedPlan(value, name)]),
  )
}

/** `(a = 'secret'::text)` → `(a = '?'::text)`. */
export function maskedExpression(text: string): string {
  const tokens = new SqlTokens(text)
  let masked = ''
  let from = 0
  let isPattern = false
  while (tokens.next()) {
    const { kind, start, end } = tokens
    const mask =
      kind === TOKEN.number
        ? '?'
        : kind === TOKEN.text
          ? isPattern
            ? patternMask(tokens.text)
            : "'?'"
          : undefined
    if (mask !== undefined) {
      masked += text.slice(from, start) + mask
      from = end
    }
    isPattern = kind === TOKEN.symbol && /^!?~~\*?$/.test(tokens.text)
  }
  return masked + text.slice(from)
}

function patternMask(literal: string): string {
  const begins = literal[0] === "'" && !/^'(%|_|')/.test(literal)
  return begins && /^'[^%_\\]+%'$/.test(literal) ? "'?%'" : "'%?%'"
}

/** Fields of a plan that hold words of Postgres', or names of the schema's. */
const NAMES: ReadonlySet<string> = new Set([
  'Node Type',
  'Parent Relationship',
  'Relation Name',
  'Schema',
  'Alias',
  'Index Name',
  'Join Type',
  'Strategy',
  'Partial Mode',
  'Scan Direction',
  'Operation',
  'Command',
  'Subplan Name',
  'CTE Name',
  'Function Name',
  'Sort Method',
  'Sort Space Type',
])
