/** Accounts: what the clients of one user (uid) have in flight and subscribed to together, where their role has a quota of it.
 *  Owns:   one account a uid that has a connection, and who of them waits for room.
 *  Thread: main.
 *  Holds:  (1) a user's requests in flight never exceed its quota by more than one; who would is not read until there is room:
 *          what a pooler's clients expect, waiting and not an error.  (2) without a quota nothing is counted. */

import type { Access } from './access.ts'

/** What an account sums up: a connection's ReplyWriter. */
export interface Counted {
  readonly inflight: number
  readonly subscriptions: number
  readonly subscribers: { readonly size: number } | undefined
}

export class Accounts {
  private readonly byUid = new Map<number, Account>()

  /** The account that a connection of this user counts in. */
  join(uid: number, connection: Counted): Account {
    let account = this.byUid.get(uid)
    if (account === undefined) {
      account = new Account(uid, () => this.byUid.delete(uid))
      this.byUid.set(uid, account)
    }
    account.connections.add(connection)
    return account
  }
}

export class Account {
  readonly uid: number
  readonly connections = new Set<Counted>()
  private readonly onEmpty: () => void
  private waiting = new Set<() => void>()

  constructor(uid: number, onEmpty: () => void) {
    this.uid = uid
    this.onEmpty = onEmpty
  }

  leave(connection: Counted): void {
    this.connections.delete(connection)
    this.released()
    if (this.connections.size === 0) this.onEmpty()
  }

  /** False: as much is in flight as may be, and `resume` is called when that may have changed. */
  hasRoom(access: Access, resume: () => void): boolean {
    const { inflight } = access.quotas
    if (inflight === Infinity) return true
    let sum = 0
    for (const connection of this.connections) sum += connection.inflight
    if (sum < inflight) return true
    this.waiting.add(resume)
    return false
  }

  /** Something has been answered, or has ended. */
  released(): void {
    if (this.waiting.size === 0) return
    const { waiting } = this
    this.waiting = new Set()
    for (const resume of waiting) setImmediate(resume)
  }

  /** Throws BUSY when one more subscription would be too many. */
  checkSubscriptions(access: Access): void {
    const { subscriptions } = access.quotas
    if (subscriptions === Infinity) return
    let sum = 0
    for (const each of this.connections) sum += each.subscriptions + (each.subscribers?.size ?? 0)
    if (sum >= subscriptions) throw access.overQuota('subscriptions', subscriptions)
  }
}
