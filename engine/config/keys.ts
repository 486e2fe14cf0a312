/** Keys: the schema asked by path, and a key's three spellings: file, environment, code.
 *  Owns:   the matching of a path against patterns with `*`.   Thread: main, at start and reload.
 *  Holds:  a path that matches a row matches one row; the names a `*` takes are plain words without
 *          dots. */

import { ALERT_NAMES } from '../alert_names.ts'
import { MAIN_DATABASE, ROWS, type Row } from './schema.ts'

export type Path = readonly string[]

interface Pattern {
  readonly key: string
  readonly parts: Path
  readonly row: Row
}

export const PATTERNS: readonly Pattern[] = [...ROWS].map(([key, row]) => ({
  key,
  parts: key.split('.'),
  row,
}))

export const NAME_EXPECTED = 'a name of letters, digits, - and _'

/** Names of databases and policies. They never begin with `_`, so `__proto__` is none. */
function isName(part: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/.test(part)
}

export function patternAt(path: Path): Pattern | undefined {
  return PATTERNS.find(({ parts }) => parts.length === path.length && startsWith(parts, path))
}

/** Rows lie below this path: it is written as a `[table]`. */
export function isSection(path: Path): boolean {
  return PATTERNS.some(({ parts }) => parts.length > path.length && startsWith(parts, path))
}

/** The last part of the path stands where a name of the user's does. */
export function endsInName(path: Path): boolean {
  const parents = PATTERNS.filter(({ parts }) => startsWith(parts, path.slice(0, -1)))
  return parents.some(({ parts }) => parts[path.length - 1] === '*')
}

export function hasBadName(path: Path): boolean {
  return path.some((part, index) => !isName(part) && endsInName(path.slice(0, index + 1)))
}

/** Every key that could stand in place of this one, with the names that are in it. */
export function keysLike(path: Path): string[] {
  return PATTERNS.map(({ parts }) => concrete(parts, path).join('.'))
}

export function sectionsLike(path: Path): Set<string> {
  const sections = new Set<string>()
  for (const { parts } of PATTERNS) {
    const filled = concrete(parts, path)
    for (let depth = 1; depth < parts.length; depth++)
      sections.add(filled.slice(0, depth).join('.'))
  }
  return sections
}

/** `memory.max_bytes` → `HEARTH_MEMORY_MAX_BYTES`. */
export function environmentName(key: string): string {
  return `HEARTH_${key.replace(/[^A-Za-z0-9]/g, '_').toUpperCase()}`
}

/** Short variables and the keys they mean; that of a database's key means the main database. */
export function environmentAliases(): Map<string, string> {
  const aliases = new Map<string, string>()
  for (const { key, row } of PATTERNS) {
    if (row.envAlias) aliases.set(row.envAlias, key.replace('*', MAIN_DATABASE))
  }
  return aliases
}

/** `postgres.main.pool.idle_timeout` → `['postgres', 'main', 'pool', 'idleTimeoutMs']`. */
export function codePath(path: Path): string[] {
  const pattern = patternAt(path)
  return path.map((part, index) => {
    if (endsInName(path.slice(0, index + 1))) return part
    return codeName(part, pattern?.row.type === 'duration' && index === path.length - 1)
  })
}

/** The part below `parent` that code calls `name`; `name` itself where there is none. */
export function partFromCode(parent: Path, name: string): string {
  for (const { parts, row } of PATTERNS) {
    if (parts.length <= parent.length || !startsWith(parts, parent)) continue
    const part = parts[parent.length]!
    const isDuration = row.type === 'duration' && parts.length === parent.length + 1
    if (part !== '*' && codeName(part, isDuration) === name) return part
  }
  return name
}

function codeName(part: string, isDuration: boolean): string {
  const camel = part.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
  return isDuration ? `${camel}Ms` : camel
}

function startsWith(parts: Path, path: Path): boolean {
  return path.every(
    (part, index) => parts[index] === part || (parts[index] === '*' && isName(part)),
  )
}

/** The pattern with each `*` filled: by the path's own table of that place, else by a name that
 *  exists. */
function concrete(parts: Path, path: Path): string[] {
  return parts.map((part, index) => {
    if (part !== '*') return part
    const isTable = index < path.length - 1 && path[0] === parts[0] && isName(path[index]!)
    if (isTable) return path[index]!
    if (parts[0] === 'alerts') return ALERT_NAMES[0]
    if (parts[0] === 'postgres') return MAIN_DATABASE
    return parts[0] === 'access' ? 'service' : '<name>'
  })
}
