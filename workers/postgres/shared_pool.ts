/** SharedPool: autocommit statements over shared, pipelined connections (lanes): many in flight on each.
 *  Owns:   the lanes, the jobs that wait for one (shared_queue.ts), the attempts to connect (dial.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) every job is answered once.  (2) a statement goes to the server a second time only if the first time it is
 *          known not to have run.  (3) only statements that have shown themselves short share a lane: one that takes long,
 *          or was never seen, has a lane to itself, so that nothing waits behind it.
 *
 *  A short statement goes to the lane with the least in flight. Lanes are opened as those there are fill up. */

import { monotonicMs } from '../../engine/clock.ts'
import { type HearthError, isHearthError, toHearthError } from '../../engine/errors.ts'
import { decodeValue } from '../../engine/protocol/payload.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import { ANSWER } from '../../native-bindings/pipeline_words.ts'
import type { Budget } from './budget.ts'
import { CLOSE_TEXT, type CloseReason, type PoolSpec } from './database.ts'
import { Dialer } from './dial.ts'
import {
  busyError,
  cancelledError,
  closedError,
  databaseError,
  exhaustedError,
  givenUpError,
  lostError,
  silentError,
  tooLargeError,
  unreachableError,
} from './errors.ts'
import { marked } from './fault.ts'
import type { Lane, LaneEvents } from './lane.ts'
import { LaneChoice } from './lane_choice.ts'
import { openLane } from './lane_dial.ts'
import { LaneWatch } from './lane_watch.ts'
import type { PoolFigures } from './pool_figures.ts'
import type { SharedJob } from './shared_job.ts'
import { SharedQueue } from './shared_queue.ts'
import { PREPARE_AGAIN } from './statement.ts'

/** An own cancel may meet a statement that was sent after the one it was meant for, up to so much later. */
const STRAY_CANCEL_MS = 2_000
/** How often a statement that cannot have run is sent again: connections of a server that goes down end one after another. */
const REPEAT_COUNT_MAX = 3
/** A lane that was idle for longer is tried before a statement is risked on it. */
const PRE_PING_AFTER_MS = 30_000

export class SharedPool implements LaneEvents {
  readonly spec: PoolSpec
  readonly lanes: Lane[] = []
  readonly queue = new SharedQueue()
  readonly dialer: Dialer<Lane>
  readonly budget: Budget
  readonly figures: PoolFigures
  isClosing = false
  /** Takes a job that no shared connection can be opened for. */
  onUnsupported: (job: SharedJob) => void = () => {}
  /** Told of each job's end before its requester is; true: the job goes on elsewhere. Undefined where nobody asks. */
  onEnd: ((job: SharedJob, error: HearthError | undefined) => boolean) | undefined
  private readonly choice: LaneChoice
  private readonly watch: LaneWatch
  private lastCancelMs = -Infinity

  constructor(spec: PoolSpec, budget: Budget, figures: PoolFigures) {
    this.spec = spec
    this.budget = budget
    this.figures = figures
    this.dialer = new Dialer(() => openLane(spec, figures.prepared), {
      opened: lane => this.opened(lane),
      failed: () => {
        this.noteLanes()
        this.refuseWaiting()
      },
      drop: lane => lane.close('the pool is closed'),
    })
    const prePingAfterMs = spec.prePing ? PRE_PING_AFTER_MS : Infinity
    this.choice = new LaneChoice(this.lanes, prePingAfterMs, (lane, nowMs) =>
      this.tryOut(lane, nowMs),
    )
    this.watch = new LaneWatch(this)
    this.grow()
  }

  get inflight(): number {
    let count = 0
    for (const lane of this.lanes) count += lane.inflight
    return count
  }

