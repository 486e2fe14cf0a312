/** adaptive: times to live that follow what is seen of a key: longer for what is read often and seldom changes.
 *  Owns:   the table of what was seen, by the hash of the key.   Thread: main.
 *  Holds:  (1) a time is always within the bounds that came with the value.  (2) at most KEY_COUNT keys are known; the one
 *          that was not stored for longest makes room. Two keys with one hash learn together.
 *
 *  At each store of a key that is known:   the value is another      half the time
 *                                          the same, and it was read  twice the time
 *                                          the same, hardly read      the same time
 *  What was seen outlives the entry, since a value is stored again just when the entry has expired; not the engine. */

import { hashKey } from '../hash.ts'

export interface AdaptiveBounds {
  readonly minMs: number
  readonly maxMs: number
}

/** What is known of a key, and what was made of it. */
export interface AdaptiveState {
  ttlMs: number
  /** Since it was last stored. Reads in other processes, in place, count once in a while. */
  reads: number
  stores: number
  changes: number
  valueHash: number
  /** Why the time is what it is, for people. */
  reason: string
}

const KEY_COUNT_MAX = 2_048
/** Reads between two stores that make a key one that is read. */
const READS_OFTEN = 2
/** Of a longer value only both ends and the length are compared: hashing 8 MiB would hold up everybody. */
const COMPARED_BYTES = 8_192

export class AdaptiveTtl {
  private readonly states = new Map<number, AdaptiveState>()

  /** The time to live for a value that is stored now, between the bounds. `ttlMs` is where a key that is not known begins. */
  store(
    hash: number,
    value: Uint8Array,
    start: number,
    end: number,
    bounds: AdaptiveBounds,
    ttlMs: number,
  ): number {
    const valueHash = hashEnds(value, start, end)
    const state = this.states.get(hash) ?? this.begin(hash, valueHash, ttlMs || bounds.maxMs)
    if (state.stores > 0) learn(state, valueHash)
    state.stores++
    state.reads = 0
    state.valueHash = valueHash
    if (state.ttlMs > bounds.maxMs) {
      state.ttlMs = bounds.maxMs
      state.reason += ', at its upper bound'
    } else if (state.ttlMs < bounds.minMs) {
      state.ttlMs = bounds.minMs
      state.reason += ', at its lower bound'
    }
    // Stored last stands last, so the first is the one to go.
    this.states.delete(hash)
    this.states.set(hash, state)
    return state.ttlMs
  }

  read(hash: number): void {
    const state = this.states.get(hash)
    if (state !== undefined) state.reads++
  }

  explain(hash: number): Readonly<AdaptiveState> | undefined {
    return this.states.get(hash)
  }

  private begin(hash: number, valueHash: number, ttlMs: number): AdaptiveState {
    if (this.states.size >= KEY_COUNT_MAX) this.states.delete(this.states.keys().next().value!)
    const state = { ttlMs, reads: 0, stores: 0, changes: 0, valueHash, reason: 'as given' }
    this.states.set(hash, state)
    return state
  }
}

function learn(state: AdaptiveState, valueHash: number): void {
  if (valueHash !== state.valueHash) {
    state.changes++
    state.ttlMs /= 2
    state.reason = 'halved: the value had changed'
  } else if (state.reads >= READS_OFTEN) {
    state.ttlMs *= 2
    state.reason = `doubled: unchanged, and read ${state.reads} times`
  } else {
    state.reason = `kept: unchanged, but read ${state.reads} times only`
  }
}

function hashEnds(value: Uint8Array, start: number, end: number): number {
  const bytes = end - start
  if (bytes <= COMPARED_BYTES * 2) return hashKey(bytes, value, start, end)
  const first = hashKey(bytes, value, start, start + COMPARED_BYTES)
  return hashKey(first, value, end - COMPARED_BYTES, end)
}
