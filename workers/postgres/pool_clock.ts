/** PoolClock: the two timers of a pool, shared connections or exclusive: a fast one for deadlines, a slow one for upkeep.
 *  Owns:   the timers, and whoever waits for the pool to be empty.   Not here: what they bring about (watch.ts, lane_watch.ts).
 *  Thread: postgres worker.
 *  Holds:  without requests under way only the slow timer runs. */

import { monotonicMs } from '../../engine/clock.ts'
import { DRAIN_MS_MAX } from '../../engine/limits.ts'
import type { PoolSpec } from './database.ts'

const TICK_MS = 20
const UPKEEP_MS_MAX = 1_000
const UPKEEP_MS_MIN = 50
/** How long a cancelled statement's requester waits for the server to say what became of it. */
export const CANCEL_GRACE_MS = 250
/** A server that has not answered a cancellation by then loses its connection. */
export const STUCK_MS_MAX = 5_000

export abstract class PoolClock {
  /** When a pool that is closing cancels what still runs. */
  protected drainUntilMs = Infinity
  private readonly upkeepTimer: NodeJS.Timeout
  private tickTimer: NodeJS.Timeout | undefined
  private onDrained: (() => void) | undefined

  constructor({ idleTimeoutMs, recycleMs }: PoolSpec) {
    const periodMs = Math.min(idleTimeoutMs / 4, recycleMs / 4, UPKEEP_MS_MAX)
    const upkeep = () => this.upkeep(monotonicMs())
    this.upkeepTimer = setInterval(upkeep, Math.max(periodMs, UPKEEP_MS_MIN)).unref()
  }

  /** Something has a deadline now. */
  wake(): void {
    this.tickTimer ??= setInterval(this.turn, TICK_MS)
  }

  /** Settles once nothing is under way: what runs gets DRAIN_MS_MAX, then a cancel, then no mercy. */
  drained(): Promise<void> {
    clearInterval(this.upkeepTimer)
    this.drainUntilMs = monotonicMs() + DRAIN_MS_MAX
    this.wake()
    return new Promise(resolve => {
      this.onDrained = resolve
      this.turn()
    })
  }

  /** Each TICK_MS while there is something to watch; false when there is nothing any more. */
  protected abstract tick(nowMs: number): boolean

  /** Now and then: what is idle or old goes, what is missing comes. */
  protected abstract upkeep(nowMs: number): void

  private readonly turn = (): void => {
    if (this.tick(monotonicMs())) return
    clearInterval(this.tickTimer)
    this.tickTimer = undefined
    this.onDrained?.()
  }
}
