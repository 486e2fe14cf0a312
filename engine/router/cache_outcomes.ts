/** CacheOutcomes: how requests for cached results were answered, statement by statement, until the postgres worker is told.
 *  Owns:   the counts since it was told last.   Not here: figures over all statements (query_cache.ts).
 *  Thread: main.
 *  Holds:  at most STATEMENT_COUNT_MAX statements, whose texts are no longer than TEXT_CHARS_MAX: what is beyond that is not counted.
 *
 *  What clients read in place they tell themselves (COUNT_IN_PLACE), within seconds. */

import { encodeValue } from '../protocol/payload.ts'

/** As CACHE_OUTCOMES has them. */
export const OUTCOME_AT = {
  memory: 0,
  sqlite: 1,
  inPlace: 2,
  stale: 3,
  shared: 4,
  misses: 5,
} as const
export type OutcomeName = keyof typeof OUTCOME_AT

const STATEMENT_COUNT_MAX = 256
const TEXT_CHARS_MAX = 2_048

interface Counted {
  readonly database: string
  readonly sql: string
  readonly counts: number[]
}

export class CacheOutcomes {
  /** False: nobody wants to know. */
  isOn = true
  /** Called when the first is counted since all were taken. */
  onFirst: () => void = () => {}
  private counted = new Map<string, Counted>()

  get count(): number {
    return this.counted.size
  }

  /** `key` stands for database and text. */
  note(key: string, database: string, sql: string, outcome: OutcomeName, count = 1): void {
    if (!this.isOn) return
    let known = this.counted.get(key)
    if (known === undefined) {
      if (this.counted.size >= STATEMENT_COUNT_MAX || sql.length > TEXT_CHARS_MAX) return
      known = { database, sql, counts: [0, 0, 0, 0, 0, 0] }
      this.counted.set(key, known)
      if (this.counted.size === 1) this.onFirst()
    }
    known.counts[OUTCOME_AT[outcome]]! += count
  }

  /** The body of CACHE_OUTCOMES, after which all is counted anew. */
  take(): Buffer {
    const rows = [...this.counted.values()].map(({ database, sql, counts }) => [
      database,
      sql,
      ...counts,
    ])
    this.counted.clear()
    return encodeValue(rows)
  }
}
