/** ResultWarming: fetches results of statements that were read most before a restart, so that they are there before anybody asks.
 *  Owns:   the walk through the list.   Not here: the list (result_list.ts), which statements are worth it
 *          (workers/postgres/insight/worth.ts), keeping results (query_cache.ts).
 *  Thread: main.
 *  Holds:  (1) what is fetched goes the way of any request for a cached result, so it is as current, and ends as soon.  (2) only
 *          statements that the worker advises are asked: proven reads whose results change seldom.  (3) WARM_RESULTS_AT_A_TIME at a
 *          time, and none is begun after WARM_RESULTS_MS_MAX.  (4) a database that does not answer is left alone; nobody is told of
 *          any error.
 *
 *  A part: loaded when the file has a list. */

import type { HotEntries } from '../cache/hot.ts'
import { readsOf } from '../cache/hot.ts'
import { monotonicMs, wallMs } from '../clock.ts'
import { type HearthError, isHearthError } from '../errors.ts'
import type { WarmedResultFigures } from '../figures.ts'
import { WARM_RESULTS_AT_A_TIME, WARM_RESULTS_MS_MAX } from '../limits.ts'
import type { Receiver } from '../pool/lease.ts'
import { BodyReader, textBytesMax, writeText } from '../protocol/body.ts'
import { decodeError } from '../protocol/error_frame.ts'
import { queryKey, statementPrefix } from '../protocol/query_key.ts'
import { OPS, PRIORITY, REPLIES } from '../protocol/spec.ts'
import type { CacheState } from './cache_state.ts'
import type { QueryCache } from './query_cache.ts'
import { ReplyWriter } from './reply.ts'
import { type ListedResult, type ListedStatement, unpackResults } from './result_form.ts'
import { requestFor } from './result_request.ts'
import type { SqlOps } from './sql_ops.ts'

/** What results are asked with. */
export interface Asking {
  readonly sql: SqlOps
  readonly queries: QueryCache
  readonly engineId: string
  /** A database as clients of this run name it; undefined: nobody is held to that any more. */
  nameOf(database: string, held: string | undefined): string | undefined
}

/** Errors that are the statement's own, and say nothing of the database. */
const OF_STATEMENT = new Set(['DATABASE', 'BAD_REQUEST', 'FORBIDDEN', 'READ_ONLY'])
const ROOM_MS = 20

export class ResultWarming {
  readonly figures: WarmedResultFigures
  private readonly state: CacheState
  private readonly hot: HotEntries
  private readonly asking: Asking
  private readonly answers = new Answers()
  private readonly waiting: ListedResult[]
  /** By statement: whether it is worth it, as far as that was asked. */
  private readonly advice = new Map<ListedStatement, Promise<boolean>>()
  /** Databases that did not answer. */
  private readonly away = new Set<string>()
  private readonly startMs = monotonicMs()

  constructor(state: CacheState, hot: HotEntries, asking: Asking, list: Buffer) {
    this.state = state
    this.hot = hot
    this.asking = asking
    this.waiting = unpackResults(list)
    this.figures = { entries: 0, bytes: 0, outOf: this.waiting.length, tookMs: 0 }
  }

  /** Resolves when it has come to its end. Never rejects. */
  async run(): Promise<void> {
    await Promise.all(Array.from({ length: WARM_RESULTS_AT_A_TIME }, () => this.work()))
  }

  private get leftMs(): number {
    return Math.ceil(this.startMs + WARM_RESULTS_MS_MAX - monotonicMs())
  }

