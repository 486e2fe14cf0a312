/** catalog: the schema of a database as a list of objects, each with a definition in words that can be compared.
 *  Owns:   what is looked at (catalog_query.ts has the SQL).   Thread: main of a command.
 *  Holds:  (1) the same schema gives the same list, whatever its oids, and whatever the session's search_path.  (2) nothing of the
 *          system, of extensions, or of Hearth itself is in it.  (3) taking it changes nothing, in a transaction or out of one. */

import { createHash } from 'node:crypto'
import { CATALOG_QUERY } from './catalog_query.ts'
import type { DirectConnection } from './direct_connection.ts'

export interface CatalogObject {
  /** Such as `table`, `column`, `index`. */
  readonly kind: string
  /** Qualified and quoted. */
  readonly name: string
  readonly definition: string
}

export interface CatalogChange {
  readonly kind: string
  readonly name: string
  readonly change: 'added' | 'removed' | 'changed'
  readonly was?: string | undefined
  readonly is?: string | undefined
}

/** Every object, ordered by kind and name. Names are qualified by an empty search_path, which is as before afterwards. */
export async function takeCatalog(connection: DirectConnection): Promise<CatalogObject[]> {
  const isNested = connection.isInTransaction
  await connection.run(isNested ? 'savepoint hearth_catalog' : 'begin read only')
  await connection.run(`set local search_path to ''`)
  const { rows } = await connection.ask(CATALOG_QUERY)
  await connection.run(
    isNested
      ? 'rollback to savepoint hearth_catalog; release savepoint hearth_catalog'
      : 'rollback',
  )
  return rows.map(([kind, name, definition]) => ({
    kind: kind!,
    name: name!,
    definition: definition ?? '',
  }))
}

export function hashOf(objects: readonly CatalogObject[]): string {
  const hash = createHash('sha256')
  for (const { kind, name, definition } of objects) hash.update(`${kind}\0${name}\0${definition}\0`)
  return hash.digest('hex')
}

/** What leads from one state to the other. */
export function changesBetween(
  before: readonly CatalogObject[],
  after: readonly CatalogObject[],
): CatalogChange[] {
  const old = byKey(before)
  const changes: CatalogChange[] = []
  for (const [key, { kind, name, definition }] of byKey(after)) {
    const was = old.get(key)?.definition
    old.delete(key)
    if (was === undefined) changes.push({ kind, name, change: 'added', is: definition })
    else if (was !== definition)
      changes.push({ kind, name, change: 'changed', was, is: definition })
  }
  for (const { kind, name, definition } of old.values())
    changes.push({ kind, name, change: 'removed', was: definition })
  return changes.sort((a, b) => order(a.kind, b.kind) || order(a.name, b.name))
}

/** A state with what one migration changed, and nothing of what others did meanwhile: drift stays to be seen. */
export function applyChanges(
  state: readonly CatalogObject[],
  changes: readonly CatalogChange[],
): CatalogObject[] {
  const objects = byKey(state)
  for (const { kind, name, change, is } of changes) {
    const key = keyOf(kind, name)
    if (change === 'removed') objects.delete(key)
    else objects.set(key, { kind, name, definition: is! })
  }
  return [...objects.values()].sort((a, b) => order(a.kind, b.kind) || order(a.name, b.name))
}

function byKey(objects: readonly CatalogObject[]): Map<string, CatalogObject> {
  return new Map(objects.map(object => [keyOf(object.kind, object.name), object]))
}

function keyOf(kind: string, name: string): string {
  return `${kind}\0${name}`
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
