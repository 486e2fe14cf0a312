/** Lists: a pool's connections by state. The list that holds a connection is its state.
 *  Owns:   the lists.   Not here: why something moves (pool.ts).
 *  Thread: postgres worker.
 *  Holds:  a connection is in one list or, closed, in none; only the moves drawn here happen.
 *
 *               opened            lent              ping, reset, or a cancel to be waited out
 *      (dial) ─────────▶ idle ──────────▶ busy ──────────────▶ mending
 *                         ▲ │◀──────────────┘ given back         │
 *                         │ └──────────▶ mending (pre-ping)      │
 *                         └──────────────────────────────────────┘      any ──▶ closed */

import { assert } from '../../engine/assert.ts'
import type { Connection } from './connection.ts'
import type { CloseReason } from './database.ts'
import type { Borrower } from './queue.ts'

export type State = 'idle' | 'busy' | 'mending'

/** A connection with what the pool knows of it. */
export interface Member {
  readonly connection: Connection
  /** When it is old enough to be replaced. */
  readonly expiresAtMs: number
  idleSinceMs: number
  /** While busy: who has it; undefined once that one was told to go on without it. */
  borrower: Borrower | undefined
  /** While busy: when the statement that is out is cancelled or, when none is, its borrower told. */
  untilMs: number
  /** While busy: when its statement was cancelled, 0 if it was not. While mending: until when it may take. */
  sinceMs: number
  /** Whoever has it next must not find what was done to it: it is reset when it is given back. */
  isDirty: boolean
  /** A cancellation was sent, and may still arrive: it is tried before it is lent again. */
  wasCancelled: boolean
  /** Why it is being closed, when that was our decision. */
  closeReason: CloseReason
}

const MOVES: Record<State, readonly State[]> = {
  idle: ['busy', 'mending'],
  busy: ['idle', 'mending'],
  mending: ['idle'],
}

export class Lists {
  /** The one used last is last, and taken first: few connections stay warm, the others time out. */
  readonly idle: Member[] = []
  readonly busy: Member[] = []
  readonly mending: Member[] = []

  get count(): number {
    return this.idle.length + this.busy.length + this.mending.length
  }

  add(member: Member): void {
    this.idle.push(member)
  }

  move(member: Member, from: State, to: State): void {
    assert(MOVES[from].includes(to), `no connection goes from ${from} to ${to}`)
    this.remove(member, from)
    this[to].push(member)
  }

  remove(member: Member, from: State): void {
    const list = this[from]
    const index = list.lastIndexOf(member)
    assert(index >= 0, `the connection was not ${from}`)
    list.splice(index, 1)
  }

  /** The schema has changed: whoever borrows a connection from now on, or has one, prepares its statements anew. */
  outdate(): void {
    for (const member of [...this.idle, ...this.busy, ...this.mending]) {
      member.connection.prepared.outdate()
      member.isDirty = true // the old plans go when it is given back
    }
  }

  stateOf(member: Member): State | undefined {
    if (this.idle.includes(member)) return 'idle'
    if (this.busy.includes(member)) return 'busy'
    return this.mending.includes(member) ? 'mending' : undefined
  }
}
