/** session_context: what a session stands on: the connection under it, and what all sessions share.
 *  Owns:   the types.   Not here: the session (session.ts), what fills them in (main.ts).
 *  Thread: main.   Holds: nothing; shapes. */

import type { Access } from '../guard/access.ts'
import type { Account } from '../guard/accounts.ts'
import type { Outlet } from '../protocol/frame_writer.ts'
import type { ReplyWriter } from '../router/reply.ts'
import type { RequestMeter } from '../router/request_meter.ts'
import type { Router } from '../router/router.ts'
import type { Assembly } from './assembly.ts'
import type { FairShare } from './fair_share.ts'
import type { Peer } from './peer.ts'
import type { Session } from './session.ts'

/** The connection under a session: a Unix socket, or a client in this very process. */
export interface Wire extends Outlet {
  unsentBytes(): number
  pauseReads(): void
  resumeReads(): void
  /** Sends what is queued, then closes. */
  close(): void
  /** Closes at once; what is queued is dropped. */
  destroy(): void
}

/** What all sessions share. */
export interface SessionContext {
  readonly router: Router
  readonly assembly: Assembly
  readonly meter: RequestMeter
  readonly share: FairShare
  /** The sessions of clients in this process. */
  readonly locals: Set<Session>
  /** The longest body that an operation may have. */
  bodyBytesMax(op: number): number
  /** Ends a turn: replies are written out, and requests published to the workers. */
  afterTurn(): void
  /** What GREETING tells a client. */
  greeting(access: Access): Record<string, unknown>
  /** A page for a client that reads tier 1 in place; undefined when it may not or cannot. */
  attach(peer: Peer, access: Access): AttachedPage | undefined
  /** What a peer may do, as configured now. */
  accessOf(peer: Peer): Access
  /** The account of a peer's user, with this connection in it. */
  accountOf(peer: Peer, replies: ReplyWriter): Account
}

/** Where a client reports what it has read in place, as long as its session lasts. */
export interface AttachedPage {
  readonly path: string
  readonly bytes: number
  release(): void
}
