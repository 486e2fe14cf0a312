/** FairShare: how much one connection may take of the engine while others want it too.
 *  Owns:   whose turn it is, and until when the engine counts as shared.   Not here: reading and holding (session.ts).
 *  Thread: main.
 *  Holds:  (1) a connection that is alone is not held back by anything here.  (2) while others ask, a turn takes a bounded number of
 *          its requests, and a bounded number of them are unanswered: so what others wait behind in any queue is bounded.
 *
 *  Workers answer in the order of their ring, so what one connection has in flight is what all the others wait for. */

import {
  SESSION_INFLIGHT_COUNT_MAX,
  SHARED_INFLIGHT_COUNT_MAX,
  SHARED_MS,
  SHARED_TURN_COUNT_MAX,
} from '../limits.ts'

export class FairShare {
  private last: object | undefined
  private sharedUntilMs = 0
  private isShared = false
  private left = 0

  /** A connection's requests are about to be taken; `nowMs` on the monotonic clock. */
  turnBegins(session: object, nowMs: number): void {
    if (session !== this.last) {
      if (this.last !== undefined) this.sharedUntilMs = nowMs + SHARED_MS
      this.last = session
    }
    this.isShared = nowMs < this.sharedUntilMs
    this.left = SHARED_TURN_COUNT_MAX
  }

  /** One more request of this turn: false when others come first. */
  takes(): boolean {
    return !this.isShared || this.left-- > 0
  }

  /** Unanswered requests that a connection may have now. */
  get inflightMax(): number {
    return this.isShared ? SHARED_INFLIGHT_COUNT_MAX : SESSION_INFLIGHT_COUNT_MAX
  }

  /** A connection is gone. */
  ended(session: object): void {
    if (this.last === session) this.last = undefined
  }
}
