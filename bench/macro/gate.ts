/** gate: the promises that CI holds, through the socket, on the engine that ships.
 *  Owns:   the bounds.   Thread: main of the bench.
 *  Holds:  a bound is wide enough for a noisy machine: the median of several runs is held against it, except for memory,
 *          where every sample counts. Ratios against rivals are in peers.ts: they need rivals installed. */

import type { Hearth } from '../../engine/client/index.ts'
import { measureFootprint } from './footprint.ts'
import { measureInsight } from './insight.ts'
import { latencies, median, percentile, Stand, VALUE } from './stand.ts'

const MEMORY_HIT_MS_MAX = 1
const SQLITE_HIT_MS_MAX = 5
const FOOTPRINT_MIB_MAX = 20
const READY_MS_MAX = 500
const INSIGHT_PERCENT_MAX = 3

const WARM_UP_RUNS = 3
const RUNS = 9
/** Both cores are busy while this is measured, so a stranger's time slice is in the figure. It is measured again, at most so
 *  often, when it does not hold; an engine that has become slower fails each time. */
const ATTEMPTS = 8
const DEPTH = 50
const HITS = 100_000
const SQLITE_KEYS = 10_000
const FOOTPRINT_SECONDS = 60

interface Gate {
  readonly name: string
  readonly actual: number
  readonly below: number
  readonly unit: string
}

export async function run(): Promise<boolean> {
  const gates: Gate[] = [...(await hits()), await insight(), await footprint()]
  for (const { name, actual, below, unit } of gates) {
    const verdict = actual < below ? 'held  ' : 'FAILED'
    console.log(`${verdict} ${name}: ${actual.toFixed(2)} ${unit}, below ${below} ${unit}`)
  }
  return gates.every(({ actual, below }) => actual < below)
}

/** Measured again, as hits are, when it does not hold: two engines take turns on two busy cores. */
async function insight(): Promise<Gate> {
  let best = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < ATTEMPTS && best >= INSIGHT_PERCENT_MAX; attempt++)
    best = Math.min(best, 100 * (await measureInsight()).lostShare)
  return {
    name: 'throughput of point selects lost to query insight',
    actual: best,
    below: INSIGHT_PERCENT_MAX,
    unit: '%',
  }
}

async function hits(): Promise<Gate[]> {
  // Tier 1 is made too small for the keys, so that hits of tier 2 stay hits of tier 2.
  const small = new Stand({ env: { HEARTH_MEMORY_MAX_ENTRIES: '100' } })
  const usual = new Stand()
  try {
    await small.start()
    const sqlite = await p999OfHits(
      await small.client({ sharedMemory: false }),
      SQLITE_KEYS,
      'sqlite',
      SQLITE_HIT_MS_MAX,
    )
    await small.stopEngine()
    const readyMs = median([await restart(small), await restart(small), await restart(small)])
    await usual.start()
    const memory = await p999OfHits(
      await usual.client({ sharedMemory: false }),
      1_000,
      'memory',
      MEMORY_HIT_MS_MAX,
    )
    return [
      {
        name: `memory hit through the socket, ${DEPTH} in flight, p99.9`,
        actual: memory,
        below: MEMORY_HIT_MS_MAX,
        unit: 'ms',
      },
      {
        name: `SQLite hit through the socket, ${DEPTH} in flight, p99.9`,
        actual: sqlite,
        below: SQLITE_HIT_MS_MAX,
        unit: 'ms',
      },
      {
        name: `serve: start to first answer, ${SQLITE_KEYS} entries on disk`,
        actual: readyMs,
        below: READY_MS_MAX,
        unit: 'ms',
      },
    ]
  } finally {
    await small.stop()
    await usual.stop()
  }
}

/** p99.9 in milliseconds: the median of several runs. Checks that the hits were of the tier meant. */
async function p999OfHits(
  client: Hearth,
  keys: number,
  tier: 'memory' | 'sqlite',
  belowMs: number,
): Promise<number> {
  for (let i = 0; i < keys; i += 500) {
    await Promise.all(
      Array.from({ length: 500 }, (_, j) => client.cache.set(`device:${i + j}`, VALUE)),
    )
  }
  const before = (await client.stats())[tier].hits
  let runs = 0
  // A step that is prime to the number of keys, so that neighbours in time are not neighbours in the file.
  const run = async () => {
    runs++
    const found = await latencies(HITS, DEPTH, i =>
      client.cache.get(`device:${(i * 7_919) % keys}`),
    )
    return percentile(found, 0.999)
  }
  for (let i = 0; i < WARM_UP_RUNS; i++) await run()
  let best = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < ATTEMPTS && best >= belowMs; attempt++) {
    const found: number[] = []
    for (let i = 0; i < RUNS; i++) found.push(await run())
    console.log(`${tier} hits, p99.9 in ms: ${found.map(ms => ms.toFixed(2)).join(' ')}`)
    best = Math.min(best, median(found))
  }
  const hits = (await client.stats())[tier].hits - before
  if (hits < runs * HITS * 0.95)
    throw new Error(`only ${hits} of ${runs * HITS} gets were hits of ${tier}`)
  return best
}

async function restart(stand: Stand): Promise<number> {
  const readyMs = await stand.start()
  await stand.stopEngine()
  return readyMs
}

async function footprint(): Promise<Gate> {
  const { idleMiB, medianMiB, peakMiB, settledMiB, perSecond } =
    await measureFootprint(FOOTPRINT_SECONDS)
  const figures = [
    `idle ${idleMiB.toFixed(1)}`,
    `median ${medianMiB.toFixed(1)}`,
    `settled ${settledMiB.toFixed(1)}`,
  ]
  console.log(
    `own memory above a bare Node, MiB: ${figures.join(', ')}; per second: ${JSON.stringify(perSecond)}`,
  )
  const name = `own memory above a bare Node, peak of ${FOOTPRINT_SECONDS} s of mixed load`
  return { name, actual: peakMiB, below: FOOTPRINT_MIB_MAX, unit: 'MiB' }
}
