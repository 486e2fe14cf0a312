/** hearth/client: talk to a running engine.
 *  Owns:   the connection.   Thread: the client's.
 *  Holds:  nothing here imports the engine; a client process loads no SQLite, no libpq. */

/// <reference types="node" preserve="true" />

import { EventEmitter } from 'node:events'
import { monotonicMs } from '../clock.ts'
import { clientSocketPath } from '../config/socket_path.ts'
import { HearthError } from '../errors.ts'
import type {
  AlertsJson,
  ChannelAnswer,
  EngineStats,
  Health,
  MetricsJson,
  SeriesJson,
} from '../figures.ts'
import { OPS } from '../protocol/spec.ts'
import { contextText, type TraceContext } from '../trace_context.ts'
import { Cache } from './cache.ts'
import { Connection, type ConnectionState, type OpenStream } from './connection.ts'
import { Database } from './database.ts'
import { GetOrSet } from './get_or_set.ts'
import { Insight } from './insight.ts'
import { Limits } from './limits.ts'
import { type Message, type OnMessage, publish, subscribeMessages } from './messages.ts'
import { ALERT_TEST_MS_MAX, AlertTestRequest, SeriesRequest } from './observe_requests.ts'
import { checkNames } from './options.ts'
import type { PatternSubscription, SubscribeOptions } from './pattern_subscription.ts'
import { Reads } from './reads.ts'
import { PlainRequest } from './requests.ts'
import { Service } from './service.ts'
import { SharedMemory } from './shared_memory.ts'
import { socketStream } from './socket_stream.ts'

export { ERRORS, type ErrorCode, HearthError } from '../errors.ts'
export type {
  AlertFigures,
  AlertsJson,
  ChannelAnswer,
  EngineStats,
  Health,
  MetricsJson,
  SeriesJson,
} from '../figures.ts'
export type { TraceContext } from '../trace_context.ts'
export type { Cache, Entry, GetOrSetOptions, Lookup, SetOptions } from './cache.ts'
export type { QueryCacheOptions } from './cached_queries.ts'
export type { CopyOptions, CopySource } from './copy.ts'
export type {
  CacheExplanation,
  Database,
  ListenOptions,
  QueryOptions,
  QueryResult,
} from './database.ts'
export type { Gap } from './feed.ts'
export type {
  CacheAdvice,
  IndexAdvice,
  IndexAdviceOptions,
  Insight,
  MissingIndex,
  NPlusOne,
  SlowPlan,
  SlowStatement,
  StatementFigures,
  SurplusIndex,
} from './insight.ts'
export type { KeyChange, KeyWatch } from './key_watch.ts'
export type { LimitOptions, LimitResult, Limits } from './limits.ts'
export type { Message, OnMessage } from './messages.ts'
export type { PatternSubscription, SubscribeOptions } from './pattern_subscription.ts'
export type { Service, ServiceOptions, ServiceResponse } from './service.ts'
export type { StreamOptions } from './stream.ts'
export type { Subscription } from './subscription.ts'
export type { Isolation, Transaction, TransactionOptions } from './transaction.ts'
export type { WarmLoader, WarmOptions, WarmProgress } from './warm.ts'

/** What `withContext()` gives. */
export interface InContext {
  readonly db: Database
  /** Another configured database than `main`. */
  database(name: string): Database
  /** A registered HTTP service, called in the context. */
  service(name: string): Service
}

export interface ConnectOptions {
  /** The engine's socket; default $HEARTH_SOCKET, then where the engine puts it by itself. */
  readonly socket?: string
  /** A name for this service in the engine's statistics and logs. */
  readonly name?: string
  /** How long a request may take, in milliseconds; default 5 000. SQL has its own. */
  readonly timeoutMs?: number
  /** On (default): while the engine is down the cache misses and drops writes. Off: it rejects with UNAVAILABLE. */
  readonly failOpen?: boolean
  /** On (default): hits of tier 1 are read in place, in shared memory, where the engine and the system allow. Off: over the socket. */
  readonly sharedMemory?: boolean
}

