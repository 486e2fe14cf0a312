/** WalPace: how long the log may get before it is checkpointed: so short that nobody waits long for it, long enough to be worth it.
 *  Owns:   the length, which follows how long checkpoints take here.
 *  Thread: the sqlite worker.
 *  Holds:  between LEAST_BYTES and the most given.
 *
 *  A checkpoint takes longer the more pages it has to copy, and a get waits for all of it. Short logs cost puts: a page that is
 *  written often is copied more often, and a slow disk is waited for more often. So the log is kept short while checkpoints have a
 *  small share of the time, which is while there is time to spare, and gets long under a load that they hold up:
 *
 *    a checkpoint took        less than a small share        more than a large share
 *    < SHORT_MS               half as long again             half as long again
 *    < LONG_MS                as it is                       half as long again
 *    longer                   half as long                   half as long again
 *
 *  Tried on 200 000 keys written over at random, which is the worst, with all the puts that go: always 12 MiB holds gets up for 17 ms
 *  (24 before wal_file.ts), 6 MiB for 10, 3 MiB for 6 with a tenth fewer puts, 1 MiB for 3 with a third fewer. A bound on the time
 *  under such a load too (8 ms, down to 6 MiB) cost puts on a disk that was busy with others, where short logs take as long. */

const SHORT_MS = 1
/** Long enough for a get to notice. */
const LONG_MS = 3
/** Of the time since the last checkpoint. */
const SMALL_SHARE = 0.06
const LARGE_SHARE = 0.12
const GROWTH = 1.5
const LEAST_BYTES = 1024 * 1024
const FIRST_BYTES = 3 * 1024 * 1024

export class WalPace {
  dueBytes: number
  readonly leastBytes: number
  private readonly mostBytes: number
  private lastMs = 0

  constructor(mostBytes: number) {
    this.mostBytes = mostBytes
    this.leastBytes = Math.min(LEAST_BYTES, mostBytes)
    this.dueBytes = Math.min(FIRST_BYTES, mostBytes)
  }

  /** A checkpoint that was due took so long, and began at a time. */
  took(ms: number, startMs: number): void {
    const share = ms / Math.max(ms, startMs + ms - this.lastMs)
    this.lastMs = startMs + ms
    if (ms < SHORT_MS || share > LARGE_SHARE) this.become(this.dueBytes * GROWTH)
    else if (ms > LONG_MS && share < SMALL_SHARE) this.become(this.dueBytes / 2)
  }

  private become(bytes: number): void {
    this.dueBytes = Math.min(this.mostBytes, Math.max(this.leastBytes, bytes))
  }
}
