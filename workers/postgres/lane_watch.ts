/** LaneWatch: what happens to a shared pool by the clock alone.
 *  Owns:   two timers of one pool.   Not here: what an answer brings about (shared_pool.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) no statement runs past its deadline by more than TICK_MS before it is cancelled at the server.
 *          (2) without requests under way only the slow timer runs. */

import { monotonicMs } from '../../engine/clock.ts'
import { DRAIN_MS_MAX } from '../../engine/limits.ts'
import type { Lane } from './lane.ts'
import type { SharedPool } from './shared_pool.ts'
import { SHORT_MS } from './statement.ts'

const TICK_MS = 20
/** How long a cancelled statement's requester waits for the server to say what became of it. */
const CANCEL_GRACE_MS = 250
/** A server that has not answered a cancellation by then loses its connection. */
const STUCK_MS_MAX = 5_000
/** A lane that does not answer a trial by then is closed. */
const TRIAL_MS_MAX = 2_000
const UPKEEP_MS_MAX = 1_000
const UPKEEP_MS_MIN = 50

export class LaneWatch {
  private readonly pool: SharedPool
  private readonly upkeepTimer: NodeJS.Timeout
  private tickTimer: NodeJS.Timeout | undefined
  private onDrained: (() => void) | undefined
  private drainUntilMs = Infinity

  constructor(pool: SharedPool) {
    this.pool = pool
    const { idleTimeoutMs, recycleMs } = pool.spec
    const periodMs = Math.min(idleTimeoutMs / 4, recycleMs / 4, UPKEEP_MS_MAX)
    this.upkeepTimer = setInterval(() => this.upkeep(), Math.max(periodMs, UPKEEP_MS_MIN))
    this.upkeepTimer.unref()
  }

  /** Something has a deadline now. */
  wake(): void {
    this.tickTimer ??= setInterval(() => this.tick(), TICK_MS)
  }

  /** Settles once every lane is closed: statements under way get DRAIN_MS_MAX, then a cancel, then no mercy. */
  drained(): Promise<void> {
    clearInterval(this.upkeepTimer)
    this.drainUntilMs = monotonicMs() + DRAIN_MS_MAX
    this.wake()
    return new Promise(resolve => {
      this.onDrained = resolve
      this.tick()
    })
  }

  private tick(): void {
    const nowMs = monotonicMs()
    const { pool } = this
    let inflight = 0
    for (const lane of [...pool.lanes]) {
      this.check(lane, nowMs)
      inflight += lane.inflight
    }
    const overdue = pool.queue.takeWhere(job => job.acquireUntilMs <= nowMs)
    for (const job of overdue) pool.expire(job, nowMs)
    if (pool.queue.count > 0) {
      pool.refuseWaiting()
      pool.serve(nowMs)
    }
    if (inflight + pool.queue.count > 0) return
    clearInterval(this.tickTimer)
    this.tickTimer = undefined
    this.onDrained?.()
  }

  private check(lane: Lane, nowMs: number): void {
    if (lane.inflight === 0) return
    const sinceMs = nowMs - lane.headSinceMs
    lane.isSlow = sinceMs > SHORT_MS * 2
    const job = lane.head
    if (job === undefined) {
      if (sinceMs > TRIAL_MS_MAX) this.pool.drop(lane, 'stuck')
      return
    }
    if (job.cancelledMs === 0) {
      if (nowMs >= Math.min(job.deadlineMs, this.drainUntilMs)) this.pool.cancelHead(lane, nowMs)
      return
    }
    const waitedMs = nowMs - job.cancelledMs
    if (waitedMs > CANCEL_GRACE_MS) this.pool.giveUp(job, nowMs)
    if (waitedMs > (this.pool.isClosing ? CANCEL_GRACE_MS : STUCK_MS_MAX))
      this.pool.drop(lane, 'stuck')
  }

  /** Idle and old lanes go; `min` are kept. */
  private upkeep(): void {
    const nowMs = monotonicMs()
    const { lanes, spec } = this.pool
    for (const lane of [...lanes]) {
      if (lane.purpose === 'leaving') continue
      const isIdle = lane.inflight === 0 && nowMs - lane.idleSinceMs > spec.idleTimeoutMs
      if (lane.expiresAtMs <= nowMs) this.pool.retire(lane, 'recycled')
      else if (isIdle && lanes.length > spec.min) this.pool.drop(lane, 'idle')
    }
    this.pool.grow()
  }
}
