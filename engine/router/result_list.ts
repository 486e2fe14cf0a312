/** ResultList: which results of statements were read most, to be fetched anew by the next engine: they themselves end with this one.
 *  Owns:   the choice among those that a walk shows.   Not here: the walk and when it is made (hot_list.ts), the list's form
 *          (result_form.ts).
 *  Thread: main.
 *  Holds:  (1) at most RESULT_LIST_COUNT_MAX, and only results that a recipe is known of and whose parameters are in the key: long
 *          ones are not kept anywhere for this.  (2) none that would hardly live until somebody asks.
 *
 *  A part: loaded with the first list that there is anything for. */

import { levelOf } from '../cache/hot.ts'
import { ttlOf } from '../cache/policies.ts'
import { RESULT_LIST_COUNT_MAX } from '../limits.ts'
import { readQueryKey } from '../protocol/query_key.ts'
import type { CacheState } from './cache_state.ts'
import type { Recipe, Recipes } from './recipes.ts'
import { packResults } from './result_form.ts'

/** A result that is given for less, its time as a stale one included, is over before it is worth anything. */
const LIFE_MS_MIN = 2_000

interface Seen {
  readonly statement: Recipe
  readonly level: number
  readonly params: Buffer
  readonly reads: number
  readonly hash: number
}

export class ResultList {
  private readonly state: CacheState
  private readonly recipes: Recipes
  private seen: Seen[] = []
  /** Of the list written last: the hashes of its keys, which stay what they are while the engine runs. */
  private written = new Set<number>()

  constructor(state: CacheState, recipes: Recipes) {
    this.state = state
    this.recipes = recipes
  }

  /** A walk begins. */
  begin(): void {
    this.seen = []
  }

  /** It has come to a result that was read so often. */
  see(entry: number, reads: number): void {
    const { memory } = this.state
    const { bytes } = memory
    const keyStart = memory.keyStart(entry)
    const keyEnd = memory.valueStart(entry)
    const key = readQueryKey(bytes, keyStart, keyEnd)
    const statement = key && this.recipes.get(key.prefix)
    if (statement === undefined || this.lifeMs(statement) < LIFE_MS_MIN) return
    if (this.seen.length >= 2 * RESULT_LIST_COUNT_MAX) this.trim()
    const hash = memory.hash(bytes, keyStart, keyEnd)
    this.seen.push({ statement, level: levelOf(reads), params: key!.params, reads, hash })
  }

  /** The list as it is to be written, if so large a part of it is new or gone: one in `worth`. */
  pack(worth: number): Buffer | undefined {
    this.trim()
    const { seen, written } = this
    const known = seen.filter(({ hash }) => written.has(hash)).length
    const changes = seen.length + written.size - 2 * known
    this.seen = []
    if (seen.length === 0 || changes === 0 || changes * worth < seen.length) return undefined
    this.written = new Set(seen.map(({ hash }) => hash))
    return packResults(seen)
  }

  /** It was not written. */
  forget(): void {
    this.written.clear()
  }

  private trim(): void {
    this.seen.sort((one, other) => other.reads - one.reads)
    this.seen.length = Math.min(this.seen.length, RESULT_LIST_COUNT_MAX)
  }

  private lifeMs({ keeping }: Recipe): number {
    const { ttl, bounds, staleMs } = keeping
    const { policies } = this.state
    // A policy may have gone with a reload of the configuration.
    if (typeof ttl === 'string' && !Object.hasOwn(policies.named, ttl)) return 0
    const ttlMs = bounds?.maxMs ?? ttlOf(policies, ttl)
    return ttlMs === 0 ? Infinity : ttlMs + staleMs
  }
}
