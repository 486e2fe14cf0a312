/** cache_stand: both tiers behind a router in one thread: real segment, real rings, the real handler of tier 2, and requests as the
 *  client writes them. What a worker thread would do by itself is done here when the test says so.
 *  Owns:   one lease at a time, one handler, a folder.   Thread: main of a test process.
 *  Holds:  a request that has no answer after all turns throws. */

import { setImmediate as turn } from 'node:timers/promises'
import { Memory } from '../../engine/cache/memory.ts'
import { createSegment, type Segment } from '../../engine/cache/segment.ts'
import { Cache as ClientCache } from '../../engine/client/cache.ts'
import type { Connection } from '../../engine/client/connection.ts'
import { GetOrSet } from '../../engine/client/get_or_set.ts'
import type { Request } from '../../engine/client/inflight.ts'
import { PendingWrites } from '../../engine/client/pending_writes.ts'
import { Reads } from '../../engine/client/reads.ts'
import { SharedMemory } from '../../engine/client/shared_memory.ts'
import { HearthError } from '../../engine/errors.ts'
import { Lease } from '../../engine/pool/lease.ts'
import { decodeError, encodeError } from '../../engine/protocol/error_frame.ts'
import { bodyBytesOf, HEADER_BYTES, opOf, readId, readWord } from '../../engine/protocol/header.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import { RingReader } from '../../engine/ring/reader.ts'
import { RingWriter } from '../../engine/ring/writer.ts'
import { Cache } from '../../engine/router/cache.ts'
import { QueryCache } from '../../engine/router/query_cache.ts'
import { flushReplies, ReplyWriter } from '../../engine/router/reply.ts'
import { Router } from '../../engine/router/router.ts'
import { SqlAccess } from '../../engine/router/sql_access.ts'
import { SqlOps } from '../../engine/router/sql_ops.ts'
import type { Replies } from '../../workers/handler.ts'
import { createSqliteHandler, type SqliteHandler } from '../../workers/sqlite/ops.ts'
import type { Statements } from '../../workers/sqlite/statements.ts'
import type { StoreOptions } from '../../workers/sqlite/store.ts'
import { optionsFor, temporaryFolder } from './sqlite.ts'

export interface StandOptions {
  readonly segmentBytes?: number
  readonly store?: Partial<StoreOptions>
  readonly folder?: string
  readonly hashSeed?: number
}

const TURN_COUNT_MAX = 20_000

export class CacheStand {
  readonly folder: string
  readonly segment: Segment
  readonly memory: Memory
  readonly cache: Cache
  /** The client's face, whose requests go straight to the router. */
  readonly client: ClientCache
  handler: SqliteHandler
  /** The worker answers nothing while this is set. */
  isStalled = false
  private readonly options: StoreOptions
  private readonly router: Router
  private readonly replies: ReplyWriter
  private readonly waiting = new Map<
    number,
    { request: Request; settle: PromiseWithResolvers<unknown> }
  >()
  private readonly unsent: { op: number; id: number; body: Buffer; end: number }[] = []
  private readonly parts = new Map<number, Buffer[]>()
  private lease: Lease
  private requests: RingReader
  private answers!: RingWriter
  private ring: Replies
  private nextId = 1
  private failing = 0

  constructor(options: StandOptions = {}) {
    this.folder = options.folder ?? temporaryFolder()
    this.options = optionsFor(this.folder, options.store)
    this.segment = createSegment(new ArrayBuffer(options.segmentBytes ?? 1 << 20), {
      pid: process.pid,
      hashSeed: options.hashSeed ?? 7,
    })
    this.memory = new Memory(this.segment, { valueBytesMax: 64 * 1024 })
    this.cache = new Cache(
      this.segment,
      this.memory,
      () => this.lease,
      { defaultTtlMs: 3_600_000, named: { session: 1_800_000 } },
      { keyBytesMax: 1_024, valueBytesMax: 8 << 20 },
    )
    this.lease = new Lease(flushReplies, error => {
      throw error
    })
    this.requests = new RingReader(this.lease.requests)
    this.ring = this.ringOf(this.lease)
    this.handler = this.openHandler()
    this.lease.isOpen = true
    this.cache.state.raiseVersion(this.handler.stats()['nextVersion'] as number)
    const none = () => Promise.resolve({})
    const sql = new SqlOps(() => undefined)
    const queries = new QueryCache(this.cache.state, this.cache.keep, sql, 'stand')
    const overview = {
      stats: none,
      health: none,
      metrics: none,
      series: none,
      alerts: none,
      testAlerts: none,
    }
    this.router = new Router(this.cache, sql, queries, overview, new SqlAccess('-'))
    this.replies = new ReplyWriter(
      {
        send: bytes => {
          this.take(bytes)
          return true
        },
        onceSent: callback => void setImmediate(callback),
      },
      () => false,
    )
    const connection = {
      state: 'open',
      writes: new PendingWrites(),
      request: (request: Request) => this.ask(request),
    } as unknown as Connection
    this.client = new ClientCache({
      connection,
      sharedMemory: new SharedMemory(connection, false),
      isFailOpen: false,
      reads: new Reads(connection),
      loads: new GetOrSet(connection, false),
    })
  }

  /** Takes a request, and works until it is answered. */
  async ask(request: Request): Promise<unknown> {
    const answer = this.send(request)
    let isOver = false
    const over = () => {
      isOver = true
    }
    answer.then(over, over)
    for (let i = 0; !isOver; i++) {
      if (i > TURN_COUNT_MAX) throw new Error(`no answer to operation ${request.op}`)
      this.pump()
      await turn()
    }
    return answer
  }

