/** main: the composition root: configuration → workers → tiers → router → socket, and the same in reverse to stop.
 *  Owns:   every part's life.   Not here: signals and systemd (daemon.ts), embedding's face (index.ts).
 *  Thread: main.
 *  Holds:  (1) nobody is let in before the workers are ready.  (2) close() answers what is in flight, then lets SQLite write its
 *          last checkpoint.  (3) an engine that failed to start leaves no thread, file or socket behind. */

import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { HotEntries } from './cache/hot.ts'
import { Memory } from './cache/memory.ts'
import { ReaderPages } from './cache/reader_pages.ts'
import { createSegment, SEGMENT_LAYOUT, type Segment, STATE, setState } from './cache/segment.ts'
import { type SegmentMemory, segmentMemory } from './cache/segment_file.ts'
import { monotonicMs, wallMs } from './clock.ts'
import type { Config } from './config/config.ts'
import { hostsOf, policiesOf, ratesOf } from './config/settings.ts'
import { correlationId, secretText } from './correlation.ts'
import { lockFolder } from './folder_lock.ts'
import { type Access, ADMIN } from './guard/access.ts'
import { Accounts } from './guard/accounts.ts'
import { LimitFile } from './guard/limit_file.ts'
import { RateLimits } from './guard/rate_limit.ts'
import { type Roles, rolesAt } from './guard/roles.ts'
import { ASSEMBLY_BYTES_MAX, DRAIN_MS_MAX, HOT_SAVE_MS_MAX, WARM_MS_MAX } from './limits.ts'
import { log, setLogLevel } from './log.ts'
import { chooseLibpq, loadNative, type Native, preferNewerLibpq } from './native.ts'
import { HitRate } from './observe/hit_rate.ts'
import { MetricSources } from './observe/metric_sources.ts'
import type { Observer } from './observe/observer.ts'
import { EngineOverview } from './observe/overview.ts'
import { OwnMemory } from './own_memory.ts'
import { WorkerPool } from './pool/pool.ts'
import { PROTOCOL_VERSION } from './protocol/spec.ts'
import { Cache } from './router/cache.ts'
import { HotList } from './router/hot_list.ts'
import { InsightOps } from './router/insight_ops.ts'
import { QueryCache } from './router/query_cache.ts'
import { flushReplies } from './router/reply.ts'
import { RequestMeter } from './router/request_meter.ts'
import type { Asking } from './router/result_warming.ts'
import { Router } from './router/router.ts'
import { SqlAccess } from './router/sql_access.ts'
import { SqlOps } from './router/sql_ops.ts'
import { Warming } from './router/warming.ts'
import { Assembly } from './server/assembly.ts'
import { bodyBytesMax } from './server/body_limits.ts'
import { FairShare } from './server/fair_share.ts'
import { type HeldSocket, onHeldSocket } from './server/held_socket.ts'
import { claimSocket, Listener } from './server/listener.ts'
import type { Peer } from './server/peer.ts'
import type { SessionContext } from './server/session_context.ts'
import { openServices } from './services/open.ts'
import type { Services } from './services/services.ts'

export const ENGINE_NAME = 'hearth'

const SWEEP_MS = 1_000
const SWEEP_COUNT = 512

export class Engine {
  readonly id = correlationId()
  readonly config: Config
  readonly context: SessionContext
  readonly overview: EngineOverview
  /** Where parts register what they count and how they are. */
  readonly metricSources = new MetricSources()
  private readonly meter = new RequestMeter()
  private phase: 'starting' | 'serving' | 'stopping' = 'starting'
  private observing: Promise<Observer> | undefined
  private readonly unlock: () => void
  private readonly ownMemory: OwnMemory
  private readonly segmentMemory: SegmentMemory
  private readonly segment: Segment
  private readonly memory: Memory
  /** None when tier 1 is not shared. */
  private readonly readerPages: ReaderPages | undefined
  private readonly cache: Cache
  private readonly queryCache: QueryCache
  /** Both undefined with cache.warm off. */
  private readonly warming: Warming | undefined
  private readonly hotList: HotList | undefined
  private readonly hitRate: HitRate
  /** Undefined until some are configured. */
  private services: Services | undefined
  private readonly limits: RateLimits
  private readonly limitFile: LimitFile
  private readonly pool: WorkerPool
  private readonly accounts = new Accounts()
  private roles: Roles
  private readonly listener: Listener
  private readonly sweeper: NodeJS.Timeout

