/** Handles: what one connection has open at the postgres worker: transactions, streams, COPYs.
 *  Owns:   the handles, each with the lease on the worker that gave it out.   Not here: what they stand for (workers/postgres).
 *  Thread: main.
 *  Holds:  (1) a handle is of use to its own connection alone.  (2) handles die with their worker.  (3) at most
 *          HANDLE_COUNT_MAX a connection, those included that ended by themselves and were not closed. */

import { HearthError } from '../errors.ts'
import { HANDLE_COUNT_MAX } from '../limits.ts'
import type { Lease } from '../pool/lease.ts'

export class Handles {
  private readonly leases = new Map<number, Lease>()

  get count(): number {
    return this.leases.size
  }

  /** Throws BUSY when one more would be too many. */
  checkRoom(): void {
    if (this.leases.size < HANDLE_COUNT_MAX) return
    throw new HearthError(
      'BUSY',
      `this connection has ${HANDLE_COUNT_MAX} transactions, streams and COPYs open already; close some`,
    )
  }

  add(handle: number, lease: Lease): void {
    this.leases.set(handle, lease)
  }

  delete(handle: number): void {
    this.leases.delete(handle)
  }

  /** The lease that a handle is used on. Throws BAD_REQUEST for one that this connection does not have, UNAVAILABLE for one
   *  whose worker died. */
  leaseOf(handle: number): Lease {
    const lease = this.leases.get(handle)
    if (lease === undefined) {
      throw new HearthError(
        'BAD_REQUEST',
        `this connection has nothing open under the handle ${handle}: it was closed, or another connection opened it`,
      )
    }
    if (lease.isOpen) return lease
    this.leases.delete(handle)
    throw new HearthError(
      'UNAVAILABLE',
      'the postgres worker died; the transaction was rolled back by the server, nothing of it stands',
    )
  }

  /** Forgets all; each is handed on first. */
  clear(each: (handle: number, lease: Lease) => void): void {
    for (const [handle, lease] of this.leases) each(handle, lease)
    this.leases.clear()
  }
}
