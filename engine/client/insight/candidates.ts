/** candidates: which indexes might help a statement, by what its plan asks of its tables.
 *  Owns:   nothing: pure functions.   Not here: whether they do (index_advice.ts).
 *  Thread: the client's.
 *  Holds:  (1) no candidate for a small table, nor for what leaves much of a table, nor what an index that is there could serve.
 *          (2) columns compared for equality come first, then the order that is wanted, or one range. */

import type { Catalog, Index, Table } from './catalog.ts'
import { type Access, accessesOf, type PlanNode } from './plan.ts'
import { type Predicate, sortSubject, unquoted } from './predicates.ts'

/** Smaller tables are read as a whole sooner than by an index. */
const ROWS_MIN = 2_000
const BYTES_MIN = 128 * 1024
/** What leaves more of a table than this is not for an index. */
const SHARE_MAX = 0.1
/** A part of a plan that costs less is not the trouble. */
const COST_SHARE_MIN = 0.2
const KEY_COUNT_MAX = 3
/** Rare enough for an index of those rows alone. */
const PARTIAL_SHARE_MAX = 0.1
/** So many rows are few: further columns narrow nothing. */
const FEW_ROWS = 10

export interface Candidate {
  readonly table: Table
  readonly keys: readonly string[]
  /** The operator class of the first or only key that needs one. */
  readonly classes: ReadonlyMap<string, string>
  readonly predicate: string | undefined
  readonly reason: string
  /** The part of the plan that it is for, and the plan: what they cost; and the rows that are left there. */
  readonly cost: number
  readonly planCost: number
  readonly rows: number
}

export function candidatesOf(root: PlanNode, catalog: Catalog): Candidate[] {
  return accessesOf(root).flatMap(access => {
    const table = tableOf(access.table, catalog)
    if (table === undefined || table.rows < ROWS_MIN || table.bytes < BYTES_MIN) return []
    if (access.cost < access.planCost * COST_SHARE_MIN) return []
    return [...filterCandidates(access, table), ...joinCandidates(access, table)].filter(
      candidate => !table.indexes.some(index => serves(index, candidate)),
    )
  })
}

/** Behind the table's name: `(a, b) where c is null`. */
export function definitionOf({ keys, classes, predicate, table }: Candidate): string {
  const shown = keys.map(key => {
    const text = table.columns.has(key) ? quotedName(key) : key
    const operators = classes.get(key)
    return operators === undefined ? text : `${text} ${operators}`
  })
  return `(${shown.join(', ')})${predicate === undefined ? '' : ` where ${predicate}`}`
}

/** One that is there does what the other would: the same keys first, for the same rows. */
export function serves(index: Index, candidate: Candidate): boolean {
  const { keys, classes, predicate } = candidate
  if (!index.isValid || index.method !== 'btree' || index.keys.length < keys.length) return false
  if (index.predicate !== null && normal(index.predicate) !== normal(predicate ?? '')) return false
  return keys.every((key, at) => {
    const own = classes.get(key)
    const isSame = normal(index.keys[at]!.replace(/ DESC$/, '')) === normal(key)
    return isSame && (own === undefined || index.classes[at] === own)
  })
}

function filterCandidates(access: Access, table: Table): Candidate[] {
  const equal = access.predicates.filter(({ kind }) => kind === 'equal')
  const rare = access.predicates.filter(each => isRare(each, table))
  const share = access.rows / table.rows
  const sort = sortOf(access)
  const isLimited =
    sort.length > 0 && access.limit !== undefined && access.limit < table.rows * SHARE_MAX
  const found: Candidate[] = []
  const keys = byDistinct(equal, table).slice(0, KEY_COUNT_MAX)
  const base = { ...costsOf(access), table, classes: NO_CLASSES, predicate: undefined }
  if (isLimited && access.isWhole && keys.length + sort.length <= KEY_COUNT_MAX) {
    const all = [...keys, ...sort.filter(key => !keys.includes(key))]
    found.push({
      ...base,
      keys: all,
      reason: keys.length === 0 ? 'order by … limit' : 'filter and order',
    })
  }
  const isNarrow = access.isWhole ? share <= SHARE_MAX : share <= SHARE_MAX && isWasteful(access)
  if (isNarrow) {
    const range = access.predicates.find(({ kind }) => kind === 'range')
    const prefix = access.predicates.find(({ kind }) => kind === 'prefix')
    const last = prefix ?? range
    const all = enough(keys, table)
    if (all.length === 1 && keys.length > 1 && range !== undefined) all.splice(1)
    if (last !== undefined && !all.includes(last.subject) && all.length < KEY_COUNT_MAX)
      all.push(last.subject)
    if (all.length > 0) {
      const classes =
        last === prefix && prefix !== undefined ? patternClass(prefix, table) : NO_CLASSES
      found.push({
        ...base,
        keys: all,
        classes,
        reason: last === undefined ? 'filter' : `filter (${last.kind})`,
      })
    }
    for (const condition of rare) {
      const inner = [...all, ...sort].filter((key, at, list) => list.indexOf(key) === at)
      const subjects = inner.filter(key => key !== condition.subject).slice(0, KEY_COUNT_MAX)
      const indexed = subjects.length > 0 ? subjects : [condition.subject]
      found.push({
        ...base,
        keys: indexed,
        predicate: textOf(condition),
        reason: 'few rows are of this kind',
      })
    }
  }
  return found
}

