/** header: what a migration's file says of itself, in comments `-- hearth: …` before its first statement.
 *  Owns:   the options.   Thread: any.
 *  Holds:  an option that is not known, or a value that cannot be read, is refused with its line: nothing is overlooked. */

import { durationMs } from '../config/units.ts'
import { HearthError } from '../errors.ts'
import { endOfSpace } from './parser.ts'

export interface Header {
  /** False: each statement by itself, as CONCURRENTLY wants it. */
  readonly isTransaction: boolean
  /** It is never to be reverted. */
  readonly isIrreversible: boolean
  readonly lockTimeoutMs?: number
  readonly statementTimeoutMs?: number
  /** Codes of lint that are accepted. */
  readonly allow: readonly string[]
}

const KNOWN = 'no-transaction, irreversible, lock_timeout=5s, statement_timeout=10m, allow=CODE'

/** Throws BAD_REQUEST. `path` is for its words. */
export function readHeader(text: string, path: string): Header {
  const head = text.slice(0, endOfSpace(text, 0))
  const header: { -readonly [Key in keyof Header]: Header[Key] } = {
    isTransaction: true,
    isIrreversible: false,
    allow: [],
  }
  head.split('\n').forEach((line, index) => {
    const words = /^\s*--\s*hearth:\s*(.*)$/i.exec(line)?.[1]
    if (words === undefined) return
    for (const word of words.trim().split(/[\s,]+/)) {
      if (!take(header, word))
        throw new HearthError(
          'BAD_REQUEST',
          `${path}:${index + 1}: found ${JSON.stringify(word)}, expected one of ${KNOWN}`,
        )
    }
  })
  return header
}

function take(header: { -readonly [Key in keyof Header]: Header[Key] }, word: string): boolean {
  const [name, value] = word.split('=') as [string, string | undefined]
  if (name === 'no-transaction') header.isTransaction = false
  else if (name === 'irreversible') header.isIrreversible = true
  else if (name === 'allow' && value) header.allow = [...header.allow, value]
  else if (name === 'lock_timeout' || name === 'statement_timeout') {
    const ms = durationMs(value ?? '')
    if (ms === undefined) return false
    header[name === 'lock_timeout' ? 'lockTimeoutMs' : 'statementTimeoutMs'] = ms
  } else return false
  return true
}
