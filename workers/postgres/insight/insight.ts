/** Insight: what the postgres worker knows of the statements that it runs, and the frames that ask for it.
 *  Owns:   the recorder, and the part with all that recording does not need.   Not here: what a call is (recorder.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) the part (part.ts) is loaded when it is needed first: for a file of earlier figures, a slow statement, a question.
 *          (2) every frame gets one closing reply. */

import { existsSync } from 'node:fs'
import { HearthError, isHearthError, toHearthError } from '../../../engine/errors.ts'
import { BodyReader } from '../../../engine/protocol/body.ts'
import { decodeSequence, decodeValue, encodeValue } from '../../../engine/protocol/payload.ts'
import { OPS, REPLIES } from '../../../engine/protocol/spec.ts'
import type { Replies, RequestFrame } from '../../handler.ts'
import type { PostgresDatabase } from '../postgres_database.ts'
import type { Statement } from '../statement.ts'
import { shownValues } from './masking.ts'
import type { InsightPart } from './part.ts'
import { type Call, Recorder } from './recorder.ts'

export interface InsightOptions {
  readonly enabled: boolean
  readonly slowThresholdMs: number
  /** What is asked for of a slow read: its plan, with the statement run once more, without, or nothing. */
  readonly explain: 'analyze' | 'plan' | 'off'
  readonly explainIntervalMs: number
  readonly showParameters: boolean
  readonly maxStatements: number
  /** Where figures are kept over a restart; undefined: nowhere. */
  readonly file?: string | undefined
}

export const INSIGHT_OPS: readonly number[] = [
  OPS.INTRODUCE,
  OPS.CACHE_OUTCOMES,
  OPS.INSIGHT,
  OPS.INSIGHT_ADMIN,
].map(op => op.code)

export class Insight {
  /** Undefined when nothing is recorded. */
  readonly recorder: Recorder | undefined
  private readonly options: InsightOptions | undefined
  private readonly databases: ReadonlyMap<string, PostgresDatabase>
  private readonly reader = new BodyReader()
  private part: Promise<InsightPart> | undefined

  constructor(
    options: InsightOptions | undefined,
    databases: ReadonlyMap<string, PostgresDatabase>,
  ) {
    this.options = options
    this.databases = databases
    if (options === undefined || !options.enabled) return
    const recorder = new Recorder(options)
    this.recorder = recorder
    recorder.slow.paramsOf = call => shownValues(valuesOf(call), options.showParameters)
    if (options.explain === 'off') return
    recorder.slow.onSlow = (call, mark, ms) => {
      // The call's bytes stay as they are for as long as somebody holds it.
      void this.loaded().then(part => part.plans.wanted(call, mark, ms))
    }
  }

  /** What an earlier run has left is read before the first statement comes. */
  async ready(): Promise<void> {
    const { file, enabled } = this.options ?? {}
    if (!enabled || file === undefined) return
    if (existsSync(file)) (await this.loaded()).load()
  }

  /** A statement is to be recorded from now on. */
  see(statement: Statement, database: string): void {
    this.recorder?.see(statement, database)
  }

  handle(frame: RequestFrame, replies: Replies): void {
    const { op, ticket, bytes, start, end } = frame
    try {
      if (op === OPS.INTRODUCE.code) {
        const reader = this.reader.reset(bytes, start, end)
        this.recorder?.callers.introduce(reader.uint(), reader.text())
      } else if (op === OPS.CACHE_OUTCOMES.code) {
        const outcomes = decodeValue(bytes, start, end) as unknown[]
        if (this.recorder !== undefined) void this.loaded().then(part => part.addOutcomes(outcomes))
      } else return this.ask(frame, replies)
      replies.reply(REPLIES.OK.code, ticket, EMPTY)
    } catch (error) {
      replies.fail(ticket, refusalOf(error))
    }
  }

  /** What ADVISE_RESULT asks. Rejects as worth.ts says. */
  async isWorthFetching(database: PostgresDatabase, sql: string): Promise<boolean> {
    if (this.recorder === undefined) return false
    return await (await this.loaded()).isWorthFetching(database, sql)
  }

  /** Slow statements and bursts (N+1) of one database so far. */
  figures(database: string): { slowStatements: number; nPlusOne: number } {
    return {
      slowStatements: this.recorder?.slow.counts.get(database) ?? 0,
      nPlusOne: this.recorder?.bursts.counts.get(database) ?? 0,
    }
  }

  /** Housekeeping: figures are written to the disk now and then. */
  idle(): void {
    if (this.recorder === undefined || this.options?.file === undefined) return
    if (this.recorder.unsaved === 0) return
    if (this.part !== undefined || this.recorder.isDueToSave())
      void this.loaded().then(part => part.saveIfDue())
  }

  async close(): Promise<void> {
    if (this.recorder === undefined) return
    const isWanted = this.options?.file !== undefined && this.recorder.unsaved > 0
    if (this.part === undefined && !isWanted) return
    const part = await this.loaded()
    if (isWanted) part.save()
    part.close()
  }

  private ask({ op, ticket, bytes, start, end }: RequestFrame, replies: Replies): void {
    const [what, options] = decodeSequence(bytes, start, end)
    if (this.recorder === undefined)
      throw new HearthError('NOT_CONFIGURED', 'nothing is recorded: insight.enabled is false')
    this.loaded()
      .then(part => {
        const asked = (options ?? {}) as Record<string, unknown>
        const isAdmin = op === OPS.INSIGHT_ADMIN.code
        return isAdmin ? part.change(String(what), asked) : part.answer(String(what), asked)
      })
      .then(
        answer => replies.reply(REPLIES.RESULT.code, ticket, encodeValue(answer)),
        error => replies.fail(ticket, refusalOf(error)),
      )
  }

  private loaded(): Promise<InsightPart> {
    const { recorder, options, databases } = this
    this.part ??= import('./part.ts').then(
      ({ InsightPart }) => new InsightPart(recorder!, options!, name => databases.get(name)),
    )
    return this.part
  }
}

function valuesOf({ params, paramsStart, paramsEnd }: Call): readonly unknown[] {
  const values = decodeValue(params, paramsStart, paramsEnd)
  return Array.isArray(values) ? values : []
}

function refusalOf(error: unknown): HearthError {
  return isHearthError(error) ? error : toHearthError(error, 'PROTOCOL')
}

const EMPTY = new Uint8Array(0)
