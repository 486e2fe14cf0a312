/** Queue: requests without a connection yet, in the order in which they came.
 *  Owns:   the jobs until they are taken or answered.   Thread: postgres worker.
 *  Holds:  at most WAITING_COUNT_MAX; each leaves by its deadline. */

import type { Parameter } from 'pg-native'
import type { HearthError } from '../../engine/errors.ts'
import { type Result, WAITING_COUNT_MAX } from './database.ts'
import type { Statement } from './statement.ts'

/** One request on its way. */
export interface Job {
  readonly statement: Statement
  readonly params: Parameter[]
  readonly correlationId: string
  readonly startedMs: number
  readonly deadlineMs: number
  /** The wait for a connection ends here, at the deadline or at acquire_timeout. */
  readonly acquireUntilMs: number
  /** It was handed to a connection that turned out to be dead before it could run. */
  isSecondTry: boolean
  readonly resolve: (result: Result) => void
  readonly reject: (error: HearthError) => void
}

export class Queue {
  countMost = 0
  private jobs: Job[] = []
  private first = 0

  get count(): number {
    return this.jobs.length - this.first
  }

  get isFull(): boolean {
    return this.count >= WAITING_COUNT_MAX
  }

  get head(): Job | undefined {
    return this.jobs[this.first]
  }

  push(job: Job): void {
    this.jobs.push(job)
    if (this.count > this.countMost) this.countMost = this.count
  }

  /** Back to the head: it has waited already. */
  putBack(job: Job): void {
    if (this.first > 0) this.jobs[--this.first] = job
    else this.jobs.unshift(job)
  }

  take(): Job | undefined {
    const job = this.jobs[this.first]
    if (job === undefined) return undefined
    this.jobs[this.first++] = undefined!
    if (this.first === this.jobs.length || this.first >= WAITING_COUNT_MAX) this.compact()
    return job
  }

  /** Removes and answers all whose wait is over. */
  takeOverdue(nowMs: number): Job[] {
    return this.takeWhere(job => job.acquireUntilMs <= nowMs)
  }

  takeAll(): Job[] {
    return this.takeWhere(() => true)
  }

  private takeWhere(isTaken: (job: Job) => boolean): Job[] {
    this.compact()
    if (!this.jobs.some(isTaken)) return []
    const taken = this.jobs.filter(isTaken)
    this.jobs = this.jobs.filter(job => !isTaken(job))
    return taken
  }

  private compact(): void {
    if (this.first === 0) return
    this.jobs.splice(0, this.first)
    this.first = 0
  }
}
