/** lint_table: the rules of ALTER TABLE that need a closer look: new columns, new constraints, other types.
 *  Owns:   these rules.   Not here: the others (lint_rules.ts).   Thread: main of a command.
 *  Holds:  a change of type is called harmless only where Postgres is known not to rewrite for it. */

import type { AlterTableCmd, TypeName } from 'libpg-query'
import type { Danger, Facts } from './lint_facts.ts'
import {
  columnOf,
  constraintIn,
  constraintOf,
  functionsIn,
  modifiersOf,
  typeNameOf,
} from './lint_walk.ts'
import { nameText } from './quote.ts'

const LATER =
  'add it without, give new rows a default (alter column … set default), fill old rows in batches'

/** ADD COLUMN. */
export async function columnDangers(
  cmd: AlterTableCmd,
  table: string,
  facts: Facts,
): Promise<Danger[]> {
  const column = columnOf(cmd.def)
  if (column === undefined) return []
  const name = nameText(column.colname ?? '')
  const given = constraintIn(column, 'CONSTR_DEFAULT')
  const isSerial = /serial\d?$/.test(typeNameOf(column.typeName))
  const isIdentity = constraintIn(column, 'CONSTR_IDENTITY') !== undefined
  const generated = constraintIn(column, 'CONSTR_GENERATED')
  const dangers: Danger[] = []
  const isFilled = given !== undefined || isSerial || isIdentity || generated !== undefined
  const isNotNull =
    constraintIn(column, 'CONSTR_NOTNULL') !== undefined ||
    constraintIn(column, 'CONSTR_PRIMARY') !== undefined
  if (isNotNull && !isFilled)
    dangers.push({
      code: 'not-null-without-default',
      table,
      anySize: true,
      danger: `fails as soon as ${table} has a row`,
      safe: `give it a constant default; or add ${name} nullable, fill it, then set it NOT NULL`,
    })
  const isStored = generated !== undefined && generated.generated_kind !== 'v'
  const volatile = await volatileIn(given?.raw_expr, facts)
  if (isSerial || isIdentity || isStored || volatile !== undefined)
    dangers.push({
      code: 'volatile-default',
      table,
      danger: `each row gets a value of its own${volatile ? ` (${volatile}())` : ''}, so ${table} is written anew while nobody can read or write it`,
      safe: LATER,
    })
  for (const type of ['CONSTR_UNIQUE', 'CONSTR_PRIMARY'])
    if (constraintIn(column, type) !== undefined) dangers.push(uniqueDanger(table))
  const check = constraintIn(column, 'CONSTR_CHECK')
  if (check !== undefined && isFilled) dangers.push(checkDanger(table))
  const reference = constraintIn(column, 'CONSTR_FOREIGN')
  if (reference !== undefined && isFilled) dangers.push(referenceDanger(table))
  return dangers
}

/** The first function that is known, or must be taken, to give each row another value. */
async function volatileIn(expression: unknown, facts: Facts): Promise<string | undefined> {
  for (const name of functionsIn(expression)) {
    const known = KNOWN.get(name) ?? (await facts.isVolatile(name))
    if (known !== false) return name
  }
  return undefined
}

/** Those that stand in defaults everywhere, so that they are known without a database. */
const KNOWN = new Map<string, boolean>([
  ['now', false],
  ['to_char', false],
  ['jsonb_build_object', false],
  ['json_build_object', false],
  ['current_setting', false],
  ['lower', false],
  ['upper', false],
  ['random', true],
  ['gen_random_uuid', true],
  ['uuidv7', true],
  ['clock_timestamp', true],
  ['nextval', true],
])

/** ADD CONSTRAINT. */
export function constraintDangers(cmd: AlterTableCmd, table: string): Danger[] {
  const constraint = constraintOf(cmd.def)
  switch (constraint?.contype) {
    case 'CONSTR_FOREIGN':
      return constraint.skip_validation ? [] : [referenceDanger(table)]
    case 'CONSTR_CHECK':
      return constraint.skip_validation ? [] : [checkDanger(table)]
    case 'CONSTR_UNIQUE':
    case 'CONSTR_PRIMARY':
      return constraint.indexname === undefined ? [uniqueDanger(table)] : []
    case 'CONSTR_EXCLUSION':
      return [
        {
          code: 'exclusion-builds-index',
          table,
          danger: `nobody can read or write ${table} while its index is built`,
          safe: 'there is no other form: do it in a quiet hour, with a lock_timeout',
        },
      ]
    case 'CONSTR_NOTNULL':
      if (constraint.skip_validation) return []
      return [{ ...checkDanger(table), code: 'set-not-null' }]
    default:
      return []
  }
}

function referenceDanger(table: string): Danger {
  return {
    code: 'foreign-key-validates',
    table,
    danger: `reads all of ${table} while nobody can write it, nor the table that it refers to`,
    safe: 'add constraint … foreign key … not valid; in the next migration: validate constraint …',
  }
}

function checkDanger(table: string): Danger {
  return {
    code: 'check-validates',
    table,
    danger: `reads all of ${table} while nobody can read or write it`,
    safe: 'add constraint … check (…) not valid; in the next migration: validate constraint …',
  }
}

function uniqueDanger(table: string): Danger {
  return {
    code: 'unique-builds-index',
    table,
    danger: `nobody can read or write ${table} while its index is built`,
    safe: 'in a file of its own with `-- hearth: no-transaction`: create unique index concurrently i …; then: add constraint … using index i',
  }
}

/** ALTER COLUMN TYPE. */
export async function typeDanger(
  cmd: AlterTableCmd,
  table: string,
  facts: Facts,
): Promise<Danger[]> {
  const column = columnOf(cmd.def)
  const before = await facts.columnType(table, cmd.name!)
  if (column?.raw_default === undefined && before && keepsRows(before, column?.typeName)) return []
  return [
    {
      code: 'table-rewrite',
      table,
      danger: `writes ${table} and its indexes anew while nobody can read or write it${before === undefined ? ', unless the old type is the same on disk' : ''}`,
      safe: 'add a column of the new type, keep both (a trigger, or the code), fill it in batches, move readers over, drop the old one',
    },
  ]
}

/** varchar(10) to varchar(20), varchar or text; varchar to text; a numeric to more digits of the same scale. */
function keepsRows(before: string, after: TypeName | undefined): boolean {
  const [, name, length, scale] = /^([a-z ]+?)(?:\((\d+)(?:,(\d+))?\))?$/.exec(before) ?? []
  const [newLength, newScale = 0] = modifiersOf(after)
  const type = typeNameOf(after)
  if ((after?.arrayBounds?.length ?? 0) > 0) return false
  if (name === 'character varying' || name === 'text') {
    if (type === 'text' || (type === 'varchar' && newLength === undefined)) return true
    return type === 'varchar' && length !== undefined && newLength! >= Number(length)
  }
  if (name !== 'numeric' || type !== 'numeric') return false
  if (newLength === undefined) return true
  return length !== undefined && newScale === Number(scale ?? 0) && newLength >= Number(length)
}
