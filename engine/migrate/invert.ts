/** invert: the statement that undoes another, found while that one runs: the catalog tells what was there before it, and after.
 *  Owns:   the table of rules.   Not here: ALTER TABLE (invert_table.ts), renames, drops, grants (invert_other.ts).
 *  Thread: main of a command.
 *  Holds:  (1) nothing is guessed: names are those that the server gave, definitions those that it had.  (2) what is in doubt (IF NOT
 *          EXISTS), or lost (data), or not known here, is refused in words. */

import type { RangeVar } from 'libpg-query'
import { type After, NOTHING, refused, type Surroundings, sql } from './inversion.ts'
import { invertComment, invertDrop, invertEnum, invertGrant, invertMove } from './invert_other.ts'
import { invertRename } from './invert_rename.ts'
import { invertAlterTable } from './invert_table.ts'
import { type Lookup, type Named, namesOf } from './lookup.ts'
import type { Node, Statement } from './parser.ts'
import { nameText } from './quote.ts'

type Rule = (node: never, around: Surroundings) => Promise<After> | After

/** The parser's statements by their names. */
type KindOf<Each> = Each extends unknown ? keyof Each : never
type Kind = KindOf<Node>
type BodyOf<Name extends Kind> =
  Extract<Node, Record<Name, unknown>> extends Record<Name, infer Found> ? Found : never

/** Called before the statement runs; what it resolves with, after. */
export async function invert(statement: Statement, around: Surroundings): Promise<After> {
  const { kind, node } = statement
  if (NOTHING_TO_UNDO.has(kind)) return () => NOTHING
  const rule = RULES[kind]
  if (rule === undefined) return () => refused(UNKNOWN)
  return await rule((node as Record<string, unknown>)[kind] as never, around)
}

const UNKNOWN = 'there is no rule for such a statement'
const IN_DOUBT = 'it says IF NOT EXISTS, so what is there may have been there before'

const NOTHING_TO_UNDO = new Set([
  'AlterSystemStmt',
  'CheckPointStmt',
  'ClusterStmt',
  'ConstraintsSetStmt',
  'DiscardStmt',
  'ExplainStmt',
  'LockStmt',
  'NotifyStmt',
  'RefreshMatViewStmt',
  'ReindexStmt',
  'TransactionStmt',
  'VacuumStmt',
  'VariableSetStmt',
  'VariableShowStmt',
])

function rule<Name extends Kind>(
  invertOne: (node: BodyOf<Name>, around: Surroundings) => Promise<After> | After,
): Rule {
  return invertOne as Rule
}

