/** checks: files against history: what stands in the way of the next migration, and what is due.
 *  Owns:   these rules and their words.   Thread: main of a command; pure functions.
 *  Holds:  what was applied is what the files say, in their order; whatever else is found is told before anything runs. */

import { compareVersions } from './files.ts'
import type { Applied } from './history.ts'
import type { Migration } from './project.ts'

export type ProblemKind = 'changed' | 'missing' | 'out-of-order' | 'interrupted'

export interface Problem {
  readonly kind: ProblemKind
  readonly version: string
  readonly text: string
}

export interface Standing {
  readonly pending: readonly Migration[]
  readonly problems: readonly Problem[]
}

export function standingOf(
  migrations: readonly Migration[],
  applied: readonly Applied[],
  folder: string,
): Standing {
  const byVersion = new Map(migrations.map(each => [each.version, each]))
  const known = new Set(applied.map(({ version }) => version))
  const last = applied
    .map(({ version }) => version)
    .sort(compareVersions)
    .at(-1)
  const problems = applied.flatMap(row => problemsOf(row, byVersion.get(row.version), folder))
  const pending = migrations.filter(({ version }) => !known.has(version))
  for (const { version, stem } of pending) {
    if (last === undefined || compareVersions(version, last) > 0) continue
    const text =
      `${stem} is not applied, and ${last}, which comes after it, is: give it a higher number, or ` +
      'run it all the same with --allow-out-of-order'
    problems.push({ kind: 'out-of-order', version, text })
  }
  return { pending, problems }
}

function problemsOf(row: Applied, file: Migration | undefined, folder: string): Problem[] {
  const { version } = row
  if (row.state !== 'applied')
    return [{ kind: 'interrupted', version, text: interruptedText(row, file) }]
  if (file === undefined) {
    const text = `${nameOf(row)} is applied, and ${folder} has no file of that number: bring it back`
    return [{ kind: 'missing', version, text }]
  }
  if (file.up.checksum === row.checksum) return []
  const text =
    `${file.upPath} is not what was applied (sha256 ${row.checksum.slice(0, 12)}… then, ` +
    `${file.up.checksum.slice(0, 12)}… now): put it back as it was, and write a new migration for what is to change`
  return [{ kind: 'changed', version, text }]
}

/** Without a transaction, so it may be done in part. */
export function interruptedText(row: Applied, file: Migration | undefined): string {
  const way = row.isReverting ? 'down' : 'up'
  const total = row.isReverting ? undefined : file?.up.statements.length
  const done = `${row.statementsDone}${total === undefined ? '' : ` of ${total}`} statements are done`
  const end = row.state === 'failed' ? 'failed' : 'was interrupted'
  return (
    `${way} of ${nameOf(row)}, which has no transaction, ${end}: ${done}, and the next one may have had its effect in part. ` +
    `Look, mend what is wrong (in the file too), then \`hearth migrate ${way} --resume\` goes on with that statement; an ` +
    'index that was left invalid is dropped first. Or undo by hand what is there, and take its row out: ' +
    `delete from hearth.migrations where version = ${row.version}`
  )
}

export function nameOf({ version, name }: Pick<Applied, 'version' | 'name'>): string {
  return `${version.padStart(4, '0')}_${name}`
}
