/** lint_rules: the rules, by kind of statement.
 *  Owns:   codes, what is dangerous, the safe form.   Not here: how large a table is (lint.ts).
 *  Thread: main of a command.
 *  Holds:  a rule is about what Postgres 14 and later do; where a release is kinder, the rule says what holds in all of them.
 *          Where from: Postgres' documentation of each command's locks and rewrites, and the checks of strong_migrations and squawk. */

import type { AlterTableCmd } from 'libpg-query'
import type { Danger, Facts } from './lint_facts.ts'
import { columnDangers, constraintDangers, typeDanger } from './lint_table.ts'
import { commandsOf, nameOf, stringsOf } from './lint_walk.ts'
import type { Node, Statement } from './parser.ts'
import type { Script } from './project.ts'
import { nameText } from './quote.ts'

const ALONE = 'in a file of its own with `-- hearth: no-transaction`: '

export async function rulesFor(
  statement: Statement,
  script: Script,
  facts: Facts,
): Promise<Danger[]> {
  const { node } = statement
  if ('AlterTableStmt' in node) {
    const { relation, cmds, objtype } = node.AlterTableStmt
    if (objtype !== 'OBJECT_TABLE') return []
    const table = nameOf(relation)
    const dangers: Danger[] = []
    for (const cmd of commandsOf(cmds)) dangers.push(...(await alterDangers(cmd, table, facts)))
    return dangers
  }
  return [
    indexDanger(node),
    dropDanger(node),
    renameDanger(node),
    upkeepDanger(node),
    enumDanger(statement, script),
    dataDanger(node),
  ]
    .flat()
    .filter(danger => danger !== undefined)
}

async function alterDangers(cmd: AlterTableCmd, table: string, facts: Facts): Promise<Danger[]> {
  const column = nameText(cmd.name ?? '')
  switch (cmd.subtype) {
    case 'AT_AddColumn':
      return await columnDangers(cmd, table, facts)
    case 'AT_AddConstraint':
      return constraintDangers(cmd, table)
    case 'AT_AlterColumnType':
      return await typeDanger(cmd, table, facts)
    case 'AT_SetNotNull':
      if (await facts.isCheckedNotNull(table, cmd.name!)) return []
      return [
        {
          code: 'set-not-null',
          table,
          danger: `reads all of ${table} for NULLs while nobody can read or write it`,
          safe: `add constraint c check (${column} is not null) not valid; in the next migration: validate constraint c, set not null, drop constraint c`,
        },
      ]
    case 'AT_DropColumn':
      return [
        {
          code: 'drop-column',
          table,
          anySize: true,
          danger: `code that still runs and uses ${table}.${column} fails, and what is in it is gone`,
          safe: 'deploy code that does not use it first, and drop it then',
        },
      ]
    case 'AT_SetLogged':
    case 'AT_SetUnLogged':
    case 'AT_SetTableSpace':
    case 'AT_SetAccessMethod':
    case 'AT_SetExpression':
      return [rewrite(table, 'a new table beside it, filled in batches, and a rename')]
    case 'AT_AttachPartition':
      return [
        {
          code: 'attach-partition',
          table,
          danger: 'reads all of the partition to see that its rows belong there, locked',
          safe: 'give the partition a validated CHECK of its bounds first, and drop that afterwards',
        },
      ]
    default:
      return []
  }
}

function rewrite(table: string, safe: string): Danger {
  return {
    code: 'table-rewrite',
    table,
    danger: `writes ${table} anew while nobody can read or write it`,
    safe,
  }
}

function indexDanger(node: Node): Danger | undefined {
  if ('IndexStmt' in node && !node.IndexStmt.concurrent) {
    const table = nameOf(node.IndexStmt.relation)
    return {
      code: 'index-not-concurrent',
      table,
      danger: `nobody can write ${table} while the index is built`,
      safe: `${ALONE}create index concurrently …`,
    }
  }
  if ('ReindexStmt' in node) {
    const { relation, params } = node.ReindexStmt
    if (JSON.stringify(params ?? []).includes('"concurrently"')) return undefined
    return {
      code: 'reindex-not-concurrent',
      table: nameOf(relation),
      danger: 'nobody can write the table, or use the index, while it is built anew',
      safe: `${ALONE}reindex … concurrently`,
    }
  }
  return undefined
}

