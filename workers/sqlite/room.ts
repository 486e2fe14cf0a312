/** Room: keeps main file, WAL and shared memory together within `maxBytes`, by making room before a write needs it.
 *  Owns:   the division of the bound, what is known of free pages, evictions.   Not here: when to checkpoint (upkeep.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) the main file has at most `mainPagesMax` pages once a transaction ends, give or take STEP_PAGES.
 *          (2) eviction takes keys in the order they came: the walk is always at the lowest id, so its rows lie side by
 *          side and their pages come free whole. Expired rows are upkeep's and mostly gone before.
 *
 *  |<------------------------------ maxBytes ------------------------------>|
 *  | main file                                     | WAL, a quarter | shm   |
 *  A value larger than the WAL's share passes through it whole: the bound may be passed by its size until the checkpoint
 *  that follows its commit. That is the only slack. */

import { PAGE_BYTES } from './statements.ts'
import type { SqliteStore } from './store.ts'
import { walBytesOf } from './wal_share.ts'

const MAX_BYTES_LEAST = 1024 * 1024
/** The index of the WAL: 32 KiB for each 4 096 pages in it. */
const SHM_BYTES_PER_WAL_BYTE = 32 / (4_096 * 4)
const SHM_BYTES_LEAST = 64 * 1024
/** A page in the WAL has a header. */
export const FRAME_BYTES = PAGE_BYTES + 24
/** Room is made this many pages at a time. */
const STEP_PAGES = 16
const EVICT_ROWS_MAX = 64
/** Bytes of a row beside its value, the index entry included, and how full B-tree pages are on the average. */
const ROW_BYTES = 64
const PAGE_FILL = 0.6

export class Room {
  readonly walBytesMax: number
  /** A checkpoint is due when the WAL is longer: what is left is room for the next group. */
  readonly walBytesDue: number
  /** Bytes of the WAL in use, as of the last commit or checkpoint. */
  walBytesUsed = 0
  readonly mainPagesMax: number
  /** Values above this do not fit beside what a write needs. */
  readonly valueBytesMax: number
  evictions = 0
  /** A checkpoint cannot catch up with the WAL, which has grown past the whole bound: no writes until it does. */
  walStuck = false
  /** Told how many of the oldest rows are about to go. */
  beforeEviction: (rows: number) => void = () => undefined

  private readonly store: SqliteStore
  /** Pages that may still be used before the next look; 0 after anything that could have changed them. */
  private leftPages = 0
  /** Of the main file, when the transaction began. */
  private knownPages = 0
  private evictRows = EVICT_ROWS_MAX

  constructor(store: SqliteStore) {
    this.store = store
    const maxBytes = Math.max(store.maxBytes, MAX_BYTES_LEAST)
    this.walBytesMax = walBytesOf(maxBytes)
    this.walBytesDue = this.walBytesMax * 0.75
    const shmBytes = Math.max(SHM_BYTES_LEAST, this.walBytesMax * SHM_BYTES_PER_WAL_BYTE * 2)
    const mainBytes = maxBytes - this.walBytesMax - shmBytes
    this.mainPagesMax = Math.floor(mainBytes / PAGE_BYTES) - STEP_PAGES
    this.valueBytesMax = Math.floor(this.mainPagesMax * PAGE_BYTES * 0.75)
  }

  /** What a transaction of `rows` writes with `valueBytes` together may add to the WAL: a leaf and an index page a row,
   *  though no page twice, and the pages that its values fill. */
  walBytes(rows: number, valueBytes: number): number {
    const touchedPages = Math.min(rows * 2, this.knownPages)
    return (touchedPages + valueBytes / (PAGE_BYTES * PAGE_FILL)) * FRAME_BYTES
  }

  /** Call at the beginning of a transaction. */
  look(): void {
    this.knownPages = this.pageCount()
  }

  /** Call before a write, inside its transaction: evicts until its pages are free. */
  reserve(keyBytes: number, valueBytes: number): void {
    const bytes = valueBytes + keyBytes * 2 + ROW_BYTES
    const pages =
      bytes > PAGE_BYTES
        ? Math.ceil(bytes / (PAGE_BYTES - 4)) + 2
        : bytes / (PAGE_BYTES * PAGE_FILL)
    if (pages > this.leftPages) this.makeRoom(Math.ceil(pages) + STEP_PAGES)
    this.leftPages -= pages
  }

  /** The main file is larger than it may be, as after `maxBytes` was lowered. */
  oversizePages(): number {
    return this.pageCount() - this.mainPagesMax
  }

  freePages(): number {
    return this.store.statements!.freeCount.get()![0]
  }

  pageCount(): number {
    return this.store.statements!.pageCount.get()![0]
  }

  /** Forgets what it knew: a transaction was rolled back, or pages were given back to the disk. */
  reset(): void {
    this.leftPages = 0
  }

  /** Evicts one run of the oldest keys; false when there are none. */
  evictRun(): boolean {
    this.beforeEviction(this.evictRows)
    const { changes } = this.store.statements!.evict.run(this.evictRows)
    // A deletion that cascades counts its parts nowhere: `changes` is rows of entries.
    this.evictions += changes
    return changes > 0
  }

  private makeRoom(neededPages: number): void {
    const growPages = Math.max(0, this.mainPagesMax - this.pageCount())
    let freePages = this.freePages()
    while (growPages + freePages < neededPages && this.evictRun()) {
      const before = freePages
      freePages = this.freePages()
      // Small runs for large values, large ones for small: as near as possible to what is needed.
      if (freePages - before > STEP_PAGES) this.evictRows = Math.max(1, this.evictRows >> 1)
      else this.evictRows = Math.min(EVICT_ROWS_MAX, this.evictRows << 1)
    }
    this.leftPages = growPages + freePages
  }
}
