/** Lane: one shared, pipelined connection, and the statements in flight on it, in the order in which they were sent.
 *  Owns:   the Pipeline, the prepared statements it has, the queue of what is unanswered.   Not here: which lane takes what
 *          (shared_pool.ts), the clock (lane_watch.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) every job that send() took is given to answered() once, or to lost() with all others.  (2) a prepared
 *          statement's number is given away only when nothing in flight uses it.
 *
 *      shared ──a statement not known to be short waits──▶ reserved ──empty──▶ alone ──answered──▶ shared
 *         └──────────── old, idle, or room is needed ───▶ leaving ──empty──▶ closed          any ──lost──▶ closed */

import { assert } from '../../engine/assert.ts'
import { HearthError } from '../../engine/errors.ts'
import { decodeValue } from '../../engine/protocol/payload.ts'
import { commentOf } from '../../engine/trace_context.ts'
import type { Pipeline } from '../../native-bindings/pipeline.ts'
import { ANSWER, SEND } from '../../native-bindings/pipeline_words.ts'
import { type CloseReason, PREPARED_COUNT_MAX } from './database.ts'
import { toParameters } from './parameters.ts'
import type { PreparedCounts } from './pool_figures.ts'
import type { SharedJob } from './shared_job.ts'
import { learnDuration, type Statement } from './statement.ts'

/** A statement that is prepared on a lane, or is being prepared. */
export interface Slot {
  readonly number: number
  readonly name: string
  inflight: number
  usedAt: number
  isForgotten: boolean
  /** For one execution: its text has a comment of its own. */
  readonly isOnce: boolean
}

/** A statement of our own: setting a session up, or trying it. */
interface Errand {
  readonly statement: undefined
  readonly settle: (problem: string | undefined) => void
}

export interface LaneEvents {
  /** `job` has its answer: bytes[start, end) are valid only during the call. */
  answered(
    lane: Lane,
    job: SharedJob,
    kind: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void
  /** A batch of answers is over. */
  turned(lane: Lane): void
  /** The connection is gone, with all that was in flight on it, oldest first. The server may have run the first
   *  `mayHaveRun` of them; the others it has not read. */
  lost(lane: Lane, why: string, sqlState: string, jobs: SharedJob[], mayHaveRun: number): void
}

export class Lane {
  /** What it may be given: anything short, nothing more for now, one statement by itself, nothing ever again. */
  purpose: 'shared' | 'reserved' | 'alone' | 'leaving' = 'shared'
  /** Since when the oldest statement in flight is the server's business; meaningless without one. */
  headSinceMs = 0
  idleSinceMs = 0
  /** When it is to be replaced. */
  expiresAtMs = Infinity
  /** Answered slowly at the moment: others should be asked first. */
  isSlow = false
  /** A cancel is under way: what is sent now might meet it. */
  isCancelling = false
  /** False while it is being tried after a long rest. */
  isTried = true
  isClosed = false
  /** Why it is `leaving`. */
  leavingReason: CloseReason = 'recycled'
  private isBroken = false
  /** Answered with rows since learn(). */
  private readonly batch: SharedJob[] = []
  private readonly pipeline: Pipeline
  private readonly counts: PreparedCounts
  private events: LaneEvents | undefined
  private entries: (SharedJob | Errand)[] = []
  private first = 0
  private readonly slots = new Map<string, Slot>()
  private readonly freeNumbers: number[] = []
  private slotCount = 0
  private uses = 0
  private nextId = 0

  constructor(pipeline: Pipeline, counts: PreparedCounts) {
    this.pipeline = pipeline
    this.counts = counts
  }

  get inflight(): number {
    return this.entries.length - this.first
  }

  /** Whether it may be given a statement at all, purpose and depth apart. */
  get isReady(): boolean {
    return this.isTried && !this.isCancelling && !this.isBroken
  }

  /** The job that the server works on, or undefined: nothing, or an errand of ours. */
  get head(): SharedJob | undefined {
    const entry = this.entries[this.first]
    return entry?.statement === undefined ? undefined : (entry as SharedJob)
  }

  find(ticket: number): SharedJob | undefined {
    for (let i = this.first; i < this.entries.length; i++) {
      const entry = this.entries[i]!
      const job = entry as SharedJob
      if (entry.statement !== undefined && job.ticket === ticket && !job.isDone) return job
    }
  }

