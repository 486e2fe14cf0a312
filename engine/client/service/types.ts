/** types: what a call of a service takes and gives.
 *  Owns:   the types.   Thread: any.   Holds: plain data. */

export interface ServiceOptions {
  readonly headers?: Readonly<Record<string, string>>
  /** Added to the path; those that are undefined are left out. */
  readonly query?: Readonly<Record<string, QueryValue | readonly QueryValue[]>>
  /** Sent as it is … */
  readonly body?: string | Uint8Array
  /** … or anything, as JSON. */
  readonly json?: unknown
  /** How long one attempt may take, in milliseconds; default services.<name>.timeout. */
  readonly timeoutMs?: number
  /** How long the whole call may take, retries and pauses included; default: what all attempts that may be made, and the pauses
   *  between them, can take. */
  readonly deadlineMs?: number
  /** Default services.<name>.retries; 0: none. */
  readonly retries?: number
  /** Makes a POST or PATCH one that may be repeated: sent as Idempotency-Key, which the service must know. */
  readonly idempotencyKey?: string
  /** A GET or HEAD without an answer for so long is sent a second time; 'p95': after the 95th percentile of the latest answers. */
  readonly hedgeAfterMs?: number | 'p95'
  readonly maxBodyBytes?: number
  /** Off: neither answered from the cache nor kept in it. */
  readonly cache?: boolean
  readonly signal?: AbortSignal
  /** Passed on as X-Correlation-Id and X-Request-Id; default: a new one. */
  readonly correlationId?: string
  /** Trace context to pass on; default: that of OpenTelemetry, where its API is registered. */
  readonly traceparent?: string
  readonly tracestate?: string
}

export type QueryValue = string | number | boolean | undefined

export interface ServiceResponse {
  readonly status: number
  /** The status is 200 to 299. */
  readonly ok: boolean
  /** By lower-case name; several of one name are joined by ', '. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  /** Where it is from, after redirects. */
  readonly url: string
  /** `fresh`: without asking the service; `revalidated`: it said that nothing has changed; `stale`: expired, within what the answer
   *  allowed while another is fetched, or the service fails; false: from the service. */
  readonly fromCache: 'fresh' | 'revalidated' | 'stale' | false
  /** How often the service was asked, hedges not counted; 0: not at all. */
  readonly attempts: number
  readonly correlationId: string
  text(): string
  /** Throws UNAVAILABLE when it is no JSON. */
  json<T = unknown>(): T
}
