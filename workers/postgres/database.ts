/** Database: the narrow interface of one Postgres database in the worker, and what configures it.
 *  Owns:   types and the worker's bounds.   Not here: how it is done (pool.ts).
 *  Thread: postgres worker.
 *  Holds:  an implementation answers every request once: with the body of a ROWS reply, or with a HearthError. */

import type { HearthError } from '../../engine/errors.ts'
import type { Side, SideFigures } from './admission.ts'
import type { OutsideWritesState } from './outside_writes.ts'
import type { RetryFigures } from './retries.ts'
import type { Guard, HeldTo } from './role_guard.ts'

export interface Database {
  /** Runs one statement on its own (autocommit): calls back once, be it before this returns. */
  start(
    request: QueryRequest,
    resolve: (body: Buffer) => void,
    reject: (error: HearthError) => void,
  ): Cancelable
  /** The same as a promise; rejects with a HearthError, always. */
  query(request: QueryRequest): Promise<Buffer>
  stats(): DatabaseStats
  /** Refuses new requests, lets running ones finish for a while, cancels the rest, closes every connection. */
  close(): Promise<void>
}

/** Something under way that its requester may give up: what waits is answered at once, what runs is cancelled at the server.
 *  It is answered as ever, once. Nothing happens when it was answered already. */
export interface Cancelable {
  cancel(): void
}

export interface QueryRequest {
  readonly sql: string
  readonly params: readonly unknown[]
  /** From now, the wait for a connection included. 0: the pool's statement timeout. */
  readonly timeoutMs: number
  readonly correlationId: string
  /** As in a frame: see priority.ts. */
  readonly priority?: number
  /** Told when it is given to a connection: a time on the monotonic clock. */
  readonly onSent?: (nowMs: number) => void
}

export interface PoolOptions {
  /** Connections that the pool may keep. */
  readonly size: number
  /** Connections beyond `size` while requests wait; closed soon after. */
  readonly overflow: number
  /** Connections that are kept open even when nothing is asked. */
  readonly min: number
  readonly acquireTimeoutMs: number
  readonly idleTimeoutMs: number
  /** A connection's age at which it is replaced, with up to a quarter less at random. */
  readonly recycleMs: number
  /** Try a connection that was idle for long before a statement is risked on it. */
  readonly prePing: boolean
  /** The longest any statement may run; set at the server too. */
  readonly statementTimeoutMs: number
  /** A transaction that nothing is asked of for so long is rolled back. */
  readonly idleInTransactionTimeoutMs: number
}

export interface PoolSpec extends PoolOptions {
  readonly name: string
  readonly url: string
  readonly origin?: Origin
  /** What its sessions are held to, and the statements that are refused because of it. */
  readonly held?: HeldTo | undefined
  readonly guard?: Guard | undefined
}

/** Who answers, as results say it: one object a server, which changes with its role. */
export interface Origin {
  source: 'primary' | `replica:${string}`
}

export const PRIMARY: Origin = Object.freeze({ source: 'primary' })

export interface ReplicaSpec {
  readonly name: string
  readonly url: string
  /** A server with twice the weight gets about twice the reads. */
  readonly weight: number
}

export interface HealthOptions {
  readonly intervalMs: number
  readonly timeoutMs: number
  /** Failed looks in a row that make a server down. */
  readonly retries: number
}

export interface ClusterOptions {
  readonly replicas: readonly ReplicaSpec[]
  /** What the engine does when the primary is gone: waits until somebody else promotes a replica, or does it. */
  readonly failover: 'follow' | 'promote'
  /** Fewer that serve reads are a warning. */
  readonly minReplicas: number
  /** Where reads go when no replica is fit for them. */
  readonly replicasDown: 'primary' | 'least_bad' | 'refuse'
  /** A client finds in its reads what it wrote before. */
  readonly readYourWrites: boolean
  /** Further behind, a replica serves no reads. */
  readonly maxLagMs: number
  readonly warnLagMs: number
  readonly health: HealthOptions
}

export const CLUSTER_DEFAULTS: ClusterOptions = {
  replicas: [],
  failover: 'follow',
  minReplicas: 2,
  replicasDown: 'primary',
  readYourWrites: true,
  maxLagMs: 5_000,
  warnLagMs: 2_000,
  health: { intervalMs: 10_000, timeoutMs: 2_000, retries: 3 },
}

