/** CachedQueries: results of statements that tier 1 has, read in place, and the request for those that it has not.
 *  Owns:   the options `cache` of query(), and the keys of statements seen lately.   Not here: what is kept, and until when
 *          (router/query_cache.ts).
 *  Thread: the client's.
 *  Holds:  a result that is given was current at one moment during the call: a write that was acknowledged before it has ended
 *          what it changed in the very memory that is read here. */

import {
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeArrayHead,
  writeText,
  writeUint,
} from '../protocol/body.ts'
import { PARAMS_BYTES_MAX, statementPrefix } from '../protocol/query_key.ts'
import { readRows } from '../protocol/rows.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { Connection } from './connection.ts'
import type { QueryResult } from './database.ts'
import { checkNames } from './options.ts'
import { QueryRequest, type StatementRequest, writeParams } from './query_request.ts'
import { answerOf } from './request_context.ts'
import { ttlBytesMax, writeTtl } from './requests.ts'
import { checkBounds, checkTags, milliseconds, ttlOf } from './set_options.ts'
import { settled } from './settled.ts'
import type { SharedMemory } from './shared_memory.ts'
import { CountInPlaceRequest } from './sql_requests.ts'

export interface QueryCacheOptions {
  /** How long a result is kept if no table that it read is written, in milliseconds. Left out: the engine's default. */
  readonly ttlMs?: number
  /** A named TTL of the engine's configuration instead. */
  readonly policy?: string
  /** How long after that it may be given yet, in milliseconds, while a new one is fetched. A result whose tables were written is
   *  never given. */
  readonly maxStaleMs?: number
  /** A fraction of `ttlMs`, best 0.8 to 0.95: who asks later than that gets the result, and it is fetched anew meanwhile. */
  readonly eagerAt?: number
  /** The time to live follows what is seen, within bounds: twice as long when the result was the same again and had been read, half
   *  as long when it had changed, and never longer than results of the statement last on average (hearth.insight). `ttlMs` is
   *  where it begins; left out, at that average, or at the lower bound while nothing is known. Not together with `eagerAt`. */
  readonly adaptive?: { readonly minMs: number; readonly maxMs: number }
  /** Names under which it can be invalidated besides, by cache.invalidateTags(): at most 15. */
  readonly tags?: readonly string[]
}

/** A hit in place needs no id. */
type CachedStatement = Omit<StatementRequest, 'correlationId'>

const NAMES = ['ttlMs', 'policy', 'maxStaleMs', 'eagerAt', 'adaptive', 'tags']
const KNOWN_COUNT_MAX = 1_000
const REPORT_MS = 2_000
const NO_TAGS: readonly string[] = []

export class CachedQueries {
  private readonly connection: Connection
  private readonly sharedMemory: SharedMemory
  private readonly database: string
  /** Longer parameters are asked for over the socket. */
  private readonly scratch = Buffer.allocUnsafeSlow(PARAMS_BYTES_MAX)
  private engineId: unknown
  private readonly known = new Map<string, KnownStatement>()
  private reportTimer: NodeJS.Timeout | undefined

  constructor(connection: Connection, sharedMemory: SharedMemory, database: string) {
    this.connection = connection
    this.sharedMemory = sharedMemory
    this.database = database
  }

  /** The result, read in place if it is there; else asked of the engine. The arguments have been checked. */
  query(
    statement: CachedStatement,
    options: QueryCacheOptions,
    answerMs: number,
    newId: () => string,
    signal: AbortSignal | undefined,
  ): Promise<QueryResult> {
    if (typeof options !== 'object' || options === null)
      throw new TypeError('cache takes an object of options')
    checkNames(options, NAMES)
    const eagerMs = eagerMsOf(options)
    const found = this.inPlace(statement, eagerMs)
    if (found !== undefined) return settled(found)
    const correlationId = newId()
    const request = new CachedQueryRequest({ ...statement, correlationId }, options, eagerMs)
    return answerOf<QueryResult>(correlationId, this.connection.request(request, answerMs, signal))
  }