const RULES: Readonly<Record<string, Rule>> = {
  CreateStmt: rule<'CreateStmt'>((node, around) =>
    created(node.relation, around, 'table', node.if_not_exists),
  ),
  CreateTableAsStmt: rule<'CreateTableAsStmt'>((node, around) =>
    created(
      node.into?.rel,
      around,
      node.objtype === 'OBJECT_MATVIEW' ? 'materialized view' : 'table',
      node.if_not_exists,
    ),
  ),
  CreateForeignTableStmt: rule<'CreateForeignTableStmt'>((node, around) =>
    created(node.base?.relation, around, 'foreign table', node.base?.if_not_exists),
  ),
  CreateSeqStmt: rule<'CreateSeqStmt'>((node, around) =>
    created(node.sequence, around, 'sequence', node.if_not_exists),
  ),
  CompositeTypeStmt: rule<'CompositeTypeStmt'>((node, around) =>
    created(node.typevar, around, 'type', false),
  ),
  ViewStmt: rule<'ViewStmt'>((node, around) => invertView(node.view, around)),
  IndexStmt: rule<'IndexStmt'>(invertIndex),
  CreateEnumStmt: rule<'CreateEnumStmt'>((node, { lookup }) =>
    typeCreated(node.typeName, lookup, 'type'),
  ),
  CreateRangeStmt: rule<'CreateRangeStmt'>((node, { lookup }) =>
    typeCreated(node.typeName, lookup, 'type'),
  ),
  CreateDomainStmt: rule<'CreateDomainStmt'>((node, { lookup }) =>
    typeCreated(node.domainname, lookup, 'domain'),
  ),
  AlterEnumStmt: rule<'AlterEnumStmt'>(invertEnum),
  CreateFunctionStmt: rule<'CreateFunctionStmt'>(invertFunction),
  CreateTrigStmt: rule<'CreateTrigStmt'>(invertTrigger),
  CreateSchemaStmt: rule<'CreateSchemaStmt'>(node => () => {
    if (node.if_not_exists) return refused(IN_DOUBT)
    if (node.schemaElts?.length) return refused('it makes what is in the schema along with it')
    const name = node.schemaname ?? node.authrole?.rolename
    return name === undefined ? refused(UNKNOWN) : sql(`drop schema ${nameText(name)}`)
  }),
  CreateExtensionStmt: rule<'CreateExtensionStmt'>(node => () => {
    if (node.if_not_exists) return refused(IN_DOUBT)
    return sql(`drop extension ${nameText(node.extname!)}`)
  }),
  CreatePolicyStmt: rule<'CreatePolicyStmt'>((node, around) =>
    attached(node.table, around, `policy ${nameText(node.policy_name!)}`),
  ),
  CreateStatsStmt: rule<'CreateStatsStmt'>(node => () => {
    if (node.if_not_exists) return refused(IN_DOUBT)
    const names = namesOf(node.defnames)
    return names.length === 0
      ? refused('it has no name of its own')
      : sql(`drop statistics ${names.map(nameText).join('.')}`)
  }),
  RuleStmt: rule<'RuleStmt'>((node, around) =>
    node.replace
      ? () => refused('what it replaced is not known')
      : attached(node.relation, around, `rule ${nameText(node.rulename!)}`),
  ),
  AlterTableStmt: rule<'AlterTableStmt'>(invertAlterTable),
  RenameStmt: rule<'RenameStmt'>(invertRename),
  AlterObjectSchemaStmt: rule<'AlterObjectSchemaStmt'>(invertMove),
  DropStmt: rule<'DropStmt'>(invertDrop),
  CommentStmt: rule<'CommentStmt'>(invertComment),
  GrantStmt: rule<'GrantStmt'>(invertGrant),
  InsertStmt: rule<'InsertStmt'>((node, around) => dataChanged([node.relation], around)),
  UpdateStmt: rule<'UpdateStmt'>((node, around) => dataChanged([node.relation], around)),
  DeleteStmt: rule<'DeleteStmt'>((node, around) => dataChanged([node.relation], around)),
  MergeStmt: rule<'MergeStmt'>((node, around) => dataChanged([node.relation], around)),
  CopyStmt: rule<'CopyStmt'>((node, around) => dataChanged([node.relation], around)),
  TruncateStmt: rule<'TruncateStmt'>((node, around) =>
    dataChanged(
      (node.relations ?? []).map(each => ('RangeVar' in each ? each.RangeVar : undefined)),
      around,
    ),
  ),
  SelectStmt: rule<'SelectStmt'>((node, around) => {
    if (node.intoClause !== undefined) return created(node.intoClause.rel, around, 'table', false)
    const mayAct = JSON.stringify(node).includes('"FuncCall"')
    return () =>
      mayAct ? refused('a query may call functions, and what they do is not known') : NOTHING
  }),
  DoStmt: rule<'DoStmt'>(() => () => refused('what a DO block does is not known')),
  CallStmt: rule<'CallStmt'>(() => () => refused('what a procedure does is not known')),
}

/** A relation that was not there before. */
async function created(
  name: RangeVar | undefined,
  { lookup, created: all }: Surroundings,
  what: string,
  isDoubtful: boolean | undefined,
): Promise<After> {
  return async () => {
    if (isDoubtful) return refused(IN_DOUBT)
    const relation =
      what === 'type'
        ? { quoted: await lookup.type(partsOf(name)), oid: '', isTemporary: false }
        : await lookup.relation(name)
    if (relation?.quoted === undefined) return refused('what it made cannot be found')
    if (relation.isTemporary) return NOTHING
    all.add(relation.oid)
    return sql(`drop ${what} ${relation.quoted}`)
  }
}

function partsOf(name: RangeVar | undefined): string[] {
  return [name?.schemaname, name?.relname].filter(part => part !== undefined)
}

