/** lookup: single questions to the catalog, as inverting a statement needs them.
 *  Owns:   nothing.   Thread: main of a command.
 *  Holds:  names are found as the server itself would find them now, by the session's search_path, and answered in full.
 *          Definitions are taken with an empty search_path: they name everything in full, and mean the same anywhere. */

import type { RangeVar } from 'libpg-query'
import type { DirectConnection, Row } from './direct_connection.ts'
import type { Node } from './parser.ts'
import { quotedName } from './quote.ts'

export interface Relation {
  readonly oid: string
  /** Qualified, quoted where need be. */
  readonly quoted: string
  readonly schema: string
  readonly name: string
  /** Of pg_class: r, p, v, m, i, I, S, c, f. */
  readonly kind: string
  readonly isTemporary: boolean
}

/** What statements call such a relation. */
export function kindText({ kind }: Relation): string {
  return KINDS[kind] ?? 'table'
}

const KINDS: Record<string, string> = {
  v: 'view',
  m: 'materialized view',
  i: 'index',
  I: 'index',
  S: 'sequence',
  f: 'foreign table',
  c: 'type',
}

export interface Column {
  readonly type: string
  readonly isNotNull: boolean
  /** Postgres 18 names it. */
  readonly notNullName: string | undefined
  /** Or what it is generated as. */
  readonly default: string | undefined
  readonly isGenerated: boolean
  readonly identity: string
  readonly collation: string | undefined
}

export interface Named {
  readonly oid: string
  readonly name: string
  readonly definition: string
}

export class Lookup {
  readonly connection: DirectConnection
  constructor(connection: DirectConnection) {
    this.connection = connection
  }

  /** By a name as the parser has it; undefined: there is none. */
  async relation(name: RangeVar | undefined): Promise<Relation | undefined> {
    if (name?.relname === undefined) return undefined
    const text = [name.schemaname, name.relname]
      .filter(part => part)
      .map(part => quotedName(part!))
      .join('.')
    return await this.relationWhere('c.oid = to_regclass($1)', text)
  }

  async relationOf(oid: string): Promise<Relation | undefined> {
    return await this.relationWhere('c.oid = $1::oid', oid)
  }

  async column(relation: string, name: string): Promise<Column | undefined> {
    const row = await this.row(
      `select format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attgenerated <> '',
        a.attidentity, (select format('%I.%I', n.nspname, o.collname) from pg_collation o join pg_namespace n on n.oid = o.collnamespace
          where o.oid = a.attcollation and a.attcollation <> t.typcollation),
        (select o.conname from pg_constraint o where o.conrelid = a.attrelid and o.contype = 'n' and o.conkey = array[a.attnum])
      from pg_attribute a join pg_type t on t.oid = a.atttypid left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where a.attrelid = $1::oid and a.attname = $2 and a.attnum > 0 and not a.attisdropped`,
      [relation, name],
    )
    if (row === undefined) return undefined
    const [type, isNotNull, expression, isGenerated, identity, collation, notNullName] = row
    return {
      type: type!,
      isNotNull: isNotNull === 't',
      notNullName: notNullName ?? undefined,
      default: expression ?? undefined,
      isGenerated: isGenerated === 't',
      identity: identity ?? '',
      collation: collation ?? undefined,
    }
  }

  /** Names of the columns that may not be NULL. */
  async notNullColumns(relation: string): Promise<Set<string>> {
    const sql = `select attname from pg_attribute where attrelid = $1::oid and attnum > 0 and attnotnull and not attisdropped`
    return new Set((await this.rows(sql, [relation])).map(([name]) => name!))
  }

  async columnCount(relation: string): Promise<number> {
    const sql = `select count(*) from pg_attribute where attrelid = $1::oid and attnum > 0 and not attisdropped`
    return Number((await this.row(sql, [relation]))?.[0])
  }

  /** By oid. NOT NULL, which the column tells of, is not among them. */
  async constraints(relation: string): Promise<Map<string, Named>> {
    return await this.named(
      `select oid, conname, pg_get_constraintdef(oid) from pg_constraint where conrelid = $1::oid and contype not in ('n', 't')`,
      relation,
    )
  }

  /** Indexes of a table, by oid; those behind constraints are not among them. */
  async indexes(relation: string): Promise<Map<string, Named>> {
    return await this.named(
      `select i.indexrelid, format('%I.%I', n.nspname, c.relname), pg_get_indexdef(i.indexrelid) from pg_index i
      join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
      where i.indrelid = $1::oid and not exists (select from pg_constraint o where o.conindid = i.indexrelid and o.contype in ('p', 'u', 'x'))`,
      relation,
    )
  }