  /** Takes a job; what is sent leaves at the next flush(). */
  place(job: SharedJob, nowMs: number): void {
    if (this.isClosing) return this.fail(job, closedError(this.spec.name))
    this.figures.queries++
    const { isShort } = job.statement
    const lane = !this.queue.isFirst(job)
      ? undefined
      : isShort
        ? this.choice.forShort(nowMs)
        : this.choice.empty(nowMs)
    if (lane !== undefined) return this.dispatch(lane, job, nowMs)
    const refusal = this.lanes.length === 0 ? this.dialer.refusal(job.correlationId) : undefined
    if (refusal !== undefined) return this.fail(job, refusal)
    if (this.queue.isFull) return this.fail(job, busyError(this.spec.name, job.correlationId))
    this.queue.push(job)
    this.serve(nowMs)
  }

  /** Sends what place() has gathered: once a drain, so that many statements go in one system call. */
  flush(): void {
    for (const lane of this.lanes) lane.flush()
  }

  /** The requester of a ticket is gone or has had enough: what waits is answered at once, what runs is cancelled, and what
   *  was sent behind others as soon as it runs. False: no such ticket here. */
  cancel(ticket: number): boolean {
    const [waiting] = this.queue.takeWhere(job => job.ticket === ticket)
    if (waiting !== undefined) {
      this.fail(waiting, givenUpError(false, waiting.correlationId))
      return true
    }
    for (const lane of this.lanes) {
      const job = lane.find(ticket)
      if (job === undefined) continue
      job.isUnwanted = true
      if (lane.head === job) this.cancelHead(lane, monotonicMs())
      return true
    }
    return false
  }

  close(): Promise<void> {
    this.isClosing = true
    this.dialer.close()
    for (const job of this.queue.takeWhere(() => true)) this.fail(job, closedError(this.spec.name))
    for (const lane of [...this.lanes]) if (lane.inflight === 0) this.drop(lane, 'ended')
    return this.watch.drained()
  }

  // What the lanes tell.

  answered(
    lane: Lane,
    job: SharedJob,
    kind: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    if (kind !== ANSWER.ABORTED) this.figures.noteAnswered(job.statement.isRead, job.sentMs)
    if (job.isDone) return // its requester was told already
    if (kind === ANSWER.ROWS) {
      job.isDone = true
      if (this.onEnd !== undefined) this.onEnd(job, undefined)
      job.replies.reply(REPLIES.ROWS.code, job.ticket, bytes, start, end)
    } else if (kind === ANSWER.REFUSED) this.refused(lane, job, bytes, start, end)
    else if (kind === ANSWER.TOO_LARGE) this.fail(job, tooLargeError(job.correlationId))
    else this.repeat(job, 'the server passed it over')
  }

  turned(lane: Lane): void {
    const nowMs = this.figures.turned()
    lane.learn(nowMs)
    if (lane.inflight > 0) {
      lane.headSinceMs = nowMs
      if (lane.head?.isUnwanted) this.cancelHead(lane, nowMs)
    } else this.emptied(lane, nowMs)
    if (this.queue.count > 0) this.serve(nowMs)
  }

  lost(lane: Lane, why: string, sqlState: string, jobs: SharedJob[], mayHaveRun: number): void {
    this.remove(lane)
    // From the youngest to the oldest: each goes back to the head of the queue.
    for (let i = jobs.length - 1; i >= 0; i--) {
      const job = jobs[i]!
      if (job.isDone) continue
      if (i >= mayHaveRun) this.repeat(job, why)
      else {
        const state = sqlState === '' ? undefined : sqlState
        this.fail(job, lostError(job.statement.isRead, why, state, job.correlationId))
      }
    }
    if (this.isClosing) return
    this.grow()
    this.serve(monotonicMs())
  }

  // What the watch asks for.

  /** Asks the server to stop the oldest statement of a lane. */
  cancelHead(lane: Lane, nowMs: number): void {
    const job = lane.head
    if (job === undefined || lane.isCancelling || job.cancelledMs > 0) return
    job.cancelledMs = nowMs
    this.lastCancelMs = nowMs
    lane.cancel(() => {
      this.lastCancelMs = monotonicMs()
      if (!lane.isClosed && lane.inflight === 0) this.emptied(lane, this.lastCancelMs)
      this.serve(this.lastCancelMs)
    })
  }

