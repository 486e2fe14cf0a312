/** Statements as the analysis sees them, with the names of tables in place of their OIDs.
 *  Owns:   nothing.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { Analysis, type AnalysisLimits } from '../../workers/postgres/analysis/analysis.ts'
import type { Facts } from '../../workers/postgres/analysis/facts.ts'
import { Statements } from '../../workers/postgres/statement.ts'
import { openPool, type TestPool } from './postgres_pool.ts'
import type { WireClient } from './postgres_wire.ts'

/** The facts of one statement in a line's room. */
export interface Seen {
  readonly side: Facts['side']
  /** Names of the tags, without the schema public. */
  readonly reads: string
  readonly writes: string
  readonly replica: boolean
  readonly refusal: string | undefined
  readonly tables: readonly string[]
}

export interface TestAnalysis extends TestPool {
  readonly analysis: Analysis
  find(sql: string): Promise<Facts>
  /** The same, readable. */
  see(sql: string): Promise<Seen>
  of(sql: string): Facts | undefined
}

export function openAnalysis(
  t: TestContext,
  url: string,
  admin: WireClient,
  limits: Partial<AnalysisLimits> = {},
): TestAnalysis {
  const opened = openPool(t, url, { size: 2, min: 0, overflow: 0 })
  const analysis = new Analysis(opened.pool, limits)
  const statements = new Statements()
  const statementOf = (sql: string) => {
    if (!sql.startsWith('copy')) return statements.inside(sql)
    return statements.copy(sql, /stdin/.test(sql) ? 'in' : 'out')
  }
  const find = (sql: string) => analysis.find(statementOf(sql))
  const namesOf = async (oids: readonly number[]) => {
    const named = await admin.query(
      `select oid::regclass::text from pg_class where oid = any ($1::oid[]) order by 1`,
      [`{${oids.join(',')}}`],
    )
    return named.rows.map(([name]) => name).join(' ')
  }
  return {
    ...opened,
    analysis,
    find,
    of: sql => analysis.of(statementOf(sql)),
    async see(sql) {
      const { side, reads, writes, mayUseReplica, cacheRefusal, tables } = await find(sql)
      return {
        side,
        reads: await namesOf(reads),
        writes: writes === 'everything' ? writes : await namesOf(writes),
        replica: mayUseReplica,
        refusal: cacheRefusal,
        tables,
      }
    },
  }
}

/** Runs the statement, rolls it back, and asserts that what the server then counts was foreseen: each table that was changed, and
 *  each that was scanned where the result might be kept. Undefined when the server refuses it. */
export async function checkAgainstServer(
  sql: string,
  { side, reads, writes, refusal }: Seen,
  admin: WireClient,
): Promise<{ scans: number; changes: number } | undefined> {
  const params = Array<string>(new Set(sql.match(/\$\d+/g)).size).fill('1')
  // What earlier ones have counted is still counted until it is reported.
  await admin.query('select pg_stat_force_next_flush()')
  await admin.query('begin')
  try {
    if ((await admin.query(sql, params).catch(() => undefined)) === undefined) return undefined
    let [scans, changes] = [0, 0]
    for (const [name, isScanned, isChanged] of (await admin.query(TOUCHED)).rows) {
      if (isScanned === 't' && side === 'read' && refusal === undefined) {
        scans++
        assert.ok(` ${reads} `.includes(` ${name} `), `${sql} reads ${name}, not only ${reads}`)
      }
      if (isChanged === 't' && writes !== 'everything') {
        changes++
        assert.ok(` ${writes} `.includes(` ${name} `), `${sql} writes ${name}, not only ${writes}`)
      }
    }
    return { scans, changes }
  } finally {
    await admin.query('rollback')
  }
}

/** What the running transaction has scanned or changed, by the server's own count, as topmost ancestors. */
const TOUCHED = `
with recursive touched(oid, is_scanned, is_changed) as (
  select relid, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) > 0, n_tup_ins + n_tup_upd + n_tup_del > 0
  from pg_stat_xact_user_tables
union
  select inhparent, is_scanned, is_changed from touched join pg_inherits on inhrelid = touched.oid
)
select oid::regclass::text, bool_or(is_scanned), bool_or(is_changed) from touched
where not exists (select from pg_inherits where inhrelid = touched.oid) group by oid`
