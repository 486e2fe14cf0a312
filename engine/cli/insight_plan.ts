/** insight_plan: a plan of EXPLAIN (FORMAT JSON) as lines, indented as psql has them.
 *  Owns:   the layout.   Thread: any.   Holds: a line a node, and one for each condition. */

import { oneLine } from './values.ts'

interface Node {
  readonly Plans?: readonly Node[]
  readonly [name: string]: unknown
}

const CONDITIONS = [
  'Index Cond',
  'Recheck Cond',
  'Hash Cond',
  'Merge Cond',
  'Join Filter',
  'Filter',
  'Sort Key',
  'Rows Removed by Filter',
]

export function planLines(plan: unknown): string[] {
  const root = (plan as { Plan?: Node }[])[0]?.Plan
  return root === undefined ? ['no plan'] : linesOf(root, '')
}

function linesOf(node: Node, indent: string): string[] {
  const on = node['Relation Name'] === undefined ? '' : ` on ${node['Relation Name']}`
  const by = node['Index Name'] === undefined ? '' : ` using ${node['Index Name']}`
  const rows = node['Actual Rows'] ?? node['Plan Rows']
  const kind = node['Actual Rows'] === undefined ? 'planned' : 'real'
  const loops = Number(node['Actual Loops'] ?? 1) > 1 ? `, ${node['Actual Loops']} times` : ''
  const head = `${indent}${node['Node Type']}${by}${on}  (cost ${node['Total Cost']}, ${kind} rows ${rows}${loops})`
  const conditions = CONDITIONS.filter(name => node[name] !== undefined && node[name] !== 0).map(
    name => `${indent}    ${name}: ${String(node[name])}`,
  )
  const below = (node.Plans ?? []).flatMap(plan => linesOf(plan, `${indent}  `))
  return [head, ...conditions, ...below].map(oneLine)
}
