/** proof: what an index would do for a statement, found out and undone: with hypopg, or on a copy of its table.
 *  Owns:   nothing.   Not here: which index (engine/client/insight/), the connection (loan.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) the user's table is read, and never locked against anybody.  (2) everything is rolled back; the statement itself is
 *          only planned, with the parameters of a call that was made.  (3) a copy has COPY_BYTES_MAX at most: of a larger table it is
 *          a part, taken by pages.
 *
 *      hypopg: explain ─▶ hypopg_create_index ─▶ explain ─▶ hypopg_reset
 *      copy:   create temp table NAME (like …) ─▶ insert … tablesample ─▶ analyze ─▶ explain ─▶ create index ─▶ explain
 *
 *  A temporary table hides the one of its name, so the statement's text stands as it is, without the schema before that name. */

import type { Parameter } from 'pg-native'
import type { Proof, ProofRequest } from '../../../engine/protocol/insight_shapes.ts'
import { SqlTokens, TOKEN } from '../../../engine/sql_tokens.ts'
import type { Pool } from '../pool.ts'
import { type Ask, borrow } from './loan.ts'

export const COPY_BYTES_MAX = 1024 * 1024 * 1024
const STEP_MS_MAX = 60_000
const INDEX = 'hearth_candidate'

/** Never rejects. */
export async function prove(
  pool: Pool,
  sql: string,
  params: Parameter[],
  request: ProofRequest,
): Promise<Proof> {
  const way = request.isHypothetical ? hypothetically : onCopy
  try {
    return await borrow(pool, 'begin', STEP_MS_MAX, ask => way(ask, sql, params, request))
  } catch (error) {
    return { problem: (error as Error).message }
  }
}

async function hypothetically(
  ask: Ask,
  sql: string,
  params: Parameter[],
  { schema, table, definition }: ProofRequest,
): Promise<Proof> {
  const before = await planOf(ask, sql, params)
  const create = `create index on ${quoted(schema)}.${quoted(table)} ${definition}`
  const [made] = await ask('select indexrelid, indexname from hypopg_create_index($1)', [create])
  try {
    const after = await planOf(ask, sql, params)
    const [size] = await ask(`select hypopg_relation_size(${Number(made![0])})`)
    return outcomeOf(before, after, made![1]!, Number(size![0]), 1)
  } finally {
    await ask('select hypopg_reset()').catch(() => undefined)
  }
}

async function onCopy(
  ask: Ask,
  sql: string,
  params: Parameter[],
  { schema, table, definition, bytesMax, tableBytes }: ProofRequest,
): Promise<Proof> {
  const share = Math.min(1, Math.min(bytesMax, COPY_BYTES_MAX) / Math.max(1, tableBytes))
  const sampled = share < 1 ? ` tablesample system (${share * 100}) repeatable (1)` : ''
  const [from, to] = [`${quoted(schema)}.${quoted(table)}`, quoted(table)]
  await ask(`create temp table ${to} (like ${from} including indexes including statistics)`)
  await ask(`insert into pg_temp.${to} select * from ${from}${sampled}`)
  await ask(`analyze pg_temp.${to}`)
  const text = withoutSchema(sql, schema, table)
  const before = await planOf(ask, text, params)
  await ask(`create index ${INDEX} on pg_temp.${to} ${definition}`)
  const after = await planOf(ask, text, params)
  const [size] = await ask(`select pg_catalog.pg_relation_size('pg_temp.${INDEX}')`)
  return outcomeOf(before, after, INDEX, Number(size![0]) / share, share)
}

async function planOf(ask: Ask, sql: string, params: Parameter[]): Promise<string> {
  const rows = await ask(`explain (format json) ${sql}`, params)
  return rows[0]![0]!
}

function outcomeOf(
  before: string,
  after: string,
  index: string,
  indexBytes: number,
  share: number,
): Proof {
  return {
    costBefore: costOf(before),
    costAfter: costOf(after),
    isUsed: after.includes(JSON.stringify(index)),
    indexBytes: Math.round(indexBytes),
    share,
  }
}

function costOf(plan: string): number {
  return JSON.parse(plan)[0].Plan['Total Cost']
}

/** `public.t` → `t`, as it stands in the text; in quotes or not. */
export function withoutSchema(sql: string, schema: string, table: string): string {
  const tokens = new SqlTokens(sql)
  const seen: { text: string; start: number }[] = []
  let out = ''
  let from = 0
  while (tokens.next()) {
    const { text, start } = tokens
    const [first, dot] = seen.slice(-2)
    const isNamed = dot?.text === '.' && nameOf(first!.text) === schema && nameOf(text) === table
    if (isNamed && tokens.kind !== TOKEN.text) {
      out += sql.slice(from, first!.start)
      from = start
    }
    seen.push({ text, start })
    if (seen.length > 4) seen.shift()
  }
  return out + sql.slice(from)
}

function nameOf(token: string): string {
  return token.startsWith('"') ? token.slice(1, -1).replaceAll('""', '"') : token.toLowerCase()
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
