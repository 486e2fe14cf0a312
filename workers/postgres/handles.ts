/** Handles: what is open at this worker under a number: transactions, cursors, COPYs.
 *  Owns:   the numbers, and for a while the reasons for which things ended by themselves.   Not here: whose a handle is (the
 *          router knows that).
 *  Thread: postgres worker.
 *  Holds:  (1) a number names one thing for the life of a worker, and where counting starts is drawn, so that a number of a worker
 *          that died names nothing here.  (2) what ended by itself says why when it is used next. */

import { HearthError } from '../../engine/errors.ts'

/** Reasons kept; the oldest goes first. */
const REASON_COUNT_MAX = 1_024

export class Handles<Thing> {
  private readonly things = new Map<number, Thing>()
  private readonly reasons = new Map<number, HearthError>()
  private last = Math.floor(Math.random() * 2 ** 32)

  get count(): number {
    return this.things.size
  }

  open(thing: Thing): number {
    do this.last = (this.last + 1) >>> 0
    while (this.last === 0 || this.things.has(this.last) || this.reasons.has(this.last))
    this.things.set(this.last, thing)
    return this.last
  }

  /** Throws the reason for which it ended, or BAD_REQUEST. */
  get(handle: number): Thing {
    const thing = this.things.get(handle)
    if (thing !== undefined) return thing
    throw (
      this.reasons.get(handle) ??
      new HearthError('BAD_REQUEST', `nothing is open under the handle ${handle}: it was closed`)
    )
  }

  find(handle: number): Thing | undefined {
    return this.things.get(handle)
  }

  entries(): Iterable<[number, Thing]> {
    return this.things.entries()
  }

  /** It was closed by its owner. */
  close(handle: number): void {
    this.things.delete(handle)
    this.reasons.delete(handle)
  }

  /** It ended by itself. */
  end(handle: number, reason: HearthError): void {
    if (!this.things.delete(handle)) return
    this.reasons.set(handle, reason)
    if (this.reasons.size <= REASON_COUNT_MAX) return
    for (const oldest of this.reasons.keys()) {
      this.reasons.delete(oldest)
      return
    }
  }
}
