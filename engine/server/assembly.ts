/** Assembly: how much memory long frames may take while they arrive, over all connections.
 *  Owns:   the budget and who waits for it.   Thread: main.
 *  Holds:  what is taken never exceeds the budget; whoever waits is called in turn when some is given back. */

export class Assembly {
  private readonly bytesMax: number
  private takenBytes = 0
  private waiters: (() => void)[] = []

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  /** Takes a share; false when it is not there, and `retry` is called when it may be. */
  take(bytes: number, retry: () => void): boolean {
    if (this.takenBytes + bytes > this.bytesMax) {
      this.waiters.push(retry)
      return false
    }
    this.takenBytes += bytes
    return true
  }

  giveBack(bytes: number): void {
    if (bytes === 0) return
    this.takenBytes -= bytes
    const waiters = this.waiters
    this.waiters = []
    for (const waiter of waiters) setImmediate(waiter)
  }
}
