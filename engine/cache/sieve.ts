/** Sieve: which entry goes when room is needed. A hit only sets a mark, so readers in other processes can take part.
 *  Owns:   the list through all entries (older, newer) and the hand.
 *  Thread: main.
 *  Holds:  (1) every entry is in the list once, in order of arrival.  (2) the hand moves from old to new, clearing marks, and
 *          stops at the first entry without one.
 *  Source: Y. Zhang, J. Yang et al., "SIEVE is Simpler than LRU", NSDI 2024. */

import { ENTRY, type Segment } from './segment.ts'
import { counted, USE } from './use.ts'

export class Sieve {
  private readonly words: Int32Array
  private oldest = 0
  private newest = 0
  private hand = 0

  constructor(segment: Segment) {
    this.words = segment.words
  }

  /** Adds an entry as the newest, unmarked; `use` is what is known of its use (use.ts). */
  insert(entry: number, use = 0): void {
    this.set(entry, ENTRY.olderAt, this.newest)
    this.set(entry, ENTRY.newerAt, 0)
    this.set(entry, ENTRY.visitedAt, use & ~USE.visited)
    if (this.newest !== 0) this.set(this.newest, ENTRY.newerAt, entry)
    else this.oldest = entry
    this.newest = entry
  }

  /** It was read. */
  mark(entry: number): void {
    this.set(entry, ENTRY.visitedAt, counted(this.get(entry, ENTRY.visitedAt)))
  }

  /** It is in use, though this was no read. */
  keep(entry: number): void {
    this.set(entry, ENTRY.visitedAt, this.get(entry, ENTRY.visitedAt) | USE.visited)
  }

  useOf(entry: number): number {
    return this.get(entry, ENTRY.visitedAt)
  }

  remove(entry: number): void {
    const older = this.get(entry, ENTRY.olderAt)
    const newer = this.get(entry, ENTRY.newerAt)
    if (this.hand === entry) this.hand = newer
    if (older !== 0) this.set(older, ENTRY.newerAt, newer)
    else this.oldest = newer
    if (newer !== 0) this.set(newer, ENTRY.olderAt, older)
    else this.newest = older
  }

  /** The entry that is to go, or 0 when there is none. The caller removes it. */
  victim(): number {
    let entry = this.hand !== 0 ? this.hand : this.oldest
    // Each pass clears marks, so this ends within two rounds of the list.
    while (entry !== 0 && (this.useOf(entry) & USE.visited) !== 0) {
      this.set(entry, ENTRY.visitedAt, this.useOf(entry) & ~USE.visited)
      entry = this.get(entry, ENTRY.newerAt) || this.oldest
    }
    this.hand = entry
    return entry
  }

  oldestEntry(): number {
    return this.oldest
  }

  newerThan(entry: number): number {
    return this.get(entry, ENTRY.newerAt)
  }

  private get(entry: number, at: number): number {
    return this.words[(entry + at) >> 2]!
  }

  private set(entry: number, at: number, value: number): void {
    this.words[(entry + at) >> 2] = value
  }
}
