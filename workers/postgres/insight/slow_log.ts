/** SlowLog: the statements that took long lately.
 *  Owns:   the last ENTRY_COUNT_MAX of them.   Not here: their plans (plans.ts), what is shown of parameters (masking.ts).
 *  Thread: postgres worker.
 *  Holds:  an entry is what it shows: parameters are masked, or cut, as it is made, and nothing else of the call is kept. */

import { wallMs } from '../../../engine/clock.ts'
import type { Call, Mark } from './recorder.ts'

const ENTRY_COUNT_MAX = 128

export interface SlowEntry {
  readonly atMs: number
  readonly slot: number
  readonly generation: number
  readonly tookMs: number
  /** Below 0: nobody knows. */
  readonly rows: number
  readonly caller: number
  /** The SQLSTATE or code with which it failed. */
  readonly failure: string | undefined
  /** Shown in place of the parameters, or they themselves, as the configuration says. */
  readonly params: readonly string[]
}

export class SlowLog {
  readonly entries: SlowEntry[] = []
  /** By database. */
  readonly counts = new Map<string, number>()
  /** What of a call's parameters may be shown; until it is set nothing is. */
  paramsOf: (call: Call) => readonly string[] = () => []
  /** Told of each: its plan may be wanted. */
  onSlow: (call: Call, mark: Mark, ms: number) => void = () => {}

  private readonly callerOf: (client: number) => number

  constructor(callerOf: (client: number) => number) {
    this.callerOf = callerOf
  }

  add(call: Call, mark: Mark, tookMs: number, failure: string | undefined): void {
    const { slots } = mark.recorder
    const database = slots.databases[mark.slot]!
    this.counts.set(database, (this.counts.get(database) ?? 0) + 1)
    if (this.entries.length >= ENTRY_COUNT_MAX) this.entries.shift()
    this.entries.push({
      atMs: wallMs(),
      slot: mark.slot,
      generation: mark.generation,
      tookMs,
      rows: call.rows,
      caller: this.callerOf(call.client),
      failure,
      params: this.paramsOf(call),
    })
    this.onSlow(call, mark, tookMs)
  }

  clear(): void {
    this.entries.length = 0
  }
}
