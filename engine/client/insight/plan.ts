/** plan: the nodes of a plan that read a table, each with what it asks of the table.
 *  Owns:   nothing: pure functions.   Thread: the client's.
 *  Holds:  the numbers are the planner's, or of a run where the plan has them. */

import { type Predicate, predicatesOf, sortSubject } from './predicates.ts'

export interface PlanNode {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly Alias?: string
  readonly 'Index Name'?: string
  readonly 'Total Cost': number
  readonly 'Plan Rows': number
  readonly 'Actual Rows'?: number
  readonly 'Rows Removed by Filter'?: number
  readonly 'Sort Key'?: readonly string[]
  readonly Plans?: readonly PlanNode[]
  readonly [name: string]: unknown
}

/** One place where a plan reads a table. */
export interface Access {
  readonly table: string
  readonly alias: string
  /** All rows are read, page by page. */
  readonly isWhole: boolean
  /** What this costs by itself; of it and of the whole plan. */
  readonly cost: number
  readonly planCost: number
  /** Rows that are left. */
  readonly rows: number
  readonly predicates: readonly Predicate[]
  /** Of joins: what its columns are compared with, and how many rows the other side has. */
  readonly joins: readonly { readonly column: string; readonly otherRows: number }[]
  /** The order that is wanted of the rows, where a sort makes it; empty: none. */
  readonly sortKeys: readonly string[]
  /** Of the sort: how many rows are wanted. */
  readonly limit: number | undefined
}

interface Above {
  readonly planCost: number
  readonly sortKeys: readonly string[]
  readonly limit: number | undefined
}

/** The root of what EXPLAIN (FORMAT JSON) gives. */
export function rootOf(plan: unknown): PlanNode | undefined {
  return (plan as { Plan?: PlanNode }[] | undefined)?.[0]?.Plan
}

export function accessesOf(root: PlanNode): Access[] {
  const found: Access[] = []
  walk(root, { planCost: root['Total Cost'], sortKeys: [], limit: undefined }, [], found)
  return found
}

interface Join {
  readonly conditions: readonly Predicate[]
  /** Rows of either side, by the aliases below it. */
  readonly sides: readonly { readonly aliases: ReadonlySet<string>; readonly rows: number }[]
}

function walk(node: PlanNode, above: Above, joins: readonly Join[], found: Access[]): void {
  const type = node['Node Type']
  if (node['Relation Name'] !== undefined) found.push(accessOf(node, above, joins))
  const plans = node.Plans ?? []
  const below = aboveOf(node, above)
  const join = JOINS.test(type) ? joinOf(node, plans) : undefined
  for (const plan of plans) walk(plan, below, join === undefined ? joins : [...joins, join], found)
}

const JOINS = /^(Hash Join|Merge Join|Nested Loop)$/
/** What keeps the order and number of the rows of one table. */
const PASSING = /^(Limit|Sort|Incremental Sort|Gather Merge|Gather|Result|LockRows|Subquery Scan)$/

function aboveOf(node: PlanNode, above: Above): Above {
  const type = node['Node Type']
  const { planCost } = above
  if (type === 'Limit') return { ...above, limit: node['Plan Rows'] }
  if (type === 'Sort' || type === 'Incremental Sort')
    return { ...above, sortKeys: node['Sort Key'] ?? [] }
  return PASSING.test(type) ? above : { planCost, sortKeys: [], limit: undefined }
}

function joinOf(node: PlanNode, plans: readonly PlanNode[]): Join {
  const texts = ['Hash Cond', 'Merge Cond', 'Join Filter'].map(name => node[name])
  return {
    conditions: texts.flatMap(text => (typeof text === 'string' ? predicatesOf(text) : [])),
    sides: plans.map(plan => ({ aliases: aliasesOf(plan), rows: plan['Plan Rows'] })),
  }
}

function aliasesOf(node: PlanNode): Set<string> {
  const found = new Set<string>(node.Alias === undefined ? [] : [node.Alias])
  for (const plan of node.Plans ?? []) for (const alias of aliasesOf(plan)) found.add(alias)
  return found
}

function accessOf(node: PlanNode, above: Above, joins: readonly Join[]): Access {
  const alias = node.Alias ?? node['Relation Name']!
  const names = ['Filter', 'Index Cond', 'Recheck Cond']
  const conditions = [node, ...(node.Plans ?? [])].flatMap(each =>
    names.flatMap(name => (typeof each[name] === 'string' ? predicatesOf(each[name]) : [])),
  )
  const predicates = distinct(
    conditions.filter(({ alias: own, other }) => own === undefined || own === alias || other),
  )
  return {
    table: node['Relation Name']!,
    alias,
    isWhole: node['Node Type'] === 'Seq Scan',
    cost: node['Total Cost'],
    planCost: above.planCost,
    rows: node['Actual Rows'] ?? node['Plan Rows'],
    predicates: predicates.filter(({ other }) => other === undefined),
    joins: [
      ...joins.flatMap(join => joinsOf(alias, join)),
      // Of a nested loop the inner side is read anew for each row.
      ...joinsOf(alias, { conditions, sides: [{ aliases: new Set([alias]), rows: 0 }, ANY_ROW] }),
    ],
    sortKeys:
      above.sortKeys.filter(key => isOwn(key, alias)).length === above.sortKeys.length
        ? above.sortKeys
        : [],
    limit: above.limit,
  }
}

const ANY_ROW = { aliases: new Set<string>(), rows: 1 }

function isOwn(key: string, alias: string): boolean {
  const subject = sortSubject(key)
  return subject !== undefined && (subject.alias === undefined || subject.alias === alias)
}

function joinsOf(alias: string, { conditions, sides }: Join) {
  const side = sides.find(({ aliases }) => aliases.has(alias))
  const others = sides.filter(each => each !== side)
  if (side === undefined || others.length !== 1) return []
  return conditions.flatMap(({ subject, alias: left, other, kind }) => {
    if (kind !== 'equal' || other === undefined) return []
    const column = left === alias ? subject : other.alias === alias ? other.column : undefined
    return column === undefined ? [] : [{ column, otherRows: others[0]!.rows }]
  })
}

function distinct(predicates: readonly Predicate[]): Predicate[] {
  const byText = new Map(predicates.map(each => [`${each.kind} ${each.subject}`, each]))
  return [...byText.values()]
}
