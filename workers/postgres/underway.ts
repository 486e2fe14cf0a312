/** Underway: which request of the ring is under way as what, so that it can be given up by its ticket.
 *  Owns:   a column by ticket.   Thread: postgres worker.
 *  Holds:  a ticket is here from begin() to end(), which every request passes once; cancel() of any other does nothing. */

import type { Cancelable } from './database.ts'

export class Underway {
  private readonly tasks: (Cancelable | undefined)[] = []

  /** Before the work is begun: it may be answered, and so end, before it has given out what cancels it. */
  begin(ticket: number): void {
    this.tasks[ticket] = NOT_YET
  }

  set(ticket: number, task: Cancelable): void {
    if (this.tasks[ticket] === NOT_YET) this.tasks[ticket] = task
  }

  /** False when it was answered before. */
  end(ticket: number): boolean {
    if (this.tasks[ticket] === undefined) return false
    this.tasks[ticket] = undefined
    return true
  }

  /** False when it is not here. */
  cancel(ticket: number): boolean {
    const task = this.tasks[ticket]
    task?.cancel()
    return task !== undefined
  }
}

const NOT_YET: Cancelable = { cancel: () => {} }
