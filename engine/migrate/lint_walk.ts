/** lint_walk: small questions to the parser's tree, for the rules of lint.
 *  Owns:   nothing.   Thread: any.   Holds: what it does not find is undefined, and no error. */

import type { AlterTableCmd, ColumnDef, Constraint, RangeVar, TypeName } from 'libpg-query'
import type { Node } from './parser.ts'

/** `table` or `schema.table`, unquoted. */
export function nameOf(relation: RangeVar | undefined): string {
  return [relation?.schemaname, relation?.relname].filter(part => part).join('.')
}

export function stringsOf(nodes: readonly Node[] | undefined): string[] {
  return (nodes ?? []).flatMap(node => ('String' in node ? [node.String.sval ?? ''] : []))
}

export function commandsOf(nodes: readonly Node[] | undefined): AlterTableCmd[] {
  return (nodes ?? []).flatMap(node => ('AlterTableCmd' in node ? [node.AlterTableCmd] : []))
}

export function columnOf(node: Node | undefined): ColumnDef | undefined {
  return node !== undefined && 'ColumnDef' in node ? node.ColumnDef : undefined
}

export function constraintOf(node: Node | undefined): Constraint | undefined {
  return node !== undefined && 'Constraint' in node ? node.Constraint : undefined
}

/** A column's constraint of a kind. */
export function constraintIn(column: ColumnDef, type: string): Constraint | undefined {
  return (column.constraints ?? [])
    .map(constraintOf)
    .find(constraint => constraint?.contype === type)
}

/** The last part of a type's name: `int4`, `varchar`, `serial`. */
export function typeNameOf(type: TypeName | undefined): string {
  return stringsOf(type?.names).at(-1) ?? ''
}

/** Numbers in brackets: of varchar(20), 20. */
export function modifiersOf(type: TypeName | undefined): number[] {
  return (type?.typmods ?? []).map(node =>
    'A_Const' in node ? (node.A_Const.ival?.ival ?? 0) : Number.NaN,
  )
}

/** Names of the functions that are called anywhere in it. */
export function functionsIn(node: unknown, found: string[] = []): string[] {
  if (typeof node !== 'object' || node === null) return found
  if (Array.isArray(node)) {
    for (const each of node) functionsIn(each, found)
    return found
  }
  for (const [key, value] of Object.entries(node)) {
    if (key === 'FuncCall') found.push(stringsOf((value as { funcname?: Node[] }).funcname).at(-1)!)
    functionsIn(value, found)
  }
  return found
}