/** `open`: answers come. `down`: not connected, and trying again. */
export type HearthState = 'open' | 'down' | 'closed'

const TIMEOUT_MS = 5_000

export class Hearth extends EventEmitter<{ state: [HearthState, Error?] }> {
  readonly cache: Cache
  readonly db: Database
  readonly insight: Insight
  readonly limits: Limits
  private readonly connection: Connection
  private readonly sharedMemory: SharedMemory
  private readonly services = new Map<string, Service>()
  private shownState: HearthState | undefined
  private readonly opened = Promise.withResolvers<void>()

  constructor(open: OpenStream, options: ConnectOptions) {
    super()
    this.opened.promise.catch(() => undefined)
    this.connection = new Connection({
      name: options.name ?? `pid ${process.pid}`,
      timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
      open,
      onState: (state, error) => this.onState(state, error),
    })
    this.sharedMemory = new SharedMemory(this.connection, options.sharedMemory ?? true)
    const isFailOpen = options.failOpen ?? true
    this.cache = new Cache({
      connection: this.connection,
      sharedMemory: this.sharedMemory,
      isFailOpen,
      reads: new Reads(this.connection),
      loads: new GetOrSet(this.connection, isFailOpen),
    })
    this.db = this.database('main')
    this.insight = new Insight(this.connection, name => this.database(name))
    this.limits = new Limits(this.connection)
  }

  get state(): HearthState {
    const { state } = this.connection
    return state === 'open' || state === 'closed' ? state : 'down'
  }

  /** Whether hits of tier 1 are read in place now; if not, why. */
  get inPlace(): { readonly isOn: boolean; readonly reason?: string } {
    const { reason } = this.sharedMemory
    return reason === undefined ? { isOn: true } : { isOn: false, reason }
  }

  /** The role that this process's user has at the engine, as it said when the connection was made; undefined before. */
  get role(): string | undefined {
    return this.connection.greeting?.['role'] as string | undefined
  }

  /** Another configured database than `main`. */
  database(name: string): Database {
    return new Database(this.connection, this.sharedMemory, name)
  }

  /** A registered HTTP service (configuration: `[services.<name>] url`). Nothing is loaded or asked before its first call. */
  service(name: string): Service {
    if (typeof name !== 'string' || name === '')
      throw new TypeError('the name of a service must be a text')
    let service = this.services.get(name)
    if (service === undefined) {
      service = new Service(name, { connection: this.connection, cache: this.cache })
      this.services.set(name, service)
    }
    return service
  }

  /** The databases as asked in a context: its ids go with each statement to the server, the log, the answer and the error. Without
   *  one, OpenTelemetry's active context is taken, if there is one. Throws TypeError for an id that is none. */
  withContext(context: TraceContext): InContext {
    checkNames(context, ['traceparent', 'tracestate', 'correlationId'])
    contextText(context, () => 'none')
    const { connection, sharedMemory } = this
    const database = (name: string) => new Database(connection, sharedMemory, name, context)
    const service = (name: string) => this.service(name).inContext(context)
    return { db: database('main'), database, service }
  }

  /** Hands a message (any value, at most 64 KiB as msgpack) to all who subscribe to the channel now; resolves with how many
   *  subscriptions it was sent to. Nothing is kept. Rejects with UNAVAILABLE while the engine is down. */
  publish(channel: string, message: unknown): Promise<number> {
    return publish(this.connection, channel, message)
  }

  /** Subscribes to all channels that match a glob; resolves once the engine has confirmed it. Messages go to the callback, or are
   *  looped over as `{ message, channel }`. It is renewed after a reconnect; `gap` tells of what is missing, then and when this
   *  process did not keep up. */
  subscribe<T = unknown>(
    glob: string,
    onMessage?: OnMessage<T>,
    options: SubscribeOptions = {},
  ): Promise<PatternSubscription<Message<T>>> {
    return subscribeMessages<T>(this.connection, glob, onMessage, options)
  }

