/** IndexTable: from a key to its entry, by open addressing with linear probing, in the segment's slots.
 *  Owns:   every slot.   Not here: the entries' bytes (memory.ts).
 *  Thread: main; readers in other processes probe the same slots by the rule in segment.ts.
 *  Holds:  (1) an entry stands in the first free slot from its home on, with no empty slot between: removing shifts later
 *          ones back.  (2) at most 3/4 of the slots are taken.  (3) open() makes a slot's sequence odd and close() even
 *          again; every change of a slot or of its entry happens between the two. */

import { ENTRY, type Segment, SLOT } from './segment.ts'

export class IndexTable {
  count = 0
  readonly countMax: number
  private readonly words: Int32Array
  private readonly bytes: Buffer
  private readonly base: number
  private readonly mask: number

  constructor(segment: Segment) {
    this.words = segment.words
    this.bytes = segment.bytes
    this.base = segment.slotsAt >> 2
    this.mask = segment.slotCount - 1
    this.countMax = (segment.slotCount / 4) * 3
  }

  /** The slot of a key, or -1. The key is the bytes from `start` to `end`, and `hash` its hash. */
  find(hash: number, key: Uint8Array, start: number, end: number): number {
    for (let slot = hash & this.mask; ; slot = (slot + 1) & this.mask) {
      const word = this.wordOf(slot)
      const entry = this.words[word + 2]! << 3
      if (entry === 0) return -1
      if (this.words[word + 1] === hash && this.isKey(entry, key, start, end)) return slot
    }
  }

  /** The slot of some entry with this hash, or -1: for removing whatever may be that key. */
  findHash(hash: number): number {
    for (let slot = hash & this.mask; ; slot = (slot + 1) & this.mask) {
      const word = this.wordOf(slot)
      if (this.words[word + 2] === 0) return -1
      if (this.words[word + 1] === hash) return slot
    }
  }

  entryOf(slot: number): number {
    return this.words[this.wordOf(slot) + 2]! << 3
  }

  hashOf(slot: number): number {
    return this.words[this.wordOf(slot) + 1]!
  }

  /** Before a slot or its entry is changed. Readers that look now see an odd sequence: a miss. */
  open(slot: number): void {
    const word = this.wordOf(slot)
    Atomics.store(this.words, word, (this.words[word]! + 1) | 0)
    // On ARM a plain store may overtake an atomic store before it, but not an atomic load before it: this load is the fence
    // that keeps the change behind the odd sequence.
    Atomics.load(this.words, word)
  }

  /** After the change. Pairs with the reader's second load: what was written before is visible with the new sequence. */
  close(slot: number): void {
    this.open(slot)
  }

  /** Puts a new entry in, open: the caller fills the entry, then calls close(). There is room: count < countMax. */
  insertOpen(hash: number, entry: number): number {
    let slot = hash & this.mask
    while (this.entryOf(slot) !== 0) slot = (slot + 1) & this.mask
    this.open(slot)
    this.put(slot, hash, entry)
    this.count++
    return slot
  }

  /** Takes a slot out, and shifts back those behind it that may come nearer to their home. After it no reader can find the
   *  entry, and one that had found it before fails its second load. */
  remove(slot: number): void {
    this.count--
    let hole = slot
    this.open(hole)
    for (let next = (hole + 1) & this.mask; ; next = (next + 1) & this.mask) {
      const entry = this.entryOf(next)
      if (entry === 0) break
      const hash = this.words[this.wordOf(next) + 1]!
      const home = hash & this.mask
      // `next` may move into the hole only if its home is not between the two.
      if (((next - home) & this.mask) < ((next - hole) & this.mask)) continue
      this.open(next)
      this.put(hole, hash, entry)
      this.close(hole)
      hole = next
    }
    this.words[this.wordOf(hole) + 2] = 0
    this.close(hole)
  }

  private put(slot: number, hash: number, entry: number): void {
    const word = this.wordOf(slot)
    this.words[word + 1] = hash
    this.words[word + 2] = entry >> 3
    this.words[(entry + ENTRY.slotAt) >> 2] = slot
  }

  private wordOf(slot: number): number {
    return this.base + slot * (SLOT.bytes >> 2)
  }

  private isKey(entry: number, key: Uint8Array, start: number, end: number): boolean {
    if (this.words[(entry + ENTRY.keyBytesAt) >> 2] !== end - start) return false
    const at = entry + ENTRY.keyAt - start
    for (let i = start; i < end; i++) if (this.bytes[at + i] !== key[i]) return false
    return true
  }
}
