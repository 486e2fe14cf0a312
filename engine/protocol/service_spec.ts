/** service_spec: the rows of the protocol's table for the registry of HTTP services, and the breakers that all clients share.
 *  Owns:   SERVICE_OPS, CALL, ServiceFacts.   Not here: the whole table (spec.ts), of which they are a part; HTTP, which clients speak
 *          themselves.
 *  Thread: any.
 *  Holds:  as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

export const SERVICE_OPS = {
  SERVICE: {
    code: 0x59,
    args: [['name', 'text']],
    on: 'socket',
    worker: 'main',
    needs: 'write',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'Where a registered service is, how it is to be called, and the state of its breaker: a map. NOT_CONFIGURED for a name that is not registered.',
  },
  REPORT_CALLS: {
    code: 0x5a,
    args: [
      ['name', 'text'],
      ['outcomes', 'uints'],
    ],
    on: 'socket',
    worker: 'main',
    needs: 'write',
    replies: ['OK'],
    doc: 'What became of calls, four numbers each: outcome (0 succeeded, 1 failed, 2 shows nothing), how many of them, milliseconds since the last of them began, pass of a trial or 0. OK comes after what the breaker made of it has been told to whoever subscribes.',
  },
  TRY_SERVICE: {
    code: 0x5b,
    args: [['name', 'text']],
    on: 'socket',
    worker: 'main',
    needs: 'write',
    replies: ['COUNT'],
    doc: 'Asks for a trial, while a breaker is not closed: the count is the pass to report with, 0 when it is closed again. CIRCUIT_OPEN: not now, not you.',
  },
} as const satisfies Record<string, FrameSpec>

/** Outcomes of calls in REPORT_CALLS. */
export const CALL = { succeeded: 0, failed: 1, spared: 2 } as const
/** Numbers that one call has there, and calls, or runs of them, that a frame may have. */
export const CALL_FIELDS = 4
export const CALLS_COUNT_MAX = 1_024

/** The state of a breaker, as it is told. */
export interface BreakerNews {
  readonly state: 'closed' | 'half-open' | 'open'
  readonly retryAfterMs: number
}

/** What SERVICE answers. */
export interface ServiceFacts extends BreakerNews {
  readonly name: string
  readonly url: string
  readonly timeoutMs: number
  readonly retries: number
  readonly backoffMs: number
  /** Infinity: no hedging; 0: after the 95th percentile. */
  readonly hedgeAfterMs: number
  readonly maxBodyBytes: number
}
