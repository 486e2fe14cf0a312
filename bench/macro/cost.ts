/** cost: what the cache costs as it grows and while it cleans up: through the socket, with the engine that ships.
 *  Owns:   the engines it starts.   Not here: the table and the goals (cache.ts), the sets beside (cost_load.ts).
 *  Thread: main of the bench, which sends the gets that are measured.
 *  Holds:  (1) configuration is the default but for `sqlite.max_bytes`, where a figure needs more room.  (2) a figure of tier 2 is
 *          thrown away with an error when the engine says that its gets were answered elsewhere.  (3) gets that are held up do
 *          not keep others from being sent: GETS_PER_SECOND go out whatever comes back, each timed from its own sending. */

import type { Hearth } from '../../engine/client/index.ts'
import type { Size } from '../harness.ts'
import { Load } from './cost_load.ts'
import { median, pause, percentile, Stand } from './stand.ts'

const LARGE_BYTES = String(2 ** 30)
const GETS_PER_SECOND = 1_000
const GETS_AT_ONCE_MAX = 5
const FILL_COUNT = 5_000
/** Filling leaves long checkpoints behind, whose pace (wal_pace.ts) then has to find the load's. */
const SETTLING_MS = 1_000
const WARM_UP_TAGS = 20
const VALUE = 'v'.repeat(100)

/** Entries of the small and of the large file, entries of a tag, rounds of these; rows that go by the way, seconds of load, runs. */
export const SIZES = {
  smoke: {
    small: 2_000,
    large: 20_000,
    tagged: 5_000,
    rounds: 2,
    rows: 20_000,
    seconds: 2,
    holdUps: 1,
  },
  real: {
    small: 10_000,
    large: 1_000_000,
    tagged: 100_000,
    rounds: 5,
    rows: 200_000,
    seconds: 10,
    holdUps: 3,
  },
} as const
type Sizes = (typeof SIZES)[Size]

export interface Growth {
  readonly smallUs: number
  readonly largeUs: number
}

/** p50 of a hit of tier 2, one at a time, among few entries and among many. Engines are started anew before each round, which
 *  empties tier 1, and every key is asked for once. */
export async function p50AsItGrows(size: Size): Promise<Growth> {
  const { small, large, rounds } = SIZES[size]
  const stands = [small, large].map(entries => ({
    entries,
    stand: new Stand({ env: { HEARTH_SQLITE_MAX_BYTES: LARGE_BYTES } }),
    p50s: [] as number[],
  }))
  try {
    for (const { stand, entries } of stands) {
      await stand.start()
      await fill(await stand.client(), 'key', entries)
      await stand.stopEngine()
    }
    for (let round = 0; round < rounds; round++) {
      for (const { stand, entries, p50s } of stands) {
        await stand.start()
        p50s.push(await p50OfTier2(await stand.client({ sharedMemory: false }), entries, small))
        await stand.stopEngine()
      }
    }
    const [smallUs, largeUs] = stands.map(({ p50s }) => median(p50s) * 1_000)
    return { smallUs: smallUs!, largeUs: largeUs! }
  } finally {
    for (const { stand } of stands) await stand.stop()
  }
}

/** Milliseconds of invalidateTags() for a tag that so many entries carry, of each round, a moment after they were stored. A few tags
 *  of one entry go first, and are not counted. */
export async function tagInvalidations(size: Size): Promise<number[]> {
  const { tagged, rounds } = SIZES[size]
  const stand = new Stand({ env: { HEARTH_SQLITE_MAX_BYTES: LARGE_BYTES } })
  try {
    await stand.start()
    const { cache } = await stand.client({ sharedMemory: false })
    const found: number[] = []
    for (let i = 0; i < WARM_UP_TAGS; i++) {
      await cache.set('warm-up', VALUE, { tags: [`warm-up:${i}`] })
      await cache.invalidateTags([`warm-up:${i}`])
    }
    for (let round = 0; round < rounds; round++) {
      const tags = [`tag:${round}`]
      let at = 0
      const loop = async (): Promise<void> => {
        while (at < tagged) await cache.set(`tagged:${round}:${at++}`, VALUE, { ttlMs: 0, tags })
      }
      await Promise.all(Array.from({ length: 200 }, loop))
      await pause(100)
      const startMs = performance.now()
      const count = await cache.invalidateTags(tags)
      found.push(performance.now() - startMs)
      if (count !== tagged) throw new Error(`${count} of ${tagged} entries went with their tag`)
    }
    return found
  } finally {
    await stand.stop()
  }
}

