/** InsightPart: all of query insight that recording does not need, loaded when it is asked for first.
 *  Owns:   plans, the file.   Not here: the figures (recorder.ts), advice (engine/client/insight/).
 *  Thread: postgres worker.
 *  Holds:  what it answers is plain data, without a literal or a parameter unless insight.show_parameters says so. */

import { HearthError } from '../../../engine/errors.ts'
import type { ProofRequest } from '../../../engine/protocol/insight_shapes.ts'
import type { PostgresDatabase } from '../postgres_database.ts'
import { fingerprintOf } from './fingerprint.ts'
import type { InsightOptions } from './insight.ts'
import { Plans } from './plans.ts'
import type { Recorder } from './recorder.ts'
import { bursts, slowStatements, statements } from './report.ts'
import { OUTCOMES } from './slots.ts'
import { load, save } from './store.ts'
import { isWorthFetching } from './worth.ts'

export class InsightPart {
  readonly plans: Plans
  private readonly recorder: Recorder
  private readonly file: string | undefined

  constructor(
    recorder: Recorder,
    options: InsightOptions,
    databaseOf: (name: string) => PostgresDatabase | undefined,
  ) {
    this.recorder = recorder
    this.file = options.file
    this.plans = new Plans(recorder, options, databaseOf)
    const { onEvicted } = recorder.slots
    recorder.slots.onEvicted = slot => {
      onEvicted(slot)
      this.plans.forget(slot)
    }
  }

  /** What INSIGHT asks for. Rejects with BAD_REQUEST for what there is not. */
  async answer(what: string, options: Record<string, unknown>): Promise<unknown> {
    const { recorder } = this
    switch (what) {
      case 'statements':
        return statements(recorder)
      case 'slow':
        return slowStatements(recorder)
      case 'bursts':
        return bursts(recorder)
      case 'plans':
        return [...this.plans.kept.values()]
      case 'plan':
        return await this.plans.of(String(options['database']), String(options['fingerprint']))
      default:
        throw new HearthError('BAD_REQUEST', `insight knows nothing of '${what}'`)
    }
  }

  /** What INSIGHT_ADMIN asks for. Rejects with BAD_REQUEST for what there is not. */
  async change(what: string, options: Record<string, unknown>): Promise<unknown> {
    switch (what) {
      case 'proof':
        return await this.plans.proof(
          String(options['database']),
          String(options['fingerprint']),
          options as unknown as ProofRequest,
        )
      case 'reset':
        this.recorder.clear()
        this.plans.kept.clear()
        return true
      default:
        throw new HearthError('BAD_REQUEST', `insight knows nothing of '${what}'`)
    }
  }

  /** See worth.ts. */
  isWorthFetching(database: PostgresDatabase, sql: string): Promise<boolean> {
    return isWorthFetching(this.recorder, database, sql)
  }

  /** What main tells of results that came from the cache: rows of database, sql, and counts as in OUTCOMES. */
  addOutcomes(rows: readonly unknown[]): void {
    const { slots } = this.recorder
    for (const row of rows as [string, string, ...number[]][]) {
      const [database, sql, ...counts] = row
      const slot = slots.of(database, fingerprintOf(sql), true)
      for (let i = 0; i < OUTCOMES.length; i++)
        slots.outcomes[slot * OUTCOMES.length + i]! += counts[i] ?? 0
    }
    this.recorder.unsaved++
  }

  load(): void {
    if (this.file !== undefined) load(this.recorder, this.file)
  }

  save(): void {
    if (this.file !== undefined) save(this.recorder, this.file)
  }

  saveIfDue(): void {
    if (this.recorder.isDueToSave()) this.save()
  }

  close(): void {
    this.plans.close()
  }
}
