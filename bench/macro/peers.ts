/** peers: Hearth side by side with what people use now, in one run, written to bench/RESULTS.md.
 *  Owns:   the rows, and the least ratio that each is to reach.   Not here: the rivals (rivals.ts).
 *  Thread: main of the bench, which is the client of all of them.
 *  Holds:  each figure is the median of runs that took turns with its rival's, so that a slow minute meets both; every rival
 *          decodes what it gets, as the engine's client does. Not shown by these figures: networks, many clients, large values. */

import type { Hearth, QueryOptions } from '../../engine/client/index.ts'
import { machineLine } from '../harness.ts'
import { writeResults } from '../results.ts'
import { measureFootprint } from './footprint.ts'
import { p50OfHits, peeksPerSecond } from './in_place.ts'
import {
  ioredis,
  type KeyValue,
  nodeRedis,
  pgPool,
  postgresJs,
  type Sql,
  sqliteDirect,
  startRedis,
} from './rivals.ts'
import { prepareDatabase, SQL_TRIALS } from './sql_trials.ts'
import { bareNodeBytes, latencies, median, percentile, Stand, throughput, VALUE } from './stand.ts'

interface Row {
  readonly what: string
  readonly unit: string
  readonly hearth: number
  readonly rival: string
  readonly theirs: number | undefined
  /** Hearth's figure by the rival's. */
  readonly bound?: { readonly atLeast?: number; readonly atMost?: number }
}

const RUNS = 5
const KEYS = 1_000
const TIER2_KEYS = 10_000
export async function run(): Promise<boolean> {
  const rows = [
    ...(await memoryRows()),
    ...(await inPlaceRows()),
    ...(await sqliteRows()),
    ...(await databaseRows()),
    ...(await ownRows()),
  ]
  const text = render(rows)
  console.log(text)
  writeResults('peers', text)
  return rows.every(isReached)
}

async function memoryRows(): Promise<Row[]> {
  const stand = new Stand()
  await stand.start()
  const redis = await startRedis(stand.folder)
  try {
    // Over the socket: what is read in place is in rows of its own.
    const hearth = await stand.client({ sharedMemory: false })
    await fill(hearth, KEYS)
    const rivals = redis === undefined ? [] : [ioredis(redis.socket), await nodeRedis(redis.socket)]
    const rows: Row[] = []
    for (const rival of rivals.length === 0 ? [undefined] : rivals) {
      for (let i = 0; i < KEYS && rival !== undefined; i++) await rival.set(key(i, KEYS))
      const isFirst = rival?.name.startsWith('ioredis') ?? true
      const name = rival?.name ?? 'Redis'
      const gets = (count: number, depth: number) =>
        inTurns(
          () => throughput(count, depth, i => hearth.cache.get(key(i, KEYS))),
          rival && (() => throughput(count, depth, i => rival.get(key(i, KEYS)))),
        )
      rows.push(
        row(
          'gets, 50 in flight',
          '/s',
          await gets(200_000, 50),
          name,
          isFirst ? { atLeast: 1.4 } : {},
        ),
      )
      rows.push(
        row(
          'gets, 500 in flight',
          '/s',
          await gets(400_000, 500),
          name,
          isFirst ? { atLeast: 3 } : {},
        ),
      )
      const one = await inTurns(
        async () =>
          percentile(await latencies(10_000, 1, i => hearth.cache.get(key(i, KEYS))), 0.5) * 1_000,
        rival &&
          (async () =>
            percentile(await latencies(10_000, 1, i => rival.get(key(i, KEYS))), 0.5) * 1_000),
      )
      rows.push(row('one get at a time, p50', 'µs', one, name, isFirst ? { atMost: 1.05 } : {}))
      const sets = await inTurns(
        () => throughput(100_000, 500, i => hearth.cache.set(key(i, TIER2_KEYS), VALUE)),
        rival && (() => throughput(100_000, 500, i => rival.set(key(i, TIER2_KEYS)))),
      )
      rows.push(
        row(
          'durable sets, 500 in flight',
          '/s',
          sets,
          `${name}, everysec`,
          isFirst ? { atLeast: 0.5 } : {},
        ),
      )
      await rival?.close()
    }
    return rows
  } finally {
    redis?.stop()
    await stand.stop()
  }
}

