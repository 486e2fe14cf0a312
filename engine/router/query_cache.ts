/** QueryCache: results of statements in both tiers, kept until a table that they read is written.
 *  Owns:   statements on their way whose results are to be kept, and the watch over writes.   Not here: what a statement reads or
 *          writes (workers/postgres/analysis), how a result is stored (cache_keep.ts).
 *  Thread: main.
 *  Holds:  (1) the worker reports a write before its reply, on the ring that brings both, and main ends what it means at once: after
 *          a write was acknowledged nobody gets a result from before it, in place neither.
 *          (2) a result is kept only if none of its tables was written since its statement was sent.
 *          (3) who asks after a write of the database was reported does not share a flight that was sent before it.
 *          (4) when the worker or its watch ends, every result of its databases ends with it.
 *          (5) only what may be kept is shared: who joined a flight that turns out to be none of that has a statement of its own.
 *
 *      query ─ tier 1 ─▶ VALUE_MEMORY     ─ tier 2 ─▶ VALUE_SQLITE     ─ flight ─▶ ROWS, kept unless CACHEABLE refuses
 *      stale, or due for a refresh ahead: answered, and a flight goes without anybody waiting for it */

import { TAG_COUNT_MAX } from '../cache/segment.ts'
import { monotonicMs, wallMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import type { QueryCacheFigures } from '../figures.ts'
import { PART_BYTES, QUERY_FLIGHT_COUNT_MAX } from '../limits.ts'
import type { Lease, Receiver } from '../pool/lease.ts'
import { BodyReader } from '../protocol/body.ts'
import { decodeError } from '../protocol/error_frame.ts'
import { databaseTag, queryKey, statementPrefix, tableTag } from '../protocol/query_key.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { RingReader } from '../ring/reader.ts'
import type { CacheKeep } from './cache_keep.ts'
import type { OutcomeName } from './cache_outcomes.ts'
import type { CacheState } from './cache_state.ts'
import { boundsIn } from './cache_store.ts'
import { Found } from './found.ts'
import { textsOf, uintsOf } from './key_effects.ts'
import { givenUp, type Keeping, QueryFlight } from './query_flight.ts'
import { flushReplies, type ReplyWriter } from './reply.ts'
import { keptAs } from './result_ttl.ts'
import type { SqlOps } from './sql_ops.ts'

const DEFAULT_DATABASE = 'main'
/** A result of more tables is not kept: an entry has room for so many tags, the caller's included. */
const TABLE_COUNT_MAX = 16
const REFUSAL_COUNT_MAX = 1_000
/** Tags that were ended while anything was airborne; past it, all of them were. */
const ENDED_COUNT_MAX = 4_096
const OWN_TAG_COUNT_MAX = TAG_COUNT_MAX - TABLE_COUNT_MAX - 1

export class QueryCache {
  readonly figures: QueryCacheFigures = {
    memoryHits: 0,
    sqliteHits: 0,
    staleHits: 0,
    misses: 0,
    shared: 0,
    stored: 0,
    overtaken: 0,
    refused: 0,
    invalidations: 0,
  }
  private readonly state: CacheState
  private readonly keep: CacheKeep
  private readonly sql: SqlOps
  private readonly engineId: string
  private readonly request = new BodyReader()
  private readonly reply = new BodyReader()
  private readonly found: Found
  private readonly flights = new Map<string, QueryFlight>()
  /** All that were sent and not answered; more than `flights`, where a newer one may have taken an older one's place. */
  private readonly airborne = new Set<QueryFlight>()
  /** Invalidations so far; and of the tags that were ended while anything was airborne, at which count. */
  private count = 0
  private readonly endedAt = new Map<string, number>()
  /** At which count any may have been. */
  private allEndedAt = 0
  private watched: Lease | undefined
  /** Statements whose results may not be kept, by the prefix of their keys: with each of these a request goes its own way. */
  private readonly refusals = new Set<string>()
  /** Those that anything was kept of. */
  private readonly databases = new Set<string>()

  constructor(state: CacheState, keep: CacheKeep, sql: SqlOps, engineId: string) {
    this.state = state
    this.keep = keep
    this.sql = sql
    this.engineId = engineId
    this.found = new Found(state)
    state.tagsEnded = names => this.note(names)
  }

  /** Takes QUERY_CACHED. False: no room now. */
  query(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const request = this.request.reset(bytes, start, end)
    const ttl = request.ttl()
    const staleMs = request.uint()
    const eagerMs = request.uint()
    const bounds = boundsIn(request)
    const tags = textsOf(request)
    if (tags.length > OWN_TAG_COUNT_MAX)
      throw new HearthError('BAD_REQUEST', `a result has at most ${OWN_TAG_COUNT_MAX} tags`)
    const bodyAt = request.at
    // With the Postgres role in it, where there is one: another role is another key. A write ends the results of all.
    const asked = request.text() || DEFAULT_DATABASE
    const database = this.sql.databaseOf(asked)
    const untilMs = monotonicMs() + (request.uint() || Number.POSITIVE_INFINITY)
    request.uint()
    request.textRange()
    const sql = request.text()
    const paramsAt = request.raw()
    const prefix = statementPrefix(this.engineId, asked, sql)
    const key = queryKey(prefix, bytes, paramsAt, end)
    const keyBytes = Buffer.from(key)
    const hash = this.state.memory.hash(keyBytes, 0, keyBytes.length)

    const leftMs = this.answerFromMemory(replies, id, hash, keyBytes, staleMs)
    const isAnswered = !Number.isNaN(leftMs)
    const { outcomes } = this.sql
    if (isAnswered) outcomes.note(prefix, database, sql, leftMs > 0 ? 'memory' : 'stale')
    if (isAnswered && leftMs >= eagerMs) return true
    const known = this.flights.get(key)
    if (known !== undefined && this.isCurrent(known)) {
      if (!isAnswered) {
        this.figures.shared++
        outcomes.note(prefix, database, sql, 'shared')
        known.join(replies, id, untilMs)
      }
      return true
    }
    const body = Buffer.from(bytes.subarray(bodyAt, end))
    const keeping: Keeping = { ttl, staleMs, tags, bounds }
    const place = { key, keyBytes, hash, prefix, sql }
    const flight = new QueryFlight(place, database, keeping, body, isAnswered)
    flight.client = this.sql.knownClient(replies)
    if (isAnswered) {
      this.refresh(flight)
      return true
    }
    if (!this.begin(flight)) return false
    flight.join(replies, id, untilMs)
    return true
  }

  /** Nobody waits for it, so nobody is told when it cannot be. */
  private refresh(flight: QueryFlight): void {
    if (this.flights.size >= QUERY_FLIGHT_COUNT_MAX) return
    try {
      this.begin(flight)
    } catch {
      this.end(flight)
    }
  }

  /** CANCEL of a request that waits for a flight; false when there is none. */
  cancel(replies: ReplyWriter, id: number): boolean {
    for (const flight of this.airborne) {
      if (!flight.leave(replies, id, givenUp())) continue
      this.dropUnwanted(flight)
      return true
    }
    return false
  }

  sessionEnded(replies: ReplyWriter): void {
    for (const flight of this.airborne)
      if (flight.leave(replies, undefined)) this.dropUnwanted(flight)
  }

  /** Answers from tier 1 if it can. How long the result is fresh yet, below 0 for a stale one; NaN: not answered. */
  private answerFromMemory(
    replies: ReplyWriter,
    id: number,
    hash: number,
    key: Buffer,
    staleMs: number,
  ): number {
    const { memory } = this.state
    const nowMs = wallMs()
    let entry = memory.get(hash, key, 0, key.length, nowMs)
    if (entry === 0) {
      if (staleMs > 0) entry = memory.look(hash, key, 0, key.length, nowMs)
      if (entry === 0 || memory.expiresAtMs(entry) + staleMs <= nowMs) return Number.NaN
      this.figures.staleHits++
    } else this.figures.memoryHits++
    const valueAt = memory.valueStart(entry)
    const valueEnd = valueAt + memory.valueBytes(entry)
    const leftMs = memory.expiresAtMs(entry) - nowMs
    replies.frame(REPLIES.VALUE_MEMORY.code, id, memory.bytes, valueAt, valueEnd)
    return leftMs
  }

  /** Nothing of its database was written since it was sent, as far as main was told. */
  private isCurrent(flight: QueryFlight): boolean {
    return !this.hasEndedSince(anyOf(flight.database), flight.sentAt)
  }

  private hasEndedSince(name: string, count: number): boolean {
    return Math.max(this.allEndedAt, this.endedAt.get(name) ?? 0) > count
  }

  /** Sends a flight on its way, by tier 2 if that may have it. False: no room, and nothing has happened. */
  private begin(flight: QueryFlight): boolean {
    const { state, keep } = this
    const sqlite = state.lease()
    const { hash, keyBytes, key, prefix } = flight.place
    const mayBeKept = !this.refusals.has(prefix)
    if (mayBeKept && keep.mayBeInTier2 && sqlite.isOpen && !state.isHidden(hash)) {
      flight.sentAt = this.count
      const body = keep.getBody(keyBytes)
      const receiver = this.tier2 as Receiver
      if (!sqlite.send(OPS.GET.code, receiver, flight, 0, hash, body, 0, body.length)) return false
    } else if (!this.send(flight)) return false
    if (mayBeKept) this.flights.set(key, flight)
    this.airborne.add(flight)
    return true
  }

  /** Sends a flight's statement. Throws UNAVAILABLE, NOT_CONFIGURED. */
  private send(flight: QueryFlight): boolean {
    const lease = this.sql.openLease()
    if (!this.watch(lease)) return false
    if (this.airborne.size === 0) this.endedAt.clear()
    flight.sentAt = this.count
    const { hash } = flight.place
    const { body } = flight
    const receiver = this.postgresReceiver as Receiver
    const op = OPS.QUERY_TO_CACHE.code
    if (!lease.send(op, receiver, flight, 0, hash, body, 0, body.length, flight.client))
      return false
    this.figures.misses++
    this.counted(flight, 'misses')
    return true
  }

  private readonly tier2: Receiver<QueryFlight> = {
    receive: (reply, flight, _id, hash) => {
      const { found } = this
      const isFound = reply.op === REPLIES.FOUND.code || reply.op === REPLIES.FOUND_EXTRA.code
      // Sent before an invalidation, answered after it: Found knows of it, since the worker may not.
      if (isFound && this.isCurrent(flight) && found.read(reply, hash)) {
        this.end(flight)
        this.figures.sqliteHits++
        this.counted(flight, 'sqlite')
        flight.answer(REPLIES.VALUE_SQLITE.code, reply.bytes, found.valueStart, found.valueEnd)
        found.keep(hash)
      } else this.goOn(flight)
    },
    fail: (_error, flight) => this.goOn(flight),
  }

  /** Tier 2 does not have it. */
  private goOn(flight: QueryFlight): void {
    if (flight.isUnwanted) return this.end(flight)
    try {
      const isSent = this.send(flight)
      const lease = this.sql.openLease()
      if (isSent) lease.publish()
      else lease.onceRoom(() => this.goOn(flight))
    } catch (error) {
      this.end(flight)
      flight.fail(error as HearthError)
      flushReplies()
    }
  }

  private readonly postgresReceiver: Receiver<QueryFlight> = {
    receive: (reply, flight) => {
      if (reply.op === REPLIES.CACHEABLE.code) {
        const body = this.reply.reset(reply.bytes, reply.start, reply.end)
        flight.refusal = body.text()
        flight.lastedMs = body.uint()
        flight.tables = uintsOf(body)
        if (flight.refusal !== '') this.refuse(flight)
        else this.refusals.delete(flight.place.prefix)
        return
      }
      this.end(flight)
      const { op, bytes, start, end } = reply
      if (op === REPLIES.ERROR.code && decodeError(bytes, start, end).code === 'TIMEOUT')
        this.goOnFor(flight.patient(monotonicMs()))
      if (op === REPLIES.ROWS.code) this.store(flight, reply)
      flight.answer(op, bytes, start, end)
    },
    fail: (error, flight) => {
      this.end(flight)
      flight.fail(error)
    },
  }

  /** Those who would have waited longer than the one who came first. */
  private goOnFor(flight: QueryFlight | undefined): void {
    if (flight === undefined) return
    const { key } = flight.place
    if (!this.flights.has(key)) this.flights.set(key, flight)
    this.airborne.add(flight)
    this.goOn(flight)
  }

  /** Its result may not be kept, so it is for one alone: it may be another for each. */
  private refuse(flight: QueryFlight): void {
    const { refusals } = this
    if (refusals.size >= REFUSAL_COUNT_MAX) refusals.clear()
    refusals.add(flight.place.prefix)
    if (this.flights.get(flight.place.key) === flight) this.flights.delete(flight.place.key)
    for (const other of flight.split()) {
      this.airborne.add(other)
      this.goOn(other)
    }
  }

  private store(flight: QueryFlight, { bytes, start, end }: RingReader): void {
    const { refusal, database, tables, keeping, sentAt } = flight
    const isTooMuch = end - start > PART_BYTES || tables.length > TABLE_COUNT_MAX
    if (refusal !== '' || isTooMuch) {
      this.figures.refused++
      return
    }
    const ofTables = tables.map(oid => tableTag(database, oid))
    const names = [databaseTag(database), ...ofTables, ...keeping.tags]
    if (names.some(name => this.hasEndedSince(name, sentAt))) {
      this.figures.overtaken++
      return
    }
    const { keyBytes, hash } = flight.place
    this.databases.add(database)
    this.sql.recipes.learn(flight)
    const kept = keptAs(this.state, flight, names, bytes, start, end)
    this.keep.store(hash, keyBytes, bytes, start, end, kept)
    this.figures.stored++
  }

  private end(flight: QueryFlight): void {
    const { key } = flight.place
    this.airborne.delete(flight)
    if (this.flights.get(key) === flight) this.flights.delete(key)
  }

  private dropUnwanted(flight: QueryFlight): void {
    if (!flight.isUnwanted) return
    const { key } = flight.place
    if (this.flights.get(key) === flight) this.flights.delete(key)
    this.sql.lease()?.cancel(context => context === flight)
  }

  /** Begins to be told of writes, once for each lease. False: no room now. */
  private watch(lease: Lease): boolean {
    if (this.watched === lease) return true
    const receiver = this.watcher as Receiver
    if (!lease.send(OPS.WATCH_WRITES.code, receiver, lease, 0, 0, EMPTY, 0, 0)) return false
    this.watched = lease
    return true
  }

  private readonly watcher: Receiver<Lease> = {
    receive: (reply, lease) => {
      if (reply.op !== REPLIES.INVALIDATED.code) return this.watchEnded(lease)
      const body = this.reply.reset(reply.bytes, reply.start, reply.end)
      const database = body.text()
      const tables = uintsOf(body)
      if (database === '') this.everythingWritten()
      else this.written(database, tables)
    },
    fail: (_error, lease) => this.watchEnded(lease),
  }

  /** What was written since nobody tells. */
  private watchEnded(lease: Lease): void {
    if (this.watched !== lease) return
    this.watched = undefined
    this.everythingWritten()
  }

  private everythingWritten(): void {
    const airborne = [...this.airborne].map(({ database }) => database)
    for (const database of new Set([...this.databases, ...airborne])) this.written(database, [])
  }

  private written(database: string, tables: readonly number[]): void {
    this.figures.invalidations++
    const names =
      tables.length === 0 ? [databaseTag(database)] : tables.map(oid => tableTag(database, oid))
    this.keep.end(names)
    if (this.airborne.size > 0) this.endedAt.set(anyOf(database), this.count)
  }

  private counted({ place, database }: QueryFlight, outcome: OutcomeName): void {
    this.sql.outcomes.note(place.prefix, database, place.sql, outcome)
  }

  /** Tags have been ended, by whomever. */
  private note(names: readonly string[]): void {
    this.count++
    if (this.airborne.size === 0) return
    if (this.endedAt.size + names.length > ENDED_COUNT_MAX) {
      this.endedAt.clear()
      this.allEndedAt = this.count
    }
    for (const name of names) this.endedAt.set(name, this.count)
  }
}

/** Stands for any write of a database in the list of what was ended. */
const anyOf = (database: string): string => `*${database}`

const EMPTY = Buffer.alloc(0)
