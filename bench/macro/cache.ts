/** cache: the cache by itself, written to bench/RESULTS.md: whom tier 1 keeps, and what tier 2 costs as it grows and cleans up.
 *  Owns:   the goals.   Not here: how it is measured (cost.ts, ../micro/sieve.bench.ts).
 *  Thread: main of the bench.
 *  Holds:  a figure of gets while something else goes on is the median of runs that took turns; held up is by how much its p99.9 is
 *          above that of the same gets beside the same sets without it. A smoke run writes nothing. */

import { machineLine, type Size } from '../harness.ts'
import { bench as hitRates } from '../micro/sieve.bench.ts'
import { CACHE_TITLE, writeResults } from '../results.ts'
import { HOLD_UPS, type HoldUp, p50AsItGrows, SIZES, tagInvalidations } from './cost.ts'
import { median, percentile } from './stand.ts'

const GROWTH_MAX = 1.5
const TAG_MS_MAX = 1
const HELD_UP_MS_MAX = 5

interface Row {
  readonly what: string
  readonly figure: string
  /** What is held against `atMost`; left out where there is no goal. */
  readonly actual?: number
  readonly atMost?: number
}

/** False when a goal was missed; a smoke run misses none. */
export async function run(size: Size): Promise<boolean> {
  const rates = await hitRateTable(size)
  const rows = [await growthRow(size), await tagRow(size), ...(await holdUpRows(size))]
  const text = [
    CACHE_TITLE,
    '',
    'Written by `npm run bench:cache`, through the socket, with the default configuration but for `sqlite.max_bytes`.',
    '',
    `${machineLine()}; ${new Date().toISOString().slice(0, 10)}`,
    '',
    ...table(rows),
    '',
    `Hit rates in %, Zipf, for tier 1 of four sizes (${Object.values(SCAN_TEXT).join('; ')}); rivals hold as many entries:`,
    '',
    ...rates,
    '',
  ].join('\n')
  console.log(text)
  if (size === 'real') writeResults('cache', text)
  return size === 'smoke' || rows.every(isReached)
}

const SCAN_TEXT = {
  zipf: 'exponent 0.9, 100 000 keys',
  scans: 'scans: 4 000 other keys after every 20 000 requests',
}

async function hitRateTable(size: Size): Promise<string[]> {
  const lines = [
    '| tier 1 | entries | Hearth | LRU | FIFO | offline optimum |',
    '| --- | --- | --- | --- | --- | --- |',
  ]
  for (const { name, run: measure } of hitRates.trials) {
    const { figures } = await measure(size)
    const rates = ['tier 1', 'LRU', 'FIFO', 'optimum'].map(key => figures[key]!.toFixed(1))
    lines.push(`| ${name} | ${spaced(figures['entries']!)} | ${rates.join(' | ')} |`)
  }
  return lines
}

async function growthRow(size: Size): Promise<Row> {
  const { small, large } = SIZES[size]
  const { smallUs, largeUs } = await p50AsItGrows(size)
  return {
    what: `a hit of tier 2 among ${spaced(large)} entries, and among ${spaced(small)}, p50`,
    figure: `${largeUs.toFixed(1)} µs, ${smallUs.toFixed(1)} µs: ${(largeUs / smallUs).toFixed(2)} ×`,
    actual: largeUs / smallUs,
    atMost: GROWTH_MAX,
  }
}

async function tagRow(size: Size): Promise<Row> {
  const found = await tagInvalidations(size)
  return {
    what: `invalidateTags of a tag on ${spaced(SIZES[size].tagged)} entries`,
    figure: `${median(found).toFixed(2)} ms, at worst ${Math.max(...found).toFixed(2)} ms`,
    actual: median(found),
    atMost: TAG_MS_MAX,
  }
}

async function holdUpRows(size: Size): Promise<Row[]> {
  const found = HOLD_UPS.map(each => ({ ...each, runs: [] as HoldUp[] }))
  for (let round = 0; round < SIZES[size].holdUps; round++)
    for (const each of found) each.runs.push(await each.measure(SIZES[size]))
  const of = (index: number, share: number): number =>
    median(found[index]!.runs.map(({ latencies }) => percentile(latencies, share)))
  return found.map(({ what, against, runs }, index) => {
    const sets = median(runs.map(({ setsPerSecond }) => setsPerSecond))
    const beside = sets > 0 ? `, with ${spaced(Math.round(sets))} sets/s` : ''
    const shown = [0.5, 0.99, 0.999].map(share => of(index, share).toFixed(2)).join(', ')
    const row = { what: `gets of tier 2 ${what}${beside}: p50, p99, p99.9`, figure: `${shown} ms` }
    if (against === undefined) return row
    const more = of(index, 0.999) - of(against, 0.999)
    const figure = `${row.figure}: held up by ${Math.max(0, more).toFixed(2)} ms`
    return { ...row, figure, actual: more, atMost: HELD_UP_MS_MAX }
  })
}

function table(rows: readonly Row[]): string[] {
  const lines = rows.map(row => {
    const goal = row.atMost === undefined ? '' : `≤ ${row.atMost}`
    const verdict = row.atMost === undefined ? '' : isReached(row) ? 'yes' : 'no'
    return `| ${row.what} | ${row.figure} | ${goal} | ${verdict} |`
  })
  return ['| what | Hearth | goal | reached |', '| --- | --- | --- | --- |', ...lines]
}

function isReached({ actual, atMost }: Row): boolean {
  return actual === undefined || atMost === undefined || actual <= atMost
}

function spaced(count: number): string {
  return Math.round(count).toLocaleString('en').replaceAll(',', ' ')
}
