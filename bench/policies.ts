/** policies: who is kept when not all fit: the engine's tier 1 as it is, and what it is compared with on the same trace.
 *  Owns:   nothing.   Thread: any.
 *  Holds:  (1) hits are counted of the keys below `keys`: what a scan asks for once cannot be one.  (2) every policy takes in what it
 *          missed, as a cache does that is filled by its readers.  (3) `optimum` knows the future; nothing that takes in every miss can
 *          have more hits.
 *  Source: L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal 5(2), 1966. */

import { Memory } from '../engine/cache/memory.ts'
import { createSegment } from '../engine/cache/segment.ts'

/** As long as each other, so that a number of entries is a number of bytes. */
const KEY_BYTES = 12
const VALUE_BYTES = 100

export interface Tier1Hits {
  readonly hits: number
  /** The most entries it held: what a rival may hold. */
  readonly entries: number
}

/** The engine's tier 1 over a segment of so many bytes, bounded by them alone, through the get and set that the engine calls. */
export function tier1(trace: Uint32Array, keys: number, segmentBytes: number): Tier1Hits {
  const segment = createSegment(new ArrayBuffer(segmentBytes), { pid: process.pid, hashSeed: 1 })
  const memory = new Memory(segment, { valueBytesMax: 64 * 1024 })
  const bytes = Buffer.alloc(KEY_BYTES)
  const value = Buffer.alloc(VALUE_BYTES, 7)
  let hits = 0
  let entries = 0
  for (let i = 0; i < trace.length; i++) {
    const key = trace[i]!
    bytes.writeUInt32LE(key)
    const hash = memory.hash(bytes, 0, KEY_BYTES)
    if (memory.get(hash, bytes, 0, KEY_BYTES, 0) !== 0) {
      if (key < keys) hits++
      continue
    }
    memory.set(hash, bytes, 0, KEY_BYTES, value, 0, VALUE_BYTES, Infinity)
    if (i % 64 === 0) entries = Math.max(entries, memory.stats().entries)
  }
  return { hits, entries }
}

/** A Map keeps the order of arrival: taking out and putting in again makes an entry the newest. */
export function leastRecentlyUsed(trace: Uint32Array, keys: number, entries: number): number {
  const held = new Map<number, true>()
  let hits = 0
  for (const key of trace) {
    if (held.delete(key) && key < keys) hits++
    held.set(key, true)
    if (held.size > entries) held.delete(held.keys().next().value!)
  }
  return hits
}

export function firstInFirstOut(trace: Uint32Array, keys: number, entries: number): number {
  const held = new Set<number>()
  let hits = 0
  for (const key of trace) {
    if (held.has(key)) {
      if (key < keys) hits++
      continue
    }
    held.add(key)
    if (held.size > entries) held.delete(held.keys().next().value!)
  }
  return hits
}

/** Belady's: the entry that is asked for latest goes. */
export function optimum(trace: Uint32Array, keys: number, entries: number): number {
  const nextAt = nextUses(trace)
  /** When each key that is held is asked for next. */
  const held = new Map<number, number>()
  const latest = new LatestFirst()
  let hits = 0
  for (let i = 0; i < trace.length; i++) {
    const key = trace[i]!
    if (held.has(key)) {
      if (key < keys) hits++
    } else if (held.size >= entries) {
      // What was asked for since it was put there stands further up with a later time.
      let victim = latest.take()
      while (held.get(victim.key) !== victim.at) victim = latest.take()
      held.delete(victim.key)
    }
    held.set(key, nextAt[i]!)
    latest.put(key, nextAt[i]!)
  }
  return hits
}

/** For each place of a trace where its key comes next; 2^32 - 1: never. */
function nextUses(trace: Uint32Array): Uint32Array {
  const nextAt = new Uint32Array(trace.length)
  const seenAt = new Map<number, number>()
  for (let i = trace.length - 1; i >= 0; i--) {
    nextAt[i] = seenAt.get(trace[i]!) ?? 0xffff_ffff
    seenAt.set(trace[i]!, i)
  }
  return nextAt
}

/** A binary heap of keys, the latest time on top. */
class LatestFirst {
  private readonly heap: { readonly key: number; readonly at: number }[] = []

  put(key: number, at: number): void {
    const { heap } = this
    let place = heap.push({ key, at }) - 1
    const added = heap[place]!
    for (
      let above = (place - 1) >> 1;
      place > 0 && heap[above]!.at < at;
      above = (place - 1) >> 1
    ) {
      heap[place] = heap[above]!
      place = above
    }
    heap[place] = added
  }

  take(): { readonly key: number; readonly at: number } {
    const { heap } = this
    const top = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return top
    let place = 0
    for (;;) {
      let below = place * 2 + 1
      if (below + 1 < heap.length && heap[below + 1]!.at > heap[below]!.at) below++
      if (below >= heap.length || heap[below]!.at <= last.at) break
      heap[place] = heap[below]!
      place = below
    }
    heap[place] = last
    return top
  }
}
