/** replicas: a database with three replicas: the engine's own memory under mixed load, and its reads while one replica stands still.
 *  Owns:   the loops.   Not here: the load for the memory (footprint.ts), the servers (stand.ts).
 *  Thread: main of the bench, which is all the clients.
 *  Holds:  (1) with and without replicas are measured in turn.  (2) a round's usual p99 is taken right before its freeze, from the
 *          same clients.  (3) for a round without a freeze the same is measured, which tells what is noise. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../../engine/client/index.ts'
import { childrenOf } from '../../engine/dev/postgres_process.ts'
import { machineLine, type Size } from '../harness.ts'
import { measureFootprint } from './footprint.ts'
import { median, percentile, Stand } from './stand.ts'

const REPLICAS = 3
const SECONDS: Record<Size, number> = { smoke: 2, real: 20 }
const ROUNDS: Record<Size, number> = { smoke: 1, real: 5 }
const READERS = 12
const PAUSE_MS = 1
const WINDOW_MS = 2_000
/** A replica that stands still is out by then; see the longest wait. */
const OUT_MS = 1_500
const READ = 'select name from bench where id = $1'

interface Round {
  readonly isFrozen: boolean
  readonly usualMs: number
  readonly duringMs: number
  readonly longestMs: number
}

export async function run(size: Size): Promise<boolean> {
  console.log(machineLine())
  for (let i = 0; i < ROUNDS[size]; i++)
    for (const replicas of [0, REPLICAS]) console.log(await memory(SECONDS[size], replicas))
  const rounds = await freezes(ROUNDS[size])
  console.table(rounds)
  for (const isFrozen of [false, true]) {
    const ratios = rounds
      .filter(round => round.isFrozen === isFrozen)
      .map(({ usualMs, duringMs }) => duringMs / usualMs)
    const words = isFrozen ? 'one replica standing still' : 'none, which is the noise'
    console.log(`p99 of reads after over before, ${words}: ${median(ratios).toFixed(2)}`)
  }
  return rounds.every(({ longestMs }) => longestMs < 3_000)
}

async function memory(seconds: number, replicas: number): Promise<string> {
  const { idleMiB, medianMiB, peakMiB, settledMiB, perSecond } = await measureFootprint(
    seconds,
    replicas,
  )
  const figures = { idle: idleMiB, median: medianMiB, peak: peakMiB, settled: settledMiB }
  const words = Object.entries(figures).map(([name, mib]) => `${name} ${mib.toFixed(1)}`)
  return `${replicas} replicas, MiB above a bare Node: ${words.join(', ')}; per second: ${JSON.stringify(perSecond)}`
}

async function freezes(count: number): Promise<Round[]> {
  const stand = new Stand({ postgres: true, replicas: REPLICAS })
  const rounds: Round[] = []
  try {
    await stand.start()
    const client = await stand.client({ sharedMemory: false })
    await client.db.query('create table bench (id int primary key, name text)')
    await client.db.query(
      `insert into bench select g, 'name ' || g from generate_series(1, 1000) g`,
    )
    await sleep(1_000)
    const readers = new Readers(client)
    await sleep(WINDOW_MS)
    for (let i = 0; i < count; i++)
      for (const isFrozen of [false, true])
        rounds.push(await round(stand, readers, isFrozen, 1 + (i % REPLICAS)))
    await readers.stop()
  } finally {
    await stand.stop()
  }
  return rounds
}

async function round(
  stand: Stand,
  readers: Readers,
  isFrozen: boolean,
  replica: number,
): Promise<Round> {
  const pid = stand.servers!.all[replica]!.server!.pid!
  const pids = [pid, ...childrenOf(pid)]
  readers.begin()
  await sleep(WINDOW_MS)
  const usualMs = readers.p99()
  readers.begin()
  if (isFrozen) for (const each of pids) signal(each, 'SIGSTOP')
  await sleep(OUT_MS)
  const longestMs = readers.longest()
  readers.begin()
  await sleep(WINDOW_MS)
  const duringMs = readers.p99()
  if (isFrozen) for (const each of pids) signal(each, 'SIGCONT')
  await sleep(WINDOW_MS)
  return { isFrozen, usualMs, duringMs, longestMs }
}

/** Clients that each have one read out, with a pause between. */
class Readers {
  private took: number[] = []
  private isOver = false
  private readonly running: Promise<void>[]

  constructor(client: Hearth) {
    this.running = Array.from({ length: READERS }, (_, i) => this.read(client, i + 1))
  }

  begin(): void {
    this.took = []
  }

  p99(): number {
    return percentile(Float64Array.from(this.took).sort(), 0.99)
  }

  longest(): number {
    return Math.max(0, ...this.took)
  }

  async stop(): Promise<void> {
    this.isOver = true
    await Promise.all(this.running)
  }

  private async read(client: Hearth, id: number): Promise<void> {
    while (!this.isOver) {
      const startMs = performance.now()
      await client.db.query(READ, [id])
      this.took.push(performance.now() - startMs)
      await sleep(PAUSE_MS)
    }
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {} // gone already
}
