/** Sample data: the readings of a real house, loaded once into `readings(at, sensor, value)`.
 *  Owns:   the tables readings and readings_loading of the database it is given.   Where from: home-readings.README.md.
 *  Thread: any; it only calls the `query` it is handed.
 *  Holds:  (1) `readings` appears whole or not at all.  (2) a table of that name is never touched. */

import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { HearthError } from '../errors.ts'

/** 4 932 moments of 26 sensors. */
export const SAMPLE_ROWS_COUNT = 128_232
const BATCH_ROWS = 4_000

/** Runs one statement; parameters are strings only, so that any driver will do. */
export type Query = (sql: string, params: string[]) => Promise<{ rows: unknown[] }>

export interface LoadOptions {
  readonly query: Query
  /** Called after each batch. */
  readonly onProgress?: ((rowsLoaded: number, rowsTotal: number) => void) | undefined
  readonly csvFile?: string | undefined
}

/** Loads the sample unless `readings` exists; answers how many rows it loaded, 0 when it was there. */
export async function loadSampleData({ query, onProgress, csvFile }: LoadOptions): Promise<number> {
  const found = await query(`select 1 from pg_class where oid = to_regclass('readings')`, [])
  if (found.rows.length > 0) return 0
  await query('drop table if exists readings_loading', [])
  await query(
    `create table readings_loading (
      at timestamp not null, sensor text not null, value double precision not null)`,
    [],
  )
  const rowsLoaded = await insertAll(query, onProgress, csvFile ?? sampleFile())
  // Latest value by sensor, hourly averages of one, two sensors side by side: all walk (sensor, at).
  await query('alter table readings_loading add primary key (sensor, at)', [])
  await query('alter table readings_loading rename to readings', [])
  await query('alter index readings_loading_pkey rename to readings_pkey', [])
  await query('analyze readings', [])
  return rowsLoaded
}

export function sampleFile(): string {
  return fileURLToPath(new URL('./home-readings.csv', import.meta.url))
}

/** The file has one column a sensor; the table has one row a sensor and moment. */
async function insertAll(
  query: Query,
  onProgress: LoadOptions['onProgress'],
  csvFile: string,
): Promise<number> {
  let sensors: string[] = []
  let batch = new Batch()
  let rowsLoaded = 0
  const send = async () => {
    await query(INSERT, batch.params())
    rowsLoaded += batch.size
    batch = new Batch()
    onProgress?.(rowsLoaded, SAMPLE_ROWS_COUNT)
  }
  for await (const line of createInterface({ input: createReadStream(csvFile, 'utf8') })) {
    const [at, ...values] = line.split(',')
    if (sensors.length === 0) {
      sensors = values
      continue
    }
    if (values.length !== sensors.length) {
      throw new HearthError(
        'BAD_REQUEST',
        `${csvFile}: ${line.slice(0, 40)}… has ${values.length} values`,
      )
    }
    for (const [index, value] of values.entries()) batch.add(at!, sensors[index]!, value)
    if (batch.size >= BATCH_ROWS) await send()
  }
  if (batch.size > 0) await send()
  return rowsLoaded
}

const INSERT = `insert into readings_loading
  select * from unnest($1::timestamp[], $2::text[], $3::double precision[])`

/** Three columns as array literals. Nothing in this file needs escaping inside the quotes. */
class Batch {
  size = 0
  private readonly columns: [string[], string[], string[]] = [[], [], []]

  add(at: string, sensor: string, value: string): void {
    this.columns[0].push(`"${at}"`)
    this.columns[1].push(`"${sensor}"`)
    this.columns[2].push(value)
    this.size++
  }

  params(): string[] {
    return this.columns.map(column => `{${column.join(',')}}`)
  }
}
