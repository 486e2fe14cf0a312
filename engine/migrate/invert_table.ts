/** invert_table: what undoes an ALTER TABLE, command by command, from the last to the first.
 *  Owns:   the rules of its commands.   Not here: other statements (invert.ts).
 *  Thread: main of a command.
 *  Holds:  what a column or a constraint was is asked of the catalog before the statement runs; a dropped column's rows are gone, so
 *          that is never undone. */

import type { AlterTableCmd, AlterTableStmt, Constraint } from 'libpg-query'
import {
  type After,
  type Inversion,
  NOTHING,
  refused,
  type Surroundings,
  sql,
} from './inversion.ts'
import { type Column, kindText, type Lookup, type Named, type Relation } from './lookup.ts'
import type { Node } from './parser.ts'
import { nameText } from './quote.ts'

/** One command, with the table it is done to. */
interface Command {
  readonly cmd: AlterTableCmd
  readonly table: Relation
  /** `alter table public.rooms`. */
  readonly head: string
  readonly lookup: Lookup
  readonly constraints: ReadonlyMap<string, Named>
  readonly notNull: ReadonlySet<string>
}

const IN_DOUBT = 'it says IF EXISTS or IF NOT EXISTS, so it may have done nothing'

export async function invertAlterTable(
  node: AlterTableStmt,
  { lookup, created }: Surroundings,
): Promise<After> {
  const table = await lookup.relation(node.relation)
  if (table === undefined)
    return () => (node.missing_ok ? NOTHING : refused('its table cannot be found'))
  // Whatever becomes of a table of this migration's own, it goes as a whole.
  if (created.has(table.oid) || table.isTemporary) return () => NOTHING
  const constraints = await lookup.constraints(table.oid)
  const notNull = await lookup.notNullColumns(table.oid)
  const head = `alter ${kindText(table)} ${table.quoted}`
  const afters: After[] = []
  for (const each of node.cmds ?? []) {
    const cmd = 'AlterTableCmd' in each ? each.AlterTableCmd : {}
    const command = { cmd, table, head, lookup, constraints, notNull }
    afters.push(await invertCommand(command))
  }
  return async () => {
    const statements: string[] = []
    for (const after of afters.reverse()) {
      const inversion = await after()
      if (inversion.refused !== undefined) return inversion
      statements.push(...inversion.sql)
    }
    return sql(...statements)
  }
}

async function invertCommand(command: Command): Promise<After> {
  const { cmd, table, head, lookup } = command
  const name = cmd.name === undefined ? '' : nameText(cmd.name)
  switch (cmd.subtype) {
    case 'AT_AddColumn':
      return () => {
        if (cmd.missing_ok) return refused(IN_DOUBT)
        const column = cmd.def !== undefined && 'ColumnDef' in cmd.def ? cmd.def.ColumnDef : {}
        return sql(`${head} drop column ${nameText(column.colname!)}`)
      }
    case 'AT_AddConstraint':
      return await constraintAdded(command)
    case 'AT_DropConstraint':
    case 'AT_ValidateConstraint':
      return constraintChanged(command)
    case 'AT_ColumnDefault':
    case 'AT_SetNotNull':
    case 'AT_DropNotNull':
    case 'AT_AlterColumnType':
    case 'AT_AddIdentity': {
      const column = await lookup.column(table.oid, cmd.name!)
      if (column === undefined) return () => refused('its column cannot be found')
      return await columnChanged(command, column, `${head} alter column ${name}`)
    }
    case 'AT_DropColumn':
      return () => refused(`what was in the column ${name} is gone`)
    case 'AT_AttachPartition': {
      const child = await lookup.relation(partitionOf(cmd.def)?.name)
      return () =>
        child === undefined
          ? refused('its partition cannot be found')
          : sql(`${head} detach partition ${child.quoted}`)
    }
    case 'AT_DetachPartition': {
      const child = await lookup.relation(partitionOf(cmd.def)?.name)
      if (child === undefined) return () => refused('its partition cannot be found')
      const bound = await lookup.definition(
        'pg_get_expr(relpartbound, oid) from pg_class where oid = $1::oid',
        child.oid,
      )
      return () => sql(`${head} attach partition ${child.quoted} ${bound}`)
    }
    case 'AT_ChangeOwner': {
      const owner = await lookup.definition(
        'quote_ident(pg_get_userbyid(relowner)) from pg_class where oid = $1::oid',
        table.oid,
      )
      return () => sql(`${head} owner to ${owner}`)
    }
    default:
      return await toggled(command)
  }
}

/** On or off, and it is known which it was. */
async function toggled({ cmd, table, head, lookup }: Command): Promise<After> {
  const toggle = TOGGLES[cmd.subtype ?? '']
  if (toggle === undefined)
    return () => refused(`there is no rule for this ALTER (${cmd.subtype?.slice(3)})`)
  const [column, whenTrue, whenFalse] = toggle
  const was = await lookup.definition(`${column} from pg_class where oid = $1::oid`, table.oid)
  return () => sql(`${head} ${was === 't' || was === 'true' ? whenTrue : whenFalse}`)
}

