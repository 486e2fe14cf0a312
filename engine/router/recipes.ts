/** Recipes: how results that are kept were asked for, so that a later engine can ask for them anew.
 *  Owns:   texts and options by the statement's part of their keys.   Not here: which results are worth it (result_list.ts), and
 *          parameters, which are in the keys.
 *  Thread: main.
 *  Holds:  at most RECIPE_COUNT_MAX of them, and RECIPE_CHARS_MAX characters, tags included; the one learnt first makes room. */

import { RECIPE_CHARS_MAX, RECIPE_COUNT_MAX } from '../limits.ts'
import { BodyReader } from '../protocol/body.ts'
import type { Keeping, QueryFlight } from './query_flight.ts'

export interface Recipe {
  readonly database: string
  /** What the connections are held to, as SqlAccess names it; undefined: the database's own. */
  readonly held: string | undefined
  readonly sql: string
  /** As it was asked for last. */
  keeping: Keeping
}

const TEXT_CHARS_MAX = 8_192

export class Recipes {
  private heldIn: ((asked: string) => string | undefined) | undefined
  private readonly known = new Map<string, Recipe>()
  private chars = 0

  /** Until then nothing is learnt. */
  turnOn(heldIn: (asked: string) => string | undefined): void {
    this.heldIn = heldIn
  }

  get isOn(): boolean {
    return this.heldIn !== undefined
  }

  get count(): number {
    return this.known.size
  }

  get(prefix: string): Recipe | undefined {
    return this.known.get(prefix)
  }

  /** The result of a flight is being kept. */
  learn({ place, database, keeping, body }: QueryFlight): void {
    const { prefix, sql } = place
    if (this.heldIn === undefined || sql.length > TEXT_CHARS_MAX) return
    const known = this.known.get(prefix)
    if (known !== undefined) {
      this.chars += tagChars(keeping) - tagChars(known.keeping)
      known.keeping = keeping
    } else {
      if (this.known.size >= RECIPE_COUNT_MAX) this.forgetFirst()
      const asked = new BodyReader().reset(body, 0, body.length).text()
      this.known.set(prefix, { database, held: this.heldIn(asked), sql, keeping })
      this.chars += sql.length + tagChars(keeping)
    }
    while (this.chars > RECIPE_CHARS_MAX) this.forgetFirst()
  }

  private forgetFirst(): void {
    const [prefix, { sql, keeping }] = this.known.entries().next().value!
    this.known.delete(prefix)
    this.chars -= sql.length + tagChars(keeping)
  }
}

function tagChars({ tags }: Keeping): number {
  let chars = 0
  for (const tag of tags) chars += tag.length
  return chars
}
