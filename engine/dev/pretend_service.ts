/** Pretend service: a small home service as one would write it against the engine, and what it saw.
 *  Owns:   its connection, its dashboards, its measurements.   Not here: the questions (pretend_questions.ts), the table.
 *  Thread: main of `hearth dev`; it is a client of the socket like any other.
 *  Holds:  (1) an answer's source is what the engine said with it, nothing is guessed.  (2) an answer's time runs from the
 *          question to the value in hand: for one from Postgres the missed get is in it, the set after it is not. */

import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type Hearth } from '../client/index.ts'
import { monotonicMs } from '../clock.ts'
import type { EngineStats } from '../figures.ts'
import { Latencies } from './latencies.ts'
import { type Asked, type QuestionName, Questions } from './pretend_questions.ts'

export type Source = 'memory' | 'sqlite' | 'postgres'
export const SOURCES: readonly Source[] = ['memory', 'sqlite', 'postgres']

/** Dashboards that are open at once, and how long each shows an answer before it asks for the next. */
const DASHBOARD_COUNT = 8
const PAUSE_MS = 30

export class PretendService {
  readonly answerCount: number
  readonly seen: Record<QuestionName, Record<Source, Latencies>> = {
    latest: sources(),
    hourly: sources(),
    correlation: sources(),
  }
  readonly total = sources()
  failures = 0
  lastFailure: string | undefined
  private readonly hearth: Hearth
  private readonly questions: Questions

  private constructor(hearth: Hearth, questions: Questions) {
    this.hearth = hearth
    this.questions = questions
    this.answerCount = questions.answerCount
  }

  static async start(socket: string): Promise<PretendService> {
    const hearth = await connect({ socket, name: 'pretend home service' })
    try {
      const service = new PretendService(hearth, await Questions.of(hearth))
      // What every dashboard shows first; also there for `hearth get dashboard:latest`.
      await service.answer(service.questions.latest())
      return service
    } catch (error) {
      await hearth.close()
      throw error
    }
  }

  /** Asks and answers until `signal` fires. */
  async serve(signal: AbortSignal): Promise<void> {
    await Promise.all(Array.from({ length: DASHBOARD_COUNT }, () => this.dashboard(signal)))
  }

  stats(): Promise<EngineStats> {
    return this.hearth.stats()
  }

  close(): Promise<void> {
    return this.hearth.close()
  }

  /** One dashboard: asks, shows, asks again. */
  private async dashboard(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const asked = this.questions.next()
        const startedMs = monotonicMs()
        const source = await this.answer(asked)
        const tookMs = monotonicMs() - startedMs
        this.seen[asked.question][source].add(tookMs)
        this.total[source].add(tookMs)
      } catch (error) {
        this.failures++
        this.lastFailure = (error as Error).message
      }
      await sleep(PAUSE_MS * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined)
    }
  }

  /** Cache aside, as in any service: get, on a miss query, then set. */
  private async answer(asked: Asked): Promise<Source> {
    const found = await this.hearth.cache.lookup(asked.key)
    if (found !== undefined) return found.tier
    const { rows } = await this.hearth.db.query(asked.sql, asked.params)
    const value = asked.answer(rows)
    // Not waited for: who asked has the answer. A set that fails costs a query later.
    this.hearth.cache.set(asked.key, value, { ttlMs: asked.ttlMs }).catch((error: Error) => {
      this.failures++
      this.lastFailure = error.message
    })
    return 'postgres'
  }
}

function sources(): Record<Source, Latencies> {
  return { memory: new Latencies(), sqlite: new Latencies(), postgres: new Latencies() }
}
