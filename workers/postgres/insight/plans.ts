/** Plans: of slow statements the plan as it ran: asked for when it is slow, sampled, kept masked.
 *  Owns:   the plans that are kept, and the line of those that are asked for.   Not here: how one is asked for (explain.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) no plan is asked for of what is not proven to read only, by the server's own analysis.  (2) one at a time, one each
 *          GAP_MS, of a fingerprint one each `intervalMs`.  (3) at most PLAN_COUNT_MAX plans of PLAN_CHARS_MAX are kept. */

import { monotonicMs, wallMs } from '../../../engine/clock.ts'
import type { Proof, ProofRequest, SlowPlan } from '../../../engine/protocol/insight_shapes.ts'
import { decodeValue } from '../../../engine/protocol/payload.ts'
import { isProvenRead } from '../analysis/facts.ts'
import { toParameters } from '../parameters.ts'
import type { PostgresDatabase } from '../postgres_database.ts'
import { explain } from './explain.ts'
import type { InsightOptions } from './insight.ts'
import { maskedPlan } from './masking.ts'
import { prove } from './proof.ts'
import type { Call, Mark, Recorder } from './recorder.ts'
import { mayRead } from './recorder.ts'

const PLAN_COUNT_MAX = 48
const PLAN_CHARS_MAX = 16 * 1024
const WAITING_COUNT_MAX = 4
const PARAMS_BYTES_MAX = 16 * 1024
const GAP_MS = 1_000
const TIMEOUT_MS_MAX = 5_000

interface Wanted {
  readonly mark: Mark
  readonly sql: string
  readonly params: Buffer
  readonly tookMs: number
}

export class Plans {
  readonly kept = new Map<string, SlowPlan>()
  private readonly recorder: Recorder
  private readonly options: InsightOptions
  private readonly databaseOf: (name: string) => PostgresDatabase | undefined
  private readonly asked = new Map<number, number>()
  private readonly waiting: Wanted[] = []
  private isAsking = false
  private nextMs = 0
  private timer: NodeJS.Timeout | undefined

  constructor(
    recorder: Recorder,
    options: InsightOptions,
    databaseOf: (name: string) => PostgresDatabase | undefined,
  ) {
    this.recorder = recorder
    this.options = options
    this.databaseOf = databaseOf
  }

  /** A statement was slow. */
  wanted({ statement, params, paramsStart, paramsEnd }: Call, mark: Mark, tookMs: number): void {
    const nowMs = monotonicMs()
    const askedMs = this.asked.get(mark.slot) ?? -Infinity
    if (!mayRead(statement) || nowMs - askedMs < this.options.explainIntervalMs) return
    if (this.waiting.length >= WAITING_COUNT_MAX || paramsEnd - paramsStart > PARAMS_BYTES_MAX)
      return
    this.asked.set(mark.slot, nowMs)
    const kept = Buffer.from(params.subarray(paramsStart, paramsEnd))
    this.waiting.push({ mark, sql: statement.sql, params: kept, tookMs })
    this.work()
  }

  /** The plan of one fingerprint, now, with the parameters of one of its calls; nothing is run. */
  async of(database: string, fingerprint: string): Promise<Partial<SlowPlan>> {
    const slot = this.recorder.slots.find(database, fingerprint)
    const sample = slot === undefined ? undefined : this.recorder.slots.samples[slot]
    if (sample === undefined) return { problem: 'no call of it is known that took long enough' }
    return await this.ask(database, sample.sql, sample.params, false, TIMEOUT_MS_MAX)
  }

  /** What an index would do for a fingerprint's sample. */
  async proof(database: string, fingerprint: string, request: ProofRequest): Promise<Proof> {
    const slot = this.recorder.slots.find(database, fingerprint)
    const { sql } = request
    const sample =
      sql !== undefined
        ? { sql, params: NO_PARAMS }
        : slot === undefined
          ? undefined
          : this.recorder.slots.samples[slot]
    const target = this.databaseOf(database)
    if (sample === undefined || target === undefined)
      return { problem: 'no call of it is known that took long enough' }
    const facts = await target.analysis.find(target.statements.look(sample.sql))
    if (isProvenRead(facts) !== true) return { problem: 'not proven to read only' }
    const values = toParameters(decodeValue(sample.params) as unknown[])
    return await prove(target.pool, sample.sql, values, request)
  }

  forget(slot: number): void {
    this.asked.delete(slot)
  }

  close(): void {
    clearTimeout(this.timer)
    this.waiting.length = 0
  }

  private work(): void {
    if (this.isAsking || this.waiting.length === 0) return
    this.isAsking = true
    const delayMs = Math.max(0, this.nextMs - monotonicMs())
    this.timer = setTimeout(() => void this.askNext(), delayMs).unref()
  }

  private async askNext(): Promise<void> {
    const { mark, sql, params, tookMs } = this.waiting.shift()!
    const { slots } = this.recorder
    if (this.recorder.isCurrent(mark)) {
      const [database, text] = [slots.databases[mark.slot]!, slots.texts[mark.slot]!]
      const fingerprint = slots.names[mark.slot]!
      const isRun = this.options.explain === 'analyze'
      const timeoutMs = Math.min(TIMEOUT_MS_MAX, tookMs * 4 + 1_000)
      let found = await this.ask(database, sql, params, isRun, timeoutMs)
      const isLate = found.problem === 'SQLSTATE 57014'
      if (isLate && isRun) found = await this.ask(database, sql, params, false, timeoutMs)
      this.keep({
        database,
        fingerprint,
        text,
        tookMs,
        isRun: isRun && !isLate,
        ...found,
        atMs: wallMs(),
      })
    }
    this.isAsking = false
    this.work()
  }

  /** Never rejects. */
  private async ask(
    database: string,
    sql: string,
    params: Buffer,
    isRun: boolean,
    timeoutMs: number,
  ): Promise<{ plan?: unknown; problem?: string }> {
    const target = this.databaseOf(database)
    if (target === undefined) return { problem: 'its database is not configured any more' }
    try {
      const facts = await target.analysis.find(target.statements.look(sql))
      if (isProvenRead(facts) !== true) return { problem: 'not proven to read only' }
      const values = toParameters(decodeValue(params) as unknown[])
      const { pool } = target.serverFor(true, 0)
      this.nextMs = monotonicMs() + GAP_MS
      const { plan, problem } = await explain(pool, sql, values, isRun, timeoutMs)
      if (plan === undefined) return { problem: problem ?? 'there is none' }
      if (plan.length > PLAN_CHARS_MAX) return { problem: 'it is too long to be kept' }
      const parsed = JSON.parse(plan)
      return { plan: this.options.showParameters ? parsed : maskedPlan(parsed) }
    } catch {
      return { problem: 'it could not be asked for' }
    }
  }

  private keep(plan: SlowPlan): void {
    const key = `${plan.database} ${plan.fingerprint}`
    this.kept.delete(key)
    if (this.kept.size >= PLAN_COUNT_MAX) this.kept.delete(this.kept.keys().next().value!)
    this.kept.set(key, plan)
  }
}

/** An empty array, as msgpack. */
const NO_PARAMS = Buffer.from([0x90])