  private async work(): Promise<void> {
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      if (this.leftMs <= 0 || this.asking.sql.lease()?.isOpen !== true) return
      await this.warm(next)
      this.figures.tookMs = Math.round(monotonicMs() - this.startMs)
    }
  }

  private async warm({ statement, level, params }: ListedResult): Promise<void> {
    const { asking, away, advice } = this
    const asked = asking.nameOf(statement.database, statement.held)
    if (asked === undefined || away.has(asked)) return
    const prefix = statementPrefix(asking.engineId, asked, statement.sql)
    const key = Buffer.from(queryKey(prefix, params, 0, params.length))
    if (this.entryOf(key) !== 0) return
    try {
      let advised = advice.get(statement)
      if (advised === undefined) {
        advised = this.advise(asked, statement.sql)
        advice.set(statement, advised)
      }
      if (!(await advised) || away.has(asked)) return
      await this.fetch(asked, statement, params)
      this.warmed(key, level)
    } catch (error) {
      if (isHearthError(error) && OF_STATEMENT.has(error.code)) {
        advice.set(statement, Promise.resolve(false))
      } else away.add(asked)
    }
  }

  /** The result is in the cache, unless a table of it was written meanwhile. */
  private warmed(key: Buffer, level: number): void {
    const { figures, hot, state } = this
    const entry = this.entryOf(key)
    if (entry === 0) return
    // As hot as it was: else the next list would be without what nobody has asked for yet.
    hot.restoreApart(entry, readsOf(level))
    figures.entries++
    figures.bytes += key.length + state.memory.valueBytes(entry)
  }

  private entryOf(key: Buffer): number {
    const { memory } = this.state
    return memory.look(memory.hash(key, 0, key.length), key, 0, key.length, wallMs())
  }

  private async advise(asked: string, sql: string): Promise<boolean> {
    const body = Buffer.allocUnsafe(textBytesMax(asked) + textBytesMax(sql))
    const end = writeText(body, writeText(body, 0, asked), sql)
    const { promise, resolve, reject } = Promise.withResolvers<boolean>()
    const receiver: Receiver = {
      receive: ({ op, bytes, start, end }) => {
        if (op === REPLIES.COUNT.code) resolve(new BodyReader().reset(bytes, start, end).uint() > 0)
        else reject(decodeError(bytes, start, end))
      },
      fail: reject,
    }
    await this.whenTaken(() => {
      const lease = this.asking.sql.openLease()
      const isSent = lease.send(OPS.ADVISE_RESULT.code, receiver, undefined, 0, 0, body, 0, end)
      lease.publish()
      return isSent
    })
    return await promise
  }

  private async fetch(asked: string, statement: ListedStatement, params: Buffer): Promise<void> {
    const { queries, sql } = this.asking
    const timeoutMs = Math.max(1, this.leftMs)
    // Not as a batch: a client who asks for it meanwhile waits for this flight.
    const { normal: priority } = PRIORITY
    const body = requestFor({ ...statement, database: asked, params, timeoutMs, priority })
    const { id, promise } = this.answers.next()
    await this.whenTaken(() => {
      // Nobody is to be told of it, and it is nobody's burst of statements.
      this.answers.introducedTo = sql.lease()
      const isTaken = queries.query(this.answers, id, body, 0, body.length)
      this.state.lease().publish()
      sql.lease()?.publish()
      return isTaken
    })
    await promise
  }

  /** Tries again while there is no room. Throws what `take` throws, and TIMEOUT. */
  private async whenTaken(take: () => boolean): Promise<void> {
    while (!take()) {
      if (this.leftMs <= 0) throw new Error('there was no room in time')
      await new Promise(resolve => setTimeout(resolve, ROOM_MS))
    }
  }
}

/** Takes the answers that a connection would: whether each is an error is all that matters. */
class Answers extends ReplyWriter {
  override readonly client: number = 0
  private readonly waiting = new Map<number, PromiseWithResolvers<void>>()
  private lastId = 0

  constructor() {
    super({ send: () => true, onceSent: callback => callback() }, () => false)
  }

  next(): { readonly id: number; readonly promise: Promise<void> } {
    const answer = Promise.withResolvers<void>()
    // A request that was never taken is given up without an answer.
    answer.promise.catch(() => undefined)
    this.waiting.set(++this.lastId, answer)
    return { id: this.lastId, promise: answer.promise }
  }

  override frame(op: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    const answer = this.waiting.get(id)
    this.waiting.delete(id)
    if (op !== REPLIES.ERROR.code) return answer?.resolve()
    const error: HearthError = decodeError(bytes as Buffer, start, end)
    answer?.reject(error)
  }
}