/** Hits of tier 1 in the client's own process. */
async function inPlaceRows(): Promise<Row[]> {
  const stand = new Stand()
  await stand.start()
  const redis = await startRedis(stand.folder)
  const rival = redis && ioredis(redis.socket)
  try {
    const hearth = await stand.client()
    if (!hearth.inPlace.isOn) throw new Error(hearth.inPlace.reason)
    await fill(hearth, KEYS)
    for (let i = 0; i < KEYS && rival !== undefined; i++) await rival.set(key(i, KEYS))
    const keys = Array.from({ length: KEYS }, (_, i) => key(i, KEYS))
    const rows: Row[] = []
    for (const how of ['peek', 'get'] as const) {
      const what = how === 'peek' ? 'peek in place, p50' : 'awaited get in place, p50'
      const found = await inTurns(
        () => p50OfHits(hearth, how, keys, 200_000),
        rival &&
          (async () =>
            percentile(await latencies(10_000, 1, i => rival.get(key(i, KEYS))), 0.5) * 1_000),
      )
      const bound = { atMost: 1 / 40 }
      rows.push(row(what, 'µs', found, rival?.name ?? 'Redis', bound))
      const limit = { ours: found.ours, theirs: how === 'peek' ? 1 : 1.5 }
      rows.push(row(what, 'µs', limit, 'bound', { atMost: 1 }))
    }
    const scaled = await inTurns(
      () => peeksPerSecond(stand.socket, keys, 2, 1_000),
      () => peeksPerSecond(stand.socket, keys, 1, 1_000),
    )
    rows.push(row('peeks, two reader processes', '/s', scaled, 'one process', { atLeast: 1.7 }))
    return rows
  } finally {
    await rival?.close()
    redis?.stop()
    await stand.stop()
  }
}

async function sqliteRows(): Promise<Row[]> {
  const stand = new Stand({ env: { HEARTH_MEMORY_MAX_ENTRIES: '100' } })
  await stand.start()
  try {
    const hearth = await stand.client({ sharedMemory: false })
    await fill(hearth, TIER2_KEYS)
    const direct: KeyValue = sqliteDirect(stand.folder, TIER2_KEYS)
    const hits = await inTurns(
      () => throughput(100_000, 100, i => hearth.cache.get(key(i * 7_919, TIER2_KEYS))),
      () => throughput(100_000, 1, i => direct.get(key(i * 7_919, TIER2_KEYS))),
    )
    await direct.close()
    return [row('SQLite hits, 100 in flight', '/s', hits, direct.name, { atLeast: 0.5 })]
  } finally {
    await stand.stop()
  }
}

async function databaseRows(): Promise<Row[]> {
  const stand = new Stand({ postgres: true })
  await stand.start()
  try {
    await prepareDatabase(await stand.client())
    // Sessions opened from now on have what was set for the database.
    await stand.stopEngine()
    await stand.start()
    const hearth = await stand.client()
    const peak = watchPeak(stand)
    const rows: Row[] = []
    for (const make of [pgPool, postgresJs]) {
      const rival: Sql | undefined = make(stand.postgresUrl!)
      const name = rival?.name ?? make.name
      for (const trial of SQL_TRIALS) {
        const found = await inTurns(
          () => trial.measure((sql, params) => hearth.db.query(sql, params)),
          rival && (() => trial.measure((sql, params) => rival.query(sql, params))),
        )
        const bound = make === pgPool ? trial.againstPg : trial.againstPostgresJs
        rows.push(row(trial.what, trial.unit, found, name, bound))
      }
      await rival?.close()
    }
    rows.push(
      row(
        'cached point selects, 100 in flight',
        '/s',
        await inTurns(
          () => throughput(1_000_000, 100, i => pointSelect(hearth, i, CACHED)),
          () => throughput(50_000, 100, i => pointSelect(hearth, i, {})),
        ),
        'not cached',
        { atLeast: 15 },
      ),
    )
    rows.push({
      what: 'own memory above a bare Node, peak of these SQL runs',
      unit: 'MiB',
      hearth: (peak() - bareNodeBytes()) / 2 ** 20,
      rival: 'bound',
      theirs: 20,
      bound: { atMost: 1 },
    })
    return rows
  } finally {
    await stand.stop()
  }
}

const CACHED = { cache: { ttlMs: 3_600_000 } }

/** Of a thousand rows, as `KEYS` are: each result is in tier 1 after the first round. */
function pointSelect(hearth: Hearth, i: number, options: QueryOptions): Promise<unknown> {
  return hearth.db.query('select * from bench where id = $1', [1 + (i % KEYS)], options)
}

/** Looks at the engine's memory now and then; the function says what the most was. */
function watchPeak(stand: Stand): () => number {
  let peakBytes = 0
  const timer = setInterval(() => {
    peakBytes = Math.max(peakBytes, stand.engineBytes())
  }, 50)
  return () => {
    clearInterval(timer)
    return peakBytes
  }
}

