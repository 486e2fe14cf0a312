/** Hit rates: tier 1 beside LRU and the offline optimum, on one Zipf trace with scans, at four sizes.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  the trace is always the same, so a hit rate here is a number, not a chance; rivals hold as many entries as tier 1 did. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstInFirstOut, leastRecentlyUsed, optimum, tier1 } from '../bench/policies.ts'
import { traceOf } from '../bench/traces.ts'
import { randomTest } from './helpers/random.ts'

const KEYS = 20_000
const REQUESTS = 150_000
const trace = traceOf({
  keys: KEYS,
  requests: REQUESTS,
  exponent: 0.9,
  scanEvery: 10_000,
  scanLength: 2_000,
})

for (const kib of [64, 128, 512, 2_048]) {
  test(`tier 1 of ${kib} KiB has at least LRU’s hit rate on a Zipf trace with scans, and not more than the optimum`, t => {
    const { hits, entries } = tier1(trace, KEYS, kib * 1024)
    const lru = leastRecentlyUsed(trace, KEYS, entries)
    const best = optimum(trace, KEYS, entries)
    const rates = [hits, lru, firstInFirstOut(trace, KEYS, entries), best].map(count =>
      ((count / REQUESTS) * 100).toFixed(1),
    )
    t.diagnostic(`${entries} entries: tier 1, LRU, FIFO, optimum: ${rates.join(', ')} %`)
    assert.ok(entries < KEYS, 'not everything fits')
    assert.ok(hits >= lru, `${hits} hits, LRU has ${lru}`)
    assert.ok(hits <= best, `${hits} hits, more than the ${best} that there can be`)
  })
}

randomTest(
  'the optimum is what trying every victim finds, and no policy here has more',
  {},
  random => {
    for (let round = 0; round < 40; round++) {
      const small = Uint32Array.from({ length: 14 }, () => random.below(6))
      const entries = random.between(1, 4)
      const best = bestOf(small, 0, new Set(), entries)
      assert.equal(optimum(small, 6, entries), best, `${small} in ${entries}`)
      assert.ok(leastRecentlyUsed(small, 6, entries) <= best)
      assert.ok(firstInFirstOut(small, 6, entries) <= best)
    }
  },
)

/** The most hits from a place of a trace on. */
function bestOf(
  asked: Uint32Array,
  at: number,
  held: ReadonlySet<number>,
  entries: number,
): number {
  if (at === asked.length) return 0
  const key = asked[at]!
  if (held.has(key)) return 1 + bestOf(asked, at + 1, held, entries)
  if (held.size < entries) return bestOf(asked, at + 1, new Set([...held, key]), entries)
  return Math.max(
    ...[...held].map(victim => {
      const left = [...held].filter(each => each !== victim)
      return bestOf(asked, at + 1, new Set([...left, key]), entries)
    }),
  )
}
