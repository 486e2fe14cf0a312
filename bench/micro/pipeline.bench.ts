/** pipeline: point selects over shared, pipelined connections, against npm pg's pool of ten, at several depths.
 *  Owns:   one server and its clients a trial.   Thread: main of a trial's process, which makes the requests too.
 *  Holds:  every rival prepares the statement once a connection; the hash is of the rows asked for.
 *
 *  `HEARTH_BENCH_LIBPQ=/path/libpq.so.5` measures another libpq than the first that is found. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pack } from 'msgpackr'
import { startPostgres } from '../../engine/dev/embedded_postgres.ts'
import { configureLibpq } from '../../native-bindings/index.ts'
import { ANSWER, ANSWER_WORDS, Pipeline } from '../../native-bindings/pipeline.ts'
import { type MicroBench, measure, type Row, type Size, type Trial } from '../harness.ts'
import { pgPool } from '../macro/rivals.ts'
import { pause } from '../macro/stand.ts'

const DEPTHS = [1, 10, 100, 1_000] as const
const PIPELINE_COUNTS = [1, 2, 4, 10] as const
const ROW_COUNT = 10_000
const OUTPUT_BYTES = 64 * 1024
const ANSWER_COUNT_MAX = 1_024
const SQL = 'select id, name, v from device where id = $1'
/** Holds on any libpq; from 17 on it is about twice that. */
const RATIO_MIN = 1.5

interface Rival {
  /** Asks for `count` rows, `depth` at a time, and answers the sum of their ids. */
  round(count: number, depth: number): Promise<number>
  close(): Promise<void>
}

export const bench: MicroBench = {
  title: 'point selects by primary key on Postgres, by requests in flight',
  isNot:
    'Not end to end: pg makes JavaScript objects here, a pipeline makes the bytes of a reply, which its client decodes. Client and server share the machine, so past some depth it is the server that is measured.',
  trials: DEPTHS.flatMap(depth => [
    trial(`pg Pool(10), ${depth}`, depth, pgRival),
    ...PIPELINE_COUNTS.filter(count => count <= depth).map(count =>
      trial(`${count} pipelines, ${depth}`, depth, url => Lanes.open(url, count)),
    ),
  ]),
  gates: rows => [
    {
      name: '4 pipelines against pg Pool(10), 100 in flight',
      actual: perSecond(rows, '4 pipelines, 100') / perSecond(rows, 'pg Pool(10), 100'),
      atLeast: RATIO_MIN,
    },
  ],
}

function perSecond(rows: ReadonlyMap<string, Row>, name: string): number {
  return rows.get(name)!.figures['thousand/s']!
}

function trial(name: string, depth: number, open: (url: string) => Promise<Rival>): Trial {
  const run = async (size: Size): Promise<Row> => {
    const folder = mkdtempSync(join(tmpdir(), 'hearth-bench-'))
    const server = await startPostgres({
      dataDir: join(folder, 'data'),
      settings: { fsync: 'off' },
      removeOnDeath: folder,
    })
    try {
      const library = process.env['HEARTH_BENCH_LIBPQ']
      if (library !== undefined) configureLibpq([library])
      await setUp(server.url)
      const rival = await open(server.url)
      const count = Math.max(depth * 10, size === 'smoke' ? 100 : 2_000)
      const row = await measure(size, count, () => rival.round(count, depth))
      await rival.close()
      return row
    } finally {
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  }
  return { name, run }
}

async function setUp(url: string): Promise<void> {
  const lanes = await Lanes.open(url, 1)
  for (const sql of [
    'create table device (id int primary key, name text not null, v float8 not null)',
    `insert into device select i, 'device ' || i, i / 7.0 from generate_series(0, ${ROW_COUNT - 1}) i`,
    'analyze device',
  ])
    await lanes.run(sql)
  await lanes.close()
}

async function pgRival(url: string): Promise<Rival> {
  const pool = pgPool(url)
  if (pool === undefined) throw new Error('pg is not installed: npm ci --prefix bench/rivals')
  const round = async (count: number, depth: number): Promise<number> => {
    let next = 0
    let hash = 0
    const lane = async (): Promise<void> => {
      while (next < count) {
        const { rows } = (await pool.query(SQL, [rowOf(next++)])) as { rows: { id: number }[] }
        hash += rows[0]!.id
      }
    }
    await Promise.all(Array.from({ length: depth }, lane))
    return hash | 0
  }
  const close = async (): Promise<void> => {
    await pool.close()
    await pause(100) // its goodbyes are still on their way, and a server that stops first would be an error
  }
  return { round, close }
}

/** Requests go to whichever pipeline has the fewest out, and those of a turn of the loop are flushed together. */
class Lanes implements Rival {
  private readonly output = Buffer.allocUnsafeSlow(OUTPUT_BYTES)
  private readonly answers = new Int32Array(ANSWER_COUNT_MAX * ANSWER_WORDS)
  private readonly parameters = Array.from({ length: ROW_COUNT }, (_, i) => pack([i]))
  private readonly pipelines: Pipeline[] = []
  private onAnswers: (count: number) => void = () => {}
  private isFlushing = false

  static async open(url: string, pipelineCount: number): Promise<Lanes> {
    const lanes = new Lanes()
    for (let i = 0; i < pipelineCount; i++) await lanes.add(url)
    return lanes
  }

  private async add(url: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const pipeline: Pipeline = new Pipeline(
        this.output,
        this.answers,
        {
          onConnected: problem => (problem === undefined ? resolve() : reject(new Error(problem))),
          onAnswers: count => this.onAnswers(count),
          onLarge: () => {},
          onLost: problem => reject(new Error(problem)),
        },
        'primary',
      )
      this.pipelines.push(pipeline)
      pipeline.define(0, 'point', SQL)
      pipeline.connect(url)
    })
  }

  run(sql: string): Promise<void> {
    return new Promise(resolve => {
      this.onAnswers = () => resolve()
      this.pipelines[0]!.run(0, sql)
      this.pipelines[0]!.flush()
    })
  }

  round(count: number, depth: number): Promise<number> {
    return new Promise((resolve, reject) => {
      let sent = 0
      let received = 0
      let hash = 0
      const send = (): void => {
        while (sent < count && sent - received < depth) this.send(rowOf(sent++))
        this.flushSoon()
      }
      this.onAnswers = answerCount => {
        for (let at = 0; at < answerCount * ANSWER_WORDS; at += ANSWER_WORDS) {
          if (this.answers[at + 1] !== ANSWER.ROWS) reject(new Error('a select was refused'))
          hash += this.answers[at]!
        }
        received += answerCount
        if (received === count) resolve(hash | 0)
        else send()
      }
      send()
    })
  }

  private send(row: number): void {
    let chosen = this.pipelines[0]!
    let fewest = chosen.pending
    for (const pipeline of this.pipelines) {
      const { pending } = pipeline
      if (pending >= fewest) continue
      chosen = pipeline
      fewest = pending
    }
    const bytes = this.parameters[row]!
    chosen.execute(0, row, bytes, 0, bytes.length)
  }

  private flushSoon(): void {
    if (this.isFlushing) return
    this.isFlushing = true
    setImmediate(() => {
      this.isFlushing = false
      for (const pipeline of this.pipelines) pipeline.flush()
    })
  }

  async close(): Promise<void> {
    for (const pipeline of this.pipelines) pipeline.finish()
  }
}

/** Scattered over the table, the same in every trial. */
function rowOf(request: number): number {
  return (request * 7_919) % ROW_COUNT
}