export interface HoldUp {
  /** Of gets that went to tier 2, sorted, in milliseconds. */
  readonly latencies: Float64Array
  /** Sets that were answered meanwhile. */
  readonly setsPerSecond: number
}

/** What goes on beside gets. `against`: gets are not to wait longer for it than beside that one, which has the same sets without
 *  it; where sets come as fast as they are answered the machine has nothing left, and what is waited for is mostly a core. */
export const HOLD_UPS: readonly {
  readonly what: string
  readonly against?: number
  measure(sizes: Sizes): Promise<HoldUp>
}[] = [
  { what: 'alone', measure: whileIdle },
  { what: 'while rows are stored', measure: sizes => whileStoring(sizes, 2_000) },
  { what: 'while rows are stored', measure: sizes => whileStoring(sizes, 20_000) },
  { what: 'while rows expire', against: 0, measure: sizes => whileExpiring(sizes, 0) },
  { what: 'while rows expire', against: 1, measure: sizes => whileExpiring(sizes, 2_000) },
  { what: 'while rows are evicted', against: 1, measure: sizes => whileEvicting(sizes, 2_000) },
  { what: 'while rows are evicted', against: 2, measure: sizes => whileEvicting(sizes, 20_000) },
  { what: 'while rows are evicted', measure: sizes => whileEvicting(sizes, 0) },
  { what: 'during invalidatePattern', measure: whileInvalidating },
  { what: 'while keys are listed', measure: whileListing },
]

function whileIdle({ seconds }: Sizes): Promise<HoldUp> {
  return onStand({}, async (_stand, getter) => {
    return { latencies: await gets(getter, pause(seconds * 1_000)), setsPerSecond: 0 }
  })
}

/** All of them at the same moment, with some sets a second beside. */
function whileExpiring({ rows, seconds }: Sizes, perSecond: number): Promise<HoldUp> {
  return onStand({ HEARTH_SQLITE_MAX_BYTES: LARGE_BYTES }, async (stand, getter) => {
    const atMs = Date.now() + 2_000 + rows / 40
    for (let at = 0; at < rows; at += FILL_COUNT)
      await fill(getter, `expires:${at}`, Math.min(FILL_COUNT, rows - at), atMs - Date.now())
    if (Date.now() > atMs) throw new Error('rows had expired before all were stored')
    const load = perSecond > 0 ? new Load({ socket: stand.socket, perSecond }) : undefined
    await load?.started()
    await pause(atMs - Date.now() - 100)
    const before = await sqliteStats(getter)
    const latencies = await gets(getter, pause(seconds * 1_000))
    const setsPerSecond = (await load?.stop()) ?? 0
    const after = await sqliteStats(getter)
    if (after.expirations === before.expirations) throw new Error('no row was removed meanwhile')
    return { latencies, setsPerSecond }
  })
}

/** The same sets with room for all: what is waited for then is no eviction. */
function whileStoring({ seconds }: Sizes, perSecond: number): Promise<HoldUp> {
  return onStand({ HEARTH_SQLITE_MAX_BYTES: LARGE_BYTES }, async (stand, getter) => {
    await fill(getter, 'filler', 4 * FILL_COUNT)
    const load = new Load({ socket: stand.socket, perSecond })
    await load.started()
    await pause(SETTLING_MS)
    const latencies = await gets(getter, pause(seconds * 1_000))
    return { latencies, setsPerSecond: await load.stop() }
  })
}

/** Of a tier 2 that is full, by default 16 MiB: each set evicts. */
function whileEvicting({ seconds }: Sizes, perSecond: number): Promise<HoldUp> {
  return onStand({}, async (stand, getter) => {
    for (let at = 0; (await sqliteStats(getter)).evictions === 0; at++)
      await fill(getter, `filler:${at}`, FILL_COUNT)
    const load = new Load({ socket: stand.socket, perSecond })
    await load.started()
    await pause(SETTLING_MS)
    const before = await sqliteStats(getter)
    const latencies = await gets(getter, pause(seconds * 1_000))
    const setsPerSecond = await load.stop()
    const after = await sqliteStats(getter)
    if (after.evictions === before.evictions) throw new Error('no row was evicted meanwhile')
    return { latencies, setsPerSecond }
  })
}

