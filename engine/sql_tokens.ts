/** sql_tokens: SQL text cut into tokens as Postgres' own lexer does it, without looking at what they mean.
 *  Owns:   one cursor over one text.   Thread: any.
 *  Holds:  (1) each character is looked at once.  (2) any text at all comes to its end: what is not closed reaches to the end.
 *          (3) a literal is one token, whatever stands in it: '…', E'…', B'…', X'…', U&'…', $tag$…$tag$.
 *
 *  Plain strings have no escapes (standard_conforming_strings, on since Postgres 9.1). */

import { afterComment } from './sql_comment.ts'

export const TOKEN = {
  end: 0,
  /** A name or keyword without quotes. */
  word: 1,
  /** A name in double quotes. */
  name: 2,
  number: 3,
  text: 4,
  /** `$1` */
  parameter: 5,
  /** An operator, or one mark of punctuation. */
  symbol: 6,
} as const

export class SqlTokens {
  kind: number = TOKEN.end
  start = 0
  end = 0
  private readonly sql: string
  private readonly stop: number

  /** Reads the text up to `stop`. */
  constructor(sql: string, stop = sql.length) {
    this.sql = sql
    this.stop = Math.min(stop, sql.length)
  }

  /** The token as it stands. */
  get text(): string {
    return this.sql.slice(this.start, this.end)
  }

  /** Goes to the next token; false at the end. */
  next(): boolean {
    const start = this.skipSpace(this.end)
    this.start = start
    if (start >= this.stop) {
      this.end = this.stop
      this.kind = TOKEN.end
      return false
    }
    const code = this.sql.charCodeAt(start)
    if (isWordStart(code)) this.word(start, code)
    else if (code === QUOTE) this.finish(TOKEN.text, this.afterQuoted(start + 1, QUOTE, false))
    else if (code === DOUBLE_QUOTE)
      this.finish(TOKEN.name, this.afterQuoted(start + 1, DOUBLE_QUOTE, false))
    else if (code === DOLLAR) this.dollar(start)
    else if (isDigit(code) || (code === DOT && isDigit(this.sql.charCodeAt(start + 1))))
      this.finish(TOKEN.number, this.afterNumber(start))
    else this.finish(TOKEN.symbol, this.afterSymbol(start, code))
    return true
  }

  private finish(kind: number, end: number): void {
    this.kind = kind
    this.end = Math.min(end, this.stop)
  }

  private skipSpace(from: number): number {
    const { sql, stop } = this
    let at = from
    while (at < stop) {
      const code = sql.charCodeAt(at)
      if (code === 32 || (code >= 9 && code <= 13)) at++
      else if (code === DASH && sql.charCodeAt(at + 1) === DASH) at = lineEnd(sql, at)
      else if (code === SLASH && sql.charCodeAt(at + 1) === STAR)
        at = afterComment(sql, at + 2, stop)
      else break
    }
    return at
  }

  private word(start: number, first: number): void {
    const { sql, stop } = this
    let at = start + 1
    while (at < stop && isWordPart(sql.charCodeAt(at))) at++
    const after = sql.charCodeAt(at)
    const lower = first | 32
    if (at === start + 1 && after === QUOTE && PREFIXES.includes(sql[start]!))
      return this.finish(TOKEN.text, this.afterQuoted(at + 1, QUOTE, lower === LETTER_E))
    if (at === start + 1 && lower === LETTER_U && after === AMPERSAND) {
      const quote = sql.charCodeAt(at + 1)
      if (quote === QUOTE) return this.finish(TOKEN.text, this.afterQuoted(at + 2, QUOTE, false))
      if (quote === DOUBLE_QUOTE)
        return this.finish(TOKEN.name, this.afterQuoted(at + 2, DOUBLE_QUOTE, false))
    }
    this.finish(TOKEN.word, at)
  }

  /** Behind the quote that ends it; a doubled one stands for itself. */
  private afterQuoted(from: number, quote: number, hasEscapes: boolean): number {
    const { sql, stop } = this
    for (let at = from; at < stop; at++) {
      const code = sql.charCodeAt(at)
      if (code === BACKSLASH && hasEscapes) at++
      else if (code === quote) {
        if (sql.charCodeAt(at + 1) !== quote) return at + 1
        at++
      }
    }
    return stop
  }

  private dollar(start: number): void {
    const { sql, stop } = this
    let at = start + 1
    if (isDigit(sql.charCodeAt(at))) {
      while (at < stop && isDigit(sql.charCodeAt(at))) at++
      return this.finish(TOKEN.parameter, at)
    }
    while (at < stop && isWordPart(sql.charCodeAt(at)) && sql.charCodeAt(at) !== DOLLAR) at++
    if (sql.charCodeAt(at) !== DOLLAR) return this.finish(TOKEN.symbol, start + 1)
    const tag = sql.slice(start, at + 1)
    const found = sql.indexOf(tag, at + 1)
    this.finish(TOKEN.text, found < 0 ? stop : found + tag.length)
  }

  private afterNumber(start: number): number {
    const { sql, stop } = this
    let at = start
    while (at < stop) {
      const code = sql.charCodeAt(at)
      if (code === DOT && sql.charCodeAt(at + 1) === DOT) break // 1..2, a range of PL/pgSQL's
      const isSigned = (code === DASH || code === PLUS) && at > start
      if (isSigned && (sql.charCodeAt(at - 1) | 32) !== LETTER_E) break
      if (isSigned && !isDigit(sql.charCodeAt(at + 1))) break
      if (!isSigned && code !== DOT && !isWordPart(code)) break
      at++
    }
    return at
  }

  /** An operator may end in + or - only when it has a mark in it that no standard operator has; `::` and `:=` are one. */
  private afterSymbol(start: number, code: number): number {
    const { sql, stop } = this
    if (code === COLON) {
      const next = sql.charCodeAt(start + 1)
      return next === COLON || next === EQUALS ? start + 2 : start + 1
    }
    if (!OPERATOR.includes(sql[start]!)) return start + 1
    let at = start
    let isSpecial = false
    while (at < stop && OPERATOR.includes(sql[at]!)) {
      const two = sql.charCodeAt(at + 1)
      const each = sql.charCodeAt(at)
      if ((each === DASH && two === DASH) || (each === SLASH && two === STAR)) break
      if (SPECIAL.includes(sql[at]!)) isSpecial = true
      at++
    }
    while (!isSpecial && at > start + 1 && (sql[at - 1] === '+' || sql[at - 1] === '-')) at--
    return Math.max(at, start + 1)
  }
}

const OPERATOR = '+-*/<>=~!@#%^&|`?'
const SPECIAL = '~!@#%^&|`?'
const PREFIXES = 'eEbBxXnN'
const QUOTE = 39
const DOUBLE_QUOTE = 34
const DOLLAR = 36
const DOT = 46
const DASH = 45
const PLUS = 43
const SLASH = 47
const STAR = 42
const COLON = 58
const EQUALS = 61
const BACKSLASH = 92
const AMPERSAND = 38
const LETTER_E = 101
const LETTER_U = 117

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57
}

function isWordStart(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || code === 95 || code > 127
}

function isWordPart(code: number): boolean {
  return isWordStart(code) || isDigit(code) || code === DOLLAR
}

function lineEnd(sql: string, from: number): number {
  const found = sql.indexOf('\n', from)
  return found < 0 ? sql.length : found + 1
}
