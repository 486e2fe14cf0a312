/** Warming: brings the entries that were read most before a restart back into tier 1, before clients are let in; and then has results
 *  of statements fetched anew, if there were any.
 *  Owns:   nothing but its figures.   Not here: which entries those are (hot_list.ts, workers/sqlite/hot.ts), fetching
 *          (result_warming.ts).
 *  Thread: main.
 *  Holds:  (1) an entry comes in as any hit of tier 2 does: Found says whether it may.  (2) nothing is evicted for one: the
 *          list has the hottest first.  (3) it ends at its time limit, and no trouble of tier 2 makes it an error. */

import type { HotEntries } from '../cache/hot.ts'
import { readsOf } from '../cache/hot.ts'
import { monotonicMs, wallMs } from '../clock.ts'
import type { WarmedFigures } from '../figures.ts'
import { HOT_COLLECT_COUNT } from '../limits.ts'
import { log } from '../log.ts'
import type { Receiver } from '../pool/lease.ts'
import { BodyReader, SCALAR_BYTES_MAX, writeUint } from '../protocol/body.ts'
import { TIER } from '../protocol/cache_spec.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { RingReader } from '../ring/reader.ts'
import type { CacheState } from './cache_state.ts'
import { Found } from './found.ts'
import type { Asking } from './result_warming.ts'

/** Requests on their way: the worker reads the next entries while these are taken in. */
const AHEAD_COUNT = 2
/** What an entry may have besides key and value: tags, grace. */
const EXTRAS_BYTES_MAX = 512

export class Warming {
  /** What came of it; undefined before, and when there was no list. */
  figures: WarmedFigures | undefined
  private readonly state: CacheState
  private readonly hot: HotEntries
  private readonly collect: () => void
  private readonly asking: Asking | undefined
  private readonly found: Found
  private readonly reader = new BodyReader()
  private readonly body = Buffer.alloc(SCALAR_BYTES_MAX * 2)
  private readonly whenDone = Promise.withResolvers<void>()
  private isOver = false
  private inflight = 0
  private entries = 0
  private bytes = 0
  private outOf = 0

  /** `collect`: gives back what starting has left, so that it and many entries are never there together. `asking`: left out, no
   *  result is fetched. */
  constructor(state: CacheState, hot: HotEntries, collect: () => void, asking?: Asking) {
    this.state = state
    this.hot = hot
    this.collect = collect
    this.asking = asking
    this.found = new Found(state)
  }

  /** Fills tier 1, for so long at most. Once, before any client. */
  async run(limitMs: number): Promise<void> {
    const startMs = monotonicMs()
    const timer = setTimeout(this.end, limitMs)
    for (let i = 0; i < AHEAD_COUNT; i++) this.ask(i === 0)
    this.state.lease().publish()
    await this.whenDone.promise
    clearTimeout(timer)
    if (this.outOf === 0) return
    const tookMs = Math.round(monotonicMs() - startMs)
    const { entries, bytes, outOf } = this
    this.figures = { entries, bytes, outOf, tookMs, results: null }
  }

  /** Fetches the results that were read most, in the background, once clients are let in. Never rejects. */
  async fetchResults(): Promise<void> {
    const { state, hot, asking } = this
    if (asking?.sql.recipes.isOn !== true || asking.sql.lease() === undefined) return
    try {
      const list = await this.loadResults()
      if (list.length === 0) return
      const { ResultWarming } = await import('./result_warming.ts')
      const warming = new ResultWarming(state, hot, asking, list)
      const { figures } = warming
      if (figures.outOf === 0) return
      this.figures = { ...(this.figures ?? NONE), results: figures }
      await warming.run()
      log('info', 'warmed results', { ...figures })
    } catch (error) {
      log('debug', 'results were not warmed', { error: (error as Error).message })
    }
  }

  private async loadResults(): Promise<Buffer> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    const receiver: Receiver = {
      receive: ({ op, bytes, start, end }) =>
        resolve(op === REPLIES.BYTES.code ? Buffer.from(bytes.subarray(start, end)) : EMPTY),
      fail: reject,
    }
    const lease = this.state.lease()
    if (!lease.send(OPS.LOAD_RESULTS.code, receiver, undefined, 0, 0, EMPTY, 0, 0)) return EMPTY
    lease.publish()
    return await promise
  }

  private ask(isFirst: boolean): void {
    const { body } = this
    const end = writeUint(
      body,
      writeUint(body, 0, isFirst ? 1 : 0),
      this.state.memory.valueBytesMax,
    )
    const lease = this.state.lease()
    if (lease.send(OPS.LOAD_HOT.code, this.receiver, undefined, 0, 0, body, 0, end)) this.inflight++
    else if (this.inflight === 0) this.end()
  }

  private readonly end = (): void => {
    this.isOver = true
    this.whenDone.resolve()
  }

  private readonly receiver: Receiver = {
    receive: reply => {
      this.inflight--
      if (this.isOver) return
      const isMore = reply.op === REPLIES.HOT.code && this.take(reply)
      if (isMore) this.ask(false)
      else if (this.inflight === 0) this.end()
    },
    fail: this.end,
  }

  /** Takes entries in; false when these were the last that are there, or that there is room for. */
  private take(reply: RingReader): boolean {
    const { reader, found, state } = this
    reader.reset(reply.bytes, reply.start, reply.end)
    const outOf = reader.uint()
    if (this.outOf === 0 && outOf >= HOT_COLLECT_COUNT) this.collect()
    this.outOf = Math.max(this.outOf, outOf)
    const left = reader.uint()
    while (reader.at < reader.end) {
      const level = reader.uint()
      if (reader.uint() !== TIER.sqlite) return false
      const hash = found.readRecord(reader)
      const bytes = found.keyEnd - found.keyStart + found.valueEnd - found.valueStart
      if (!state.memory.hasRoom(bytes + EXTRAS_BYTES_MAX)) return false
      if (found.isBelieved(hash)) this.keep(hash, reply.bytes, level, bytes)
    }
    return left > 0
  }

  private keep(hash: number, bytes: Buffer, level: number, entryBytes: number): void {
    const { found, state } = this
    found.keep(hash)
    const entry = state.memory.look(hash, bytes, found.keyStart, found.keyEnd, wallMs())
    if (entry === 0) return
    this.hot.restore(entry, readsOf(level))
    this.entries++
    this.bytes += entryBytes
  }
}

const EMPTY = Buffer.alloc(0)
const NONE = { entries: 0, bytes: 0, outOf: 0, tookMs: 0 }
