/** WalHistory: how far the primary was at which time, by which a replica's lag is told in milliseconds.
 *  Owns:   a bounded list of (time, position).   Thread: postgres worker.
 *  Holds:  (1) no server's clock is asked, and an idle primary makes no lag: what counts is how long ago the primary first had what
 *          the replica does not.  (2) positions and times both grow along the list. */

const SAMPLE_COUNT_MAX = 256
/** Closer ones tell nothing more about limits of seconds. */
const SAMPLE_MS_MIN = 100

export class WalHistory {
  private readonly times: number[] = []
  private readonly positions: number[] = []

  /** The primary was there at that time. */
  note(lsn: number, atMs: number): void {
    const last = this.positions.length - 1
    if (last >= 0 && (lsn <= this.positions[last]! || atMs - this.times[last]! < SAMPLE_MS_MIN))
      return
    this.times.push(atMs)
    this.positions.push(lsn)
    if (this.times.length > SAMPLE_COUNT_MAX) this.thin()
  }

  /** How long a replica that is at `lsn` at `atMs` has been behind. */
  lagMs(lsn: number, atMs: number): number {
    let i = this.positions.length
    while (i > 0 && this.positions[i - 1]! > lsn) i--
    return i === this.positions.length ? 0 : Math.max(0, atMs - this.times[i]!)
  }

  /** Another primary: what the old one had beyond it is nobody's. */
  clear(): void {
    this.times.length = 0
    this.positions.length = 0
  }

  /** Of each two samples of the older half one is left: the earlier time with the later position, so that lag is never made less. */
  private thin(): void {
    const { times, positions } = this
    const half = SAMPLE_COUNT_MAX / 2
    const pairs = Array.from({ length: half / 2 }, (_, i) => i * 2)
    times.splice(0, half, ...pairs.map(i => times[i]!))
    positions.splice(0, half, ...pairs.map(i => positions[i + 1]!))
  }
}
