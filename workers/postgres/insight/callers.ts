/** Callers: who is behind the numbers of clients, by name and user.
 *  Owns:   both tables.   Thread: postgres worker.
 *  Holds:  (1) two connections of one service are one caller.  (2) at most CALLER_COUNT_MAX are told apart; those who come later, and
 *          those whom nobody introduced, are number 0: 'others'. */

const CALLER_COUNT_MAX = 256
/** Connections that are remembered: the oldest half goes. */
const CLIENT_COUNT_MAX = 1_024

export class Callers {
  private readonly names: string[] = ['others']
  private readonly byName = new Map<string, number>()
  private readonly byClient = new Map<number, number>()
  private lastClient = -1
  private lastCaller = 0

  /** Main says who has the number. */
  introduce(client: number, name: string): void {
    if (this.byClient.size >= CLIENT_COUNT_MAX) this.forgetOldest()
    this.byClient.set(client, this.idOf(name))
    this.lastClient = -1
  }

  of(client: number): number {
    if (client === this.lastClient) return this.lastCaller
    this.lastClient = client
    this.lastCaller = this.byClient.get(client) ?? 0
    return this.lastCaller
  }

  nameOf(caller: number): string {
    return this.names[caller] ?? 'others'
  }

  /** The number of a caller's name. */
  idOf(name: string): number {
    const known = this.byName.get(name)
    if (known !== undefined) return known
    if (this.names.length >= CALLER_COUNT_MAX) return 0
    const caller = this.names.push(name) - 1
    this.byName.set(name, caller)
    return caller
  }

  private forgetOldest(): void {
    let left = CLIENT_COUNT_MAX / 2
    for (const client of this.byClient.keys()) {
      if (left-- === 0) return
      this.byClient.delete(client)
    }
  }
}
