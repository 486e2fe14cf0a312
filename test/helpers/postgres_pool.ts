/** Pools under test: opened on a test server, closed when their test is over.
 *  Owns:   the pools of the running test.   Thread: main of a test process. */

import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../engine/clock.ts'
import { type Rows, readRows } from '../../engine/protocol/rows.ts'
import { POOL_DEFAULTS, type PoolOptions } from '../../workers/postgres/database.ts'
import { Pool } from '../../workers/postgres/pool.ts'
import './newest_libpq.ts'

export interface TestPool {
  readonly pool: Pool
  /** timeoutMs 0: the pool's own. */
  query(sql: string, params?: unknown[], timeoutMs?: number): Promise<Rows>
  /** The first column of the first row. */
  value(sql: string, params?: unknown[]): Promise<unknown>
}

export function openPool(
  t: TestContext,
  url: string,
  options: Partial<PoolOptions> = {},
): TestPool {
  const pool = new Pool({ name: 'main', url, ...POOL_DEFAULTS, ...options })
  t.after(() => pool.close())
  let count = 0
  const query = async (sql: string, params: unknown[] = [], timeoutMs = 0) => {
    const body = await pool.query({ sql, params, timeoutMs, correlationId: `test-${++count}` })
    return readRows(body, 0, body.length)
  }
  const value = async (sql: string, params?: unknown[]) =>
    Object.values((await query(sql, params)).rows[0] ?? {})[0]
  return { pool, query, value }
}

/** Waits until `check` holds; throws with `what` after `withinMs`. */
export async function until(
  what: string,
  check: () => boolean | Promise<boolean>,
  withinMs = 20_000,
): Promise<void> {
  const endMs = monotonicMs() + withinMs
  while (!(await check())) {
    if (monotonicMs() > endMs) throw new Error(`not within ${withinMs} ms: ${what}`)
    await sleep(5)
  }
}
