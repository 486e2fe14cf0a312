/** Watch: what happens to a pool by the clock alone.
 *  Owns:   nothing.   Not here: the timers (pool_clock.ts), what an answer brings about (pool.ts).
 *  Thread: postgres worker.
 *  Holds:  no statement outlives its deadline by more than a tick before it is cancelled at the server. */

import type { Member } from './lists.ts'
import type { Pool } from './pool.ts'
import { CANCEL_GRACE_MS, PoolClock, STUCK_MS_MAX } from './pool_clock.ts'

export const OVERFLOW_AFTER_MS = 100
const OVERFLOW_IDLE_MS_MAX = 1_000

export class PoolWatch extends PoolClock {
  private readonly pool: Pool

  constructor(pool: Pool) {
    super(pool.spec)
    this.pool = pool
  }

  protected override tick(nowMs: number): boolean {
    const { budget, dialer, lists, queue } = this.pool
    for (const member of [...lists.busy]) this.checkBusy(member, nowMs)
    for (const member of [...lists.mending]) {
      if (member.sinceMs <= nowMs) this.pool.drop(member, 'stuck')
    }
    for (const borrower of queue.takeOverdue(nowMs)) this.pool.expire(borrower, nowMs)
    const head = queue.head
    if (head !== undefined) {
      this.pool.refuseWaiting()
      this.pool.grow()
      const isFull = !budget.hasRoomForExclusive(lists.count + dialer.attemptCount)
      if (isFull && nowMs - head.startedMs > OVERFLOW_AFTER_MS) this.pool.overflow()
    }
    return lists.busy.length + lists.mending.length + queue.count > 0
  }

  private checkBusy(member: Member, nowMs: number) {
    const { borrower, connection } = member
    if (member.sinceMs === 0) {
      const untilMs = Math.min(member.untilMs, this.drainUntilMs)
      if (nowMs < untilMs) return
      if (connection.isRunning) this.pool.cancel(member)
      else borrower?.overdue(nowMs)
      return
    }
    const waitedMs = nowMs - member.sinceMs
    if (borrower !== undefined && waitedMs > CANCEL_GRACE_MS) {
      // The borrower goes; the connection stays busy until the server has answered.
      member.borrower = undefined
      borrower.deserted(nowMs)
    }
    if (waitedMs > (this.pool.isClosing ? CANCEL_GRACE_MS : STUCK_MS_MAX))
      this.pool.drop(member, 'stuck')
  }

  /** Idle and old connections go, the least recently used first; `min` are kept. */
  protected override upkeep(nowMs: number): void {
    const { lists, spec } = this.pool
    for (const member of [...lists.idle]) {
      const idleMs = nowMs - member.idleSinceMs
      if (member.expiresAtMs <= nowMs) this.pool.drop(member, 'recycled')
      else if (lists.count > spec.size && idleMs > OVERFLOW_IDLE_MS_MAX)
        this.pool.drop(member, 'overflow')
      else if (lists.count > spec.min && idleMs > spec.idleTimeoutMs) this.pool.drop(member, 'idle')
    }
    this.pool.grow()
  }
}
