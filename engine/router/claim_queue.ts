/** ClaimQueue: what each connection holds and waits for, so that its end is settled without a search.
 *  Owns:   the lists by connection, the count of all who wait.   Not here: what a claim is (claims.ts).
 *  Thread: main.
 *  Holds:  a connection that neither holds nor waits is not in it. */

import type { ReplyWriter } from './reply.ts'

export interface Party<Claim, Waiter> {
  readonly held: Set<Claim>
  readonly waiting: Set<Waiter>
}

export class ClaimQueue<Claim, Waiter> {
  waiterCount = 0
  private readonly parties = new Map<ReplyWriter, Party<Claim, Waiter>>()

  hold(replies: ReplyWriter, claim: Claim): void {
    this.of(replies).held.add(claim)
  }

  letGo(replies: ReplyWriter, claim: Claim): void {
    const party = this.parties.get(replies)
    if (party?.held.delete(claim)) this.tidy(replies, party)
  }

  wait(replies: ReplyWriter, waiter: Waiter): void {
    this.of(replies).waiting.add(waiter)
    this.waiterCount++
  }

  forget(replies: ReplyWriter, waiter: Waiter): void {
    const party = this.parties.get(replies)
    if (!party?.waiting.delete(waiter)) return
    this.waiterCount--
    this.tidy(replies, party)
  }

  /** Takes a connection out; what it held and waited for. */
  leave(replies: ReplyWriter): Party<Claim, Waiter> | undefined {
    const party = this.parties.get(replies)
    if (party === undefined) return undefined
    this.parties.delete(replies)
    this.waiterCount -= party.waiting.size
    return party
  }

  /** How many it holds and waits for. */
  countOf(replies: ReplyWriter): number {
    const party = this.parties.get(replies)
    return party === undefined ? 0 : party.held.size + party.waiting.size
  }

  private of(replies: ReplyWriter): Party<Claim, Waiter> {
    let party = this.parties.get(replies)
    if (party === undefined) {
      party = { held: new Set(), waiting: new Set() }
      this.parties.set(replies, party)
    }
    return party
  }

  private tidy(replies: ReplyWriter, { held, waiting }: Party<Claim, Waiter>): void {
    if (held.size + waiting.size === 0) this.parties.delete(replies)
  }
}
