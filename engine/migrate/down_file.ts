/** down_file: the generated way back: its text, and what of it says whether it may be used, or made anew.
 *  Owns:   the form of a generated 0001_name.down.sql.   Not here: what undoes a statement (invert.ts).
 *  Thread: main of a command.
 *  Holds:  (1) what could not be inverted stands in it as `-- not inverted: …`, and a file with such a line is never run.  (2) a file
 *          that a person has touched is never written over. */

import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import { readSql } from './files.ts'
import type { Inversion } from './inversion.ts'

/** Of one statement of the up file. */
export interface Undone {
  readonly line: number
  /** Its first words. */
  readonly what: string
  readonly inversion: Inversion
}

export interface Generated {
  /** The whole file. */
  readonly text: string
  /** What runs, in order. */
  readonly statements: readonly string[]
  /** Why it is not complete; none: it is. */
  readonly refusals: readonly string[]
}

/** `doubt`: what was wrong when it was tried. `isProved`: it was tried, and gave back the identical catalog. */
export function composeDown(
  up: { readonly path: string; readonly checksum: string; readonly isTransaction: boolean },
  undone: readonly Undone[],
  proof: { readonly isProved: boolean; readonly doubt?: string | undefined },
): Generated {
  const statements: string[] = []
  const parts: string[] = []
  const refusals: string[] = []
  for (const { line, what, inversion } of [...undone].reverse()) {
    if (inversion.refused !== undefined) {
      const why = `line ${line}: ${what}: ${inversion.refused}`
      refusals.push(why)
      parts.push(`${NOT_INVERTED} ${oneLine(why)}\n`)
    } else if (inversion.sql.length > 0) {
      statements.push(...inversion.sql)
      parts.push(`-- line ${line}\n${inversion.sql.map(each => `${each};\n`).join('')}`)
    }
  }
  if (proof.doubt !== undefined) {
    refusals.push(proof.doubt)
    parts.unshift(`${NOT_INVERTED} ${oneLine(proof.doubt)}\n`)
  }
  const refused =
    'It is refused as long as a line says "not inverted": write what is to be done there, and take that line out.'
  const proved = 'Tried in a transaction that was rolled back: it gave back the identical catalog.'
  const notes =
    refusals.length > 0
      ? [refused]
      : [proof.isProved ? proved : 'Not tried: look it over before it is needed.']
  const options = up.isTransaction ? [] : ['-- hearth: no-transaction']
  const body = [...notes.map(note => `-- ${note}`), ...options, '', parts.join('\n')].join('\n')
  const head = `-- Made by hearth migrate from ${basename(up.path)}, sha256 ${up.checksum}; of what follows: ${hashOfBody(body)}`
  return { text: `${head}\n${body}`, statements, refusals }
}

/** Lines that forbid to run a down file. */
export function refusalsIn(text: string): string[] {
  return text
    .split('\n')
    .filter(line => line.trimStart().toLowerCase().startsWith(NOT_INVERTED))
    .map(line => line.trim().slice(NOT_INVERTED.length).trim())
}

/** Whether the way back may be (re)made: there is none, or one that was made from another up file and not touched since. */
export function mayGenerate(downPath: string, upChecksum: string): boolean {
  if (!existsSync(downPath)) return true
  const text = readSql(downPath)
  const made = HEAD.exec(text)
  if (made === null) return false
  const [head, from, of] = made as unknown as [string, string, string]
  return from !== upChecksum && hashOfBody(text.slice(head.length)) === of
}

const NOT_INVERTED = '-- not inverted:'
const HEAD =
  /^-- Made by hearth migrate from \S+, sha256 ([0-9a-f]{64}); of what follows: ([0-9a-f]{16})\n/

function hashOfBody(body: string): string {
  return createHash('sha256').update(body).digest('hex').slice(0, 16)
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ')
}
