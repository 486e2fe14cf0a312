/** Unflushed: keys that were acknowledged without the disk and that the worker keeps back: if it dies, tier 2 has older values.
 *  Owns:   their hashes, until the worker says that they are written.   Not here: when they are (workers/sqlite/behind.ts).
 *  Thread: main.
 *  Holds:  while any are out, a FLUSH ticket is out on the worker that has them, so its end is told here before anything is asked
 *          of the next one: then they are hidden, until each is written anew. */

import type { HearthError } from '../errors.ts'
import type { Lease, Receiver } from '../pool/lease.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { RingReader } from '../ring/reader.ts'

const EMPTY = Buffer.alloc(0)

export class Unflushed {
  private readonly lease: () => Lease
  private readonly hide: (hash: number) => void
  /** Those that the FLUSH on its way is about, and those that came after it. */
  private covered = new Set<number>()
  private later = new Set<number>()
  private isAsked = false

  constructor(lease: () => Lease, hide: (hash: number) => void) {
    this.lease = lease
    this.hide = hide
  }

  /** A write that may be kept back was sent. */
  add(hash: number): void {
    this.later.add(hash)
    if (!this.isAsked) this.ask()
  }

  private readonly ask = (): void => {
    if (this.later.size === 0) return this.answered()
    this.isAsked = true
    const lease = this.lease()
    if (!lease.isOpen) return this.hideAll()
    const { covered } = this
    this.covered = this.later
    this.later = covered
    if (lease.send(OPS.FLUSH.code, this.receiver as Receiver, undefined, 0, 0, EMPTY, 0, 0)) return
    this.later = this.covered
    this.covered = covered
    // Also called when the worker ends.
    lease.onceRoom(this.ask)
  }

  private answered(): void {
    this.isAsked = false
  }

  private readonly receiver: Receiver<undefined> = {
    receive: (reply: RingReader) => {
      // Those that came after it are still kept, and their own acknowledgement would show them again.
      if (reply.op !== REPLIES.OK.code) this.hideCovered()
      this.covered.clear()
      this.ask()
    },
    fail: (_error: HearthError) => this.hideAll(),
  }

  private hideCovered(): void {
    for (const hash of this.covered) this.hide(hash)
  }

  private hideAll(): void {
    this.isAsked = false
    this.hideCovered()
    for (const hash of this.later) this.hide(hash)
    this.covered.clear()
    this.later.clear()
  }
}
