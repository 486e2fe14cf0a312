/** Watch: what happens to a pool by the clock alone.
 *  Owns:   two timers of one pool.   Not here: what an answer brings about (pool.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) no statement outlives its deadline by more than TICK_MS before it is cancelled at the server.
 *          (2) without requests under way, only the slow timer runs. */

import { monotonicMs } from '../../engine/clock.ts'
import { DRAIN_MS_MAX } from '../../engine/limits.ts'
import type { Member } from './lists.ts'
import type { Pool } from './pool.ts'

const TICK_MS = 20
/** How long a cancelled statement's borrower waits for the server to say what became of it. */
const CANCEL_GRACE_MS = 250
/** A server that has not answered a cancellation by then loses its connection. */
const STUCK_MS_MAX = 5_000
export const OVERFLOW_AFTER_MS = 100
const OVERFLOW_IDLE_MS_MAX = 1_000
const UPKEEP_MS_MAX = 1_000
const UPKEEP_MS_MIN = 50

export class PoolWatch {
  private readonly pool: Pool
  private readonly upkeepTimer: NodeJS.Timeout
  private tickTimer: NodeJS.Timeout | undefined
  private onDrained: (() => void) | undefined
  private drainUntilMs = Infinity

  constructor(pool: Pool) {
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

  /** Settles once every connection is closed: those at work get DRAIN_MS_MAX, then a cancel, then no mercy. */
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
    if (lists.busy.length + lists.mending.length + queue.count > 0) return
    clearInterval(this.tickTimer)
    this.tickTimer = undefined
    this.onDrained?.()
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
  private upkeep(): void {
    const nowMs = monotonicMs()
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
