/** RingFrame: a request that main writes for a worker: in place in the ring, or as a message of its own when it is long.
 *  Owns:   the place of the frame that is being written.   Not here: what stands in it.
 *  Thread: main; one at a time.
 *  Holds:  begin() finds room or changes nothing; what it promised, send() takes. */

import type { Lease, Receiver } from '../pool/lease.ts'

export class RingFrame {
  /** The body goes here, from `at` on. */
  target: Buffer = EMPTY
  at = 0
  private lease: Lease | undefined
  private isInPlace = false

  /** Room for a body of up to so many bytes; false when there is none now. */
  begin(lease: Lease, bodyBytesMax: number): boolean {
    this.lease = lease
    this.isInPlace = lease.fitsInPlace(bodyBytesMax)
    if (this.isInPlace) {
      this.at = lease.reserve(bodyBytesMax)
      this.target = lease.target
      return this.at >= 0
    }
    if (!lease.hasRoomForLong(bodyBytesMax)) return false
    this.at = 0
    this.target = Buffer.allocUnsafeSlow(bodyBytesMax)
    return true
  }

  /** Sends the body that reaches to `end` in `target`. */
  send<Context>(
    op: number,
    end: number,
    receiver: Receiver<Context>,
    context: Context,
    id: number,
    hash: number,
  ): void {
    const lease = this.lease!
    const known = receiver as Receiver
    if (this.isInPlace) lease.commit(this.at, op, end - this.at, known, context, id, hash)
    else lease.sendLong(op, known, context, id, hash, this.target.subarray(0, end))
    this.target = EMPTY
  }
}

const EMPTY = Buffer.alloc(0)
