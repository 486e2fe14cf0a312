/** OwnMemory: gives memory back on main: what gathers while it works, and more once it has nothing to do.
 *  Owns:   the timer that notices a pause.   Not here: when a heap is collected (collector.ts), the workers' own (workers/loop.ts).
 *  Thread: main.
 *  Holds:  an engine that sleeps has no timer: it is set by the first turn after a pause. */

import { Collector } from './collector.ts'
import { IDLE_MS } from './limits.ts'

export class OwnMemory {
  private readonly collector = new Collector()
  private readonly trim: () => void
  private timer: NodeJS.Timeout | undefined
  private isActive = false

  /** `trim` gives what malloc keeps free back to the system. */
  constructor(trim: () => void) {
    this.trim = trim
  }

  /** After a turn of work. */
  turn(): void {
    this.isActive = true
    this.collector.turn()
    if (this.timer === undefined) this.timer = setTimeout(this.look, IDLE_MS).unref()
  }

  /** All that can be given back, now. */
  giveBack(): void {
    if (this.collector.idle()) this.trim()
  }

  stop(): void {
    clearTimeout(this.timer)
  }

  /** Nothing has come for IDLE_MS, or something has: then again later. */
  private readonly look = (): void => {
    this.timer = undefined
    if (!this.isActive) return this.giveBack()
    this.isActive = false
    this.trim()
    this.timer = setTimeout(this.look, IDLE_MS).unref()
  }
}
