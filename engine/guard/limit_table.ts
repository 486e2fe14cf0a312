/** LimitTable: the logs of all subjects, in memory of a bounded size whatever subjects appear.
 *  Owns:   which subject has which log.   Not here: what counts (sliding_log.ts), what is limited (rate_limit.ts).
 *  Thread: main.
 *  Holds:  (1) at most subjectCountMax logs, and runCountMax runs beyond their first few, all together.  (2) a log is forgotten only
 *          when nothing in it counts.  (3) nobody gets more than its limit: subjects for which there is no room share one log, so they
 *          are refused too early, never too late; and as long as that log counts anything, no new subject gets one of its own. */

import { RUNS_AT_FIRST, SlidingLog } from './sliding_log.ts'

/** Lengths of windows for which there is a log that is shared. */
const SHARED_COUNT_MAX = 64
/** A full table is gone through for what is over, at most so often. */
const SWEEP_MS_MIN = 1_000

export class LimitTable {
  /** How many subjects have a log of their own, and how many runs (16 bytes each) the logs may grow by. */
  subjectCountMax: number
  runCountMax: number
  /** Subjects that found no room and shared a log, by checks. */
  sharedChecks = 0
  private readonly windows = new Map<number, Map<string, SlidingLog>>()
  private readonly shared = new Map<number, SlidingLog>()
  private count = 0
  private grown = 0
  private sweptMs = Number.NEGATIVE_INFINITY

  constructor(subjectCountMax: number, runCountMax: number) {
    this.subjectCountMax = subjectCountMax
    this.runCountMax = runCountMax
  }

  /** The subjects that have a log. */
  get subjectCount(): number {
    return this.count
  }

  /** Runs that there is room for in all logs: 16 bytes each. */
  get runCount(): number {
    return this.count * RUNS_AT_FIRST + this.grown
  }

  /** The log of a subject. Undefined: there is room neither for one of its own nor for a shared one. */
  logOf(subject: string, windowMs: number, nowMs: number): SlidingLog | undefined {
    const known = this.windows.get(windowMs)?.get(subject)
    if (known !== undefined) return known
    const shared = this.shared.get(windowMs)
    if (shared !== undefined && !shared.isOver(nowMs)) return this.sharing(shared)
    if (this.hasRoom(nowMs)) return this.add(subject, windowMs)
    if (shared !== undefined) return this.sharing(shared)
    if (this.shared.size >= SHARED_COUNT_MAX) return undefined
    const fresh = new SlidingLog(windowMs)
    this.shared.set(windowMs, fresh)
    return this.sharing(fresh)
  }

  /** Room for more runs of one log; false when all of it is taken. */
  readonly grow = (more: number): boolean => {
    if (this.grown + more > this.runCountMax) return false
    this.grown += more
    return true
  }

  /** Forgets what is over. */
  sweep(nowMs: number): void {
    this.sweptMs = nowMs
    for (const [windowMs, logs] of this.windows) {
      for (const [subject, log] of logs) {
        if (!log.isOver(nowMs)) continue
        logs.delete(subject)
        this.count--
        this.grown -= log.roomCount - RUNS_AT_FIRST
      }
      if (logs.size === 0) this.windows.delete(windowMs)
    }
    for (const [windowMs, log] of this.shared) {
      if (!log.isOver(nowMs)) continue
      this.shared.delete(windowMs)
      this.grown -= log.roomCount - RUNS_AT_FIRST
    }
  }

  /** Every log, the shared ones under no subject. */
  each(tell: (subject: string | undefined, log: SlidingLog) => void): void {
    for (const logs of this.windows.values()) for (const [subject, log] of logs) tell(subject, log)
    for (const log of this.shared.values()) tell(undefined, log)
  }

  /** A log for what an earlier life left; the shared one where there is no subject, or no room. */
  restored(subject: string | undefined, windowMs: number): SlidingLog | undefined {
    if (subject !== undefined && this.isRoomy())
      return this.windows.get(windowMs)?.get(subject) ?? this.add(subject, windowMs)
    const known = this.shared.get(windowMs)
    if (known !== undefined || this.shared.size >= SHARED_COUNT_MAX) return known
    const log = new SlidingLog(windowMs)
    this.shared.set(windowMs, log)
    return log
  }

  private sharing(log: SlidingLog): SlidingLog {
    this.sharedChecks++
    return log
  }

  private add(subject: string, windowMs: number): SlidingLog {
    const log = new SlidingLog(windowMs)
    let logs = this.windows.get(windowMs)
    if (logs === undefined) {
      logs = new Map()
      this.windows.set(windowMs, logs)
    }
    logs.set(subject, log)
    this.count++
    return log
  }

  private hasRoom(nowMs: number): boolean {
    if (this.isRoomy()) return true
    if (nowMs - this.sweptMs < SWEEP_MS_MIN) return false
    this.sweep(nowMs)
    return this.isRoomy()
  }

  private isRoomy(): boolean {
    return this.count < this.subjectCountMax
  }
}
