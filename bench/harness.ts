/** harness: how a figure is made here: a fresh process a trial, a hash of the work, percentiles, the median of repeats.
 *  Owns:   the child process of each trial.   Not here: what is measured (micro/, macro/), the tables (run.ts).
 *  Thread: main; as a script, main of a trial's process.
 *  Holds:  (1) trials of one bench take turns, so that a slow minute of the machine meets them all.  (2) a trial whose hash
 *          differs between repeats is an error: it did not measure the same work twice. */

import { execFileSync } from 'node:child_process'
import { cpus, totalmem } from 'node:os'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { Bench } from 'tinybench'

/** How much of it: `smoke` shows that it runs, `real` gives figures worth reading. */
export type Size = 'smoke' | 'real'

export interface Row {
  /** What is told of a trial, in its table's columns. */
  readonly figures: Record<string, number>
  /** Of the work done: a changed hash means a changed workload, not a faster engine. */
  readonly hash: number
}

export interface Trial {
  readonly name: string
  run(size: Size): Promise<Row> | Row
}

export interface Gate {
  readonly name: string
  readonly actual: number
  readonly atLeast: number
}

export interface MicroBench {
  readonly title: string
  /** What the figures are not: one sentence or two under the table. */
  readonly isNot: string
  readonly trials: readonly Trial[]
  /** Ratios that must hold, from the medians of the trials by name. */
  gates?(rows: ReadonlyMap<string, Row>): Gate[]
}

const REPEATS: Record<Size, number> = { smoke: 1, real: 3 }
const ROUNDS_MS: Record<Size, number> = { smoke: 20, real: 600 }

/** Times rounds of so many operations each with tinybench. A round answers a hash of what it did. */
export async function measure(
  size: Size,
  operations: number,
  round: () => number | Promise<number>,
): Promise<Row> {
  // The first is checked, not timed: it is also what the hash is made of.
  const hash = await round()
  const bench = new Bench({ time: ROUNDS_MS[size], warmupTime: ROUNDS_MS[size] / 3, iterations: 5 })
  bench.add('round', async () => void (await round()))
  await bench.run()
  const { result } = bench.tasks[0]!
  if (result.state !== 'completed') throw new Error(`the trial did not complete: ${result.state}`)
  const nsOf = (ms: number): number => (ms * 1e6) / operations
  const { mean, p50, p75, p99 } = result.latency
  return {
    figures: {
      'thousand/s': operations / mean,
      'ns, p50': nsOf(p50),
      'ns, p75': nsOf(p75),
      'ns, p99': nsOf(p99),
      rounds: result.latency.samplesCount,
    },
    hash,
  }
}

/** Runs every trial of a bench module, each in processes of its own; the medians by name. */
export function runTrials(file: string, bench: MicroBench, size: Size): Map<string, Row> {
  const found = new Map<string, Row[]>(bench.trials.map(({ name }) => [name, []]))
  for (let repeat = 0; repeat < REPEATS[size]; repeat++) {
    for (const [name, rows] of found) rows.push(inFreshProcess(file, name, size))
  }
  return new Map([...found].map(([name, rows]) => [name, medianOf(name, rows)]))
}

/** What the figures were measured on. */
export function machineLine(): string {
  const [cpu] = cpus()
  const memoryGiB = Math.round(totalmem() / 2 ** 30)
  const { platform, arch, version } = process
  return `${cpus().length} × ${cpu?.model.trim() ?? 'unknown CPU'}, ${memoryGiB} GiB, ${platform} ${arch}, Node ${version}`
}

function inFreshProcess(file: string, name: string, size: Size): Row {
  const script = fileURLToPath(import.meta.url)
  const printed = execFileSync(process.execPath, [script, file, name, size], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  return JSON.parse(printed.trim().split('\n').at(-1)!) as Row
}

function medianOf(name: string, rows: readonly Row[]): Row {
  const [first] = rows
  if (first === undefined || rows.some(({ hash }) => hash !== first.hash)) {
    throw new Error(
      `${name}: the hashes differ, so the work did: ${rows.map(({ hash }) => hash).join(', ')}`,
    )
  }
  const median = (key: string): number =>
    rows.map(({ figures }) => figures[key]!).toSorted((a, b) => a - b)[rows.length >> 1]!
  return {
    figures: Object.fromEntries(Object.keys(first.figures).map(key => [key, median(key)])),
    hash: first.hash,
  }
}

/** As a script: harness.ts FILE TRIAL SIZE runs one trial and prints its row. */
async function main([file, name, size]: readonly string[]): Promise<void> {
  const { bench } = (await import(pathToFileURL(file!).href)) as { bench: MicroBench }
  const trial = bench.trials.find(each => each.name === name)
  if (trial === undefined) throw new Error(`no trial is called ${name}`)
  console.log(JSON.stringify(await trial.run(size as Size)))
  process.exit(0)
}

// Not awaited here: the bench it loads imports this file, and would wait for it to end.
if (process.argv[1] === fileURLToPath(import.meta.url)) void main(process.argv.slice(2))
