/** generic_plan: the plan of a fingerprint of which no call is known: made without parameters, as for a prepared statement.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  it is planned in a transaction that only reads and is rolled back; nothing is run. */

import type { Database } from '../database.ts'

/** What EXPLAIN (FORMAT JSON) gives; undefined: the text cannot be planned. */
export async function genericPlan(db: Database, text: string): Promise<unknown> {
  const numbers = [...text.matchAll(/\$(\d+)/g)].map(([, number]) => Number(number))
  const count = Math.max(0, ...numbers)
  const values = Array.from({ length: count }, () => 'null').join(', ')
  let plan: unknown
  await db
    .transaction(
      async tx => {
        await tx.query('set local plan_cache_mode = force_generic_plan')
        await tx.query(`prepare hearth_generic as ${text}`)
        const execute = `execute hearth_generic${count === 0 ? '' : `(${values})`}`
        const { rows } = await tx.query(`explain (format json) ${execute}`)
        plan = Object.values(rows[0]!)[0]
        await tx.query('deallocate hearth_generic')
      },
      { readOnly: true },
    )
    .catch(() => undefined)
  return typeof plan === 'string' ? JSON.parse(plan) : plan
}
