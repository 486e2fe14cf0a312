/** invert_other: what undoes drops of what holds no data, enum changes, moves to another schema, comments and grants.
 *  Owns:   these rules.   Not here: the others (invert.ts).
 *  Thread: main of a command.
 *  Holds:  a drop is undone only of what the catalog defines wholly: an index, a view, a function, a trigger, an enum. */

import type {
  AlterEnumStmt,
  AlterObjectSchemaStmt,
  CommentStmt,
  DropStmt,
  GrantStmt,
} from 'libpg-query'
import {
  type After,
  type Inversion,
  NOTHING,
  refused,
  type Surroundings,
  sql,
} from './inversion.ts'
import { kindText, type Lookup, namesOf, rangeOf } from './lookup.ts'
import type { Node } from './parser.ts'
import { literal, nameText } from './quote.ts'

export async function invertDrop(node: DropStmt, { lookup, ...around }: Surroundings) {
  const inversions: Inversion[] = []
  for (const object of node.objects ?? [])
    inversions.push(await dropped(node, object, { lookup, ...around }))
  return (): Inversion => {
    if (node.behavior === 'DROP_CASCADE')
      return refused('it says CASCADE, so more than it names may be gone')
    const why = inversions.find(each => each.refused !== undefined)
    return why ?? sql(...inversions.reverse().flatMap(each => each.sql ?? []))
  }
}

async function dropped(
  { removeType, missing_ok }: DropStmt,
  object: Node,
  { lookup, created }: Surroundings,
): Promise<Inversion> {
  const names = namesOf('List' in object ? object.List.items : undefined)
  const absent = missing_ok ? NOTHING : refused('what it drops cannot be found')
  switch (removeType) {
    case 'OBJECT_INDEX':
    case 'OBJECT_VIEW':
    case 'OBJECT_TABLE':
    case 'OBJECT_SEQUENCE':
    case 'OBJECT_MATVIEW': {
      const relation = await lookup.relation(rangeOf(names))
      if (relation === undefined) return absent
      if (relation.isTemporary) return NOTHING
      if (removeType === 'OBJECT_INDEX')
        return sql((await lookup.definition('pg_get_indexdef($1::oid)', relation.oid))!)
      if (removeType !== 'OBJECT_VIEW' || created.has(relation.oid))
        return refused(`what was in ${relation.quoted} is gone`)
      const definition = (await lookup.viewDefinition(relation.oid)).trim().replace(/;$/, '')
      return sql(`create view ${relation.quoted} as\n${definition}`)
    }
    case 'OBJECT_FUNCTION':
    case 'OBJECT_PROCEDURE':
    case 'OBJECT_ROUTINE':
      return await functionDropped(object, lookup, absent)
    case 'OBJECT_TRIGGER': {
      const table = await lookup.relation(rangeOf(names.slice(0, -1)))
      const triggers = table === undefined ? [] : (await lookup.triggers(table.oid)).values()
      const found = [...triggers].find(({ name }) => name === names.at(-1))
      return found === undefined ? absent : sql(found.definition)
    }
    case 'OBJECT_TYPE':
      return await typeDropped(object, lookup, absent)
    default:
      return refused('there is no rule for dropping this')
  }
}

async function functionDropped(
  object: Node,
  lookup: Lookup,
  absent: Inversion,
): Promise<Inversion> {
  const name = 'ObjectWithArgs' in object ? namesOf(object.ObjectWithArgs.objname) : []
  const found = [...(await lookup.functions(name)).values()]
  if (found.length === 0) return absent
  return found.length > 1
    ? refused('there are several functions of this name')
    : sql(found[0]!.definition.trim())
}

async function typeDropped(object: Node, lookup: Lookup, absent: Inversion): Promise<Inversion> {
  const name = 'TypeName' in object ? namesOf(object.TypeName.names) : []
  const type = await lookup.type(name)
  if (type === undefined) return absent
  const labels = await lookup.rows(
    'select enumlabel from pg_enum where enumtypid = to_regtype($1) order by enumsortorder',
    [type],
  )
  if (labels.length === 0) return refused('only enums can be made again from the catalog')
  return sql(`create type ${type} as enum (${labels.map(([label]) => literal(label!)).join(', ')})`)
}

export async function invertEnum(node: AlterEnumStmt, { lookup }: Surroundings): Promise<After> {
  const type = await lookup.type(namesOf(node.typeName))
  if (type === undefined) return () => refused('its type cannot be found')
  const { oldVal, newVal } = node
  if (oldVal === undefined)
    return () =>
      refused(
        `Postgres cannot take a value out of an enum: ${type} keeps ${literal(newVal!)} for good`,
      )
  return () => sql(`alter type ${type} rename value ${literal(newVal!)} to ${literal(oldVal)}`)
}

export async function invertMove(
  node: AlterObjectSchemaStmt,
  { lookup }: Surroundings,
): Promise<After> {
  if (node.missing_ok) return () => refused('it says IF EXISTS, so it may have done nothing')
  const before = await lookup.relation(node.relation)
  if (before === undefined) return () => refused('there is no rule for moving this')
  const kind = kindText(before)
  return async () => {
    const now = await lookup.relationOf(before.oid)
    return now === undefined
      ? refused('what it moved cannot be found')
      : sql(`alter ${kind} ${now.quoted} set schema ${nameText(before.schema)}`)
  }
}