  /** Works until nothing is unanswered: of many requests the first that fails is heard of at once. */
  async untilAnswered(): Promise<void> {
    for (let i = 0; this.waiting.size > 0 && i < TURN_COUNT_MAX; i++) {
      this.pump()
      await turn()
    }
  }

  /** Takes a request; its promise settles while the stand works. */
  send(request: Request): Promise<unknown> {
    const id = this.nextId++
    const settle = Promise.withResolvers<unknown>()
    this.waiting.set(id, { request, settle })
    const body = Buffer.alloc(request.bodyBytesMax())
    const end = request.write(body, 0)
    this.unsent.push({ op: request.op, id, body, end })
    this.sendAll()
    return settle.promise
  }

  /** As a session does: what the ring has no room for is tried again, before all that came after it. */
  private sendAll(): void {
    while (this.unsent.length > 0) {
      const { op, id, body, end } = this.unsent[0]!
      try {
        if (!this.router.route(this.replies, op, id, body, 0, end)) break
      } catch (error) {
        const { settle } = this.waiting.get(id)!
        this.waiting.delete(id)
        settle.reject(error as Error)
      }
      this.unsent.shift()
    }
    flushReplies()
  }

  /** One drain of the worker, and its replies. */
  pump(): void {
    this.sendAll()
    this.lease.publish()
    if (this.isStalled) return
    let count = 0
    while (this.requests.next()) {
      this.handler.handle(this.requests, this.ring)
      count++
    }
    this.requests.release()
    this.handler.flush!(this.ring)
    this.answers.publish()
    this.lease.poll()
    flushReplies()
    if (count > 0) this.pump()
  }

  /** The worker dies, with all that it kept in memory, and another takes its place. */
  killWorker(): void {
    const dead = this.lease
    // What it kept back must not be written by its end: only its file is let go.
    const parts = (this.handler as unknown as { parts: { behind: { clear(): void } } }).parts
    parts.behind.clear()
    this.lease = new Lease(flushReplies, error => {
      throw error
    })
    this.requests = new RingReader(this.lease.requests)
    this.ring = this.ringOf(this.lease)
    dead.end(new HearthError('UNAVAILABLE', 'the worker died'))
    this.handler.close()
    this.handler = this.openHandler()
    this.lease.isOpen = true
    flushReplies()
  }

  /** The next so many COMMITs find the disk full, after all that came before them in their transactions has gone well. */
  failCommits(count: number): void {
    this.failing = count
  }

  get isToFail(): boolean {
    return this.failing > 0
  }

  /** Takes keys out of tier 1, as SIEVE might. */
  evict(...keys: string[]): void {
    for (const key of keys) {
      const bytes = Buffer.from(key)
      this.memory.delete(this.memory.hash(bytes, 0, bytes.length), bytes, 0, bytes.length)
    }
  }

  /** What the engine does by itself every half second. */
  async retryUnfinished(): Promise<void> {
    const { unfinished } = this.cache.state as unknown as { unfinished: { retry(): void } }
    unfinished.retry()
    for (let i = 0; i < 20; i++) {
      this.pump()
      await turn()
    }
  }

  stats(): Record<string, number> {
    return this.handler.stats() as Record<string, number>
  }

  close(): void {
    this.cache.stop()
    this.lease.isOpen = false
    this.handler.close()
  }

  private openHandler(): SqliteHandler {
    const handler = createSqliteHandler(this.options)
    const { parts } = handler as unknown as { parts: { store: { statements?: Statements } } }
    const commit = parts.store.statements?.commit
    if (commit === undefined) return handler
    const run = commit.run.bind(commit)
    commit.run = () => {
      if (this.failing === 0) return run()
      this.failing--
      throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' })
    }
    return handler
  }

  /** The replies of one worker: what it says after its end goes nowhere. */
  private ringOf(lease: Lease): Replies {
    const answers = new RingWriter(lease.replies)
    this.answers = answers
    const ring: Replies = {
      reply: (op, ticket, body, start = 0, end = body.length) => {
        if (lease !== this.lease) return
        let at = start
        if (start === end) answers.push(op, ticket, body, start, end)
        while (at < end) {
          at = answers.pushPart(op, ticket, body, start, end, at)
          answers.publish()
          lease.poll()
        }
      },
      fail: (ticket, error) => ring.reply(REPLIES.ERROR.code, ticket, encodeError(error)),
    }
    return ring
  }

  private take(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const word = readWord(bytes, at)
      const id = readId(bytes, at)
      const start = at + HEADER_BYTES
      at = start + bodyBytesOf(word)
      this.answer(opOf(word), id, Buffer.from(bytes.subarray(start, at)))
    }
  }

  private answer(op: number, id: number, body: Buffer): void {
    if (op === REPLIES.PART.code) {
      this.parts.set(id, [...(this.parts.get(id) ?? []), body])
      return
    }
    const waiting = this.waiting.get(id)
    if (waiting === undefined) throw new Error(`an answer to ${id}, which was not asked`)
    this.waiting.delete(id)
    const { request, settle } = waiting
    const whole = Buffer.concat([...(this.parts.get(id) ?? []), body])
    this.parts.delete(id)
    if (op === REPLIES.ERROR.code) settle.reject(decodeError(whole, 0, whole.length))
    else settle.resolve(request.read(op, whole, 0, whole.length))
  }
}