  private inPlace({ sql, params }: CachedStatement, eagerMs: number): QueryResult | undefined {
    const { sharedMemory, scratch } = this
    if (!sharedMemory.isOn) return undefined
    const end = writeParams(scratch, params)
    if (end < 0) return undefined
    const known = this.knownOf(sql)
    const found = sharedMemory.rows(known.prefix, scratch, end, eagerMs)
    if (found !== undefined && known.hits++ === 0)
      this.reportTimer ??= setTimeout(() => this.report(), REPORT_MS).unref()
    return found
  }

  /** Tells the engine what was read in place, for query insight; what a process has not told when it ends is lost. */
  private report(): void {
    this.reportTimer = undefined
    if (this.connection.state !== 'open') return
    for (const [sql, known] of this.known) {
      if (known.hits === 0) continue
      const request = new CountInPlaceRequest(this.database, sql, known.hits)
      this.connection.request(request).catch(() => undefined)
      known.hits = 0
    }
  }

  private knownOf(sql: string): KnownStatement {
    const engineId = this.connection.greeting?.['engine']
    if (engineId !== this.engineId) {
      this.known.clear()
      this.engineId = engineId
    }
    let known = this.known.get(sql)
    if (known === undefined) {
      if (this.known.size >= KNOWN_COUNT_MAX) this.known.clear()
      const prefix = Buffer.from(statementPrefix(String(engineId), this.database, sql))
      known = { prefix, hits: 0 }
      this.known.set(sql, known)
    }
    return known
  }
}

interface KnownStatement {
  readonly prefix: Uint8Array
  /** In place, since the engine was told last. */
  hits: number
}

/** How long before its expiry a result is to be fetched anew, in milliseconds. Throws TypeError for options that make no sense. */
function eagerMsOf({ eagerAt, ttlMs, adaptive }: QueryCacheOptions): number {
  if (eagerAt === undefined) return 0
  if (adaptive !== undefined) throw new TypeError('adaptive and eagerAt exclude each other')
  if (!(eagerAt > 0 && eagerAt < 1)) throw new TypeError('eagerAt must be between 0 and 1')
  if (!(ttlMs! > 0)) throw new TypeError('eagerAt is a fraction of ttlMs: give that too')
  return Math.ceil(ttlMs! * (1 - eagerAt))
}

class CachedQueryRequest extends QueryRequest {
  override readonly op: number = OPS.QUERY_CACHED.code
  private readonly ttl: number | string | undefined
  private readonly staleMs: number
  private readonly eagerMs: number
  private readonly adaptive: QueryCacheOptions['adaptive']
  private readonly tags: readonly string[]

  constructor(statement: StatementRequest, options: QueryCacheOptions, eagerMs: number) {
    super(statement)
    const { tags = NO_TAGS } = options
    checkTags(tags)
    this.ttl = ttlOf(options)
    this.staleMs = milliseconds('maxStaleMs', options.maxStaleMs) ?? 0
    this.eagerMs = eagerMs
    if (options.adaptive !== undefined) checkBounds(options.adaptive)
    this.adaptive = options.adaptive
    this.tags = tags
  }

  override bodyBytesMax(): number {
    const tagsBytes = this.tags.reduce((sum, tag) => sum + textBytesMax(tag), SCALAR_BYTES_MAX)
    return super.bodyBytesMax() + ttlBytesMax(this.ttl) + SCALAR_BYTES_MAX * 4 + tagsBytes
  }

  override write(target: Buffer, at: number): number {
    let end = writeTtl(target, at, this.ttl)
    end = writeUint(target, writeUint(target, end, this.staleMs), this.eagerMs)
    const { minMs = 0, maxMs = 0 } = this.adaptive ?? {}
    end = writeUint(target, writeUint(target, end, Math.ceil(minMs)), Math.ceil(maxMs))
    end = writeArrayHead(target, end, this.tags.length)
    for (const tag of this.tags) end = writeText(target, end, tag)
    return super.write(target, end)
  }

  override read(op: number, bytes: Buffer, start: number, end: number): unknown {
    const result = readRows(bytes, start, end)
    if (op === REPLIES.ROWS.code) return result
    return { ...result, source: op === REPLIES.VALUE_MEMORY.code ? 'memory' : 'sqlite' }
  }
}