/** What has no rival: a bound of its own. */
async function ownRows(): Promise<Row[]> {
  const stand = new Stand()
  await stand.start()
  await fill(await stand.client(), TIER2_KEYS)
  await stand.stopEngine()
  const starts: number[] = []
  for (let i = 0; i < RUNS; i++) {
    starts.push(await stand.start())
    await stand.stopEngine()
  }
  await stand.stop()
  const { idleMiB, medianMiB, peakMiB, settledMiB } = await measureFootprint(60)
  const memory = 'own memory above a bare Node'
  return [
    {
      what: 'serve: start to first answer, 10 000 entries',
      unit: 'ms',
      hearth: median(starts),
      rival: 'bound',
      theirs: 500,
      bound: { atMost: 1 },
    },
    {
      what: `${memory}, idle`,
      unit: 'MiB',
      hearth: idleMiB,
      rival: 'bound',
      theirs: 20,
      bound: { atMost: 1 },
    },
    {
      what: `${memory}, median of 60 s of load`,
      unit: 'MiB',
      hearth: medianMiB,
      rival: 'bound',
      theirs: 20,
      bound: { atMost: 1 },
    },
    {
      what: `${memory}, peak of 60 s of load`,
      unit: 'MiB',
      hearth: peakMiB,
      rival: 'bound',
      theirs: 20,
      bound: { atMost: 1 },
    },
    {
      what: `${memory}, settled after it`,
      unit: 'MiB',
      hearth: settledMiB,
      rival: 'aim',
      theirs: 14,
      bound: { atMost: 1 },
    },
  ]
}

/** The medians of two measurements that take turns. The first turn of each warms up and is not counted. */
async function inTurns(
  ours: () => Promise<number>,
  theirs: (() => Promise<number>) | undefined,
): Promise<{ ours: number; theirs: number | undefined }> {
  const found = { ours: [] as number[], theirs: [] as number[] }
  for (let run = 0; run <= RUNS; run++) {
    const mine = await ours()
    const other = await theirs?.()
    if (run === 0) continue
    found.ours.push(mine)
    if (other !== undefined) found.theirs.push(other)
  }
  return { ours: median(found.ours), theirs: theirs && median(found.theirs) }
}

function row(
  what: string,
  unit: string,
  found: { ours: number; theirs: number | undefined },
  rival: string,
  bound: Row['bound'] & {},
): Row {
  return { what, unit, hearth: found.ours, rival, theirs: found.theirs, bound }
}

async function fill(hearth: Hearth, keys: number): Promise<void> {
  for (let i = 0; i < keys; i += 500) {
    await Promise.all(
      Array.from({ length: 500 }, (_, j) => hearth.cache.set(key(i + j, keys), VALUE)),
    )
  }
}

function key(index: number, keys: number): string {
  return `device:${index % keys}`
}

function isReached({ hearth, theirs, bound = {} }: Row): boolean {
  if (theirs === undefined) return true
  const ratio = hearth / theirs
  return ratio >= (bound.atLeast ?? 0) && ratio <= (bound.atMost ?? Infinity)
}

function render(rows: readonly Row[]): string {
  const lines = rows.map(each => {
    const { what, unit, hearth, rival, theirs, bound = {} } = each
    const ratio = theirs === undefined ? 'not installed' : rounded(hearth / theirs)
    const goal = bound.atLeast ? `≥ ${bound.atLeast}` : bound.atMost ? `≤ ${bound.atMost}` : ''
    const verdict = goal === '' ? '' : isReached(each) ? 'yes' : 'no'
    return `| ${what} | ${shown(hearth)} ${unit} | ${rival} | ${theirs === undefined ? '' : `${shown(theirs)} ${unit}`} | ${ratio} | ${goal} | ${verdict} |`
  })
  return [
    '# Results',
    '',
    'Written by `npm run bench:peers`. Medians of runs that took turns; one client process; ratios are what counts, since the',
    'machine was shared with the servers under test. What the figures are not: see README.md beside this file.',
    '',
    `${machineLine()}; ${new Date().toISOString().slice(0, 10)}`,
    '',
    '| what | Hearth | rival | theirs | ratio | goal | reached |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...lines,
    '',
  ].join('\n')
}

function shown(value: number): string {
  return value >= 1_000
    ? Math.round(value).toLocaleString('en').replaceAll(',', ' ')
    : value.toFixed(value < 10 ? 2 : 1)
}

function rounded(ratio: number): string {
  return ratio.toFixed(ratio < 0.1 ? 3 : 2)
}
