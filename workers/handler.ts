/** Handler: what a worker's kind (sqlite, postgres) offers to the loop that feeds it.
 *  Owns:   the interface.   Not here: the loop (loop.ts).
 *  Thread: workers.
 *  Holds:  every request frame gets exactly one closing reply: at once, at flush(), or later. */

import type { HearthError } from '../engine/errors.ts'

/** One request from the ring. The object and its bytes are reused: valid only during handle(). */
export interface RequestFrame {
  readonly op: number
  readonly ticket: number
  /** The body is bytes[start, end). */
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
  /** Whose it is: the number of a connection; 0 or none: nobody's. */
  readonly client?: number
}

/** Where replies go. They are queued in the order of these calls; bytes are copied before the call returns. */
export interface Replies {
  reply(op: number, ticket: number, body: Uint8Array, start?: number, end?: number): void
  fail(ticket: number, error: HearthError): void
}

export interface Handler {
  /** Codes of the operations that it answers. */
  readonly ops: readonly number[]
  /** Takes one request, in ring order. */
  handle(frame: RequestFrame, replies: Replies): void
  /** Resolves when it may be given requests; within a second. */
  ready?(): Promise<void>
  /** End of a drain: whatever was gathered is done and answered now (group commit). */
  flush?(replies: Replies): void
  /** Its replies have been published: what follows from the drain and nobody waits for is done now. */
  settle?(): void
  /** There is more to do at the next flush(), which is to follow at once, requests or not. */
  readonly isBusy?: boolean
  /** Nothing has come for a while: housekeeping. Returns how soon it wants the next turn, in milliseconds. */
  idle?(): number
  /** Its figures, for `stats()`. */
  stats(): Record<string, unknown>
  /** What metrics want besides. */
  metrics?(): Record<string, unknown>
  /** Finishes and closes everything. */
  close(): void | Promise<void>
}
