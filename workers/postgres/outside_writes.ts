/** OutsideWrites: notices what is written to one database past the engine, by the triggers of `hearth watch`.
 *  Owns:   one subscription to WRITES_CHANNEL, and what it has been told in this turn.   Not here: the connection (listener.ts),
 *          the triggers (engine/watch/triggers.ts), what is cached.
 *  Thread: postgres worker.
 *  Holds:  (1) what is notified is reported in the same turn, each table once.  (2) whatever may have been missed is reported as
 *          everything: when the connection is lost and not back within LOST_MS, so that nothing cached outlives it, and when it is
 *          listened to again, so that nothing cached meanwhile does. While the server itself is down nobody writes: what is cached
 *          is true then, and stays until it is back.  (3) a connection that is silent but dead is found out within PROBE_MS +
 *          PROBE_ANSWER_MS: a notification to itself must come back.  (4) it never gives up: what refuses it is tried again.
 *
 *      stopped ──start()──▶ waiting ──LISTEN confirmed: everything──▶ listening ──lost: everything──▶ waiting */

import { readRows } from '../../engine/protocol/rows.ts'
import { COUNTS, EVERYTHING, WRITES_CHANNEL } from '../../engine/watch/triggers.ts'
import type { Cancelable, QueryRequest } from './database.ts'
import type { Listener, Subscriber } from './listener.ts'

export interface OutsideWritesOptions {
  readonly listener: Pick<Listener, 'subscribe' | 'probe'>
  /** Where it looks for triggers: any pool of the primary. */
  readonly pool: { query(request: QueryRequest): Promise<Buffer> }
  /** These tables (oids, their ancestors among them) were written to; none: any may have been. */
  readonly written: (oids: readonly number[]) => void
  /** What names mean may have changed: a table, view or function is another. Told before `written`. */
  readonly schemaChanged?: () => void
  /** Whether the server is known to take nobody's connection. */
  readonly isDown?: () => boolean
  readonly times?: Partial<OutsideWritesTimes>
}

export interface OutsideWritesTimes {
  /** How often the path is tried, and how long a notification to itself may take. */
  readonly probeMs: number
  readonly probeAnswerMs: number
  /** How often it looks whether the tables have their trigger; DDL that is told of makes it look sooner. */
  readonly lookMs: number
  /** After LISTEN was refused. */
  readonly retryMs: number
}

export interface OutsideWritesState {
  /** Writes made elsewhere end cached results of the tables that have the trigger. */
  readonly isWatching: boolean
  /** What is amiss, and what to do. */
  readonly reason?: string
  /** Tables whose outside writes nobody is told of. */
  readonly unwatchedTables: number
}

const TIMES: OutsideWritesTimes = {
  probeMs: 10_000,
  probeAnswerMs: 2_000,
  lookMs: 60_000,
  retryMs: 5_000,
}
/** A lost connection may be back within so long. */
const LOST_MS = 100
/** DDL comes in scripts: one look for what comes within this time. */
const LOOK_SOON_MS = 250
/** Tables told of singly in one turn; more are everything. */
const TABLE_COUNT_MAX = 1_000
const TTL_ALONE = 'cached results live by their TTL alone for writes made elsewhere'

export class OutsideWrites {
  private readonly options: OutsideWritesOptions
  private readonly times: OutsideWritesTimes
  private readonly tables = new Set<number>()
  private isEverything = false
  private isScheduled = false
  private subscription: Cancelable | undefined
  isStarted = false
  private isListening = false
  /** Why it is not. */
  private why = 'not listening yet'
  private counts: { readonly tables: number; readonly unwatched: number } | undefined
  private probing: NodeJS.Timeout | undefined
  private looking: NodeJS.Timeout | undefined
  private lookingSoon: NodeJS.Timeout | undefined
  private retrying: NodeJS.Timeout | undefined
  private doubting: NodeJS.Timeout | undefined
  /** Until it has listened for the first time, or was refused: those who wait for that. */
  private settling: PromiseWithResolvers<boolean> | undefined

  constructor(options: OutsideWritesOptions) {
    this.options = options
    this.times = { ...TIMES, ...options.times }
  }

  /** Begins to listen; until `state()` says otherwise nothing is noticed. */
  start(): void {
    if (this.isStarted) return
    this.isStarted = true
    const { probeMs, probeAnswerMs, lookMs } = this.times
    this.probing = setInterval(() => this.options.listener.probe(probeAnswerMs), probeMs)
    this.looking = setInterval(() => void this.look(), lookMs)
    this.probing.unref()
    this.looking.unref()
    this.subscribe()
    void this.look()
  }

  /** Begins to listen if it has not; true once it does, or was refused, so that nothing cached from then on ends because it begins.
   *  False: neither within so long. */
  async settled(limitMs: number): Promise<boolean> {
    this.start()
    if (this.isListening || this.retrying !== undefined) return true
    this.settling ??= Promise.withResolvers()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<boolean>(resolve => {
      timer = setTimeout(resolve, limitMs, false).unref()
    })
    const isSettled = await Promise.race([this.settling.promise, late])
    clearTimeout(timer)
    return isSettled
  }

