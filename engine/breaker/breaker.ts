/** Breaker: keeps calls from a target that fails, and lets one after another try whether it is back.
 *  Owns:   the state and its counts.   Not here: what a failure is (each caller's own business), waiting, repeating.
 *  Thread: any, one at a time; the clock is its caller's.
 *  Holds:  (1) a call that is let through has a pass, which is handed back once, with what became of it; an outcome counts only
 *          in the state that its pass was given in, so that a straggler decides nothing.  (2) letting through and counting a
 *          success allocate nothing.  (3) half-open, one call tries at a time.
 *
 *                ┌── failures in a row, or the share of failures in the window ──▶ open
 *      closed ───┘                                                         ▲        │ openMs are over,
 *         ▲                                                     one failure│        ▼ or a probe succeeded
 *         └────────────────── enough successes ──────────────────────── half-open ◀─┘
 *
 *  A failure is an incident: of the calls that were under way when one was counted, no other counts for INCIDENT_MS. A hundred
 *  statements on one lost connection, or on all connections of a server that restarts, are one failure; a target that stays
 *  silent gives another each second. A trial that takes long holds up the next for TRIAL_MS_MAX only.
 *
 *  Own, and no library: cockatiel (4.0.0) makes promises of calls, and those here are answered by callback, a hundred thousand
 *  a second; it keeps no counts by target, and knows no incidents. */

import { CallWindow } from './call_window.ts'

export interface BreakerSettings {
  /** Opens after so many failures in a row … */
  readonly failures: number
  /** … or when this share (0 to 1) of the window's calls failed, once there were `minCalls`. */
  readonly failureRate: number
  readonly minCalls: number
  readonly windowMs: number
  /** How long it stays open before calls may try again. */
  readonly openMs: number
  /** Trials in a row that close it. */
  readonly successes: number
}

export type BreakerState = 'closed' | 'half-open' | 'open'

/** What `stats()` shows of one. */
export interface BreakerFigures {
  state: BreakerState
  /** Of the window, as far as the state is `closed`. */
  calls: number
  failures: number
  failuresInRow: number
  /** How often it came to each state. */
  transitions: Record<BreakerState, number>
  /** Calls that were not let through. */
  refused: number
  /** Until the next trial; 0 when it lets calls through. */
  retryAfterMs: number
}

/** Failures of calls that were under way at the last one belong to it for so long. */
export const INCIDENT_MS = 1_000
/** A trial without an answer for so long does not keep the next from trying. */
export const TRIAL_MS_MAX = 1_000
/** What callers are told to wait while another one's call tries. */
export const TRIAL_RETRY_MS = 100

/** No call was let through. */
export const NO_PASS = 0

export class Breaker {
  readonly name: string
  readonly settings: BreakerSettings
  state: BreakerState = 'closed'
  refused = 0
  private readonly onTransition: (breaker: Breaker) => void
  private readonly transitions: Record<BreakerState, number> = {
    closed: 0,
    'half-open': 0,
    open: 0,
  }
  private readonly window: CallWindow
  private failuresInRow = 0
  private lastFailureMs = -Infinity
  private openUntilMs = -Infinity
  private successes = 0
  /** The newest pass. Closed, all calls since the last failure share one; half-open, each trial has its own. */
  private pass = NO_PASS + 1
  /** The oldest pass of this state. */
  private firstPass = NO_PASS + 1
  /** When the newest trial began, as long as it is under way. */
  private trialSinceMs = -Infinity

  /** `onTransition` is told after each change of state. */
  constructor(
    name: string,
    settings: BreakerSettings,
    onTransition: (breaker: Breaker) => void = () => {},
  ) {
    this.name = name
    this.settings = settings
    this.onTransition = onTransition
    this.window = new CallWindow(settings.windowMs)
  }

  /** Whether a call would be let through. Changes nothing: for a choice among several targets. */
  admits(nowMs: number): boolean {
    if (this.state === 'closed') return true
    if (this.state === 'open') return nowMs >= this.openUntilMs
    return nowMs - this.trialSinceMs >= TRIAL_MS_MAX
  }

  /** Lets a call through: its pass. Or not: NO_PASS. */
  admit(nowMs: number): number {
    if (this.state === 'closed') return this.pass
    if (!this.admits(nowMs)) {
      this.refused++
      return NO_PASS
    }
    if (this.state === 'open') this.turn('half-open')
    this.trialSinceMs = nowMs
    return ++this.pass
  }

  /** The target answered. */
  succeeded(pass: number, nowMs: number): void {
    if (pass < this.firstPass) return
    if (this.state === 'closed') {
      this.failuresInRow = 0
      this.window.note(false, nowMs)
    } else {
      this.endTrial(pass)
      this.countSuccess()
    }
  }

  /** The target did not. */
  failed(pass: number, nowMs: number): void {
    if (pass < this.firstPass) return
    if (this.state === 'half-open') return this.open(nowMs)
    if (pass < this.pass && nowMs - this.lastFailureMs < INCIDENT_MS) return
    this.pass++
    this.lastFailureMs = nowMs
    this.failuresInRow++
    this.window.note(true, nowMs)
    if (this.isTooMuch()) this.open(nowMs)
  }

  /** The call ended without showing anything of its target: it was given up, or never sent. */
  spared(pass: number): void {
    if (pass >= this.firstPass) this.endTrial(pass)
  }

  /** Somebody asked the target for a sign of life, and got one: as good as a trial, and need not wait for its time. */
  probeSucceeded(): void {
    if (this.state === 'closed') return
    if (this.state === 'open') this.turn('half-open')
    this.countSuccess()
  }

  /** Until a call may be let through; 0: now. */
  retryAfterMs(nowMs: number): number {
    if (this.admits(nowMs)) return 0
    return this.state === 'open' ? Math.ceil(this.openUntilMs - nowMs) : TRIAL_RETRY_MS
  }

  figures(nowMs: number): BreakerFigures {
    this.window.moveTo(nowMs)
    const { state, failuresInRow, refused, window } = this
    return {
      state,
      calls: window.callCount,
      failures: window.failureCount,
      failuresInRow,
      transitions: { ...this.transitions },
      refused,
      retryAfterMs: this.retryAfterMs(nowMs),
    }
  }

  private isTooMuch(): boolean {
    const { failures, failureRate, minCalls } = this.settings
    const { callCount, failureCount } = this.window
    if (this.failuresInRow >= failures) return true
    return callCount >= minCalls && failureCount >= callCount * failureRate
  }

  private countSuccess(): void {
    if (++this.successes >= this.settings.successes) this.turn('closed')
  }

  private endTrial(pass: number): void {
    if (pass === this.pass) this.trialSinceMs = -Infinity
  }

  private open(nowMs: number): void {
    this.openUntilMs = nowMs + this.settings.openMs
    this.turn('open')
  }

  /** Whatever was counted before counts no more, nor do the calls under way. */
  private turn(state: BreakerState): void {
    this.state = state
    this.firstPass = ++this.pass
    this.failuresInRow = 0
    this.successes = 0
    this.trialSinceMs = -Infinity
    this.lastFailureMs = -Infinity
    this.window.clear()
    this.transitions[state]++
    this.onTransition(this)
  }
}
