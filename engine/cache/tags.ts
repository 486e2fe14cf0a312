/** tags: tier 1's side of invalidation by tag: a table of counters in the segment, and what an entry has besides its value.
 *  Owns:   the counters; one reusable Extras.   Not here: asking whether an entry is current (segment.ts), tags by name (tier 2).
 *  Thread: main writes; readers in other processes compare.
 *  Holds:  (1) a counter only grows, so an entry that an invalidation has ended is never current again.  (2) two tags may
 *          share a counter: then either ends both's entries here. Never the other way round. */

import { EXTRAS, FLAG, HEADER, type Segment, TAG_COUNT_MAX } from './segment.ts'

export class TagCounters {
  private readonly words: Int32Array
  private readonly base: number
  private readonly mask: number

  constructor(segment: Segment) {
    this.words = segment.words
    this.base = segment.words[HEADER.tagsAt]! >> 2
    this.mask = segment.tagCount - 1
  }

  /** The counter that stands for a tag, by the tag's hash. */
  counterOf(hash: number): number {
    return hash & this.mask
  }

  versionOf(counter: number): number {
    return this.words[this.base + counter]!
  }

  /** Ends every entry with this tag at once, here and in every process that reads the segment. */
  bump(hash: number): void {
    const word = this.base + this.counterOf(hash)
    Atomics.store(this.words, word, (this.words[word]! + 1) | 0)
  }
}

/** What an entry carries besides key, value and expiry. Filled anew for each entry; nothing is allocated. */
export class Extras {
  graceMs = 0
  isAdaptive = false
  tagCount = 0
  /** Counter and version of each tag. */
  private readonly pairs = new Int32Array(TAG_COUNT_MAX * 2)

  reset(): this {
    this.graceMs = 0
    this.isAdaptive = false
    this.tagCount = 0
    return this
  }

  /** Adds a tag as it is now. The caller has checked that there are at most TAG_COUNT_MAX. */
  addTag(counters: TagCounters, hash: number): void {
    const counter = counters.counterOf(hash)
    this.pairs[this.tagCount * 2] = counter
    this.pairs[this.tagCount * 2 + 1] = counters.versionOf(counter)
    this.tagCount++
  }

  get flags(): number {
    return (this.hasBytes ? FLAG.extras : 0) | (this.isAdaptive ? FLAG.adaptive : 0)
  }

  /** What they take behind a value that ends at any offset. */
  get bytes(): number {
    return this.hasBytes ? 7 + EXTRAS.pairsAt + this.tagCount * EXTRAS.pairBytes : 0
  }

  writeTo(words: Int32Array, floats: Float64Array, at: number): void {
    if (!this.hasBytes) return
    floats[(at + EXTRAS.graceAt) >> 3] = this.graceMs
    words[(at + EXTRAS.tagCountAt) >> 2] = this.tagCount
    const pairsAt = (at + EXTRAS.pairsAt) >> 2
    for (let i = 0; i < this.tagCount * 2; i++) words[pairsAt + i] = this.pairs[i]!
  }

  private get hasBytes(): boolean {
    return this.graceMs > 0 || this.tagCount > 0
  }
}