async function typeCreated(
  name: readonly Node[] | undefined,
  lookup: Lookup,
  what: string,
): Promise<After> {
  return async () => {
    const found = await lookup.type(namesOf(name))
    return found === undefined
      ? refused('what it made cannot be found')
      : sql(`drop ${what} ${found}`)
  }
}

async function attached(
  table: RangeVar | undefined,
  { lookup }: Surroundings,
  what: string,
): Promise<After> {
  const relation = await lookup.relation(table)
  return () =>
    relation === undefined
      ? refused('its table cannot be found')
      : sql(`drop ${what} on ${relation.quoted}`)
}

/** Replaced: back to what it was, anew if it has more columns now. */
async function invertView(
  name: RangeVar | undefined,
  { lookup, created: all }: Surroundings,
): Promise<After> {
  const before = await lookup.relation(name)
  const was = before && {
    definition: await lookup.viewDefinition(before.oid),
    columns: await lookup.columnCount(before.oid),
  }
  return async () => {
    const view = await lookup.relation(name)
    if (view === undefined) return refused('what it made cannot be found')
    if (view.isTemporary) return NOTHING
    if (was === undefined || view.oid !== before?.oid) {
      all.add(view.oid)
      return sql(`drop view ${view.quoted}`)
    }
    const isWider = (await lookup.columnCount(view.oid)) > was.columns
    const again = `create or replace view ${view.quoted} as\n${withoutEnd(was.definition)}`
    return isWider ? sql(`drop view ${view.quoted}`, again) : sql(again)
  }
}

async function invertIndex(
  node: BodyOf<'IndexStmt'>,
  { lookup, isTransaction }: Surroundings,
): Promise<After> {
  const table = await lookup.relation(node.relation)
  if (table === undefined) return () => refused('its table cannot be found')
  if (table.isTemporary) return () => NOTHING
  const before = await lookup.indexes(table.oid)
  return async () => {
    if (node.if_not_exists) return refused(IN_DOUBT)
    const made = difference(before, await lookup.indexes(table.oid))
    const concurrently = !isTransaction && node.concurrent === true ? 'concurrently ' : ''
    return sql(...made.map(({ name }) => `drop index ${concurrently}${name}`))
  }
}

/** OR REPLACE keeps the oid, so the definition tells which of a name it was. */
async function invertFunction(
  node: BodyOf<'CreateFunctionStmt'>,
  { lookup }: Surroundings,
): Promise<After> {
  const name = namesOf(node.funcname)
  const before = await lookup.functions(name)
  return async () => {
    const after = await lookup.functions(name)
    const made = difference(before, after).map(each => `drop ${each.name}`)
    const changed = [...before.values()]
      .filter(({ oid, definition }) => (after.get(oid)?.definition ?? definition) !== definition)
      .map(({ definition }) => withoutEnd(definition))
    return sql(...made, ...changed)
  }
}

async function invertTrigger(
  node: BodyOf<'CreateTrigStmt'>,
  { lookup }: Surroundings,
): Promise<After> {
  const table = await lookup.relation(node.relation)
  if (table === undefined) return () => refused('its table cannot be found')
  const before = await lookup.triggers(table.oid)
  const was = [...before.values()].find(({ name }) => name === node.trigname)
  const drop = `drop trigger ${nameText(node.trigname!)} on ${table.quoted}`
  return () => (was === undefined ? sql(drop) : sql(drop, withoutEnd(was.definition)))
}

/** Rows of a table that goes go with it. */
async function dataChanged(
  names: readonly (RangeVar | undefined)[],
  { lookup, created: all }: Surroundings,
): Promise<After> {
  const relations = await Promise.all(names.map(name => lookup.relation(name)))
  const isOwn = relations.every(
    each => each !== undefined && (each.isTemporary || all.has(each.oid)),
  )
  return () => (isOwn ? NOTHING : refused('it changes rows, and what they were is gone'))
}

export function difference(
  before: ReadonlyMap<string, Named>,
  after: ReadonlyMap<string, Named>,
): Named[] {
  return [...after.values()].filter(({ oid }) => !before.has(oid))
}

export function withoutEnd(definition: string): string {
  return definition.trim().replace(/;$/, '')
}
