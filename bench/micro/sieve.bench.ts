/** sieve: hit rates of SIEVE against LRU and FIFO on a Zipf trace, without and with scans in between.
 *  Owns:   nothing.   Thread: main of a trial's process.
 *  Holds:  all three see the same trace and hold the same number of entries; SIEVE is the engine's own, in its segment. */

import { Memory } from '../../engine/cache/memory.ts'
import { createSegment } from '../../engine/cache/segment.ts'
import type { MicroBench, Row, Size, Trial } from '../harness.ts'

const KEYS = { smoke: 2_000, real: 50_000 } as const
const REQUESTS = { smoke: 20_000, real: 2_000_000 } as const
const ZIPF_EXPONENT = 0.9
/** Every so many requests, so many keys are asked for once, in order, and never again. */
const SCAN_EVERY = 20_000
const SCAN_LENGTH = 4_000
const SHARES = [0.01, 0.1] as const

/** Asks for a key; true on a hit. On a miss it is stored. */
type Policy = (key: number) => boolean

const POLICIES: Record<string, (capacity: number) => Policy> = {
  SIEVE: sieve,
  LRU: lru,
  FIFO: fifo,
}

export const bench: MicroBench = {
  title: `hit rate on a Zipf trace (exponent ${ZIPF_EXPONENT}, ${KEYS.real} keys), for a cache of a share of the keys`,
  isNot:
    'Not your traffic: real traces have bursts and ages that Zipf has not. All entries are of one size, and nothing expires.',
  trials: SHARES.flatMap(share =>
    [false, true].flatMap(hasScans =>
      Object.entries(POLICIES).map(([name, open]) => trial(name, open, share, hasScans)),
    ),
  ),
}

function trial(
  name: string,
  open: (capacity: number) => Policy,
  share: number,
  hasScans: boolean,
): Trial {
  const run = (size: Size): Row => {
    const ask = open(Math.round(KEYS[size] * share))
    let hits = 0
    let hash = 0
    let scanned = KEYS[size]
    const next = zipf(KEYS[size])
    for (let i = 0; i < REQUESTS[size]; i++) {
      if (hasScans && i % SCAN_EVERY === SCAN_EVERY - 1) {
        for (let j = 0; j < SCAN_LENGTH; j++) ask(scanned++)
      }
      const key = next()
      hash = (hash * 31 + key) | 0
      if (ask(key)) hits++
    }
    return { figures: { 'hit rate, %': (hits / REQUESTS[size]) * 100 }, hash }
  }
  return { name: `${share * 100} % of keys${hasScans ? ', scans' : ''}: ${name}`, run }
}

/** Keys 0 .. count - 1, the first most often; the same sequence each time. */
function zipf(count: number): () => number {
  const sums = new Float64Array(count)
  for (let rank = 0, sum = 0; rank < count; rank++) sums[rank] = sum += (rank + 1) ** -ZIPF_EXPONENT
  const total = sums[count - 1]!
  let state = 1
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    const mixed = Math.imul(state ^ (state >>> 15), 0x2c1b_3c6d)
    const wanted = (((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 32) * total
    let low = 0
    for (let high = count - 1; low < high; ) {
      const middle = (low + high) >> 1
      if (sums[middle]! < wanted) low = middle + 1
      else high = middle
    }
    return low
  }
}

function sieve(capacity: number): Policy {
  const segment = createSegment(new ArrayBuffer(16 << 20), { pid: process.pid, hashSeed: 1 })
  const memory = new Memory(segment, { valueBytesMax: 100, entryCountMax: capacity })
  const bytes = Buffer.alloc(4)
  return key => {
    bytes.writeUInt32LE(key)
    const hash = memory.hash(bytes, 0, 4)
    if (memory.get(hash, bytes, 0, 4, 0) !== 0) return true
    memory.set(hash, bytes, 0, 4, bytes, 0, 4, Infinity)
    return false
  }
}

/** A Map keeps the order of arrival: taking out and putting in again makes an entry the newest. */
function lru(capacity: number): Policy {
  const held = new Map<number, true>()
  return key => {
    const isHit = held.delete(key)
    held.set(key, true)
    if (held.size > capacity) held.delete(held.keys().next().value!)
    return isHit
  }
}

function fifo(capacity: number): Policy {
  const held = new Set<number>()
  return key => {
    if (held.has(key)) return true
    held.add(key)
    if (held.size > capacity) held.delete(held.keys().next().value!)
    return false
  }
}
