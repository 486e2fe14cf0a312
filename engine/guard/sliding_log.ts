/** SlidingLog: what one subject did within one window: the moments at which each of it stops counting.
 *  Owns:   a ring of runs, each a moment and how many end at it.   Not here: who has which log (limit_table.ts).
 *  Thread: main.
 *  Holds:  (1) an event at t counts until t + windowMs, that moment itself no more; so no window of that length ever has more than
 *          `max`.  (2) exact, as long as there is a run for each moment; where there is not, an event counts longer by at most the
 *          grain, never shorter.  (3) what was refused does not count.
 *
 *  The moment of the end is kept, and not that of the event: what wait() says and what counts are one sum, rounded once. */

import { assert } from '../assert.ts'

/** Runs of one log: a larger `max` is exact to windowMs / RUNS_OF_ONE_MAX. */
export const RUNS_OF_ONE_MAX = 16_384
/** Runs that a log has room for from the first. */
export const RUNS_AT_FIRST = 4

export class SlidingLog {
  readonly windowMs: number
  /** Events that count now, as of the last look. */
  used = 0
  /** untilMs, count, by turns: a ring of `capacity` runs, oldest at `head`. */
  private runs: Float64Array
  private capacity = RUNS_AT_FIRST
  private head = 0
  private length = 0
  /** Events so close to the last run's first one join it. */
  private grainMs = 0
  private lastBegunMs = 0

  constructor(windowMs: number) {
    assert(windowMs > 0, 'a window has a length')
    this.windowMs = windowMs
    this.runs = new Float64Array(2 * RUNS_AT_FIRST)
  }

  /** How many runs it has room for: its share of the table's memory. */
  get roomCount(): number {
    return this.capacity
  }

  /** How long until one more may come, in whole milliseconds; 0: it may now. */
  waitMs(nowMs: number, max: number): number {
    this.expire(nowMs)
    if (this.used < max) return 0
    let owed = this.used - max + 1
    let at = this.head
    for (;;) {
      owed -= this.runs[2 * at + 1]!
      if (owed <= 0) return Math.max(1, Math.ceil(this.runs[2 * at]! - nowMs))
      at = (at + 1) % this.capacity
    }
  }

  /** Counts one event. `grow` is asked for room for so many more runs; refused, the log gets coarser. */
  add(nowMs: number, max: number, grow: (more: number) => boolean): void {
    this.used++
    const { runs } = this
    const untilMs = nowMs + this.windowMs
    const last = 2 * ((this.head + this.length - 1 + this.capacity) % this.capacity)
    if (this.length > 0) {
      // The clock of a batch is one moment; and a log that came from a file may end later than now.
      const isOneMoment = runs[last]! >= untilMs
      const isTooFine = max > this.capacity && nowMs - this.lastBegunMs < this.grainMs
      if (isOneMoment || isTooFine) {
        runs[last] = Math.max(runs[last]!, untilMs)
        runs[last + 1]!++
        return
      }
    }
    if (this.length === this.capacity && !this.makeRoom(max, grow)) {
      runs[last] = untilMs
      runs[last + 1]!++
      return
    }
    this.push(untilMs, 1)
    this.lastBegunMs = nowMs
  }

  /** Undoes the last add(), of this very moment. */
  takeBack(): void {
    assert(this.length > 0, 'only what was added is taken back')
    const last = 2 * ((this.head + this.length - 1) % this.capacity)
    this.used--
    if (--this.runs[last + 1]! === 0) this.length--
  }

  /** Nothing counts any more: it may be forgotten. */
  isOver(nowMs: number): boolean {
    this.expire(nowMs)
    return this.length === 0
  }

  /** How many runs there are, for each(). */
  get runCount(): number {
    return this.length
  }

  each(tell: (untilMs: number, count: number) => void): void {
    for (let i = 0; i < this.length; i++) {
      const at = 2 * ((this.head + i) % this.capacity)
      tell(this.runs[at]!, this.runs[at + 1]!)
    }
  }

  /** Adds a run of an earlier life, in order. False: there is no room, and it joined the one before. */
  restore(untilMs: number, count: number, grow: (more: number) => boolean): boolean {
    this.used += count
    const last = 2 * ((this.head + this.length - 1 + this.capacity) % this.capacity)
    const isFull = this.length === this.capacity && !this.makeRoom(RUNS_OF_ONE_MAX, grow)
    if (!isFull) {
      this.push(untilMs, count)
      return true
    }
    this.runs[last] = untilMs
    this.runs[last + 1]! += count
    return false
  }

  private expire(nowMs: number): void {
    const { runs } = this
    while (this.length > 0 && runs[2 * this.head]! <= nowMs) {
      this.used -= runs[2 * this.head + 1]!
      this.head = (this.head + 1) % this.capacity
      this.length--
    }
  }

  private push(untilMs: number, count: number): void {
    const at = 2 * ((this.head + this.length) % this.capacity)
    this.runs[at] = untilMs
    this.runs[at + 1] = count
    this.length++
  }

  /** Twice the room, up to one run for each of `max`; false when there may be no more. */
  private makeRoom(max: number, grow: (more: number) => boolean): boolean {
    const { capacity } = this
    const next = Math.min(2 * capacity, Math.max(max, RUNS_AT_FIRST), RUNS_OF_ONE_MAX)
    if (next <= capacity || !grow(next - capacity)) {
      // Runs that begin at least so far apart, and count up to that much longer: all that count at a time fit.
      this.grainMs = this.windowMs / (capacity - 2)
      return false
    }
    const wider = new Float64Array(2 * next)
    let at = 0
    this.each((untilMs, count) => {
      wider[at++] = untilMs
      wider[at++] = count
    })
    this.runs = wider
    this.head = 0
    this.capacity = next
    return true
  }
}