  async triggers(relation: string): Promise<Map<string, Named>> {
    return await this.named(
      `select oid, tgname, pg_get_triggerdef(oid) from pg_trigger where tgrelid = $1::oid and not tgisinternal`,
      relation,
    )
  }

  /** Functions and procedures of a name, by oid; `name` is `schema.name(arguments)`. */
  async functions(name: readonly string[]): Promise<Map<string, Named>> {
    const [bare, schema] = [name.at(-1)!, name.at(-2) ?? null]
    const sql = `select p.oid, format('%s %I.%I(%s)', case p.prokind when 'p' then 'procedure' else 'function' end, n.nspname,
        p.proname, pg_get_function_identity_arguments(p.oid)), pg_get_functiondef(p.oid)
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where p.proname = $1 and n.nspname = coalesce($2, n.nspname) and p.prokind in ('f', 'p', 'w')`
    return toMap(await this.qualified(sql, [bare, schema]))
  }

  /** Qualified name of a type; undefined: there is none. */
  async type(name: readonly string[]): Promise<string | undefined> {
    const sql = `select format('%I.%I', n.nspname, t.typname) from pg_type t join pg_namespace n on n.oid = t.typnamespace
      where t.oid = to_regtype($1)`
    return (await this.row(sql, [name.map(quotedName).join('.')]))?.[0] ?? undefined
  }

  async viewDefinition(oid: string): Promise<string> {
    const rows = await this.qualified(`select pg_get_viewdef($1::oid)`, [oid])
    return rows[0]![0]!
  }

  /** Of an index or a partition's bound: any expression about one oid that gives a text. */
  async definition(expression: string, oid: string): Promise<string | undefined> {
    return (await this.qualified(`select ${expression}`, [oid]))[0]?.[0] ?? undefined
  }

  async row(sql: string, params: readonly (string | null)[]): Promise<Row | undefined> {
    return (await this.rows(sql, params))[0]
  }

  async rows(sql: string, params: readonly (string | null)[]): Promise<readonly Row[]> {
    return (await this.connection.ask(sql, params)).rows
  }

  private async relationWhere(condition: string, param: string): Promise<Relation | undefined> {
    const row = await this.row(
      `select c.oid, format('%I.%I', n.nspname, c.relname), n.nspname, c.relname, c.relkind, c.relpersistence = 't'
      from pg_class c join pg_namespace n on n.oid = c.relnamespace where ${condition}`,
      [param],
    )
    if (row === undefined) return undefined
    const [oid, quoted, schema, name, kind, isTemporary] = row as string[]
    return {
      oid: oid!,
      quoted: quoted!,
      schema: schema!,
      name: name!,
      kind: kind!,
      isTemporary: isTemporary === 't',
    }
  }

  private async named(sql: string, oid: string): Promise<Map<string, Named>> {
    return toMap(await this.qualified(sql, [oid]))
  }

  /** With an empty search_path, put back afterwards. */
  private async qualified(
    sql: string,
    params: readonly (string | null)[],
  ): Promise<readonly Row[]> {
    const path = await this.connection.value(
      `with old as materialized (select current_setting('search_path') as path)
      select path from old, lateral (select set_config('search_path', '', false) where old.path is not null) new`,
    )
    try {
      return await this.rows(sql, params)
    } finally {
      if (!this.connection.isLost)
        await this.connection
          .ask(`select set_config('search_path', $1, false)`, [path])
          .catch(() => {}) // the transaction has failed, and with it the setting
    }
  }
}

function toMap(rows: readonly Row[]): Map<string, Named> {
  return new Map(
    rows.map(([oid, name, definition]) => [
      oid!,
      { oid: oid!, name: name!, definition: definition! },
    ]),
  )
}

/** `[{ String: { sval } }]` → names. */
export function namesOf(nodes: readonly Node[] | undefined): string[] {
  return (nodes ?? []).map(node => ('String' in node ? (node.String.sval ?? '') : ''))
}

/** The last of a name's parts is the relation. */
export function rangeOf(names: readonly string[]): RangeVar {
  const schemaname = names.at(-2)
  return { relname: names.at(-1)!, ...(schemaname === undefined ? {} : { schemaname }) }
}