/** On a relation or a column. */
export async function invertComment(
  node: CommentStmt,
  { lookup, created }: Surroundings,
): Promise<After> {
  const names = namesOf(
    node.object !== undefined && 'List' in node.object ? node.object.List.items : [],
  )
  const what = COMMENTED[node.objtype ?? '']
  if (what === undefined) return () => refused('there is no rule for a comment on this')
  const isColumn = what === 'column'
  const relation = await lookup.relation(rangeOf(isColumn ? names.slice(0, -1) : names))
  if (relation === undefined) return () => refused('what it is about cannot be found')
  if (created.has(relation.oid)) return () => NOTHING
  const was = isColumn
    ? await lookup.row(
        `select col_description($1::oid, attnum::int) from pg_attribute where attrelid = $1::oid and attname = $2`,
        [relation.oid, names.at(-1)!],
      )
    : await lookup.row(`select obj_description($1::oid, 'pg_class')`, [relation.oid])
  const place = isColumn ? `${relation.quoted}.${nameText(names.at(-1)!)}` : relation.quoted
  const text = was?.[0]
  return () => sql(`comment on ${what} ${place} is ${text ? literal(text) : 'null'}`)
}

const COMMENTED: Record<string, string> = {
  OBJECT_TABLE: 'table',
  OBJECT_VIEW: 'view',
  OBJECT_MATVIEW: 'materialized view',
  OBJECT_INDEX: 'index',
  OBJECT_SEQUENCE: 'sequence',
  OBJECT_COLUMN: 'column',
}

/** The other way round; that nothing of it was so before is proved, or not, by the catalog (down_file.ts). */
export async function invertGrant(
  node: GrantStmt,
  { lookup, created }: Surroundings,
): Promise<After> {
  const { is_grant = false, targtype, objtype = '' } = node
  const what = GRANTED[objtype]
  if (targtype !== 'ACL_TARGET_OBJECT' || what === undefined || node.grant_option)
    return () => refused('there is no rule for such a grant')
  const objects: string[] = []
  const oids: string[] = []
  for (const object of node.objects ?? []) {
    if ('String' in object) objects.push(nameText(object.String.sval!))
    if (!('RangeVar' in object)) continue
    const relation = await lookup.relation(object.RangeVar)
    if (relation === undefined) return () => refused('what it is about cannot be found')
    if (created.has(relation.oid)) continue
    objects.push(relation.quoted)
    oids.push(relation.oid)
  }
  if (objects.length === 0) return () => NOTHING
  const before = await privilegesOf(lookup, oids)
  const privileges = (node.privileges ?? []).map(each => {
    const { priv_name = 'all', cols } = 'AccessPriv' in each ? each.AccessPriv : {}
    return cols === undefined
      ? priv_name
      : `${priv_name} (${namesOf(cols).map(nameText).join(', ')})`
  })
  const roles = (node.grantees ?? []).map(each => roleText(each))
  const [verb, way] = is_grant ? ['revoke', 'from'] : ['grant', 'to']
  const list = privileges.length === 0 ? 'all' : privileges.join(', ')
  const ofTable = list === 'all' ? COLUMNS_HAVE : privileges.filter(each => !each.includes('('))
  const ofColumns = await grantsOfColumns(lookup, oids, ofTable)
  return async () =>
    oids.length > 0 && (await privilegesOf(lookup, oids)) === before
      ? NOTHING // they had it, or had it not, already
      : sql(
          `${verb} ${list} on ${what} ${objects.join(', ')} ${way} ${roles.join(', ')}`,
          ...ofColumns,
        )
}

/** What columns have of their own. Taking a privilege of the table takes theirs as well, so these are granted again. */
async function grantsOfColumns(
  lookup: Lookup,
  oids: readonly string[],
  ofTable: readonly string[],
): Promise<string[]> {
  const rows = await lookup.rows(
    `select format('grant %s (%I) on table %I.%I to %s%s', lower(p.privilege_type), a.attname, n.nspname, c.relname,
        case p.grantee when 0 then 'public' else p.grantee::regrole::text end, case when p.is_grantable then ' with grant option' end)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid, aclexplode(a.attacl) p
      where c.oid = any($1::oid[]) and lower(p.privilege_type) = any($2::text[]) order by c.oid, a.attnum, 1`,
    [`{${oids.join(',')}}`, `{${ofTable.join(',')}}`],
  )
  return rows.map(([text]) => text!)
}

async function privilegesOf(lookup: Lookup, oids: readonly string[]): Promise<string> {
  const sql = `select c.relacl, array(select a.attacl from pg_attribute a where a.attrelid = c.oid and a.attacl is not null
    order by a.attnum)::text from pg_class c where c.oid = any($1::oid[]) order by c.oid`
  return JSON.stringify(await lookup.rows(sql, [`{${oids.join(',')}}`]))
}

function roleText(node: Node): string {
  const { roletype, rolename } = 'RoleSpec' in node ? node.RoleSpec : {}
  if (roletype === 'ROLESPEC_PUBLIC') return 'public'
  if (roletype === 'ROLESPEC_CURRENT_USER') return 'current_user'
  return roletype === 'ROLESPEC_SESSION_USER' ? 'session_user' : nameText(rolename ?? '')
}

const COLUMNS_HAVE = ['select', 'insert', 'update', 'references']
const GRANTED: Record<string, string> = {
  OBJECT_TABLE: 'table',
  OBJECT_SEQUENCE: 'sequence',
  OBJECT_SCHEMA: 'schema',
}