/** Reads of the other side are few, so that each could look its rows up. */
function joinCandidates(access: Access, table: Table): Candidate[] {
  if (!access.isWhole) return []
  return access.joins
    .filter(({ otherRows }) => otherRows <= table.rows * SHARE_MAX)
    .map(({ column, otherRows }) => ({
      ...costsOf(access),
      rows: otherRows * Math.max(1, table.rows / distinctOf(column, table)),
      table,
      keys: [column],
      classes: NO_CLASSES,
      predicate: undefined,
      reason: 'join',
    }))
}

function costsOf({ cost, planCost, rows, limit }: Access) {
  return { cost, planCost, rows: Math.min(rows, limit ?? rows) }
}

const NO_CLASSES: ReadonlyMap<string, string> = new Map()

/** An index is in use that does not narrow well: it costs many times what the rows that are left would. */
function isWasteful({ cost, rows }: Access): boolean {
  return cost > (rows + 10) * 4
}

function sortOf({ sortKeys }: Access): string[] {
  const subjects = sortKeys.map(key => ({ key, subject: sortSubject(key) }))
  if (subjects.some(({ subject }) => subject === undefined)) return []
  const isMixed = new Set(sortKeys.map(key => / DESC/.test(key))).size > 1
  return subjects.map(({ key, subject }) =>
    isMixed && / DESC/.test(key) ? `${subject!.subject} desc` : subject!.subject,
  )
}

/** The most selective first; what the statistics do not know stands last. */
function byDistinct(predicates: readonly Predicate[], table: Table): string[] {
  return predicates
    .map(({ subject }) => subject)
    .toSorted((a, b) => distinctOf(b, table) - distinctOf(a, table))
}

/** As many of the columns as narrow the rows to a few. */
function enough(keys: readonly string[], table: Table): string[] {
  const found: string[] = []
  let rows = table.rows
  for (const key of keys) {
    if (rows <= FEW_ROWS) break
    found.push(key)
    rows /= Math.max(1, distinctOf(key, table))
  }
  return found
}

function distinctOf(key: string, table: Table): number {
  const distinct = table.columns.get(key)?.distinct
  if (distinct === undefined || distinct === null) return 1
  return distinct < 0 ? -distinct * table.rows : distinct
}

/** IS NULL, IS NOT NULL, or a flag that few rows have. */
function isRare({ kind, subject }: Predicate, table: Table): boolean {
  const column = table.columns.get(subject)
  if (column === undefined || column.nullShare === null) return false
  if (kind === 'null') return column.nullShare <= PARTIAL_SHARE_MAX
  if (kind === 'notNull') return 1 - column.nullShare <= PARTIAL_SHARE_MAX
  return kind === 'true' || kind === 'false'
}

function textOf({ kind, subject }: Predicate): string {
  const name = quotedName(subject)
  if (kind === 'null') return `${name} is null`
  if (kind === 'notNull') return `${name} is not null`
  return kind === 'false' ? `not ${name}` : name
}

/** LIKE needs the order of bytes, where texts have another. */
function patternClass({ subject }: Predicate, table: Table) {
  const column = table.columns.get(subject)
  if (column?.isOrderedByBytes === true) return NO_CLASSES
  const type = column?.type ?? 'text'
  const name = type.startsWith('character varying') ? 'varchar_pattern_ops' : 'text_pattern_ops'
  return new Map([[subject, name]])
}

function tableOf(name: string, { tables }: Catalog): Table | undefined {
  const named = tables.filter(table => table.name === name)
  return named.find(({ isVisible }) => isVisible) ?? (named.length === 1 ? named[0] : undefined)
}

function normal(text: string): string {
  return unquoted(text)
    .replace(/[\s()]|::\w+/g, '')
    .toLowerCase()
}

export function quotedName(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`
}