  /** From now on nothing is reported, not even that nothing is. */
  stop(): void {
    this.isStarted = false
    this.isListening = false
    this.why = 'not listening yet'
    clearInterval(this.probing)
    clearInterval(this.looking)
    for (const timer of [this.lookingSoon, this.retrying, this.doubting]) clearTimeout(timer)
    this.lookingSoon = undefined
    this.doubting = undefined
    this.subscription?.cancel()
    this.subscription = undefined
    this.tables.clear()
    this.isEverything = false
  }

  /** For health: whether outside writes are noticed, and of how many tables they are not. */
  state(): OutsideWritesState {
    const { counts } = this
    const unwatchedTables = counts?.unwatched ?? 0
    if (!this.isListening)
      return { isWatching: false, reason: `${TTL_ALONE}: ${this.why}`, unwatchedTables }
    if (counts === undefined) {
      const reason = `${TTL_ALONE}: whether tables have their triggers is not known yet`
      return { isWatching: false, reason, unwatchedTables }
    }
    if (unwatchedTables === 0) return { isWatching: true, unwatchedTables }
    if (unwatchedTables === counts.tables) {
      const reason = `${TTL_ALONE}: run \`hearth watch install\``
      return { isWatching: false, reason, unwatchedTables }
    }
    const reason = `${unwatchedTables} of ${counts.tables} tables have no trigger, ${TTL_ALONE} to these: \`hearth watch status\` names them`
    return { isWatching: true, reason, unwatchedTables }
  }

  private subscribe(): void {
    const subscriber: Subscriber = {
      listening: () => this.caughtUp(),
      notified: payload => this.notified(payload),
      lost: why => this.lost(why),
      gap: () => this.caughtUp(),
      failed: error => this.refused(error.message),
    }
    try {
      this.subscription = this.options.listener.subscribe(WRITES_CHANNEL, subscriber)
    } catch (error) {
      this.refused((error as Error).message)
    }
  }

  /** The server has confirmed the LISTEN: every commit from now on is told of, and of those before nobody knows. */
  private caughtUp(): void {
    if (!this.isStarted) return
    this.isListening = true
    this.reportEverything()
    this.lookSoon()
    this.settling?.resolve(true)
  }

  private lost(why: string): void {
    if (!this.isStarted) return
    this.isListening = false
    this.why = why
    this.doubt()
  }

  /** Nothing is heard. Looks again until it is, or somebody may have written unheard. */
  private doubt(): void {
    this.doubting ??= setTimeout(() => {
      this.doubting = undefined
      if (!this.isStarted || this.isListening) return
      if (this.options.isDown?.() === true) this.doubt()
      else this.reportEverything()
    }, LOST_MS)
  }

  /** The subscription is over: it is made again, should a connection be had then. */
  private refused(why: string): void {
    if (!this.isStarted) return
    const wasListening = this.isListening
    this.subscription = undefined
    this.isListening = false
    this.why = why
    this.settling?.resolve(true)
    if (wasListening) this.doubt()
    this.retrying = setTimeout(() => this.subscribe(), this.times.retryMs)
    this.retrying.unref()
  }

  private notified(payload: string): void {
    if (!this.isStarted) return
    const isKnown = payload.length > 0 && payload !== EVERYTHING && this.addTables(payload)
    if (!isKnown) {
      this.isEverything = true
      this.lookSoon()
    }
    if (this.isScheduled) return
    this.isScheduled = true
    setImmediate(this.report)
  }

  /** False for what is no payload of ours: anybody may notify. */
  private addTables(payload: string): boolean {
    for (const text of payload.split(' ')) {
      if (!OID.test(text) || this.tables.size >= TABLE_COUNT_MAX) return false
      this.tables.add(Number(text))
    }
    return true
  }

  private readonly report = (): void => {
    this.isScheduled = false
    if (this.isEverything) return this.reportEverything()
    if (this.tables.size === 0) return // told already, or stopped
    const oids = [...this.tables]
    this.tables.clear()
    this.options.written(oids)
  }

  private reportEverything(): void {
    this.isEverything = false
    this.tables.clear()
    this.options.schemaChanged?.()
    this.options.written([])
  }

  private lookSoon(): void {
    this.lookingSoon ??= setTimeout(() => {
      this.lookingSoon = undefined
      void this.look()
    }, LOOK_SOON_MS).unref()
  }

  /** A look that fails leaves the last one standing: the next comes. */
  private async look(): Promise<void> {
    const request = { sql: COUNTS, params: [], timeoutMs: 0, correlationId: 'outside-writes' }
    try {
      const body = await this.options.pool.query(request)
      const [counts] = readRows(body, 0, body.length).rows
      this.counts = counts as { tables: number; unwatched: number }
    } catch {}
  }
}

const OID = /^[1-9]\d{0,9}$/
