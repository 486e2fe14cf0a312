/** SharedQueue: jobs without a lane yet: those known to be short, and the others, each by priority and in the order in which they came.
 *  Owns:   the jobs until they are taken or answered.   Thread: postgres worker.
 *  Holds:  at most WAITING_COUNT_MAX together. */

import { WAITING_COUNT_MAX } from './database.ts'
import { goesBefore, placeIn } from './priority.ts'
import type { SharedJob } from './shared_job.ts'

export class SharedQueue {
  readonly short = new Fifo()
  readonly other = new Fifo()
  countMost = 0

  get count(): number {
    return this.short.count + this.other.count
  }

  get isFull(): boolean {
    return this.count >= WAITING_COUNT_MAX
  }

  push(job: SharedJob): void {
    this.listOf(job).push(job)
    if (this.count > this.countMost) this.countMost = this.count
  }

  /** Back to the head: it has waited already. */
  putBack(job: SharedJob): void {
    this.listOf(job).putBack(job)
  }

  /** Whether nobody waits who goes before this one. */
  isFirst(job: SharedJob): boolean {
    const { head } = this.listOf(job)
    return head === undefined || goesBefore(job, head)
  }

  takeWhere(isTaken: (job: SharedJob) => boolean): SharedJob[] {
    return [...this.short.takeWhere(isTaken), ...this.other.takeWhere(isTaken)]
  }

  private listOf(job: SharedJob): Fifo {
    return job.statement.isShort ? this.short : this.other
  }
}

class Fifo {
  private jobs: SharedJob[] = []
  private first = 0

  get count(): number {
    return this.jobs.length - this.first
  }

  get head(): SharedJob | undefined {
    return this.jobs[this.first]
  }

  push(job: SharedJob): void {
    const place = placeIn(this.jobs, this.first, job)
    if (place === this.jobs.length) this.jobs.push(job)
    else this.jobs.splice(place, 0, job)
  }

  putBack(job: SharedJob): void {
    if (this.first > 0) this.jobs[--this.first] = job
    else this.jobs.unshift(job)
  }

  take(): SharedJob | undefined {
    const job = this.jobs[this.first]
    if (job === undefined) return undefined
    this.jobs[this.first++] = undefined!
    if (this.first === this.jobs.length || this.first >= COMPACT_COUNT) this.compact()
    return job
  }

  takeWhere(isTaken: (job: SharedJob) => boolean): SharedJob[] {
    this.compact()
    const taken = this.jobs.filter(isTaken)
    if (taken.length > 0) this.jobs = this.jobs.filter(job => !taken.includes(job))
    return taken
  }

  private compact(): void {
    this.jobs.splice(0, this.first)
    this.first = 0
  }
}

const COMPACT_COUNT = 1_024
