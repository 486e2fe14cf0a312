/** quarantine: puts a damaged cache file out of the way, so that a new one can begin in its place.
 *  Owns:   the files named `<file>.damaged-<time>`, the newest SETS_KEPT of them.   Not here: what counts as damage (store.ts).
 *  Thread: the sqlite worker, with the database closed.
 *  Holds:  (1) the WAL goes first: a new file never meets the WAL of an old one.  (2) nothing is deleted but old sets. */

import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

/** Enough to look into what happened, too few to fill a disk. */
const SETS_KEPT = 3
const COMPANIONS = ['-wal', '-shm', ''] as const

/** Renames the file with its WAL and shared memory; returns its new name, undefined when there was none.
 *  Throws what the file system throws: then the old file is still in its place. */
export function setAside(file: string, nowMs: number): string | undefined {
  if (!COMPANIONS.some(suffix => existsSync(file + suffix))) return undefined
  const target = freeName(`${file}.damaged-${new Date(nowMs).toISOString().replace(/[:.]/g, '-')}`)
  for (const suffix of COMPANIONS) {
    if (existsSync(file + suffix)) renameSync(file + suffix, target + suffix)
  }
  removeOldSets(file)
  return target
}

/** Removes the file, its WAL and its shared memory. */
export function removeDatabase(file: string): void {
  for (const suffix of COMPANIONS) rmSync(file + suffix, { force: true })
}

function freeName(wanted: string): string {
  let name = wanted
  for (let i = 1; existsSync(name) || existsSync(`${name}-wal`); i++) name = `${wanted}-${i}`
  return name
}

/** The time stands in the name, so the order of names is the order of events. */
function removeOldSets(file: string): void {
  const folder = dirname(file)
  const prefix = `${basename(file)}.damaged-`
  const names = readdirSync(folder).filter(name => name.startsWith(prefix))
  const sets = [...new Set(names.map(name => name.replace(/-(wal|shm)$/, '')))].sort()
  for (const set of sets.slice(0, -SETS_KEPT)) {
    for (const suffix of COMPANIONS) {
      rmSync(join(folder, set + suffix), { force: true, recursive: true })
    }
  }
}
