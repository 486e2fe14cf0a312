/** TOML: text to plain tables, and a syntax error as one line that quotes nothing of the file.
 *  Owns:   the parser; this is the sole importer of smol-toml.
 *  Thread: main, at start and reload. Nothing of the parse outlives the load.
 *  Holds:  smol-toml's own message quotes the lines around the error, a password among them: it
 *          stays here. */

import { parse, TomlError } from 'smol-toml'

/** Inline tables and arrays inside one another; our own deepest key needs two. */
const DEPTH_MAX = 16

export interface TomlSyntaxError {
  readonly line: number
  readonly reason: string
}

export type TomlTable = Readonly<Record<string, unknown>>

/** The root table (no prototype anywhere in it), or where and why the text is no TOML. */
export function parseToml(text: string): { table: TomlTable } | { error: TomlSyntaxError } {
  try {
    return { table: parse(text, { maxDepth: DEPTH_MAX }) }
  } catch (error) {
    if (!(error instanceof TomlError)) return { error: { line: 1, reason: 'unreadable TOML' } }
    const reason = error.message.split('\n', 1)[0]!.replace('Invalid TOML document: ', '')
    return { error: { line: error.line, reason } }
  }
}
