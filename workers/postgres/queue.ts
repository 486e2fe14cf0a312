/** Queue: those who wait for a connection, by priority and in the order in which they came.
 *  Owns:   the borrowers until they are taken or answered.   Thread: postgres worker.
 *  Holds:  at most WAITING_COUNT_MAX; each leaves by its deadline. */

import type { HearthError } from '../../engine/errors.ts'
import { WAITING_COUNT_MAX } from './database.ts'
import type { Member } from './lists.ts'
import { placeIn } from './priority.ts'

/** Whoever wants a connection for himself for a while: one statement (autocommit.ts), a transaction (transaction.ts) … */
export interface Borrower {
  readonly correlationId: string
  /** As in a frame: see priority.ts. */
  readonly priority?: number | undefined
  readonly startedMs: number
  /** The wait for a connection ends here. */
  readonly acquireUntilMs: number
  /** It is lent the connection, until it gives it back. */
  granted(member: Member, nowMs: number): void
  /** None came free; it has nothing and waits for nothing. */
  refused(error: HearthError): void
  /** Its connection was lost while it had no statement out: it has nothing any more. */
  lost(why: string): void
  /** `untilMs` has passed while it had no statement out. */
  overdue(nowMs: number): void
  /** The server does not even answer the cancellation of its statement. It has nothing any more. */
  deserted(nowMs: number): void
}

export class Queue {
  countMost = 0
  private borrowers: Borrower[] = []
  private first = 0

  get count(): number {
    return this.borrowers.length - this.first
  }

  get isFull(): boolean {
    return this.count >= WAITING_COUNT_MAX
  }

  get head(): Borrower | undefined {
    return this.borrowers[this.first]
  }

  push(borrower: Borrower): void {
    const place = placeIn(this.borrowers, this.first, borrower)
    if (place === this.borrowers.length) this.borrowers.push(borrower)
    else this.borrowers.splice(place, 0, borrower)
    if (this.count > this.countMost) this.countMost = this.count
  }

  /** Back to the head: it has waited already. */
  putBack(borrower: Borrower): void {
    if (this.first > 0) this.borrowers[--this.first] = borrower
    else this.borrowers.unshift(borrower)
  }

  /** Takes one out of the middle, which gave up; false when it is not here. */
  remove(borrower: Borrower): boolean {
    const index = this.borrowers.indexOf(borrower, this.first)
    if (index < 0) return false
    this.borrowers.splice(index, 1)
    return true
  }

  take(): Borrower | undefined {
    const borrower = this.borrowers[this.first]
    if (borrower === undefined) return undefined
    this.borrowers[this.first++] = undefined!
    if (this.first === this.borrowers.length || this.first >= WAITING_COUNT_MAX) this.compact()
    return borrower
  }

  /** Removes and answers all whose wait is over. */
  takeOverdue(nowMs: number): Borrower[] {
    return this.takeWhere(borrower => borrower.acquireUntilMs <= nowMs)
  }

  takeAll(): Borrower[] {
    return this.takeWhere(() => true)
  }

  private takeWhere(isTaken: (borrower: Borrower) => boolean): Borrower[] {
    this.compact()
    if (!this.borrowers.some(isTaken)) return []
    const taken = this.borrowers.filter(isTaken)
    this.borrowers = this.borrowers.filter(borrower => !isTaken(borrower))
    return taken
  }

  private compact(): void {
    if (this.first === 0) return
    this.borrowers.splice(0, this.first)
    this.first = 0
  }
}
