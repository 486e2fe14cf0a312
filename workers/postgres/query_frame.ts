/** QueryFrame: a statement as it was asked for.
 *  Owns:   nothing.   Thread: postgres worker.   Holds: its bytes are the ring's, and gone after the call. */

/** One request, its parameters still in the frame it came in: bytes[start, end) are valid only during the call. */
export interface QueryFrame {
  readonly ticket: number
  readonly sql: string
  /** From now, the wait for a connection included. 0: the pool's statement timeout. */
  readonly timeoutMs: number
  /** As in the frame, see PRIORITY; left out: normal. */
  readonly priority?: number
  readonly correlationId: string
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
  /** Whose it is; 0 or none: nobody's. */
  readonly client?: number
  /** Its result is for others too: nothing that was written before may be missing in it. */
  readonly isFresh?: boolean
}
