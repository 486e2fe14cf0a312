/** sql_trials: the statements that Hearth and its rivals are timed with, and the least ratio that each is to reach.
 *  Owns:   the tables they use.   Thread: main of the bench.
 *  Holds:  both sides run the same texts with the same parameters, prepared, and decode what they get. */

import type { Hearth } from '../../engine/client/index.ts'
import { latencies, percentile, throughput } from './stand.ts'

/** Hearth's figure by the rival's. */
export interface Bound {
  readonly atLeast?: number
  readonly atMost?: number
}

const SQL_ROWS = 10_000

export type Query = (sql: string, params: unknown[]) => Promise<unknown>

export interface SqlTrial {
  readonly what: string
  readonly unit: string
  readonly againstPg: Bound
  readonly againstPostgresJs: Bound
  measure(query: Query): Promise<number>
}

const POINT_SELECT = 'select * from bench where id = $1'
const HUNDRED_ROWS = 'select * from bench where id between $1 and $1 + 99'
const INSERT = 'insert into bench_log (device, value) values ($1, $2)'
const pointSelect = (query: Query) => (i: number) => query(POINT_SELECT, [1 + (i % SQL_ROWS)])

export const SQL_TRIALS: readonly SqlTrial[] = [
  {
    what: 'point selects, 100 in flight',
    unit: '/s',
    againstPg: { atLeast: 1.5 },
    againstPostgresJs: { atLeast: 1.5 },
    measure: query => throughput(50_000, 100, pointSelect(query)),
  },
  {
    what: 'point selects, 1 000 in flight',
    unit: '/s',
    againstPg: { atLeast: 2 },
    againstPostgresJs: { atLeast: 1.2 },
    measure: query => throughput(100_000, 1_000, pointSelect(query)),
  },
  {
    what: 'selects of 100 rows, 100 in flight',
    unit: '/s',
    againstPg: { atLeast: 2 },
    againstPostgresJs: { atLeast: 2 },
    measure: query => throughput(30_000, 100, i => query(HUNDRED_ROWS, [1 + (i % SQL_ROWS)])),
  },
  {
    what: 'one select at a time, p50',
    unit: 'µs',
    againstPg: { atMost: 2.2 },
    againstPostgresJs: {},
    measure: async query => percentile(await latencies(5_000, 1, pointSelect(query)), 0.5) * 1_000,
  },
  {
    what: 'inserts, 100 in flight, synchronous_commit off',
    unit: '/s',
    againstPg: { atLeast: 1.3 },
    againstPostgresJs: {},
    measure: query => throughput(30_000, 100, i => query(INSERT, [i, i * 0.5])),
  },
]

export async function prepareDatabase(hearth: Hearth): Promise<void> {
  await hearth.db.query('create table bench (id int primary key, name text, value float8)')
  await hearth.db.query(
    `insert into bench select g, 'name ' || g, g * 1.5 from generate_series(1, ${SQL_ROWS} + 100) g`,
  )
  await hearth.db.query(
    'create table bench_log (id bigint generated always as identity primary key, device int, value float8)',
  )
  await hearth.db.query('analyze bench')
  const { rows } = await hearth.db.query<{ name: string }>('select current_database() as name')
  await hearth.db.query(`alter database "${rows[0]!.name}" set synchronous_commit = off`)
}
