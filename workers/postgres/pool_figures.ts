/** PoolFigures: what a database's two pools count, in one place, for `stats()`.
 *  Owns:   the counts.   Thread: postgres worker.   Holds: nothing here decides anything. */

import { monotonicMs } from '../../engine/clock.ts'
import { Histogram } from '../../engine/histogram.ts'
import type { Outcome } from './connection.ts'
import type { CloseReason } from './database.ts'
import type { Statement } from './statement.ts'
import { Durations } from './stats.ts'

export class PoolFigures {
  /** How long requests waited for a connection. */
  readonly acquired = new Durations()
  /** The same for metrics, and statements from the send to the answer. */
  readonly acquire = new Histogram()
  readonly read = new Histogram()
  readonly write = new Histogram()
  readonly closed: Record<CloseReason, number> = {
    idle: 0,
    recycled: 0,
    overflow: 0,
    lost: 0,
    stuck: 0,
    ended: 0,
  }
  readonly prepared: PreparedCounts = { hits: 0, misses: 0, evictions: 0, mended: 0 }
  queries = 0
  errors = 0
  timeouts = 0
  /** Connections opened in place of one that was lost. */
  reconnects = 0
  private missing = 0
  /** When the answers came that are being noted; 0: none are. */
  private answersMs = 0
  private readonly onLost: (reason: CloseReason) => void

  /** `onLost` is told of each connection that its server has ended, or that it does not answer on. */
  constructor(onLost: (reason: CloseReason) => void = () => {}) {
    this.onLost = onLost
  }

  noteAcquired(waitedMs: number): void {
    this.acquired.add(waitedMs)
    this.acquire.add(waitedMs)
  }

  /** A statement on a shared connection was answered, be it refused. The clock is read once for all answers that came together. */
  noteAnswered(isRead: boolean, sentMs: number): void {
    if (this.answersMs === 0) this.answersMs = monotonicMs()
    this.histogramOf(isRead).add(this.answersMs - sentMs)
  }

  /** All answers that came together have been noted. Now. */
  turned(): number {
    this.answersMs = 0
    return monotonicMs()
  }

  /** The same for a connection with one statement at a time; statements of our own, which nobody asked, do not count. */
  timed(statement: Statement, done: (outcome: Outcome) => void): (outcome: Outcome) => void {
    if (statement.uses === 0) return done
    const sentMs = monotonicMs()
    return outcome => {
      if (outcome.kind !== 'lost') this.histogramOf(statement.isRead).add(monotonicMs() - sentMs)
      done(outcome)
    }
  }

  private histogramOf(isRead: boolean): Histogram {
    return isRead ? this.read : this.write
  }

  noteClosed(reason: CloseReason): void {
    this.answersMs = 0
    this.closed[reason]++
    if (reason !== 'lost' && reason !== 'stuck') return
    this.missing++
    this.onLost(reason)
  }

  noteOpened(): void {
    if (this.missing === 0) return
    this.missing--
    this.reconnects++
  }
}

export interface PreparedCounts {
  /** The statement was prepared on its connection already. */
  hits: number
  misses: number
  evictions: number
  /** Prepared again, because the server had it no more or its tables had changed. */
  mended: number
}
