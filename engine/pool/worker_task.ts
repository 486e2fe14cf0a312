/** worker_task: what a worker is told when it starts.
 *  Owns:   the types both sides share.   Thread: any.   Holds: plain data that can be posted to a thread. */

import type { LogLevel } from '../log.ts'
import type { RingMemory } from '../ring/layout.ts'

export interface SqliteOptions {
  readonly file: string
  readonly maxBytes: number
  readonly busyTimeoutMs: number
  readonly synchronous: 'OFF' | 'NORMAL' | 'FULL'
  readonly cacheBytes: number
  readonly flushIntervalMs: number
  /** Infinity: nothing is compressed. */
  readonly compressFromBytes: number
}

export interface PostgresOptions {
  /** In the name of a database: what follows says as which Postgres role (router/sql_access.ts). */
  readonly roleMark: string
  readonly databases: Readonly<Record<string, DatabaseOptions>>
  readonly breaker: {
    readonly failures: number
    /** 0 to 1. */
    readonly failureRate: number
    readonly minCalls: number
    readonly windowMs: number
    readonly openMs: number
    readonly successes: number
    readonly retries: number
    readonly backoffMs: number
  }
  /** As the section insight has it, and where its figures are kept. */
  readonly insight?: {
    readonly enabled: boolean
    readonly slowThresholdMs: number
    /** What is asked for of a slow read: its plan, with the statement run once more for it, without, or nothing. */
    readonly explain: 'analyze' | 'plan' | 'off'
    readonly explainIntervalMs: number
    readonly showParameters: boolean
    readonly maxStatements: number
    /** Undefined: figures are not kept over a restart. */
    readonly file?: string | undefined
  }
  readonly log: {
    readonly level: LogLevel
    /** Infinity: none is slow. */
    readonly slowStatementMs: number
  }
}

export interface DatabaseOptions {
  readonly url: string
  /** Undefined: the database is one server. */
  readonly cluster?: ClusterOptions | undefined
  readonly health: HealthOptions
  readonly pool: {
    readonly size: number
    readonly overflow: number
    readonly min: number
    readonly acquireTimeoutMs: number
    readonly idleTimeoutMs: number
    readonly recycleMs: number
    readonly prePing: boolean
    readonly statementTimeoutMs: number
    readonly idleInTransactionTimeoutMs: number
  }
}

/** As postgres.<name> and health have it. */
export interface ClusterOptions {
  readonly replicas: readonly {
    readonly name: string
    readonly url: string
    readonly weight: number
  }[]
  readonly failover: 'follow' | 'promote'
  readonly minReplicas: number
  readonly replicasDown: 'primary' | 'least_bad' | 'refuse'
  readonly readYourWrites: boolean
  readonly maxLagMs: number
  readonly warnLagMs: number
  readonly health: HealthOptions
}

export interface HealthOptions {
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly retries: number
}

/** Each kind that a worker hosts, with that kind's options. */
export interface Kinds {
  readonly sqlite?: SqliteOptions
  readonly postgres?: PostgresOptions
}

export type WorkerKind = keyof Kinds

export interface WorkerTask {
  readonly kinds: Kinds
  readonly rings: { readonly requests: RingMemory; readonly replies: RingMemory }
}