  /** One round trip; resolves with its duration in milliseconds. */
  async ping(): Promise<number> {
    const startMs = monotonicMs()
    await this.connection.request(new PlainRequest(OPS.PING.code))
    return monotonicMs() - startMs
  }

  /** The engine's figures. */
  stats(): Promise<EngineStats> {
    this.cache.reportReads()
    return this.connection.request(new PlainRequest(OPS.STATS.code)) as Promise<EngineStats>
  }

  /** Overall and per-part health. */
  health(): Promise<Health> {
    return this.connection.request(new PlainRequest(OPS.HEALTH.code)) as Promise<Health>
  }

  /** Every metric, as `GET /metrics/json` gives them: names and units are Prometheus'. */
  metrics(): Promise<MetricsJson> {
    return this.connection.request(new PlainRequest(OPS.METRICS.code)) as Promise<MetricsJson>
  }

  /** Rates, percentiles and levels of the last ten minutes, a sample every two seconds; with `sinceMs` (since 1970) those taken
   *  after it. Sampling begins with the first call, unless the HTTP side is on. */
  series(sinceMs = 0): Promise<SeriesJson> {
    return this.connection.request(new SeriesRequest(sinceMs)) as Promise<SeriesJson>
  }

  /** The engine's own alerts: those that fire, and those that are over. */
  alerts(): Promise<AlertsJson> {
    return this.connection.request(new PlainRequest(OPS.ALERTS.code)) as Promise<AlertsJson>
  }

  /** Sends a test message through each configured channel, or through one; resolves with what each answered. Rejects with
   *  NOT_CONFIGURED where there is none. */
  testAlerts(channel = ''): Promise<ChannelAnswer[]> {
    const request = new AlertTestRequest(channel)
    return this.connection.request(request, ALERT_TEST_MS_MAX) as Promise<ChannelAnswer[]>
  }

  /** Resolves once connected, with tier 1 mapped if it can be; rejects with the reason when the first attempt fails. */
  untilOpen(): Promise<void> {
    return this.opened.promise
  }

  /** Ends the connection; what is unanswered rejects with CLOSED. */
  async close(): Promise<void> {
    for (const service of this.services.values()) service.close()
    this.connection.close()
  }

  private onState(state: ConnectionState, error?: Error): void {
    if (state === 'open') void this.sharedMemory.attach().then(this.opened.resolve)
    else this.sharedMemory?.detach()
    if (state !== 'open' && error !== undefined) this.opened.reject(error)
    if (state === 'connecting') return
    const shown = state === 'waiting' ? 'down' : state
    // A failed attempt to connect again is no news.
    if (shown === this.shownState) return
    this.shownState = shown
    this.emit('state', shown, error)
  }
}

/** Connects to the engine. With failOpen (the default) it resolves even when the engine is down, and connects once it is up;
 *  without, it rejects with UNAVAILABLE. A socket that may not be opened, or an engine of another protocol, rejects always. */
export async function connect(options: ConnectOptions = {}): Promise<Hearth> {
  for (const name in options) {
    if (!OPTIONS.has(name))
      throw new TypeError(`unknown option '${name}'; there are ${[...OPTIONS].join(', ')}`)
  }
  const { timeoutMs = TIMEOUT_MS } = options
  if (!(timeoutMs > 0)) throw new TypeError('timeoutMs must be a number of milliseconds above 0')
  const hearth = new Hearth(socketStream(options.socket ?? clientSocketPath(process.env)), options)
  try {
    await hearth.untilOpen()
  } catch (error) {
    const isDown = error instanceof HearthError && error.code === 'UNAVAILABLE'
    if (!isDown || options.failOpen === false) {
      await hearth.close()
      throw error
    }
  }
  return hearth
}

const OPTIONS: ReadonlySet<string> = new Set([
  'socket',
  'name',
  'timeoutMs',
  'failOpen',
  'sharedMemory',
])