  /** Jobs behind the oldest that nobody has answered and whose deadline was before `ms`. */
  overdueBehind(ms: number): SharedJob[] {
    const found: SharedJob[] = []
    for (let i = this.first + 1; i < this.entries.length; i++) {
      const entry = this.entries[i]!
      if (entry.statement === undefined) continue
      const job = entry as SharedJob
      if (!job.isDone && job.deadlineMs <= ms) found.push(job)
    }
    return found
  }

  attach(events: LaneEvents): void {
    this.events = events
  }

  /** Queues a statement behind what is in flight; nothing leaves before flush(). False: the connection takes nothing any
   *  more. Throws BAD_REQUEST for parameters that Postgres cannot take; nothing was sent then. */
  send(job: SharedJob, nowMs: number): boolean {
    if (this.isClosed) return false
    const comment = commentOf(job.correlationId)
    const slot = comment === '' ? this.slotOf(job.statement) : this.onceOf(job.statement, comment)
    try {
      return this.sendTo(slot, job, nowMs)
    } catch (error) {
      if (slot.isOnce) this.forget(slot)
      throw error
    }
  }

  private sendTo(slot: Slot, job: SharedJob, nowMs: number): boolean {
    const { params, paramsStart, paramsEnd } = job
    let status = this.pipeline.execute(slot.number, this.nextId, params, paramsStart, paramsEnd)
    if (status === SEND.NEEDS_VALUES) {
      const values = decodeValue(params, paramsStart, paramsEnd)
      if (!Array.isArray(values)) throw new HearthError('BAD_REQUEST', 'params must be an array')
      status = this.pipeline.executeValues(slot.number, this.nextId, toParameters(values))
    }
    if (status !== SEND.DONE) {
      this.isBroken = true // lose() comes next, once what was answered has been read
      return false
    }
    slot.inflight++
    job.slot = slot
    this.push(job, nowMs)
    return true
  }

  /** Runs a statement of our own; settles with what the server had against it. */
  run(sql: string, nowMs: number): Promise<string | undefined> {
    return new Promise(resolve => {
      if (this.isClosed || this.pipeline.run(this.nextId, sql) !== SEND.DONE)
        return resolve('the connection is gone')
      this.push({ statement: undefined, settle: resolve }, nowMs)
      this.flush()
    })
  }

  /** How long the statements of a batch took, as far as can be told: whether they are short. */
  learn(nowMs: number): void {
    const { batch } = this
    if (batch.length === 0) return
    const eachMs = (nowMs - this.headSinceMs) / batch.length
    for (const job of batch) {
      learnDuration(job.statement, eachMs)
      job.statement.mark?.recorder.took(job, eachMs)
    }
    batch.length = 0
  }

  flush(): void {
    if (this.isClosed) return
    this.pipeline.flush()
  }

  /** Asks the server to stop what it runs on this connection. */
  cancel(onSent: () => void): void {
    this.isCancelling = true
    this.pipeline.cancel(() => {
      this.isCancelling = false
      onSent()
    })
  }

  /** The server has this statement no more, or has it for tables that changed: it is prepared anew at its next use. */
  forget(slot: Slot): void {
    if (slot.isForgotten) return
    slot.isForgotten = true
    this.slots.delete(slot.name)
    if (!this.isClosed) this.pipeline.forget(slot.number)
    this.reclaim(slot)
  }

  /** Closes at once. What is in flight is answered through lost(). */
  close(why: string): void {
    if (this.isClosed) return
    this.pipeline.finish()
    this.lose(why, '', 0)
  }

  // What the Pipeline tells, called by lane_dial.ts, which made both.

  take(count: number, answers: Int32Array, output: Buffer): void {
    for (let i = 0; i < count; i++) {
      const at = i << 2
      this.answer(answers[at]!, answers[at + 1]!, output, answers[at + 2]!, answers[at + 3]!)
      if (this.isClosed) return
    }
    this.events?.turned(this)
  }

  takeLarge(id: number, body: Buffer): void {
    this.answer(id, ANSWER.ROWS, body, 0, body.length)
    if (!this.isClosed) this.events?.turned(this)
  }

