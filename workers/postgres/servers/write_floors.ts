/** WriteFloors: how far a replica must be for each client to find its own writes there.
 *  Owns:   a bounded table of clients.   Not here: asking the primary (floor_clock.ts), choosing (server_choice.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) a client's floor is at or behind the end of its last write before that is answered: until its position is known the
 *          floor is Infinity, which only the primary satisfies.  (2) to forget a client is never wrong: its floor becomes that of
 *          all forgotten ones.  (3) a worker that has just started knows of no writes, and takes them all for recent. */

export const CLIENT_COUNT_MAX = 4_096
/** Nobody said whose write it was: it is taken for everybody's. */
const ANYBODY = 0

export class WriteFloors {
  /** By client; the one that wrote longest ago first. */
  private readonly floors = new Map<number, number>()
  /** Those that wrote since the position was last asked for, and those for whom it is being asked. */
  private unasked = new Set<number>()
  private asked = new Set<number>()
  private forgotten = Number.POSITIVE_INFINITY
  /** A client was forgotten whose position nobody has asked for since. */
  private isForgottenUnasked = false

  of(client: number): number {
    const own = this.floors.get(client) ?? this.forgotten
    return Math.max(own, this.floors.get(ANYBODY) ?? 0)
  }

  /** The client's write is over, or may be: called before it is told. */
  wrote(client: number): void {
    this.floors.delete(client)
    this.floors.set(client, Number.POSITIVE_INFINITY)
    this.unasked.add(client)
    if (this.floors.size > CLIENT_COUNT_MAX) this.forgetOldest()
  }

  get isWanted(): boolean {
    return this.unasked.size > 0 || this.forgotten === Number.POSITIVE_INFINITY
  }

  /** The primary is being asked now: its answer is behind every write noted so far. */
  asking(): void {
    this.asked = this.unasked
    this.unasked = new Set()
    this.isForgottenUnasked = false
  }

  answered(lsn: number): void {
    for (const client of this.asked)
      if (!this.unasked.has(client) && this.floors.has(client)) this.floors.set(client, lsn)
    this.asked = new Set()
    if (this.forgotten === Number.POSITIVE_INFINITY && !this.isForgottenUnasked)
      this.forgotten = lsn
  }

  /** No answer: to be asked again. */
  failed(): void {
    for (const client of this.asked) if (this.floors.has(client)) this.unasked.add(client)
    this.asked = new Set()
  }

  private forgetOldest(): void {
    for (const [client, floor] of this.floors) {
      this.floors.delete(client)
      this.unasked.delete(client)
      this.asked.delete(client)
      this.forgotten = Math.max(this.forgotten, floor)
      this.isForgottenUnasked ||= floor === Number.POSITIVE_INFINITY
      return
    }
  }
}