/** One configured database: a server, and its replicas if it has any. */
export interface DatabaseSpec extends PoolSpec {
  readonly cluster?: Partial<ClusterOptions> | undefined
  /** Of a database without replicas; left out: nobody looks. */
  readonly health?: HealthOptions | undefined
}

export const POOL_DEFAULTS: PoolOptions = {
  size: 10,
  overflow: 5,
  min: 2,
  acquireTimeoutMs: 30_000,
  idleTimeoutMs: 300_000,
  recycleMs: 3_600_000,
  prePing: true,
  statementTimeoutMs: 30_000,
  idleInTransactionTimeoutMs: 60_000,
}

export interface DatabaseStats {
  size: number
  overflow: number
  /** Connections by state. */
  connecting: number
  idle: number
  busy: number
  mending: number
  /** Requests without a connection yet, now and at most. */
  waiting: number
  waitingMost: number
  acquireP50Ms: number
  acquireP99Ms: number
  queries: number
  errors: number
  timeouts: number
  connects: number
  connectFailures: number
  closed: Record<CloseReason, number>
  prepared: { hits: number; misses: number; evictions: number; mended: number }
  /** Why no connection can be made at present. */
  down: string | undefined
}

/** What `stats()` shows of one database: both of its pools together. */
export interface DatabaseFigures {
  size: number
  overflow: number
  connecting: number
  idle: number
  inUse: number
  /** Statements in flight on each shared connection. */
  inFlight: number[]
  /** 0 to 1: how much of what `size` connections can carry is taken. */
  utilization: number
  waiting: number
  waitingMost: number
  acquireP50Ms: number
  acquireP99Ms: number
  queries: number
  errors: number
  timeouts: number
  connects: number
  /** Connections opened in place of one that was lost. */
  reconnects: number
  connectFailures: number
  closed: Record<CloseReason, number>
  prepared: { hits: number; misses: number; evictions: number; mended: number }
  /** Of what reads and of what writes. */
  breakers: Record<Side, SideFigures>
  retries: RetryFigures
  listen: { channels: number; subscribers: number; gaps: number }
  /** Whether writes made elsewhere end cached results; undefined while none are cached. */
  outside: OutsideWritesState | undefined
  /** Why no connection can be made at present. */
  down: string | undefined
  /** Where there are replicas: every server, and what is wrong with them together. */
  servers?: ServerFigures[]
  problem?: string | undefined
  failovers?: number
}

/** One server of a database that has replicas. */
export interface ServerFigures {
  name: string
  role: 'primary' | 'replica'
  state: string
  /** Why it is not up, and what an operator is to run. */
  reason: string | undefined
  /** It can never catch up by itself: its WAL is gone at the primary, or it left the primary's history. */
  strand: 'starved' | 'diverged' | undefined
  advice: string | undefined
  timeline: number | null
  /** Bytes of WAL: what it has written, or replayed. */
  lsn: number | null
  lagMs: number
  isStreaming: boolean
  /** Of a statement, lately. */
  latencyMs: number
  /** Of its host, 0 to 1; null where the engine's role may not know. */
  cpu: number | null
  /** Statements without an answer yet. */
  open: number
  inUse: number
  idle: number
  size: number
  waiting: number
  queries: number
  errors: number
  down: string | undefined
}

export type CloseReason = 'idle' | 'recycled' | 'overflow' | 'lost' | 'stuck' | 'ended'

/** Why a connection of ours is closed, for whoever had it. */
export const CLOSE_TEXT: Record<CloseReason, string> = {
  idle: 'idle for too long',
  recycled: 'due for replacement',
  overflow: 'no longer needed',
  lost: 'lost',
  stuck: 'the server does not answer',
  ended: 'the pool is closed',
}

/** Encoded bytes of one result; a frame's length has 24 bits, and a client that needs more is to stream. */
export const RESULT_BYTES_MAX = 0xff_ffff
/** Requests that may wait for a connection of one pool. */
export const WAITING_COUNT_MAX = 10_000
/** Prepared statements on one connection. */
export const PREPARED_COUNT_MAX = 200
/** libpq counts parameters in 16 bits. */
export const PARAM_COUNT_MAX = 65_535
