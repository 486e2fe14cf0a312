/** Unfinished: invalidations that tier 2 has not committed yet, or could not: until then it is not believed about what they mean.
 *  Owns:   the tags and patterns, and trying again those that failed.   Not here: the first try (cache_invalidation.ts).
 *  Thread: main.
 *  Holds:  (1) an entry that an invalidation means is a miss from the moment it came, though it failed: disk full, file broken, worker
 *          gone.  (2) what failed is tried again every RETRY_MS until it is done.  (3) memory is bounded: past it more is a miss than
 *          need be. */

import type { Glob } from '../glob.ts'
import { log } from '../log.ts'
import type { Lease } from '../pool/lease.ts'

/** A pattern's invalidation: keys that match and were stored before. */
export interface Pattern {
  readonly text: string
  readonly glob: Glob
  /** Versions from here on were stored after it. */
  readonly below: number
}

const RETRY_MS = 500
const TAG_COUNT_MAX = 4_096
const PATTERN_COUNT_MAX = 64

export class Unfinished {
  private readonly lease: () => Lease
  /** Counters of tags that are being invalidated, or still are to be. */
  private readonly counters = new Map<number, number>()
  private readonly patterns = new Set<Pattern>()
  /** What failed: tags by name with their counter. */
  private readonly tags = new Map<string, number>()
  private readonly failedPatterns = new Set<Pattern>()
  private isEveryTag = false
  private everythingBelow = 0
  private timer: NodeJS.Timeout | undefined
  /** How the rest of the cache tries again. */
  retryTags: (names: readonly string[], done: (isDone: boolean) => void) => void = () => undefined
  retryPattern: (pattern: Pattern, done: (isDone: boolean) => void) => void = () => undefined

  constructor(lease: () => Lease) {
    this.lease = lease
  }

  /** Whether any invalidation is on its way or owed, so that entries from tier 2 must be asked about. */
  get any(): boolean {
    return this.counters.size > 0 || this.patterns.size > 0 || this.everythingBelow > 0
  }

  /** Whether one has failed and waits to be tried again: tier 2 still has what it meant. */
  get isOwed(): boolean {
    return this.tags.size > 0 || this.failedPatterns.size > 0
  }

  holdsTag(counter: number): boolean {
    return this.isEveryTag || this.counters.has(counter)
  }

  holdsKey(version: number, key: () => string): boolean {
    if (version < this.everythingBelow) return true
    for (const { below, glob } of this.patterns)
      if (version < below && glob.matches(key())) return true
    return false
  }

  beginTags(counters: readonly number[]): void {
    for (const counter of counters)
      this.counters.set(counter, (this.counters.get(counter) ?? 0) + 1)
  }

  endTags(counters: readonly number[]): void {
    for (const counter of counters) {
      const left = this.counters.get(counter)! - 1
      if (left === 0) this.counters.delete(counter)
      else this.counters.set(counter, left)
    }
  }

  /** Tags that were begun and failed: they stay held until they are done. */
  failedTags(names: readonly string[], counters: readonly number[]): void {
    for (const [i, name] of names.entries()) {
      if (this.tags.has(name)) this.endTags([counters[i]!])
      else if (this.tags.size < TAG_COUNT_MAX) this.tags.set(name, counters[i]!)
      else if (!this.isEveryTag) {
        this.isEveryTag = true
        log('warn', 'too many invalidations failed: entries with tags are not read from tier 2')
      }
    }
    this.retryLater()
  }

  beginPattern(pattern: Pattern): void {
    this.patterns.add(pattern)
  }

  endPattern(pattern: Pattern): void {
    this.patterns.delete(pattern)
  }

  failedPattern(pattern: Pattern): void {
    if (this.failedPatterns.size < PATTERN_COUNT_MAX) this.failedPatterns.add(pattern)
    else {
      this.endPattern(pattern)
      this.everythingBelow = Math.max(this.everythingBelow, pattern.below)
      log('warn', 'too many invalidations failed: what is older is not read from tier 2')
    }
    this.retryLater()
  }

  stop(): void {
    clearTimeout(this.timer)
  }

  private retryLater(): void {
    if (this.timer !== undefined) return
    this.timer = setTimeout(() => {
      this.timer = undefined
      if (this.lease().isOpen) this.retry()
      else this.retryLater()
    }, RETRY_MS).unref()
  }

  private retry(): void {
    const names = [...this.tags.keys()]
    const counters = [...this.tags.values()]
    this.tags.clear() // They stay held by their counters, and what fails meanwhile is noted beside them.
    if (names.length > 0)
      this.retryTags(names, isDone => {
        if (isDone) this.endTags(counters)
        else this.failedTags(names, counters)
      })
    for (const pattern of [...this.failedPatterns]) {
      this.failedPatterns.delete(pattern)
      this.retryPattern(pattern, isDone => {
        if (isDone) this.endPattern(pattern)
        else this.failedPattern(pattern)
      })
    }
  }
}
