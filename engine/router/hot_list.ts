/** HotList: has the list of the entries read most written down: now and then while the engine runs, so that a kill loses little of
 *  it, and at a clean shutdown. Results of statements, which end with the engine, have a list of their own, of how to ask anew.
 *  Owns:   when they are written, and how many bytes that may cost.   Not here: the choice (cache/hot.ts, result_list.ts), the file
 *          (workers/sqlite).
 *  Thread: main, a few hundred entries a turn.
 *  Holds:  (1) it is written only when an eighth of it is new or gone, at a shutdown when anything is; and all lists of a day
 *          together write HOT_DAY_BYTES_MAX at most, besides a burst: flash wears.  (2) one part is on its way at a time: no
 *          request waits long behind it.  (3) what goes wrong with it is nobody's error: the file keeps the list it has. */

import type { HotChoice, HotEntries } from '../cache/hot.ts'
import { monotonicMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import { HOT_BURST_BYTES_MAX, HOT_DAY_BYTES_MAX, HOT_SAVE_BYTES_MAX } from '../limits.ts'
import { log } from '../log.ts'
import type { Receiver } from '../pool/lease.ts'
import {
  BodyReader,
  SCALAR_BYTES_MAX,
  textHeaderBytes,
  writeTextHeader,
  writeUint,
} from '../protocol/body.ts'
import { isQueryKey } from '../protocol/query_key.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { CacheState } from './cache_state.ts'
import { Recipes } from './recipes.ts'
import type { ResultList } from './result_list.ts'

const DAY_MS = 24 * 3_600_000
const HOUR_MS = 3_600_000
/** Pages that a list costs besides its own bytes: the table's leaf, the file's first page, the last one half empty. */
const REST_BYTES = 3 * 4_096
/** What is new or gone of a list that is worth writing: one of so many. */
const WORTH = 8

export class HotList {
  private readonly state: CacheState
  private readonly hot: HotEntries
  private readonly recipes: Recipes
  /** Undefined until there is a recipe. */
  private results: ResultList | undefined
  /** How often it is looked at, in milliseconds; 0: at a shutdown only. */
  private readonly intervalMs: number
  private lookAtMs: number
  private hourAtMs = monotonicMs() + HOUR_MS
  private readsBefore = 0
  private allowedBytes = HOT_BURST_BYTES_MAX
  private allowedAtMs = monotonicMs()
  private running: Promise<void> | undefined
  private isStopped = false

  constructor(state: CacheState, hot: HotEntries, intervalMs: number, recipes = new Recipes()) {
    const { memory } = state
    this.state = state
    this.hot = hot
    this.recipes = recipes
    hot.isApart = entry => isQueryKey(memory.bytes, memory.keyStart(entry))
    this.intervalMs = intervalMs
    this.lookAtMs = monotonicMs() + intervalMs
  }

  /** Once a second or so, with the count of tier 1's hits so far: writes the list if it is time, and worth it. */
  look(reads: number): void {
    const nowMs = monotonicMs()
    if (this.isStopped || this.running !== undefined) return
    if (this.intervalMs === 0 || nowMs < this.lookAtMs) return
    this.lookAtMs = nowMs + this.intervalMs
    if (reads === this.readsBefore) return
    this.readsBefore = reads
    if (this.allowance(nowMs) <= 0) return
    this.running = this.save(WORTH).finally(() => {
      this.running = undefined
    })
  }

  /** Writes it a last time, if anything has changed; gives up after so long. */
  async stop(limitMs: number): Promise<void> {
    const timeout = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      this.isStopped = true
      timeout.resolve()
    }, limitMs)
    await Promise.race([
      (this.running ?? Promise.resolve()).then(() => this.save(Infinity)),
      timeout.promise,
    ])
    clearTimeout(timer)
    this.isStopped = true
  }

  /** Never rejects. */
  private async save(worth: number): Promise<void> {
    try {
      const choice = await this.choose()
      if (choice.changes > 0 && choice.changes * worth >= choice.count) await this.send(choice)
      const results = this.results?.pack(worth)
      if (results !== undefined) this.count(await this.request(OPS.SAVE_RESULTS.code, results))
    } catch (error) {
      this.hot.forget()
      this.results?.forget()
      log('debug', 'the list of the entries read most was not written', {
        error: (error as Error).message,
      })
    }
  }

  private async choose(): Promise<HotChoice> {
    const nowMs = monotonicMs()
    const isHourOver = nowMs >= this.hourAtMs
    if (isHourOver) this.hourAtMs = nowMs + HOUR_MS
    if (this.recipes.count === 0) return await this.hot.choose(isHourOver, this.turn)
    const results = await this.resultList()
    results.begin()
    const see = (entry: number, reads: number) => results.see(entry, reads)
    return await this.hot.choose(isHourOver, this.turn, see)
  }

  private async resultList(): Promise<ResultList> {
    if (this.results !== undefined) return this.results
    const { ResultList } = await import('./result_list.ts')
    this.results = new ResultList(this.state, this.recipes)
    return this.results
  }

  /** Sends the list part by part, each after the answer to the one before. */
  private async send(choice: HotChoice): Promise<void> {
    const { memory } = this.state
    const part = new Part()
    let isFirst = true
    const waiting: { level: number; key: Buffer }[] = []
    const pack = async (): Promise<void> => {
      for (const { level, key } of waiting) {
        if (part.add(level, key)) continue
        await this.request(OPS.SAVE_HOT.code, part.take(isFirst, false))
        isFirst = false
        part.add(level, key)
      }
      waiting.length = 0
      await this.turn()
    }
    const list = (entry: number, level: number): void => {
      // A copy: while a part is on its way entries go, and others take their place.
      const key = memory.bytes.subarray(memory.keyStart(entry), memory.valueStart(entry))
      waiting.push({ level, key: Buffer.from(key) })
    }
    await this.hot.list(choice, list, pack)
    await pack()
    this.count(await this.request(OPS.SAVE_HOT.code, part.take(isFirst, true)))
  }

  /** So many bytes were written: once into the log, once from there into the file. */
  private count(bytes: number): void {
    this.allowedBytes -= (bytes + REST_BYTES) * 2
  }

  private async request(op: number, body: Buffer): Promise<number> {
    for (;;) {
      if (this.isStopped) throw new HearthError('CLOSED', 'the engine is shutting down')
      const lease = this.state.lease()
      const { promise, resolve, reject } = Promise.withResolvers<number>()
      const receiver: Receiver = {
        receive: ({ op, bytes, start, end }) => {
          if (op === REPLIES.COUNT.code) resolve(new BodyReader().reset(bytes, start, end).uint())
          else reject(new HearthError('UNAVAILABLE', 'tier 2 did not take it'))
        },
        fail: reject,
      }
      if (lease.send(op, receiver, undefined, 0, 0, body, 0, body.length)) {
        lease.publish()
        return await promise
      }
      if (!lease.isOpen) throw new HearthError('UNAVAILABLE', 'the sqlite worker is restarting')
      await new Promise<void>(done => lease.onceRoom(done))
    }
  }

  /** Others have their turn; ends what the shutdown has no time for. */
  private readonly turn = async (): Promise<void> => {
    if (this.isStopped) throw new HearthError('CLOSED', 'the engine is shutting down')
    await new Promise(resolve => setImmediate(resolve))
  }

  private allowance(nowMs: number): number {
    const more = ((nowMs - this.allowedAtMs) * HOT_DAY_BYTES_MAX) / DAY_MS
    this.allowedBytes = Math.min(HOT_BURST_BYTES_MAX, this.allowedBytes + more)
    this.allowedAtMs = nowMs
    return this.allowedBytes
  }
}

/** The body of a SAVE_HOT that is being put together. */
class Part {
  private readonly bytes = Buffer.allocUnsafe(HOT_SAVE_BYTES_MAX)
  private at = HEAD_BYTES

  /** False when it is full. A key that would never fit is left out. */
  add(level: number, key: Buffer): boolean {
    const need = SCALAR_BYTES_MAX + textHeaderBytes(key.length) + key.length
    if (need > HOT_SAVE_BYTES_MAX - HEAD_BYTES) return true
    if (this.at + need > HOT_SAVE_BYTES_MAX) return false
    const textAt = writeTextHeader(this.bytes, writeUint(this.bytes, this.at, level), key.length)
    this.at = textAt + key.copy(this.bytes, textAt)
    return true
  }

  /** The body, good until the next add(), which begins a new one. */
  take(isFirst: boolean, isLast: boolean): Buffer {
    writeUint(this.bytes, writeUint(this.bytes, 0, isFirst ? 1 : 0), isLast ? 1 : 0)
    const body = this.bytes.subarray(0, this.at)
    this.at = HEAD_BYTES
    return body
  }
}

/** Two flags. */
const HEAD_BYTES = 2
