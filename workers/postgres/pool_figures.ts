/** PoolFigures: what a database's two pools count, in one place, for `stats()`.
 *  Owns:   the counts.   Thread: postgres worker.   Holds: nothing here decides anything. */

import type { CloseReason } from './database.ts'
import { Durations } from './stats.ts'

export class PoolFigures {
  /** How long requests waited for a connection. */
  readonly acquired = new Durations()
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
  private readonly onLost: (reason: CloseReason) => void

  /** `onLost` is told of each connection that its server has ended, or that it does not answer on. */
  constructor(onLost: (reason: CloseReason) => void = () => {}) {
    this.onLost = onLost
  }

  noteClosed(reason: CloseReason): void {
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