  /** The server has not answered by the deadline, nor the cancellation: its requester goes, the connection waits on. One that
   *  is behind others is cancelled when it comes to run. */
  giveUp(job: SharedJob, nowMs: number): void {
    job.isUnwanted = true
    const tookMs = nowMs - job.startedMs
    const error = silentError(tookMs, job.statement.isRead, job.correlationId)
    // The server is not to blame for one that stood behind another.
    this.fail(job, job.cancelledMs > 0 ? error : marked(error, undefined, true))
  }

  expire(job: SharedJob, nowMs: number): void {
    const isDown = this.lanes.length === 0 && this.dialer.lastFailure !== undefined
    const why = isDown
      ? `Postgres cannot be reached: ${this.dialer.lastFailure}`
      : `${this.inflight} statements run on ${this.lanes.length} connections, ${this.queue.count} still wait`
    const { correlationId, startedMs } = job
    this.fail(job, exhaustedError(this.spec.name, nowMs - startedMs, why, isDown, correlationId))
  }

  /** Opens lanes for `min`, for those who wait, and as the open ones fill up. */
  grow(): void {
    if (this.isClosing) return
    const { budget, dialer, lanes, spec } = this
    for (;;) {
      const coming = dialer.attemptCount
      if (lanes.length + coming >= spec.min && !this.choice.isFull(coming, this.queue.count)) return
      if (!budget.hasRoomForLane(lanes.length + coming)) budget.onLaneWanted()
      if (!budget.hasRoomForLane(lanes.length + coming) || !dialer.dial()) return
      this.noteLanes()
    }
  }

  serve(nowMs: number): void {
    const { short, other } = this.queue
    while (short.head !== undefined) {
      const lane = this.choice.forShort(nowMs)
      if (lane === undefined) break
      this.dispatch(lane, short.take()!, nowMs)
    }
    while (other.head !== undefined) {
      const lane = this.choice.empty(nowMs)
      if (lane === undefined) break
      this.dispatch(lane, other.take()!, nowMs)
    }
    if (other.head !== undefined) this.choice.reserve(short.count > 0)
    if (this.queue.count > 0) {
      this.grow()
      this.watch.wake()
    }
    this.flush()
  }

  /** Answers those whose wait is hopeless; where no connection can be shared at all, they go elsewhere. */
  refuseWaiting(): void {
    if (this.lanes.length > 0 || this.dialer.refusal('') === undefined) return
    const waiting = this.queue.takeWhere(() => true)
    if (this.dialer.driverFailure !== undefined) {
      for (const job of waiting) this.onUnsupported(job)
    } else for (const job of waiting) this.fail(job, this.dialer.refusal(job.correlationId)!)
  }

  /** libpq before 14, or none at all. */
  get isUnsupported(): boolean {
    return this.lanes.length === 0 && this.dialer.driverFailure !== undefined
  }

  /** Closes a lane, whatever is in flight on it. */
  drop(lane: Lane, reason: CloseReason): void {
    if (!this.lanes.includes(lane)) return
    this.remove(lane, reason)
    lane.close(CLOSE_TEXT[reason])
  }

  /** Gives a connection up for somebody who needs one of his own: the emptiest, once it is empty. */
  shed(): void {
    const lane = this.choice.spare()
    if (lane !== undefined) this.retire(lane, 'overflow')
  }

  /** Closes a lane as soon as nothing is in flight on it. */
  retire(lane: Lane, reason: CloseReason): void {
    lane.purpose = 'leaving'
    lane.leavingReason = reason
    if (lane.inflight === 0) this.drop(lane, reason)
  }

  /** Its connections are replaced, each as soon as nothing is in flight on it. */
  renew(): void {
    for (const lane of [...this.lanes]) this.retire(lane, 'recycled')
    this.grow()
  }

  fail(job: SharedJob, error: HearthError): void {
    if (job.isDone || this.onEnd?.(job, error) === true) return
    job.isDone = true
    this.figures.errors++
    if (error.code === 'TIMEOUT') this.figures.timeouts++
    job.replies.fail(job.ticket, error)
  }