function whileInvalidating({ rows }: Sizes): Promise<HoldUp> {
  return onStand({ HEARTH_SQLITE_MAX_BYTES: LARGE_BYTES }, async (stand, getter) => {
    await fill(getter, 'key', rows)
    const { cache } = await stand.client()
    return { latencies: await gets(getter, cache.invalidatePattern('key:*')), setsPerSecond: 0 }
  })
}

/** All keys, and then none of them, which is a walk over all that answers once. */
function whileListing({ rows }: Sizes): Promise<HoldUp> {
  return onStand({ HEARTH_SQLITE_MAX_BYTES: LARGE_BYTES }, async (stand, getter) => {
    await fill(getter, 'key', rows)
    const { cache } = await stand.client()
    const list = async (): Promise<void> => {
      let count = 0
      for (const glob of ['*', '*:none', '*:nobody'])
        for await (const key of cache.keys(glob)) count += key === '' ? 0 : 1
      if (count !== rows) throw new Error(`${count} of ${rows} keys were listed`)
    }
    return { latencies: await gets(getter, list()), setsPerSecond: 0 }
  })
}

/** On an engine of its own, with gets that are known to go to tier 2. */
async function onStand(
  env: Record<string, string>,
  measure: (stand: Stand, getter: Hearth) => Promise<HoldUp>,
): Promise<HoldUp> {
  const stand = new Stand({ env })
  try {
    await stand.start()
    const getter = await stand.client({ sharedMemory: false })
    for (let i = 0; i < 500; i++) await getter.cache.get(`nowhere:${i}`)
    return await measure(stand, getter)
  } finally {
    await stand.stop()
  }
}

/** Sends gets of keys that no tier has, so that each goes to tier 2, until something is over; their durations, sorted. */
async function gets(getter: Hearth, over: Promise<unknown>): Promise<Float64Array> {
  const before = await sqliteStats(getter)
  const found: number[] = []
  let isOver = false
  let failure: unknown
  const finished = over.then(
    () => {
      isOver = true
    },
    error => {
      isOver = true
      failure = error
    },
  )
  const get = async (number: number): Promise<void> => {
    const startMs = performance.now()
    await getter.cache.get(`nowhere:${number}`)
    found.push(performance.now() - startMs)
  }
  const startMs = performance.now()
  const sent: Promise<void>[] = []
  while (!isOver) {
    // What this process was late with is left out: it would come in one heap.
    const due = Math.min(
      ((performance.now() - startMs) / 1_000) * GETS_PER_SECOND,
      sent.length + GETS_AT_ONCE_MAX,
    )
    while (sent.length < due) sent.push(get(sent.length))
    await pause(1)
  }
  await Promise.all([...sent, finished])
  if (failure !== undefined) throw failure
  const after = await sqliteStats(getter)
  if (after.misses - before.misses < sent.length)
    throw new Error(`only ${after.misses - before.misses} of ${sent.length} gets went to tier 2`)
  return Float64Array.from(found).sort()
}

interface SqliteStats {
  readonly hits: number
  readonly misses: number
  readonly evictions: number
  readonly expirations: number
}

async function sqliteStats(client: Hearth): Promise<SqliteStats> {
  return (await client.stats()).sqlite as unknown as SqliteStats
}

/** p50 in milliseconds of so many gets, one after another, of keys that are spread over the file. */
async function p50OfTier2(client: Hearth, entries: number, count: number): Promise<number> {
  const before = await sqliteStats(client)
  const found = new Float64Array(count)
  // Prime to the number of entries: each key once, and no neighbours in the file one after another.
  for (let i = 0; i < count; i++) {
    const key = `key:${(i * 700_001) % entries}`
    const startMs = performance.now()
    const value = await client.cache.get<string>(key)
    found[i] = performance.now() - startMs
    if (value !== VALUE) throw new Error(`${key} was lost`)
  }
  const hits = (await sqliteStats(client)).hits - before.hits
  if (hits < count) throw new Error(`only ${hits} of ${count} gets were hits of tier 2`)
  return percentile(found.sort(), 0.5)
}

async function fill(client: Hearth, prefix: string, count: number, ttlMs = 0): Promise<void> {
  for (let at = 0; at < count; at += FILL_COUNT) {
    const length = Math.min(FILL_COUNT, count - at)
    await client.cache.setMany(
      Array.from({ length }, (_, i) => ({ key: `${prefix}:${at + i}`, value: VALUE, ttlMs })),
    )
  }
}