const SECURITY = [
  'relrowsecurity',
  'enable row level security',
  'disable row level security',
] as const
const FORCED = [
  'relforcerowsecurity',
  'force row level security',
  'no force row level security',
] as const
const LOGGED = [`(relpersistence = 'p')`, 'set logged', 'set unlogged'] as const
const TOGGLES: Record<string, readonly [string, string, string]> = {
  AT_EnableRowSecurity: SECURITY,
  AT_DisableRowSecurity: SECURITY,
  AT_ForceRowSecurity: FORCED,
  AT_NoForceRowSecurity: FORCED,
  AT_SetLogged: LOGGED,
  AT_SetUnLogged: LOGGED,
}

async function constraintAdded(command: Command): Promise<After> {
  const { cmd, table, head, lookup, constraints, notNull } = command
  const definition = cmd.def !== undefined && 'Constraint' in cmd.def ? cmd.def.Constraint : {}
  if (definition.contype === 'CONSTR_NOTNULL') {
    const column = nameText(namesIn(definition.keys)[0] ?? '')
    return () => sql(`${head} alter column ${column} drop not null`)
  }
  const index = await indexUsed(definition, table, lookup)
  return async () => {
    const after = await lookup.constraints(table.oid)
    const made = [...after.values()].filter(
      ({ oid, name }) =>
        !constraints.has(oid) && (definition.conname === undefined || name === definition.conname),
    )
    if (made.length === 0) return refused('the constraint it made cannot be found')
    const drops = made.map(({ name }) => `${head} drop constraint ${nameText(name)}`)
    // A primary key forbids NULL, and leaves that behind.
    const now =
      definition.contype === 'CONSTR_PRIMARY'
        ? await lookup.notNullColumns(table.oid)
        : new Set<string>()
    const nullable = [...now]
      .filter(column => !notNull.has(column))
      .map(column => `${head} alter column ${nameText(column)} drop not null`)
    return sql(...drops, ...nullable, ...(index === undefined ? [] : [index]))
  }
}

/** Of USING INDEX: the index, which becomes the constraint's and goes with it. */
async function indexUsed(
  { indexname }: Constraint,
  { schema }: Relation,
  lookup: Lookup,
): Promise<string | undefined> {
  if (indexname === undefined) return undefined
  const index = await lookup.relation({ schemaname: schema, relname: indexname })
  return index && (await lookup.definition('pg_get_indexdef($1::oid)', index.oid))
}

/** Dropped, or validated: back to what it was. */
function constraintChanged({ cmd, head, constraints }: Command): After {
  const was = [...constraints.values()].find(({ name }) => name === cmd.name)
  return () => {
    if (cmd.subtype === 'AT_DropConstraint' && cmd.behavior === 'DROP_CASCADE')
      return refused('it says CASCADE, so more than it names may be gone')
    if (was === undefined)
      return cmd.missing_ok ? NOTHING : refused('its constraint cannot be found')
    const name = nameText(was.name)
    const add = `${head} add constraint ${name} ${was.definition}`
    if (cmd.subtype === 'AT_DropConstraint') return sql(add)
    return / NOT VALID\b/.test(was.definition)
      ? sql(`${head} drop constraint ${name}`, add)
      : NOTHING
  }
}

async function columnChanged(
  { cmd, table, head, lookup }: Command,
  was: Column,
  place: string,
): Promise<After> {
  switch (cmd.subtype) {
    case 'AT_ColumnDefault':
      if (was.isGenerated) return () => refused('the column is generated')
      return () => sql(defaultOf(place, was))
    case 'AT_AddIdentity':
      return () => sql(`${place} drop identity`)
    case 'AT_SetNotNull':
      return () => (was.isNotNull ? NOTHING : sql(`${place} drop not null`))
    case 'AT_DropNotNull':
      return () => (was.isNotNull ? sql(notNullOf(head, place, table, cmd.name!, was)) : NOTHING)
    default:
      return async () => typeOf(place, was, await lookup.column(table.oid, cmd.name!))
  }
}

/** Postgres 18 has a name for it, of which the usual one comes by itself. */
function notNullOf(
  head: string,
  place: string,
  table: Relation,
  column: string,
  was: Column,
): string {
  const usual = `${table.name}_${column}_not_null`
  return was.notNullName === undefined || was.notNullName === usual
    ? `${place} set not null`
    : `${head} add constraint ${nameText(was.notNullName)} not null ${nameText(column)}`
}

function defaultOf(place: string, was: Column): string {
  return was.default === undefined ? `${place} drop default` : `${place} set default ${was.default}`
}

/** The default goes and comes back as it was written: its own conversion would leave a cast in it. */
function typeOf(place: string, was: Column, is: Column | undefined): Inversion {
  if (is === undefined) return refused('its column cannot be found')
  if (was.isGenerated) return refused('the column is generated')
  if (was.type === is.type && was.collation === is.collation) return NOTHING
  const column = place.slice(place.lastIndexOf(' alter column ') + ' alter column '.length)
  const collate = was.collation === undefined ? '' : ` collate ${was.collation}`
  const back = `${place} type ${was.type}${collate} using ${column}::${was.type}`
  if (was.default === undefined) return sql(back)
  return sql(`${place} drop default`, back, defaultOf(place, was))
}

function partitionOf(node: Node | undefined) {
  return node !== undefined && 'PartitionCmd' in node ? node.PartitionCmd : undefined
}

function namesIn(nodes: readonly Node[] | undefined): string[] {
  return (nodes ?? []).flatMap(node => ('String' in node ? [node.String.sval ?? ''] : []))
}
