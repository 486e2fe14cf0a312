/** parser: SQL as Postgres itself parses it: its own parser, compiled to WebAssembly (npm libpg-query, whose sole importer this is).
 *  Owns:   nothing; the module is loaded with the first use.   Not here: what statements mean (lint.ts, invert.ts).
 *  Thread: main of a command.
 *  Holds:  places are in characters of the text, as JavaScript counts them; the parser's own, in bytes, do not leave this file. */

import type { Node, ParseResult } from 'libpg-query'
import { afterComment } from '../sql_comment.ts'

export type { Node }

export interface Statement {
  /** What it is, such as `CreateStmt`. */
  readonly kind: string
  readonly node: Node
  /** Without what stands before its first word, and without its semicolon. */
  readonly sql: string
  /** Where `sql` begins in the text. */
  readonly start: number
}

/** The text is no SQL for this parser. The server may be newer, and think otherwise. */
export interface SyntaxProblem {
  readonly message: string
  /** Where in the text. */
  readonly at: number
}

export type Parsed =
  | { readonly statements: readonly Statement[]; readonly problem?: undefined }
  | { readonly statements?: undefined; readonly problem: SyntaxProblem }

export async function parseSql(text: string): Promise<Parsed> {
  if (endOfSpace(text, 0) >= text.length) return { statements: [] }
  const { loadModule, parseSync, hasSqlDetails } = await import('libpg-query')
  await loadModule()
  let result: ParseResult
  try {
    result = parseSync(text)
  } catch (error) {
    if (!hasSqlDetails(error)) throw error
    const at = characterAt(text, error.sqlDetails?.cursorPosition ?? 0)
    return { problem: { message: error.message, at } }
  }
  const bytes = Buffer.from(text)
  const isPlain = bytes.length === text.length
  const place = (byte: number) => (isPlain ? byte : bytes.toString('utf8', 0, byte).length)
  const statements = (result.stmts ?? []).map(({ stmt, stmt_location = 0, stmt_len = 0 }) => {
    const end = stmt_len === 0 ? text.length : place(stmt_location + stmt_len)
    const start = endOfSpace(text, place(stmt_location))
    const node = stmt as Node
    return { kind: Object.keys(node)[0]!, node, start, sql: text.slice(start, end).trimEnd() }
  })
  return { statements }
}

/** Postgres counts code points. */
export function characterAt(text: string, codePoints: number): number {
  let at = 0
  for (let left = codePoints; left > 0 && at < text.length; left--)
    at += text.codePointAt(at)! > 0xffff ? 2 : 1
  return at
}

/** Behind spaces and comments (which nest) from there on. */
export function endOfSpace(text: string, from: number): number {
  let at = from
  for (;;) {
    const two = text.slice(at, at + 2)
    if (two === '--') {
      const end = text.indexOf('\n', at)
      at = end < 0 ? text.length : end + 1
    } else if (two === '/*') at = afterComment(text, at + 2)
    else if (at < text.length && /[\s;\ufeff]/.test(text[at]!)) at++
    else return at
  }
}
