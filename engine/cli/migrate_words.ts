/** migrate_words: what `hearth migrate` says to people.
 *  Owns:   the words.   Not here: the steps (../migrate/), exit codes (commands/migrate.ts).   Thread: main.
 *  Holds:  one line a thing; control characters of a database's names stay where they are. */

import type { Done, Task } from '../migrate/apply.ts'
import type { CatalogChange } from '../migrate/catalog.ts'
import type { Finding } from '../migrate/lint.ts'
import type { Overview, Verdict } from '../migrate/verify.ts'
import { type Style, styled } from './output.ts'
import { duration, tableLines } from './table.ts'
import { oneLine } from './values.ts'

export function findingText({ level, code, path, place, danger, safe, why }: Finding): string {
  const style: Style = level === 'refused' ? 'red' : level === 'warning' ? 'yellow' : 'dim'
  const where = `${path}:${place.line}:${place.column}`
  const reason = why === undefined ? '' : ` (${why})`
  const head = styled(style, `${level === 'harmless' ? 'harmless' : level} ${code}`)
  return `${where}: ${head}: ${oneLine(danger)}${reason}\n    safe: ${safe}`
}

export function taskText({ version, name, direction }: Task): string {
  return `${direction === 'up' ? '↑' : '↓'} ${version.padStart(4, '0')}_${name}`
}

export function doneText({ tookMs, changes }: Done): string {
  return `done in ${duration(tookMs)}, ${changesText(changes.length)}`
}

export function generatedText({ downPath }: Task, { generated, notWritten }: Done): string[] {
  if (generated === undefined || downPath === undefined) return []
  const path = downPath
  if (notWritten !== undefined)
    return [styled('yellow', `  the way back could not be written to ${path}: ${notWritten}`)]
  if (generated.refusals.length === 0) return [`  the way back is in ${path}`]
  return [
    styled('yellow', `  the way back in ${path} is not complete, and will not run until it is:`),
    ...generated.refusals.map(each => `    ${oneLine(each)}`),
  ]
}

export function changeText({ kind, name, change, was, is }: CatalogChange): string {
  const head = `${SIGNS[change]} ${kind} ${name}`
  if (change === 'added') return styled('green', head)
  if (change === 'removed') return styled('red', head)
  return `${styled('yellow', head)}\n    was ${oneLine(was!)}\n    is  ${oneLine(is!)}`
}

const SIGNS = { added: '+', removed: '-', changed: '~' } as const

export function statusLines({ migrations, applied, problems, holder }: Overview): string[] {
  const rows = new Map(applied.map(row => [row.version, row]))
  const known = new Set(migrations.map(({ version }) => version))
  const cells = migrations.map(({ version, stem, hasDown }) => {
    const row = rows.get(version)
    if (row === undefined) return [stem, styled('yellow', 'pending'), '', '', '', wayBack(hasDown)]
    const took = row.durationMs === undefined ? '' : duration(row.durationMs)
    const state = row.state === 'applied' ? row.state : styled('red', row.state)
    return [stem, state, row.appliedAt, took, oneLine(row.by), wayBack(hasDown)]
  })
  for (const row of applied.filter(each => !known.has(each.version)))
    cells.push([
      `${row.version}_${row.name}`,
      styled('red', 'file missing'),
      row.appliedAt,
      '',
      row.by,
      '',
    ])
  const titles = ['migration', 'state', 'applied at', 'took', 'by', 'way back']
  const lines =
    cells.length === 0
      ? ['there are no migrations yet: hearth migrate new NAME']
      : tableLines(
          titles.map(title => ({ title })),
          cells,
        )
  if (holder !== undefined) lines.push('', styled('yellow', `under way: ${oneLine(holder)}`))
  return [...lines, ...problems.map(({ text }) => `\n${styled('red', text)}`)]
}

function wayBack(hasDown: boolean): string {
  return hasDown ? 'yes' : '-'
}

export function verdictLines({ applied, pending, problems, drift }: Verdict): string[] {
  const lines = problems.map(({ text }) => styled('red', text))
  if (problems.length === 0)
    lines.push(`files and history agree: ${applied.length} applied, ${pending.length} pending`)
  if (drift === undefined)
    lines.push('no migration has run here yet, so there is nothing to compare the catalog with')
  else if (drift.length === 0) lines.push('the catalog is as the last migration left it')
  else {
    lines.push(
      `the catalog is not as the last migration left it (${changesText(drift.length)} by somebody else):`,
    )
    lines.push(...drift.map(changeText))
  }
  return lines
}

function changesText(count: number): string {
  return count === 1 ? '1 object changed' : `${count} objects changed`
}
