/** footprint: the engine's own memory above a bare Node, sampled all through a minute of mixed load with everything on.
 *  Owns:   the load.   Thread: main of the bench.
 *  Holds:  own memory is RssAnon + RssShmem, so the shared segment counts; the peak is that of every sample, not a mean. */

import { bareNodeBytes, pause, Stand, VALUE } from './stand.ts'

export interface Footprint {
  readonly idleMiB: number
  readonly medianMiB: number
  readonly peakMiB: number
  readonly settledMiB: number
  readonly perSecond: Record<string, number>
}

const SAMPLE_MS = 20
const ENTRIES = 1_000
const ROWS = 10_000
const CLIENTS = 4

/** Loops of each client: 90 % gets, some sets, SQL by key and by range. */
const LOOPS = { get: 12, set: 4, query: 4, range: 1 } as const

export async function measureFootprint(seconds: number, replicas = 0): Promise<Footprint> {
  const stand = new Stand({ postgres: true, replicas })
  await stand.start()
  const bare = bareNodeBytes()
  const overMiB = () => (stand.engineBytes() - bare) / 2 ** 20
  try {
    // Hits in place would be no load for the engine at all.
    const clients = await Promise.all(
      Array.from({ length: CLIENTS }, () => stand.client({ sharedMemory: false })),
    )
    const [first] = clients
    await first!.db.query('create table bench (id int primary key, name text, value float8)')
    await first!.db.query(
      `insert into bench select g, 'name ' || g, g * 1.5 from generate_series(1, ${ROWS}) g`,
    )
    for (let i = 0; i < ENTRIES; i++) await first!.cache.set(key(i), VALUE)
    await pause(2_000)
    const idleMiB = overMiB()

    const counts: Record<string, number> = { get: 0, set: 0, query: 0, range: 0 }
    const samples: number[] = []
    const sampler = setInterval(() => samples.push(overMiB()), SAMPLE_MS)
    const untilMs = performance.now() + seconds * 1_000
    const loop = async (name: string, operation: () => Promise<unknown>) => {
      while (performance.now() < untilMs) {
        await operation()
        counts[name]!++
      }
    }
    const operations = clients.flatMap(client => [
      ...times(LOOPS.get, () => loop('get', () => client.cache.get(key(random(ENTRIES))))),
      ...times(LOOPS.set, () => loop('set', () => client.cache.set(key(random(ENTRIES)), VALUE))),
      ...times(LOOPS.query, () =>
        loop('query', () =>
          client.db.query('select * from bench where id = $1', [1 + random(ROWS)]),
        ),
      ),
      ...times(LOOPS.range, () =>
        loop('range', () =>
          client.db.query('select * from bench where id > $1 order by id limit 20', [
            random(ROWS - 20),
          ]),
        ),
      ),
    ])
    await Promise.all(operations)
    clearInterval(sampler)
    await pause(3_000)
    samples.sort((a, b) => a - b)
    return {
      idleMiB,
      medianMiB: samples[samples.length >> 1]!,
      peakMiB: samples.at(-1)!,
      settledMiB: overMiB(),
      perSecond: Object.fromEntries(
        Object.entries(counts).map(([name, count]) => [name, Math.round(count / seconds)]),
      ),
    }
  } finally {
    await stand.stop()
  }
}

function key(index: number): string {
  return `device:${index}`
}

function random(below: number): number {
  return Math.floor(Math.random() * below)
}

function times<T>(count: number, make: () => T): T[] {
  return Array.from({ length: count }, make)
}
