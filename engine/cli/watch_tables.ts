/** watch_tables: which tables a line of `hearth watch` means, and which hang together with them.
 *  Owns:   nothing: pure functions.   Thread: any.
 *  Holds:  (1) a name is taken as it stands, with or without its schema, or as SQL would quote it.  (2) a table is watched with its
 *          partitions and heirs, which can be written to by name, and with those it belongs to, through which it is written. */

import { HearthError } from '../errors.ts'
import type { WatchableTable } from '../watch/triggers.ts'
import { closest } from './usage_error.ts'

export interface Chosen {
  /** None: all. */
  readonly names: readonly string[]
  readonly schema: string | undefined
}

/** Throws BAD_REQUEST for a name that is no table's. */
export function chosenTables(all: readonly WatchableTable[], chosen: Chosen): WatchableTable[] {
  const { names, schema } = chosen
  if (schema !== undefined) {
    const inside = all.filter(table => table.schema === schema)
    if (inside.length > 0) return inside
    const schemas = [...new Set(all.map(table => table.schema))]
    throw unknown(`schema "${schema}" with tables in it`, schema, schemas)
  }
  if (names.length === 0) return [...all]
  return [...new Set(names.map(name => tableOf(all, name)))]
}

/** With all their ancestors and descendants, and those of these. */
export function familyOf(
  tables: readonly WatchableTable[],
  all: readonly WatchableTable[],
): WatchableTable[] {
  const ids = closure(new Set(tables.map(({ id }) => id)), neighbours(all, 'both'))
  return all.filter(({ id }) => ids.has(id))
}

export function descendantsOf(
  tables: readonly WatchableTable[],
  all: readonly WatchableTable[],
): WatchableTable[] {
  const ids = closure(new Set(tables.map(({ id }) => id)), neighbours(all, 'down'))
  return all.filter(({ id }) => ids.has(id))
}

function tableOf(all: readonly WatchableTable[], name: string): WatchableTable {
  const found =
    all.find(table => table.isVisible && isBareName(table, name)) ??
    all.find(table => table.quoted === name || `${table.schema}.${table.name}` === name)
  if (found !== undefined) return found
  const names = all.map(table => (table.isVisible ? table.name : `${table.schema}.${table.name}`))
  throw unknown(`table "${name}" that could be watched`, name, names)
}

function isBareName({ name }: WatchableTable, text: string): boolean {
  return name === text || `"${name.replaceAll('"', '""')}"` === text
}

function unknown(what: string, found: string, known: readonly string[]): HearthError {
  const near = closest(found, known)
  const hint = near === undefined ? '`hearth watch status` lists them' : `did you mean "${near}"?`
  return new HearthError('BAD_REQUEST', `there is no ${what}; ${hint}`)
}

/** By table, those next to it in the tree of inheritance. */
function neighbours(
  all: readonly WatchableTable[],
  way: 'down' | 'both',
): ReadonlyMap<number, readonly number[]> {
  const found = new Map<number, number[]>(all.map(({ id }) => [id, []]))
  for (const { id, parents } of all) {
    for (const parent of parents) {
      found.get(parent)?.push(id)
      if (way === 'both') found.get(id)!.push(parent)
    }
  }
  return found
}

function closure(
  from: ReadonlySet<number>,
  next: ReadonlyMap<number, readonly number[]>,
): Set<number> {
  const found = new Set(from)
  for (const id of found) for (const other of next.get(id) ?? []) found.add(other)
  return found
}
