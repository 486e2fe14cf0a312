/** Analysis: what is known of the statements of one database.
 *  Owns:   the table of facts, those that wait to be examined.   Not here: how the server is asked (probe.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) at most KNOWN_COUNT_MAX are kept, for FACTS_AGE_MS_MAX at most, so that DDL of others is noticed.  (2) one statement
 *          is asked about once, for all who want it at that time.  (3) one connection at a time does all the asking.  (4) find() is
 *          answered, if only by a doubt, whatever becomes of the database.  (5) what was found before forgetAll() is not kept
 *          after it, nor given to those who ask after it.
 *
 *      of ─▶ the table (nothing is asked)        find ─▶ the table, else waiting ─▶ Probe ─▶ the table ─▶ answered */

import { monotonicMs } from '../../../engine/clock.ts'
import type { Pool } from '../pool.ts'
import type { Statement } from '../statement.ts'
import { analysedText } from './copied.ts'
import { type Facts, factsOfCommand, unknownFacts } from './facts.ts'
import { type Examined, Probe } from './probe.ts'

export interface AnalysisLimits {
  readonly factsAgeMs: number
  /** Of a doubt that may pass (a lock, no connection). */
  readonly doubtAgeMs: number
  /** The longest that find() waits behind others. */
  readonly waitMs: number
  readonly knownCount: number
}

const FACTS_AGE_MS_MAX = 60_000
const DOUBT_AGE_MS_MAX = 1_000
const WAIT_MS_MAX = 2_000
const KNOWN_COUNT_MAX = 1_000
const WAITING_COUNT_MAX = 256
const TEXT_LENGTH_MAX = 65_536

const LIMITS: AnalysisLimits = {
  factsAgeMs: FACTS_AGE_MS_MAX,
  doubtAgeMs: DOUBT_AGE_MS_MAX,
  waitMs: WAIT_MS_MAX,
  knownCount: KNOWN_COUNT_MAX,
}

interface Known {
  readonly facts: Facts
  /** Asked again in the background when it is used after this, and not believed after `untilMs`. */
  readonly oldMs: number
  readonly untilMs: number
}

interface Waiting extends Examined {
  readonly sinceMs: number
  readonly facts: Promise<Facts>
}

export class Analysis {
  /** What was asked of the server, what it did not tell, and how long it took in all. */
  readonly figures = { asked: 0, doubts: 0, ms: 0 }
  private readonly pool: () => Pool
  private readonly limits: AnalysisLimits
  private readonly known = new Map<string, Known>()
  /** By text, in the order in which they came: those to be examined, and the one that is. */
  private waiting = new Map<string, Waiting>()
  private isAsking = false
  /** Those of the same database, whose names mean the same tables. */
  readonly family: Set<Analysis>

  /** On the primary, whichever that is: the pool's role and search_path decide what names mean. */
  constructor(
    pool: Pool | (() => Pool),
    limits: Partial<AnalysisLimits> = {},
    family = new Set<Analysis>(),
  ) {
    this.family = family.add(this)
    this.pool = typeof pool === 'function' ? pool : () => pool
    this.limits = { ...LIMITS, ...limits }
  }

  get knownCount(): number {
    return this.known.size
  }

  /** What is known now; undefined: nothing yet, or no longer. Asks nothing, except anew about what will soon be too old. */
  of(statement: Statement, nowMs = monotonicMs()): Facts | undefined {
    const known = this.known.get(statement.sql)
    if (known === undefined) return factsOfCommand(statement)
    if (known.untilMs <= nowMs) {
      this.known.delete(statement.sql)
      return undefined
    }
    if (known.oldMs <= nowMs) void this.ask(statement)
    return known.facts
  }

  /** Never rejects: what cannot be found out is a doubt. */
  find(statement: Statement): Promise<Facts> {
    const facts = this.of(statement)
    return facts === undefined ? this.ask(statement) : Promise.resolve(facts)
  }

  /** After DDL: every name may mean something else. */
  forgetAll(): void {
    for (const each of this.family) each.forget()
  }

  private forget(): void {
    this.known.clear()
    // Those who asked before are answered from what they asked; those who ask from now on are not among them.
    const { waiting } = this
    this.waiting = new Map()
    for (const each of waiting.values())
      each.done(unknownFacts('the schema was changed meanwhile', true))
  }

  private ask(statement: Statement): Promise<Facts> {
    const { sql } = statement
    const asked = this.waiting.get(sql)
    if (asked !== undefined) return asked.facts
    if (sql.length > TEXT_LENGTH_MAX)
      return Promise.resolve(unknownFacts(`its text is longer than ${TEXT_LENGTH_MAX} characters`))
    if (this.waiting.size >= WAITING_COUNT_MAX)
      return Promise.resolve(unknownFacts('too many statements are new', true))
    const { promise, resolve } = Promise.withResolvers<Facts>()
    const text = analysedText(statement)
    const done = (found: Facts) => {
      const facts = text === sql ? found : ofCopy(found)
      if (this.waiting.get(sql) === waiting) {
        this.waiting.delete(sql)
        this.keep(sql, facts)
      }
      resolve(facts)
    }
    const waiting: Waiting = { text, sinceMs: monotonicMs(), facts: promise, done }
    this.waiting.set(sql, waiting)
    this.probe()
    return promise
  }

  /** Borrows a connection for those that wait, unless one is at it. */
  private probe(): void {
    if (this.isAsking || this.waiting.size === 0) return
    this.isAsking = true
    const probe = new Probe(this.pool(), {
      next: () => this.next(),
      ended: why => {
        this.isAsking = false
        if (why !== undefined) this.answerAll(unknownFacts(why, true))
        this.probe()
      },
    })
    probe.start()
  }

  /** The head of those that wait, timed; those that waited too long are not worth it. */
  private next(): Examined | undefined {
    const nowMs = monotonicMs()
    for (const waiting of this.waiting.values()) {
      if (nowMs - waiting.sinceMs > this.limits.waitMs) {
        waiting.done(unknownFacts('the server is slow to analyse what came before', true))
        continue
      }
      this.figures.asked++
      const done = (facts: Facts) => {
        this.figures.ms += monotonicMs() - nowMs
        if (facts.side === 'unknown') this.figures.doubts++
        waiting.done(facts)
      }
      return { text: waiting.text, done }
    }
  }

  private answerAll(facts: Facts): void {
    for (const waiting of [...this.waiting.values()]) waiting.done(facts)
  }

  private keep(sql: string, facts: Facts): void {
    const nowMs = monotonicMs()
    const ageMs = facts.isPassing ? this.limits.doubtAgeMs : this.limits.factsAgeMs
    this.known.delete(sql)
    if (this.known.size >= this.limits.knownCount) this.forgetOldest()
    this.known.set(sql, { facts, oldMs: nowMs + ageMs * 0.75, untilMs: nowMs + ageMs })
  }

  /** The older half at once: what is in use is back by its next use. */
  private forgetOldest(): void {
    let left = this.limits.knownCount / 2
    for (const sql of this.known.keys()) {
      if (left-- === 0) return
      this.known.delete(sql)
    }
  }
}

function ofCopy(facts: Facts): Facts {
  return { ...facts, cacheRefusal: facts.cacheRefusal ?? 'COPY gives a stream, not rows' }
}