  lose(why: string, sqlState: string, unsentCount: number, isOldestUndone = false): void {
    if (this.isClosed) return
    this.isClosed = true
    const entries = this.entries.slice(this.first)
    this.entries = []
    this.first = 0
    const jobs: SharedJob[] = []
    // A server that says goodbye has read nothing after the statement it was working on. One that is short it did not say goodbye
    // to for its own sake, as somebody may to one that goes on and on: undone, it may be sent again like those behind it.
    const goodbyeAt = isOldestUndone && entries[0]?.statement?.isShort === true ? 0 : 1
    const unreadAt = sqlState === '' ? entries.length - unsentCount : goodbyeAt
    let mayHaveRun = 0
    for (const [index, entry] of entries.entries()) {
      if (entry.statement === undefined) {
        ;(entry as Errand).settle(why)
        continue
      }
      if (index < unreadAt) mayHaveRun++
      jobs.push(entry as SharedJob)
    }
    this.events?.lost(this, why, sqlState, jobs, mayHaveRun)
  }

  private push(entry: SharedJob | Errand, nowMs: number): void {
    if (this.inflight === 0) this.headSinceMs = nowMs
    this.nextId = (this.nextId + 1) & 0x7fff_ffff
    this.entries.push(entry)
  }

  private answer(id: number, kind: number, bytes: Buffer, start: number, end: number): void {
    const entry = this.entries[this.first]!
    this.entries[this.first++] = undefined!
    assert(((this.nextId - this.inflight - 1) & 0x7fff_ffff) === id, 'answers come in order')
    if (this.first === this.entries.length) {
      this.entries.length = 0
      this.first = 0
    } else if (this.first >= COMPACT_COUNT) {
      this.entries.splice(0, this.first)
      this.first = 0
    }
    if (entry.statement === undefined) {
      const problem = kind === ANSWER.REFUSED ? refusalText(bytes, start, end) : undefined
      return (entry as Errand).settle(problem)
    }
    const job = entry as SharedJob
    const slot = job.slot!
    slot.inflight--
    if (slot.isForgotten) this.reclaim(slot)
    else if (slot.isOnce) this.forget(slot)
    if (kind === ANSWER.ROWS) {
      this.batch.push(job)
      job.statement.mark?.recorder.answered(job, bytes, start, end)
    }
    this.events!.answered(this, job, kind, bytes, start, end)
  }

  private slotOf({ name, sql }: Statement): Slot {
    const known = this.slots.get(name)
    if (known !== undefined) {
      known.usedAt = ++this.uses
      this.counts.hits++
      return known
    }
    this.counts.misses++
    const number = this.freeNumbers.pop() ?? this.freshNumber()
    const slot: Slot = {
      number,
      name,
      inflight: 0,
      usedAt: ++this.uses,
      isForgotten: false,
      isOnce: false,
    }
    this.pipeline.define(number, name, sql)
    this.slots.set(name, slot)
    return slot
  }

  /** A text that will not come again: in nobody's way under a name of its own, and closed behind its answer. */
  private onceOf(statement: Statement, comment: string): Slot {
    const number = this.freeNumbers.pop() ?? this.freshNumber()
    const usedAt = ++this.uses
    const name = `${statement.name}_${usedAt}`
    this.pipeline.define(number, name, statement.sql + comment)
    return { number, name, inflight: 0, usedAt, isForgotten: false, isOnce: true }
  }

  /** The next number, or that of the statement used longest ago. */
  private freshNumber(): number {
    if (this.slotCount < PREPARED_COUNT_MAX) return this.slotCount++
    let oldest: Slot | undefined
    for (const slot of this.slots.values()) {
      if (slot.inflight === 0 && (oldest === undefined || slot.usedAt < oldest.usedAt))
        oldest = slot
    }
    assert(oldest !== undefined, 'fewer statements are in flight than are prepared')
    this.counts.evictions++
    this.forget(oldest)
    return this.freeNumbers.pop()!
  }

  private reclaim(slot: Slot): void {
    if (slot.inflight === 0) this.freeNumbers.push(slot.number)
  }
}

const COMPACT_COUNT = 1_024
/** Statements in flight on one connection. More would only wait in the server's socket instead of here, out of reach. */
export const LANE_DEPTH_MAX = 128
assert(
  LANE_DEPTH_MAX < PREPARED_COUNT_MAX,
  'a prepared statement that is not in flight can always be found',
)

function refusalText(bytes: Buffer, start: number, end: number): string {
  const [, message] = decodeValue(bytes, start, end) as [unknown, unknown]
  return String(message)
}
