/** Report: an error as the user of the CLI sees it.
 *  Owns:   its form: `hearth: CODE: message` on stderr, or `{ "error": { code, message, … } }` there with --json.
 *  Thread: main.
 *  Holds:  a HearthError is words for people, no stack; anything else is a fault of ours and shows its stack. */

import { isHearthError } from '../errors.ts'
import { complain, styled } from './output.ts'
import { jsonText } from './values.ts'

export function reportError(error: unknown, isJson: boolean): void {
  if (isJson) return complain(jsonText({ error: errorFields(error) }, process.stderr.isTTY ? 2 : 0))
  if (!isHearthError(error)) {
    const stack = error instanceof Error ? error.stack : String(error)
    return complain(`hearth: this is a fault in Hearth itself:\n${stack}`)
  }
  const head = styled(['red'], `hearth: ${error.code}:`, process.stderr)
  const lines = [`${head} ${error.message}`]
  if (error.detail !== undefined) lines.push(`  detail: ${error.detail}`)
  if (error.hint !== undefined) lines.push(`  hint: ${error.hint}`)
  if (error.position !== undefined) lines.push(`  at character ${error.position} of the statement`)
  if (error.sqlState !== undefined) lines.push(`  SQLSTATE ${error.sqlState}`)
  if (error.retryAfterMs !== undefined) lines.push(`  try again in ${error.retryAfterMs} ms`)
  complain(lines.join('\n'))
}

function errorFields(error: unknown): Record<string, unknown> {
  if (!isHearthError(error)) {
    const message = error instanceof Error ? error.message : String(error)
    return { code: 'INTERNAL', message, stack: error instanceof Error ? error.stack : undefined }
  }
  const { code, message, retryable, cause: _, ...details } = error
  return { code, message, retryable, ...details, name: undefined }
}