  private dispatch(lane: Lane, job: SharedJob, nowMs: number): void {
    try {
      if (!lane.send(job, nowMs)) return this.queue.putBack(job)
    } catch (error) {
      return this.fail(job, isHearthError(error) ? error : toHearthError(error, 'BAD_REQUEST'))
    }
    job.sentMs = nowMs
    if (!job.statement.isShort) lane.purpose = 'alone'
    if (job.repeats === 0) this.figures.noteAcquired(nowMs - job.startedMs)
    this.watch.wake()
    if (this.choice.isFull(0, this.queue.count)) this.grow()
  }

  private emptied(lane: Lane, nowMs: number): void {
    lane.idleSinceMs = nowMs
    lane.isSlow = false
    if (lane.isCancelling) return
    if (this.isClosing) return this.drop(lane, 'ended')
    if (lane.purpose === 'leaving') return this.drop(lane, lane.leavingReason)
    if (lane.purpose === 'alone') lane.purpose = 'shared'
    else if (lane.purpose === 'reserved' && this.queue.other.count === 0) lane.purpose = 'shared'
  }

  /** A lane that rested for long is asked for a sign of life before a statement is risked on it. */
  private tryOut(lane: Lane, nowMs: number): void {
    lane.isTried = false
    this.watch.wake()
    lane.run(';', nowMs).then(problem => {
      lane.isTried = true
      lane.idleSinceMs = monotonicMs()
      if (problem === undefined) this.serve(lane.idleSinceMs)
    })
  }

  private refused(lane: Lane, job: SharedJob, bytes: Buffer, start: number, end: number): void {
    const found = decodeValue(bytes, start, end) as (string | null)[]
    const sqlState = found[0] ?? undefined
    if (sqlState !== undefined && PREPARE_AGAIN.has(sqlState) && !job.isMended) {
      job.isMended = true
      this.figures.prepared.mended++
      lane.forget(job.slot!)
      return this.repeat(job, found[1] ?? '')
    }
    const nowMs = monotonicMs()
    const tookMs = nowMs - job.startedMs
    if (sqlState === '57014') {
      if (job.isUnwanted) return this.fail(job, givenUpError(true, job.correlationId))
      if (job.cancelledMs > 0 || tookMs >= this.spec.statementTimeoutMs)
        return this.fail(job, cancelledError(tookMs, job.correlationId))
      // Nothing of a cancelled statement stands, so one that an own cancel met by mistake may go again.
      if (nowMs - this.lastCancelMs < STRAY_CANCEL_MS)
        return this.repeat(job, 'cancelled by mistake')
    }
    const [, messagePrimary, messageDetail, messageHint, statementPosition] = found.map(
      each => each ?? undefined,
    )
    const fields = { sqlState, messagePrimary, messageDetail, messageHint, statementPosition }
    this.fail(job, databaseError(fields, messagePrimary ?? '', job.correlationId))
  }

  /** Sends a job again that is known not to have run. */
  private repeat(job: SharedJob, why: string): void {
    if (job.repeats >= REPEAT_COUNT_MAX || job.isUnwanted || this.isClosing)
      return this.fail(job, unreachableError(why, job.correlationId))
    job.repeats++
    this.queue.putBack(job)
  }

  private opened(lane: Lane): void {
    const nowMs = monotonicMs()
    lane.idleSinceMs = nowMs
    lane.expiresAtMs = nowMs + this.spec.recycleMs * (1 - Math.random() / 4)
    lane.attach(this)
    this.figures.noteOpened()
    this.lanes.push(lane)
    this.noteLanes()
    this.serve(nowMs)
  }

  private noteLanes(): void {
    this.budget.noteLanes(this.lanes.length + this.dialer.attemptCount)
  }

  private remove(lane: Lane, reason: CloseReason = 'lost'): void {
    const index = this.lanes.indexOf(lane)
    if (index < 0) return
    this.lanes.splice(index, 1)
    this.figures.noteClosed(reason)
    this.noteLanes()
  }
}
