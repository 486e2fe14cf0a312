/** sieve: tier 1's hit rate beside those of LRU, FIFO and the offline optimum, on Zipf traces without and with scans.
 *  Owns:   the shapes of the traces and the four sizes.   Not here: the policies (../policies.ts).
 *  Thread: main of a trial's process.
 *  Holds:  (1) all see the same trace and hold as many entries as tier 1 did, which is bounded by its bytes alone.
 *          (2) tier 1 is the engine's own, in its segment, through the get and set that requests take. */

import type { Gate, MicroBench, Row, Size, Trial } from '../harness.ts'
import { firstInFirstOut, leastRecentlyUsed, optimum, tier1 } from '../policies.ts'
import { hashOf, traceOf } from '../traces.ts'

const ZIPF_EXPONENT = 0.9
const KEYS = { smoke: 20_000, real: 100_000 } as const
const REQUESTS = { smoke: 100_000, real: 1_000_000 } as const
const SCAN_EVERY = 20_000
const SCAN_LENGTH = 4_000

/** Bytes of the segment, by the words of configuration; the last is the default of memory.max_bytes. */
const SIZES = { '64 KiB': 64 << 10, '256 KiB': 256 << 10, '1 MiB': 1 << 20, '4 MiB': 4 << 20 }

export const bench: MicroBench = {
  title: `hit rates in %, Zipf (exponent ${ZIPF_EXPONENT}, ${KEYS.real} keys), tier 1 of four sizes; scans of ${SCAN_LENGTH} keys every ${SCAN_EVERY} requests`,
  isNot:
    'Not your traffic: real traces have bursts and ages that Zipf has not. All entries are of one size, and nothing expires.',
  trials: [false, true].flatMap(hasScans =>
    Object.entries(SIZES).map(([name, bytes]) => trial(nameOf(name, hasScans), bytes, hasScans)),
  ),
  gates: rows =>
    Object.keys(SIZES).map((name): Gate => {
      const { figures } = rows.get(nameOf(name, true))!
      const actual = figures['tier 1']! / figures['LRU']!
      return { name: `hit rate of tier 1 by LRU's, ${name}, scans`, actual, atLeast: 1 }
    }),
}

function nameOf(size: string, hasScans: boolean): string {
  return hasScans ? `${size}, scans` : size
}

function trial(name: string, segmentBytes: number, hasScans: boolean): Trial {
  const run = (size: Size): Row => {
    const keys = KEYS[size]
    const requests = REQUESTS[size]
    const scanEvery = hasScans ? SCAN_EVERY : 0
    const exponent = ZIPF_EXPONENT
    const trace = traceOf({ keys, requests, exponent, scanEvery, scanLength: SCAN_LENGTH })
    const { hits, entries } = tier1(trace, keys, segmentBytes)
    const rate = (count: number): number => (count / requests) * 100
    return {
      figures: {
        entries,
        'tier 1': rate(hits),
        LRU: rate(leastRecentlyUsed(trace, keys, entries)),
        FIFO: rate(firstInFirstOut(trace, keys, entries)),
        optimum: rate(optimum(trace, keys, entries)),
      },
      hash: hashOf(trace),
    }
  }
  return { name, run }
}
