/** insight_shapes: plans and proofs of query insight, as the worker gives them to clients.
 *  Owns:   the types.   Thread: any.   Holds: plain data, as msgpack carries it. */

/** The plan of a slow read. */
export interface SlowPlan {
  readonly database: string
  readonly fingerprint: string
  readonly text: string
  readonly atMs: number
  /** What the slow call took, which gave the reason. */
  readonly tookMs: number
  /** The statement was run once more for it: its rows are real. */
  readonly isRun: boolean
  /** EXPLAIN (FORMAT JSON). */
  readonly plan?: unknown
  readonly problem?: string
}

/** What an index would do for a statement. */
export interface ProofRequest {
  /** Stands for the sample of a fingerprint. */
  readonly sql?: string
  readonly schema: string
  readonly table: string
  /** All behind the table's name: `(a, b) where c is null`. */
  readonly definition: string
  /** The copy's, in bytes. */
  readonly bytesMax: number
  /** The table's own. */
  readonly tableBytes: number
  readonly isHypothetical: boolean
}

export interface Proof {
  readonly costBefore?: number
  readonly costAfter?: number
  /** The plan makes use of it. */
  readonly isUsed?: boolean
  readonly indexBytes?: number
  /** 0 to 1: how much of the table the copy had; 1 with hypopg. */
  readonly share?: number
  readonly problem?: string
}
