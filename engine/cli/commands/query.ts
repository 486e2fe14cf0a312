/** query: one SQL statement through the engine's pools.
 *  Owns:   how a result looks as a table.   Thread: main.
 *  Holds:  one row is one line, whatever its values hold; numbers stand right, a null is told from an empty text. */

import type { QueryResult } from '../../client/index.ts'
import { monotonicMs } from '../../clock.ts'
import { withEngine } from '../client.ts'
import { durationOption, type Input } from '../input.ts'
import { print, printJson, styled } from '../output.ts'
import { type Column, count, duration, tableLines } from '../table.ts'
import { jsonText, oneLine } from '../values.ts'

export async function run(input: Input): Promise<number> {
  const [sql, ...params] = input.operands as [string, ...string[]]
  const ttlMs = durationOption(input, 'cache')
  await withEngine(input, async hearth => {
    const startedMs = monotonicMs()
    const database = hearth.database(input.options['db'] ?? 'main')
    const options = ttlMs === undefined ? {} : { cache: { ttlMs } }
    const result = await database.query(sql, params, options)
    if (input.isJson) printJson(result)
    else show(result, monotonicMs() - startedMs)
  })
  return 0
}

function show(result: QueryResult, tookMs: number): void {
  const { rows, fields, command, source } = result
  if (fields.length > 0) {
    const columns = fields.map(
      (field): Column => ({ title: oneLine(field.name), align: alignOf(field) }),
    )
    const cells = rows.map(row => fields.map(field => cellOf(row[field.name], field.dataTypeId)))
    const [titles, ...lines] = tableLines(columns, cells)
    print([styled('bold', titles!), ...lines].join('\n'))
  }
  // A command that counts nothing (CREATE TABLE) answers no number.
  const changed = result.rowCount as number | null
  const rowText = changed === null ? '' : `, ${count(changed)} ${changed === 1 ? 'row' : 'rows'}`
  print(styled('dim', `${command}${rowText} in ${duration(tookMs)} from ${source}`))
}

/** Oids of Postgres' numbers: int8, int2, int4, oid, float4, float8, money, numeric. */
const NUMBERS: ReadonlySet<number> = new Set([20, 21, 23, 26, 700, 701, 790, 1700])
const TIMESTAMP = 1114

function alignOf(field: { dataTypeId: number }): 'left' | 'right' {
  return NUMBERS.has(field.dataTypeId) ? 'right' : 'left'
}

function cellOf(value: unknown, dataTypeId: number): string {
  if (value === null || value === undefined) return styled('dim', 'NULL')
  if (value instanceof Date) return moment(value, dataTypeId)
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`
  return oneLine(typeof value === 'object' ? jsonText(value) : String(value))
}

/** A timestamp without time zone came as this process's local time, and is shown as it stands in the table. */
function moment(value: Date, dataTypeId: number): string {
  if (dataTypeId !== TIMESTAMP) return value.toISOString()
  const local = new Date(value.getTime() - value.getTimezoneOffset() * 60_000)
  return local
    .toISOString()
    .replace('T', ' ')
    .replace(/(\.000)?Z$/, '')
}
