/** UnitFiles: the generated files on disk: written where nobody has changed them, never over somebody's work in silence.
 *  Owns:   the stamp, which tells our text from a changed one.   Not here: what stands in them (units.ts).
 *  Thread: main.
 *  Holds:  (1) all files are looked at before the first is written.  (2) a file that was changed by hand stays, unless `force`,
 *          and then it is kept beside as FILE.old.  (3) a file is replaced whole, or not at all. */

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { HearthError } from '../../errors.ts'
import { nameHash } from '../../hash.ts'

export interface UnitFile {
  readonly path: string
  readonly text: string
}

export interface WrittenFile {
  readonly path: string
  readonly outcome: 'written' | 'updated' | 'unchanged' | 'replaced'
}

const STAMP = /^# Written by hearth install-service \S+ \(([0-9a-z]+)\)\./

/** The text with its stamp: by which version, and a hash of what follows. */
export function stamped(text: string, version: string, unit: string): string {
  const hint = unit === '' ? '' : ` Put changes into a drop-in: systemctl edit ${unit}`
  return `# Written by hearth install-service ${version} (${nameHash(text)}).${hint}\n${text}`
}

/** Writes the files. Throws BAD_REQUEST that names those changed by hand, FORBIDDEN where the user may not write. */
export function writeUnitFiles(files: readonly UnitFile[], isForced: boolean): WrittenFile[] {
  const found = files.map(file => ({ ...file, outcome: outcomeOf(file) }))
  const changed = found.filter(({ outcome }) => outcome === 'replaced').map(({ path }) => path)
  if (changed.length > 0 && !isForced) {
    throw new HearthError(
      'BAD_REQUEST',
      `${changed.join(' and ')} ${changed.length === 1 ? 'was' : 'were'} changed by hand; nothing was written. ` +
        'Move the changes to a drop-in (systemctl edit), or give --force, which keeps the old file as FILE.old',
    )
  }
  return found.map(({ path, text, outcome }) => {
    if (outcome !== 'unchanged') replace(path, text, outcome === 'replaced')
    return { path, outcome }
  })
}

function outcomeOf({ path, text }: UnitFile): WrittenFile['outcome'] {
  if (!existsSync(path)) return 'written'
  const old = readFileSync(path, 'utf8')
  if (old === text) return 'unchanged'
  const end = old.indexOf('\n')
  const isOurs = STAMP.exec(old)?.[1] === nameHash(old.slice(end + 1))
  return isOurs ? 'updated' : 'replaced'
}

function replace(path: string, text: string, isKept: boolean): void {
  const draft = `${path}.new`
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
    writeFileSync(draft, text, { mode: 0o644 })
    if (isKept) renameSync(path, `${path}.old`)
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true })
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS') throw error
    throw new HearthError(
      'FORBIDDEN',
      `cannot write ${path} (${message}); run this as root, or see --print and --root`,
      { cause: error },
    )
  }
}
