/** surplus: indexes that cost writes and serve nobody: unused, doubled, or the beginning of another.
 *  Owns:   nothing: pure functions.   Thread: the client's.
 *  Holds:  what a constraint, a foreign key's target or replication rests on is never named. */

import { quotedName } from './candidates.ts'
import type { Catalog, Index, Table } from './catalog.ts'

/** Before a table was read so often nobody knows what its indexes are for. */
const SCANS_MIN = 50
/** What a smaller one costs is not worth a line. */
const BYTES_MIN = 16 * 1024

export interface SurplusIndex {
  readonly kind: 'unused' | 'duplicate' | 'redundant'
  readonly table: string
  readonly index: string
  readonly bytes: number
  /** Writes to its table, each of which keeps it up. */
  readonly writes: number
  readonly scans: number
  /** Of a duplicate or redundant one: which other does the same. */
  readonly servedBy?: string
  readonly statement: string
}

export function surplusOf({ tables }: Catalog): SurplusIndex[] {
  return tables.flatMap(table => {
    const doubled = table.indexes.flatMap(index => doubledIn(index, table))
    // Of two that do the same the planner takes either: the one that stays would be used.
    const named = new Set(doubled.flatMap(({ index, servedBy }) => [index, servedBy]))
    const unused = table.indexes
      .filter(index => !named.has(index.name) && isUnused(index, table))
      .map(index => surplus('unused', index, table))
    return [...doubled, ...unused]
  })
}

function isUnused(index: Index, table: Table): boolean {
  const mayGo = !index.isNeeded && !index.isUnique && index.isValid
  return mayGo && index.scans === 0 && table.scans >= SCANS_MIN && index.bytes >= BYTES_MIN
}

function doubledIn(index: Index, table: Table): SurplusIndex[] {
  if (index.isNeeded || !index.isValid || index.bytes < BYTES_MIN) return []
  const other = table.indexes.find(each => each !== index && each.isValid && replaces(each, index))
  if (other === undefined) return []
  const isSame = other.keys.length === index.keys.length
  return [surplus(isSame ? 'duplicate' : 'redundant', index, table, other.name)]
}

/** Whether all that `index` does `other` does too. Of two that are alike the one made later goes. */
function replaces(other: Index, index: Index): boolean {
  if (other.method !== index.method || other.predicate !== index.predicate) return false
  if (index.includes > 0 || other.keys.length < index.keys.length) return false
  if (index.isUnique && !(other.isUnique && other.keys.length === index.keys.length)) return false
  const isPrefix = index.keys.every(
    (key, at) => other.keys[at] === key && other.classes[at] === index.classes[at],
  )
  if (!isPrefix) return false
  if (other.keys.length > index.keys.length) return index.method === 'btree'
  return other.isNeeded || (other.isUnique && !index.isUnique) || other.id < index.id
}

function surplus(
  kind: SurplusIndex['kind'],
  index: Index,
  table: Table,
  servedBy?: string,
): SurplusIndex {
  const name = `${quotedName(table.schema)}.${quotedName(index.name)}`
  const served = servedBy === undefined ? {} : { servedBy }
  const { bytes, scans } = index
  const statement = `drop index concurrently ${name}`
  return {
    kind,
    table: table.quoted,
    index: index.name,
    bytes,
    writes: table.writes,
    scans,
    ...served,
    statement,
  }
}
