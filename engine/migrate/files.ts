/** files: the folder of migrations: which there are, in order, what is in them, and new ones.
 *  Owns:   the names: 0001_name.up.sql, 0001_name.down.sql.   Not here: what was applied (history.ts), generated text (down_file.ts).
 *  Thread: main of a command.
 *  Holds:  (1) order is by the number, as a number.  (2) two of one number, or a file that is nearly a migration, is refused: nobody
 *          wonders why it does not run.  (3) a checksum is of the text, whichever way its lines end. */

import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { wallMs } from '../clock.ts'
import { HearthError } from '../errors.ts'

export interface MigrationFile {
  /** Decimal digits, without leading zeros: bigint in the history. */
  readonly version: string
  /** As the file has it: `0001_add_rooms`. */
  readonly stem: string
  readonly name: string
  readonly upPath: string
  readonly downPath: string
  readonly hasDown: boolean
}

const SHAPE = /^(\d{1,18})_([A-Za-z0-9][A-Za-z0-9_.-]*?)\.(up|down)\.sql$/

/** Throws BAD_REQUEST for names that cannot be meant so, NOT_CONFIGURED without the folder. */
export function readFolder(folder: string): MigrationFile[] {
  const names = namesIn(folder)
  const downs = new Set(names)
  const found = new Map<string, MigrationFile>()
  for (const name of names) {
    if (!name.endsWith('.sql')) continue
    const shape = SHAPE.exec(name)
    if (shape === null) throw wrongName(folder, name)
    const [, digits, rest, direction] = shape as unknown as [string, string, string, string]
    const stem = `${digits}_${rest}`
    if (direction === 'down') {
      if (downs.has(`${stem}.up.sql`)) continue
      throw new HearthError('BAD_REQUEST', `${join(folder, name)} has no ${stem}.up.sql beside it`)
    }
    const version = BigInt(digits).toString()
    const other = found.get(version)
    if (other !== undefined) {
      const text = `${folder} has two migrations of number ${version}: ${other.stem} and ${stem}; give one another number`
      throw new HearthError('BAD_REQUEST', text)
    }
    const downPath = join(folder, `${stem}.down.sql`)
    const hasDown = downs.has(`${stem}.down.sql`)
    found.set(version, {
      version,
      stem,
      name: rest,
      upPath: join(folder, name),
      downPath,
      hasDown,
    })
  }
  return [...found.values()].sort((a, b) => compareVersions(a.version, b.version))
}

export function compareVersions(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0)
}

/** Of the text that runs: byte order mark and carriage returns aside. */
export function readSql(path: string): string {
  const text = readFileSync(path, 'utf8')
  return text.startsWith('\ufeff') ? text.slice(1) : text
}

export function checksumOf(text: string): string {
  return createHash('sha256').update(text.replaceAll('\r\n', '\n')).digest('hex')
}

/** Writes an empty migration behind the last one and answers its path. Timestamps are gone on with where they are in use. */
export function createFile(folder: string, title: string, useTimestamp: boolean): string {
  const name = title
    .trim()
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .replace(/^_+|_+$/g, '')
  if (name === '')
    throw new HearthError(
      'BAD_REQUEST',
      `found ${JSON.stringify(title)}, expected a name with letters`,
    )
  mkdirSync(folder, { recursive: true })
  const last = readFolder(folder).at(-1)
  const isTimestamp =
    useTimestamp || (last !== undefined && last.version.length === TIMESTAMP_DIGITS)
  const number = isTimestamp ? timestamp(last?.version) : sequel(last)
  const path = join(folder, `${number}_${name}.up.sql`)
  writeFileSync(path, TEMPLATE, { flag: 'wx' })
  return path
}

/** Whole or not at all. */
export function writeWhole(path: string, text: string): void {
  const draft = `${path}.${process.pid}.new`
  writeFileSync(draft, text)
  renameSync(draft, path)
}

const TIMESTAMP_DIGITS = 14
const TEMPLATE = `-- What this changes, and why.

`

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw folderError(folder, cause)
    const text = `there is no folder ${folder}; \`hearth migrate new NAME\` makes it, or name another by --dir or migrate.dir`
    throw new HearthError('NOT_CONFIGURED', text, { cause })
  }
}

function folderError(folder: string, cause: unknown): HearthError {
  return new HearthError('NOT_CONFIGURED', `${folder}: ${(cause as Error).message}`, { cause })
}

function wrongName(folder: string, name: string): HearthError {
  const text = `${join(folder, name)} is not named as a migration is: 0001_name.up.sql or 0001_name.down.sql`
  return new HearthError('BAD_REQUEST', text)
}

function sequel(last: MigrationFile | undefined): string {
  const next = (BigInt(last?.version ?? '0') + 1n).toString()
  const digits = last === undefined ? 4 : last.stem.indexOf('_')
  return next.padStart(digits, '0')
}

/** Now in UTC, or one more than the last when that is not later. */
function timestamp(last: string | undefined): string {
  const now = new Date(wallMs()).toISOString().replace(/[^\d]/g, '').slice(0, TIMESTAMP_DIGITS)
  if (last === undefined || compareVersions(now, last) > 0) return now
  return (BigInt(last) + 1n).toString()
}