  /** Starts an engine on a whole configuration, on a socket of its own or on one that is held for it; rejects with a HearthError
   *  that says what to mend. */
  static async start(configured: Config, held?: HeldSocket): Promise<Engine> {
    const config = held === undefined ? configured : onHeldSocket(configured, held)
    const { stateDir } = config.engine
    mkdirSync(stateDir, { recursive: true, mode: 0o750 })
    if (held === undefined) await claimSocket(config.engine.socket)
    let started: Engine | undefined
    const unlock = await lockFolder(
      stateDir,
      'state',
      holder =>
        `another engine${holder} keeps its state in ${stateDir}; stop it, or set engine.state_dir`,
      () => started?.phase === 'stopping',
    )
    try {
      const native = await loadNative()
      if (config.engine.libpq !== undefined) chooseLibpq(native, config.engine.libpq)
      else
        preferNewerLibpq(
          native,
          Object.values(config.postgres).flatMap(({ url, replicas = [] }) => [
            url,
            ...replicas.map(replica => replica.url),
          ]),
        )
      started = new Engine(config, native, unlock, held?.fd)
      await started.open()
      return started
    } catch (error) {
      unlock()
      throw error
    }
  }

  private constructor(
    config: Config,
    native: Native | undefined,
    unlock: () => void,
    heldFd: number | undefined,
  ) {
    this.config = config
    this.unlock = unlock
    this.ownMemory = new OwnMemory(() => native?.trimMemory())
    setLogLevel(config.engine.logLevel)
    const { socket, socketMode } = config.engine
    // Whoever may use the socket by its mode as the engine's user or group may read the segment, and nobody else.
    this.roles = rolesAt(socket, config.access)
    const groupBit = this.roles.mayShareWithGroup ? socketMode & 0o040 : 0
    this.segmentMemory = segmentMemory(config.memory.maxBytes, socket, 0o600 | groupBit, native)
    this.segment = createSegment(this.segmentMemory.memory, {
      pid: process.pid,
      // Unlike from boot to boot, so that no set of keys is slow for ever.
      hashSeed: Math.floor(Math.random() * 2 ** 31),
      engineId: this.id,
      guardWord: this.segmentMemory.guardWord,
    })
    this.memory = new Memory(this.segment, {
      valueBytesMax: config.memory.maxValueBytes,
      entryCountMax: config.memory.maxEntries,
    })
    const { path } = this.segmentMemory
    if (path !== undefined) {
      const pages = new ReaderPages(this.memory, path, groupBit !== 0)
      this.memory.collect = () => pages.collect()
      this.readerPages = pages
    }
    const sqlAccess = new SqlAccess(`\u0001${secretText()}\u0001`)
    this.pool = new WorkerPool(hostsOf(config, sqlAccess.mark), this.afterReplies)
    const { maxKeyBytes: keyBytesMax, maxValueBytes: valueBytesMax } = config.cache
    this.cache = new Cache(
      this.segment,
      this.memory,
      () => this.pool.leaseOf('sqlite')!,
      policiesOf(config),
      { keyBytesMax, valueBytesMax },
    )
    const sql = new SqlOps(
      () => this.pool.leaseOf('postgres'),
      name => sqlAccess.databaseOf(name),
    )
    const insight = new InsightOps(sql, config.insight.enabled)
    this.queryCache = new QueryCache(this.cache.state, this.cache.keep, sql, this.id)
    if (config.cache.warm) {
      const hot = new HotEntries(this.segment, this.memory)
      const { state } = this.cache
      if (config.insight.enabled) sql.recipes.turnOn(name => sqlAccess.heldIn(name))
      const nameOf: Asking['nameOf'] = (...of) => sqlAccess.nameOf(this.roles.all, ...of)
      const asking = { sql, queries: this.queryCache, engineId: this.id, nameOf }
      this.warming = new Warming(state, hot, () => this.ownMemory.giveBack(), asking)
      this.hotList = new HotList(state, hot, config.cache.warmIntervalMs, sql.recipes)
    }
    this.hitRate = new HitRate(config.cache.hitRateTarget)
    this.limits = new RateLimits(ratesOf(config))
    this.limitFile = new LimitFile(join(config.engine.stateDir, 'limits'), this.limits)
    this.metricSources.addMetrics(report => this.limits.report(report))
    const hasPostgres = Object.keys(config.postgres).length > 0
    this.overview = new EngineOverview({
      memory: this.memory,
      pool: this.pool,
      counters: this.cache.state.counters,
      namespaces: this.cache.state.namespaces,
      queryCache: this.queryCache.figures,
      hitRate: this.hitRate,
      hasPostgres,
      clientCount: () => this.listener.sessions.size,
      warmed: () => this.warming?.figures,
      services: () => this.services,
      limits: () => this.limits.figures(),
      sources: this.metricSources,
      phase: () => this.phase,
      observer: () => this.observer(),
    })
    const { cache, queryCache, overview, limits } = this
    this.context = {
      router: new Router(cache, sql, queryCache, overview, sqlAccess, limits, insight),
      assembly: new Assembly(ASSEMBLY_BYTES_MAX),
      meter: this.meter,
      share: new FairShare(),
      locals: new Set(),
      bodyBytesMax: op => bodyBytesMax(config.cache, op),
      afterTurn: this.afterTurn,
      greeting: access => this.greeting(access),
      attach: (peer, access) => (access.mayMap ? this.readerPages?.open(peer.uid) : undefined),
      accessOf: peer => (peer.isLocal ? ADMIN : this.roles.of(peer)),
      accountOf: (peer, replies) => this.accounts.join(peer.uid, replies),
    }
    this.listener = new Listener(
      { path: socket, mode: socketMode, heldFd, credentialsOf: native?.peerCredentials },
      this.context,
    )
    this.sweeper = setInterval(this.everySecond, SWEEP_MS).unref()
  }

