/** Insight: `hearth.insight`: which statements take the time, who asks too often, which indexes and caches would help.
 *  Owns:   nothing; the figures are the engine's.   Not here: how advice is found (insight/).
 *  Thread: the client's.
 *  Holds:  what advice needs of the database is asked by ordinary statements, in this process. */

import type { Proof, ProofRequest, SlowPlan } from '../protocol/insight_shapes.ts'
import type { Connection } from './connection.ts'
import type { Database } from './database.ts'
import { type CacheAdvice, cacheAdviceOn } from './insight/cache_advice.ts'
import { type IndexAdvice, type IndexAdviceOptions, indexAdvice } from './insight/index_advice.ts'
import { type Rewrite, takingMany } from './insight/rewrite.ts'
import { InsightRequest } from './sql_requests.ts'

export type { SlowPlan } from '../protocol/insight_shapes.ts'
export type { CacheAdvice } from './insight/cache_advice.ts'
export type { IndexAdvice, IndexAdviceOptions, MissingIndex } from './insight/index_advice.ts'
export type { SurplusIndex } from './insight/surplus.ts'

/** All statements that differ in literals, lists, comments and spaces alone. */
export interface StatementFigures {
  readonly database: string
  readonly fingerprint: string
  readonly text: string
  readonly isRead: boolean
  readonly calls: number
  readonly errors: number
  readonly rows: number
  /** The server's time, as far as the engine can tell. */
  readonly totalMs: number
  readonly meanMs: number
  readonly maxMs: number
  readonly p50Ms: number
  readonly p95Ms: number
  readonly p99Ms: number
  /** Since 1970. */
  readonly firstAtMs: number
  readonly lastAtMs: number
  readonly callers: readonly { readonly name: string; readonly calls: number }[]
  /** Of requests with `cache`: what answered them. `inPlace` is told by clients every few seconds. */
  readonly cache: Readonly<
    Record<'memory' | 'sqlite' | 'inPlace' | 'stale' | 'shared' | 'misses', number>
  >
  /** Looks at results that had been seen before, how many had changed, over how long; and of how many calls with how many kinds of
   *  parameters that is. */
  readonly results: {
    readonly looks: number
    readonly changes: number
    readonly spanMs: number
    readonly calls: number
    readonly parameters: number
  }
}

export interface SlowStatement {
  readonly database: string
  readonly fingerprint: string
  readonly text: string
  readonly atMs: number
  readonly tookMs: number
  readonly rows: number | null
  readonly caller: string
  /** Types and lengths; the values only with insight.show_parameters. */
  readonly params: readonly string[]
  /** SQLSTATE or code with which it failed. */
  readonly failure: string | null
}

export interface NPlusOne {
  readonly database: string
  readonly fingerprint: string
  readonly text: string
  readonly caller: string
  /** How often it happened, and of how many calls the longest was. */
  readonly times: number
  readonly longest: number
  readonly meanMs: number
  /** What the same caller asked last before, with several rows: null where there was nothing. */
  readonly parent: {
    readonly fingerprint: string
    readonly text: string
    readonly rows: number
  } | null
  readonly suggestion: Rewrite
}

export interface StatementChoice {
  /** A configured database; left out: all. */
  readonly database?: string
}

export class Insight {
  private readonly connection: Connection
  private readonly databaseOf: (name: string) => Database

  constructor(connection: Connection, databaseOf: (name: string) => Database) {
    this.connection = connection
    this.databaseOf = databaseOf
  }

  /** Every fingerprint that is kept, those that took the server longest first. */
  statements(choice: StatementChoice = {}): Promise<StatementFigures[]> {
    return this.rows('statements', choice)
  }

  /** The slow log, newest first. */
  slow(choice: StatementChoice = {}): Promise<SlowStatement[]> {
    return this.rows('slow', choice)
  }

  /** Who asks the same ten times within a second, with other parameters each time. */
  async nPlusOne(choice: StatementChoice = {}): Promise<NPlusOne[]> {
    const found = await this.rows<Omit<NPlusOne, 'suggestion'>>('bursts', choice)
    return found.map(each => ({ ...each, suggestion: takingMany(each.text) }))
  }

  /** Plans of slow reads, as they ran. */
  plans(choice: StatementChoice = {}): Promise<SlowPlan[]> {
    return this.rows('plans', choice)
  }

  /** The plan that one fingerprint has now, with the parameters of a call that was made; nothing is run. */
  plan(
    database: string,
    fingerprint: string,
  ): Promise<{ readonly plan?: unknown; readonly problem?: string }> {
    return this.ask('plan', { database, fingerprint }) as Promise<{ plan?: unknown }>
  }

  /** Missing indexes, with what they would do, and indexes that are too many. */
  indexes(options: IndexAdviceOptions = {}): Promise<IndexAdvice> {
    return indexAdvice(this, this.databaseOf(options.database ?? 'main'), options)
  }

  /** Reads that would gain by the cache, those that would gain most first. */
  async cache(choice: StatementChoice = {}): Promise<CacheAdvice[]> {
    const found: CacheAdvice[] = []
    for (const figures of await this.statements(choice)) {
      const advice = cacheAdviceOn(figures)
      if (advice === undefined) continue
      const { cacheable } = await this.databaseOf(figures.database).explainCache(figures.text)
      if (cacheable) found.push(advice)
    }
    return found.toSorted((a, b) => b.savedMsPerHour - a.savedMsPerHour)
  }

  /** Forgets all figures. */
  async reset(): Promise<void> {
    await this.ask('reset', {})
  }

  /** What an index would do for a statement: see index_advice.ts. */
  proof(database: string, request: { fingerprint: string } & ProofRequest): Promise<Proof> {
    return this.ask('proof', { database, ...request }, PROOF_MS) as Promise<Proof>
  }

  private async rows<Row extends { database: string }>(
    what: string,
    { database }: StatementChoice,
  ): Promise<Row[]> {
    const rows = (await this.ask(what, {})) as Row[]
    return database === undefined ? rows : rows.filter(row => row.database === database)
  }

  private ask(what: string, options: object, answerMs = ANSWER_MS): Promise<unknown> {
    return this.connection.request(new InsightRequest(what, options), answerMs)
  }
}

const ANSWER_MS = 15_000
const PROOF_MS = 180_000
