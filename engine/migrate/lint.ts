/** lint: what a migration would do to those who use the database meanwhile, and the form that spares them.
 *  Owns:   levels: what is refused, what is only said, what is harmless.   Not here: the rules (lint_rules.ts).
 *  Thread: main of a command.
 *  Holds:  (1) nothing is run: the text is looked at, and the live catalog, where there is one, is asked how large a table is.
 *          (2) a table that the migration itself makes has no users yet.  (3) a table of unknown size is warned of, never refused. */

import type { DirectConnection } from './direct_connection.ts'
import type { Danger, Facts, TableFacts } from './lint_facts.ts'
import { rulesFor } from './lint_rules.ts'
import { nameOf } from './lint_walk.ts'
import { type Place, placeAt } from './place.ts'
import type { Script } from './project.ts'
import { quotedName } from './quote.ts'

export type Level = 'refused' | 'warning' | 'harmless'

export interface Finding {
  readonly code: string
  readonly level: Level
  readonly place: Place
  readonly path: string
  readonly table: string | undefined
  /** What is dangerous. */
  readonly danger: string
  /** What to write instead. */
  readonly safe: string
  /** Why it is harmless, or that it is allowed. */
  readonly why?: string
}

export interface LintLimits {
  readonly bigTableRows: number
}

/** In the order of the text. `made` are tables of migrations that run before it; its own are added. */
export async function lint(
  script: Script,
  facts: Facts,
  limits: LintLimits,
  made = new Set<string>(),
): Promise<Finding[]> {
  const findings: Finding[] = []
  if (script.isOpaque) return findings
  const allowed = new Set(script.header.allow)
  for (const statement of script.statements) {
    const place = placeAt(script.text, statement.start)
    for (const danger of await rulesFor(statement, script, facts)) {
      const { level, why } = await levelOf(danger, made, allowed, facts, limits)
      const { code, table, danger: text, safe } = danger
      findings.push({ code, level, place, path: script.path, table, danger: text, safe, ...why })
    }
    const { node } = statement
    if ('CreateStmt' in node) made.add(nameOf(node.CreateStmt.relation))
    if ('CreateTableAsStmt' in node) made.add(nameOf(node.CreateTableAsStmt.into?.rel))
  }
  return findings
}

async function levelOf(
  { code, table, anySize }: Danger,
  made: ReadonlySet<string>,
  allowed: ReadonlySet<string>,
  facts: Facts,
  { bigTableRows }: LintLimits,
): Promise<{ level: Level; why?: { why: string } }> {
  if (table !== undefined && made.has(table))
    return { level: 'harmless', why: { why: 'the table is new' } }
  if (allowed.has(code))
    return { level: 'harmless', why: { why: `allowed by the file (allow=${code})` } }
  if (anySize || table === undefined) return { level: 'warning' }
  const known = await facts.table(table)
  if (known === undefined) return { level: 'warning' }
  if (known.rows >= bigTableRows)
    return { level: 'refused', why: { why: `${table} has about ${Math.round(known.rows)} rows` } }
  return {
    level: 'harmless',
    why: { why: `${table} is small here: about ${Math.round(known.rows)} rows` },
  }
}

/** Asks the live catalog, each question once. */
export function factsOf(connection: DirectConnection): Facts {
  const tables = new Map<string, Promise<TableFacts | undefined>>()
  return {
    table(name) {
      const known = tables.get(name) ?? tableFacts(connection, name)
      tables.set(name, known)
      return known
    },
    async columnType(table, column) {
      const type = await connection.value(
        `select format_type(atttypid, atttypmod) from pg_attribute where attrelid = to_regclass($1) and attname = $2`,
        [regclassText(table), column],
      )
      return type ?? undefined
    },
    async isCheckedNotNull(table, column) {
      const found = await connection.value(
        `select count(*) from pg_constraint o join pg_attribute a on a.attrelid = o.conrelid and a.attname = $2
        where o.conrelid = to_regclass($1) and o.contype in ('c', 'n') and o.convalidated and o.conkey = array[a.attnum]
          and (o.contype = 'n' or pg_get_expr(o.conbin, o.conrelid) ~ ('^\\(+"?' || a.attname || '"? IS NOT NULL\\)+$'))`,
        [regclassText(table), column],
      )
      return found !== '0'
    },
    async isVolatile(name) {
      const volatility = await connection.value(
        `select max(provolatile::text) from pg_proc where proname = $1`,
        [name],
      )
      return volatility === null ? undefined : volatility === 'v'
    },
  }
}

export const NO_FACTS: Facts = {
  table: async () => undefined,
  columnType: async () => undefined,
  isCheckedNotNull: async () => false,
  isVolatile: async () => undefined,
}

async function tableFacts(
  connection: DirectConnection,
  name: string,
): Promise<TableFacts | undefined> {
  const { rows } = await connection.ask(
    `with recursive family(oid) as (
      select to_regclass($1)::oid union select i.inhrelid from pg_inherits i join family f on f.oid = i.inhparent
    ) select sum(case when c.reltuples >= 0 and c.relpages > 0 then c.reltuples else pg_relation_size(c.oid) / ${ROW_BYTES} end),
      sum(pg_relation_size(c.oid)) from family f join pg_class c on c.oid = f.oid where c.relkind in ('r', 'p', 'm')`,
    [regclassText(name)],
  )
  const [count, bytes] = rows[0] ?? []
  return count === null || count === undefined
    ? undefined
    : { rows: Number(count), bytes: Number(bytes) }
}

/** `schema.table` as the rules name it → what to_regclass takes. */
function regclassText(name: string): string {
  return name.split('.').map(quotedName).join('.')
}

/** A row of a few columns. */
const ROW_BYTES = 64