  get socketPath(): string {
    return this.config.engine.socket
  }

  /** Applies what can change while the engine runs: the rows of config/schema.ts that say reloadable. */
  reload(config: Config): void {
    const roles = rolesAt(this.socketPath, config.access)
    setLogLevel(config.engine.logLevel)
    this.reloadAccess(roles)
    this.memory.setValueBytesMax(config.memory.maxValueBytes)
    this.cache.state.policies = policiesOf(config)
    this.hitRate.target = config.cache.hitRateTarget
    this.limits.configure(ratesOf(config))
  }

  /** What a peer may do; for whoever lets requests in another way than by the socket. */
  accessOf(peer: Peer): Access {
    return this.context.accessOf(peer)
  }

  /** Whether every worker answers a ping over its ring within the time: false also while one is being replaced. */
  async workersAnswer(timeoutMs: number): Promise<boolean> {
    return await this.pool.answers(timeoutMs)
  }

  get clientCount(): number {
    return this.listener.sessions.size
  }

  /** What metrics, the page and alerts read from; loaded with the first call. */
  observer(): Promise<Observer> {
    this.observing ??= import('./observe/observer.ts').then(
      ({ Observer }) =>
        new Observer({
          meter: this.meter,
          pool: this.pool,
          memory: this.memory,
          counters: this.cache.state.counters,
          queryCache: this.queryCache.figures,
          sources: this.metricSources,
          clientCount: () => this.listener.sessions.size,
          uptimeMs: () => this.overview.uptimeMs(),
          stateDir: this.config.engine.stateDir,
          phase: () => this.phase,
          health: () => this.overview.health(),
        }),
    )
    return this.observing
  }

  /** Where the HTTP side is; undefined: http.listen is off. */
  async httpUrl(): Promise<string | undefined> {
    return (await this.observing)?.url
  }

