/** explain: asks the server for the plan of one read.
 *  Owns:   nothing.   Not here: which statements (plans.ts), the connection (loan.ts).
 *  Thread: postgres worker.
 *  Holds:  it is only given proven reads, and runs in a transaction that is read only and rolled back: nothing is written. */

import type { Parameter } from 'pg-native'
import type { Pool } from '../pool.ts'
import { borrow } from './loan.ts'

export interface Explained {
  /** The text of EXPLAIN (FORMAT JSON). */
  readonly plan?: string
  /** Why there is none: an SQLSTATE, or words of ours. */
  readonly problem?: string
}

/** Never rejects. With `isRun` the statement is run, for real numbers. */
export async function explain(
  pool: Pool,
  sql: string,
  params: Parameter[],
  isRun: boolean,
  timeoutMs: number,
): Promise<Explained> {
  const options = isRun ? 'analyze, timing off, buffers, format json' : 'format json'
  try {
    const plan = await borrow(pool, BEGIN, timeoutMs, async ask => {
      const rows = await ask(`explain (${options}) ${sql}`, params)
      return rows[0]?.[0] ?? ''
    })
    return { plan }
  } catch (error) {
    return { problem: (error as Error).message }
  }
}

const BEGIN = 'begin isolation level read committed read only'