function dropDanger(node: Node): Danger | undefined {
  if (!('DropStmt' in node)) return undefined
  const { removeType, concurrent, objects } = node.DropStmt
  const names = (objects ?? []).map(each =>
    'List' in each ? stringsOf(each.List.items).join('.') : '',
  )
  if (removeType === 'OBJECT_INDEX' && !concurrent)
    return {
      code: 'drop-index-not-concurrent',
      danger: `waits for all who use the table of ${names.join(', ')}, and makes those that come later wait behind it`,
      safe: `${ALONE}drop index concurrently …`,
      anySize: true,
    }
  if (removeType !== 'OBJECT_TABLE' && removeType !== 'OBJECT_VIEW') return undefined
  const [table] = names
  return {
    code: 'drop-table',
    ...(names.length === 1 ? { table: table! } : {}),
    anySize: true,
    danger: `code that still runs and uses ${names.join(', ')} fails, and what is in it is gone`,
    safe: 'deploy code that does not use it first, and drop it then',
  }
}

function renameDanger(node: Node): Danger | undefined {
  if (!('RenameStmt' in node)) return undefined
  const { renameType, relation, subname } = node.RenameStmt
  const isColumn = renameType === 'OBJECT_COLUMN'
  if (!isColumn && renameType !== 'OBJECT_TABLE' && renameType !== 'OBJECT_VIEW') return undefined
  const table = nameOf(relation)
  return {
    code: isColumn ? 'rename-column' : 'rename-table',
    table,
    anySize: true,
    danger: `code that still runs and uses ${isColumn ? `${table}.${subname}` : table} fails`,
    safe: isColumn
      ? 'add the new column, write both, fill it in batches, move readers over, drop the old one later'
      : 'rename it and create a view of the old name in one migration; drop the view later',
  }
}

function upkeepDanger(node: Node): Danger[] {
  if ('VacuumStmt' in node) {
    const { options, rels } = node.VacuumStmt
    if (!JSON.stringify(options ?? []).includes('"full"')) return []
    const table = (rels ?? []).map(each =>
      'VacuumRelation' in each ? nameOf(each.VacuumRelation.relation) : '',
    )[0]
    return [exclusive('vacuum-full', table, 'plain VACUUM, or pg_repack')]
  }
  if ('ClusterStmt' in node)
    return [exclusive('cluster', nameOf(node.ClusterStmt.relation), 'pg_repack')]
  if ('LockStmt' in node)
    return (node.LockStmt.relations ?? []).map(each => ({
      ...('RangeVar' in each ? { table: nameOf(each.RangeVar) } : {}),
      code: 'lock-table',
      anySize: true as const,
      danger: 'whoever uses the table waits until this migration is over',
      safe: 'leave it out: statements take the locks they need',
    }))
  if ('RefreshMatViewStmt' in node && !node.RefreshMatViewStmt.concurrent)
    return [
      {
        code: 'refresh-not-concurrent',
        table: nameOf(node.RefreshMatViewStmt.relation),
        danger: 'nobody can read the view while it is filled',
        safe: 'refresh materialized view concurrently …, which needs a unique index on it',
      },
    ]
  return []
}

function exclusive(code: string, table: string | undefined, safe: string): Danger {
  return {
    ...rewrite(table || 'each table', `${safe}, which leave the table readable`),
    code,
    ...(table ? { table } : {}),
  }
}

/** In one transaction a new value cannot be used yet. */
function enumDanger({ node, start }: Statement, script: Script): Danger | undefined {
  if (!('AlterEnumStmt' in node) || !script.header.isTransaction) return undefined
  const { newVal, oldVal } = node.AlterEnumStmt
  if (oldVal !== undefined || newVal === undefined) return undefined
  const isUsed = script.statements.some(
    each => each.start > start && each.sql.includes(`'${newVal.replaceAll("'", "''")}'`),
  )
  if (!isUsed) return undefined
  return {
    code: 'enum-value-used',
    anySize: true,
    danger: `a value that was added to an enum cannot be used in the same transaction, and ${newVal} seems to be`,
    safe: 'use it in the next migration',
  }
}

function dataDanger(node: Node): Danger | undefined {
  const found =
    'UpdateStmt' in node ? node.UpdateStmt : 'DeleteStmt' in node ? node.DeleteStmt : undefined
  if (found !== undefined) {
    const table = nameOf(found.relation)
    return {
      code: 'many-rows',
      table,
      danger: `locks every row that it changes until the migration is over, and leaves as many dead ones in ${table}`,
      safe: `${ALONE}batches of some thousand rows, by key`,
    }
  }
  if (!('TruncateStmt' in node)) return undefined
  const [first] = node.TruncateStmt.relations ?? []
  return {
    code: 'truncate',
    ...(first !== undefined && 'RangeVar' in first ? { table: nameOf(first.RangeVar) } : {}),
    anySize: true,
    danger: 'what is in the table is gone, and whoever uses it waits',
    safe: 'delete in batches, by key',
  }
}
