/** LaneWatch: what happens to a shared pool by the clock alone.
 *  Owns:   nothing.   Not here: the timers (pool_clock.ts), what an answer brings about (shared_pool.ts).
 *  Thread: postgres worker.
 *  Holds:  no statement runs past its deadline by more than a tick before it is cancelled at the server. */

import type { Lane } from './lane.ts'
import { CANCEL_GRACE_MS, PoolClock, STUCK_MS_MAX } from './pool_clock.ts'
import type { SharedPool } from './shared_pool.ts'
import { SHORT_MS } from './statement.ts'

/** A lane that does not answer a trial by then is closed. */
const TRIAL_MS_MAX = 2_000

export class LaneWatch extends PoolClock {
  private readonly pool: SharedPool

  constructor(pool: SharedPool) {
    super(pool.spec)
    this.pool = pool
  }

  protected override tick(nowMs: number): boolean {
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
    return inflight + pool.queue.count > 0
  }

  private check(lane: Lane, nowMs: number): void {
    if (lane.inflight === 0) return
    const sinceMs = nowMs - lane.headSinceMs
    lane.isSlow = sinceMs > SHORT_MS * 2
    // Those behind have deadlines of their own, which the one in front of them may outlast, or its server.
    if (sinceMs > CANCEL_GRACE_MS)
      for (const job of lane.overdueBehind(nowMs - CANCEL_GRACE_MS)) this.pool.giveUp(job, nowMs)
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
  protected override upkeep(nowMs: number): void {
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
