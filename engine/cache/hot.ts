/** HotEntries: which entries of tier 1 were read most, found by walks over all of them.
 *  Owns:   the choice; the mark on entries that the list written last has.   Not here: writing the list (router/hot_list.ts).
 *  Thread: main.
 *  Holds:  (1) a walk goes on a few hundred entries at a time, and its caller may wait as long as it likes between: entries come
 *          and go.  (2) at most HOT_COUNT_MAX are chosen, those read most by their levels (how many bits the count has); which
 *          of one level is chance.  (3) counts are halved by the hour, never down to none: what was read most is meant of late. */

import { HOT_COUNT_MAX } from '../limits.ts'
import type { Memory, Scan } from './memory.ts'
import { ENTRY, type Segment } from './segment.ts'
import { readsIn, USE, withReads } from './use.ts'

/** Entries looked at before others have their turn: 50 µs or so. */
const STEP_COUNT = 512
const LEVEL_COUNT = 32

/** What is to be listed: all of the levels from `level` on, and so many of the one below. */
export interface HotChoice {
  readonly level: number
  readonly below: number
  readonly count: number
  /** Of these, how many the list written last does not have; and how many of it are not among these. */
  readonly changes: number
}

export class HotEntries {
  private readonly memory: Memory
  private readonly words: Int32Array
  /** Entries that the list written last has, as it was written. */
  private listedCount = 0
  /** Of entries that have a list of their own: these are not chosen. */
  isApart: (entry: number) => boolean = () => false
  private isFileKnown = true
  private readonly counts = new Int32Array(LEVEL_COUNT)
  private readonly listed = new Int32Array(LEVEL_COUNT)

  constructor(segment: Segment, memory: Memory) {
    this.memory = memory
    this.words = segment.words
  }

  /** Chooses; `isHourOver`: halves the counts on the way. `turn` is awaited between steps: it lets others have their turn.
   *  `apart` is told of each entry that is not chosen because it isApart, with its reads. */
  async choose(
    isHourOver: boolean,
    turn: () => Promise<void>,
    apart?: (entry: number, reads: number) => void,
  ): Promise<HotChoice> {
    const { counts, listed } = this
    this.memory.collect()
    counts.fill(0)
    listed.fill(0)
    await this.walk(turn, entry => {
      const use = this.useOf(entry)
      let reads = readsIn(use)
      if (reads === 0) return
      if (isHourOver) {
        reads = Math.max(1, reads >> 1)
        this.setUse(entry, withReads(use, reads))
      }
      if (this.isApart(entry)) {
        apart?.(entry, reads)
        return
      }
      counts[levelOf(reads)]!++
      if ((use & USE.listed) !== 0) listed[levelOf(reads)]!++
    })
    let level = LEVEL_COUNT
    let count = 0
    let known = 0
    while (level > 1 && count + counts[level - 1]! <= HOT_COUNT_MAX) {
      level--
      count += counts[level]!
      known += listed[level]!
    }
    const below = level > 1 ? HOT_COUNT_MAX - count : 0
    count += below
    known += Math.min(below, listed[level - 1]!)
    const changes = this.isFileKnown ? count + this.listedCount - 2 * known : count
    return { level, below, count, changes }
  }

  /** Shows each entry that was chosen to `list`, with its level, and notes that the list has it. */
  async list(
    choice: HotChoice,
    list: (entry: number, level: number) => void,
    turn: () => Promise<void>,
  ): Promise<void> {
    let { below } = choice
    let count = 0
    await this.walk(turn, entry => {
      const use = this.useOf(entry)
      const level = levelOf(readsIn(use))
      const isChosen =
        level > 0 &&
        count < HOT_COUNT_MAX &&
        !this.isApart(entry) &&
        (level >= choice.level || (level === choice.level - 1 && below-- > 0))
      this.setUse(entry, isChosen ? use | USE.listed : use & ~USE.listed)
      if (!isChosen) return
      count++
      list(entry, level)
    })
    this.listedCount = count
    this.isFileKnown = true
  }

  /** An entry has been brought back by the list, which says that it was read so often. */
  restore(entry: number, reads: number): void {
    this.setUse(entry, withReads(USE.visited | USE.listed, reads))
    this.listedCount++
  }

  /** The same of an entry that is apart. */
  restoreApart(entry: number, reads: number): void {
    this.setUse(entry, withReads(USE.visited, reads))
  }

  /** The list was not written: the file has another one. */
  forget(): void {
    this.isFileKnown = false
  }

  private async walk(turn: () => Promise<void>, visit: (entry: number) => void): Promise<void> {
    const scan: Scan = this.memory.beginScan()
    const stay = (entry: number): boolean => {
      visit(entry)
      return false
    }
    try {
      while (this.memory.scan(scan, STEP_COUNT, stay)) await turn()
    } finally {
      this.memory.endScan(scan)
    }
  }

  private useOf(entry: number): number {
    return this.words[(entry + ENTRY.visitedAt) >> 2]!
  }

  private setUse(entry: number, use: number): void {
    this.words[(entry + ENTRY.visitedAt) >> 2] = use
  }
}

/** The bits of a count. */
export function levelOf(reads: number): number {
  return 32 - Math.clz32(reads)
}

/** The fewest reads of a level. */
export function readsOf(level: number): number {
  return level === 0 ? 0 : 2 ** (level - 1)
}