  /** Lets clients go and finishes what is in flight, within DRAIN_MS_MAX, then closes every part in reverse order. Safe to call
   *  twice. */
  async close(): Promise<void> {
    this.phase = 'stopping'
    const deadlineMs = monotonicMs() + DRAIN_MS_MAX
    await this.listener.leave()
    this.listener.stopReading()
    await this.drained(deadlineMs)
    await this.hotList?.stop(HOT_SAVE_MS_MAX)
    this.limitFile.stop()
    setState(this.segment, STATE.closed)
    await Promise.all([this.listener.close(), this.pool.stop(DRAIN_MS_MAX / 2)])
    clearInterval(this.sweeper)
    this.services?.stop()
    this.cache.stop()
    this.ownMemory.stop()
    await (await this.observing)?.close()
    this.readerPages?.close()
    this.segmentMemory.release()
    this.unlock()
  }

  private async open(): Promise<void> {
    try {
      await this.openHttp()
      const reports = await this.pool.start()
      const { nextVersion } = reports['sqlite'] as { nextVersion: number }
      this.cache.state.raiseVersion(nextVersion)
      await this.warming?.run(WARM_MS_MAX)
      const warmed = this.warming?.figures
      if (warmed !== undefined) log('info', 'warmed', { ...warmed, results: undefined })
      const { services, breaker } = this.config
      const { router } = this.context
      this.services = await openServices(services, breaker, router, this.metricSources)
      this.limitFile.load()
      await this.listener.listen()
      this.roles = rolesAt(this.socketPath, this.config.access)
      setState(this.segment, STATE.live)
      this.phase = 'serving'
      void this.warming?.fetchResults()
      if (this.config.alerts.enabled) await (await this.observer()).openAlerts(this.config)
    } catch (error) {
      await this.close()
      throw error
    }
  }

  /** Before the engine is ready: what watches it is to see it start. */
  private async openHttp(): Promise<void> {
    const { listen, allowedHosts = [] } = this.config.http
    if (listen === 'off') return
    const observer = await this.observer()
    await observer.listen(listen, allowedHosts)
    log('info', 'HTTP', { url: observer.url })
  }

  private readonly everySecond = (): void => {
    this.memory.sweep(SWEEP_COUNT, wallMs())
    this.readerPages?.sweep()
    const reads = this.overview.reads()
    this.hitRate.look(reads, monotonicMs())
    this.hotList?.look(reads.memoryHits)
    this.limitFile.look()
  }

  private async drained(deadlineMs: number): Promise<void> {
    while (this.inflight() > 0 && monotonicMs() < deadlineMs) {
      await new Promise(resolve => setTimeout(resolve, 10))
    }
  }

  private inflight(): number {
    let count = this.listener.inflight()
    for (const session of this.context.locals) count += session.inflight
    return count
  }

  private reloadAccess(roles: Roles): void {
    const { path } = this.segmentMemory
    // Who has mapped it already keeps that: only a start takes it away from a process that will not let go.
    if (path !== undefined && !roles.mayShareWithGroup) chmodSync(path, 0o600)
    this.roles = roles
    this.listener.renewAccess()
  }

  private greeting(access: Access): Record<string, unknown> {
    const { maxKeyBytes, maxValueBytes } = this.config.cache
    return {
      version: PROTOCOL_VERSION,
      engine: this.id,
      server: ENGINE_NAME,
      role: access.role,
      maxKeyBytes,
      maxValueBytes,
      segment:
        this.segmentMemory.path === undefined || !access.mayMap
          ? null
          : { path: this.segmentMemory.path, layout: SEGMENT_LAYOUT },
    }
  }

  /** After a socket was read: replies go out, requests become visible to the workers. */
  private readonly afterTurn = (): void => {
    flushReplies()
    this.pool.publish()
    this.worked()
  }

  private readonly afterReplies = (): void => {
    flushReplies()
    this.worked()
  }

  private worked(): void {
    this.readerPages?.wake()
    this.ownMemory.turn()
  }
}
