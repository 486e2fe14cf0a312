/** Churn: connections and workers end by the thousand under load, and nothing is left over, unanswered or done twice.
 *  Owns:   one server, one engine in this process.   Thread: main of a test process.   `HEARTH_TEST_FULL=1` for the long run.
 *  Holds:  (1) a crash anywhere ends this process, and with it the test.  (2) the witness of what was done is the table: each
 *          write has a number of its own.  (3) the random moments come from a printed seed. */

import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { before } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Hearth, HearthError } from '../engine/client/index.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { FULL, type Random, randomTest, SEED } from './helpers/random.ts'
import { openSqlEngine, type SqlEngine, untilQuiet } from './helpers/sql_engine.ts'

const DISCONNECTS = FULL ? 9_800 : 145
const WORKER_DEATHS = FULL ? 200 : 5
const LOOPS = 60
/** Between the requests of one loop. */
const LOOP_PAUSE_MS_MAX = 20
const PAUSE_MS_MAX = FULL ? 40 : 30
/** No request of the load may take longer: the engine's own patience with a server that is away is 3 s. */
const REQUEST_MS_MAX = 10_000
/** Of the whole process, from the first tenth of the run to its end. */
const GROWTH_BYTES_MAX = (FULL ? 128 : 64) << 20

let postgres: TestPostgres

before(async () => {
  console.log(`# HEARTH_TEST_SEED=${SEED}`)
  postgres = await sharedPostgres({ max_connections: '100' })
  await (await postgres.admin()).query('create table effects (id int)')
})

/** Each write has a number; what became of it as far as its asker knows. */
class Load {
  readonly acknowledged: number[] = []
  readonly errors = new Map<string, number>()
  readonly wrong: string[] = []
  answered = 0
  asked = 0
  slowestMs = 0
  private nextId = 0
  private isOver = false
  private readonly loops: Promise<void>[]
  private readonly client: Hearth

  constructor(client: Hearth, random: Random) {
    this.client = client
    this.loops = Array.from({ length: LOOPS }, () => this.loop(random.fork()))
  }

  async stop(): Promise<void> {
    this.isOver = true
    await Promise.all(this.loops)
  }

  private async loop(random: Random): Promise<void> {
    while (!this.isOver) {
      const startMs = performance.now()
      this.asked++
      try {
        await this.step(random.below(20))
      } catch (error) {
        this.note(error as HearthError)
        await sleep(2)
      }
      this.answered++
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startMs)
      // Enough to have many in flight at each disconnect; more would only slow these down.
      await sleep(random.below(LOOP_PAUSE_MS_MAX))
    }
  }

  private async step(kind: number): Promise<void> {
    const { db } = this.client
    if (kind === 0) {
      let count = 0
      for await (const rows of db.stream('select generate_series(1, 2000) as i'))
        count += rows.length
      if (count !== 2_000) this.wrong.push(`a stream of 2000 rows ended after ${count}`)
    } else if (kind <= 2) {
      const ids = [this.nextId++, this.nextId++]
      await db.transaction(async tx => {
        for (const id of ids) await tx.query('insert into effects values ($1)', [id])
      })
      this.acknowledged.push(...ids)
    } else if (kind <= 8) {
      const { rows } = await db.query('select $1::int as kind', [kind])
      if (rows[0]!['kind'] !== kind)
        this.wrong.push(`${kind} was answered with ${rows[0]!['kind']}`)
    } else {
      const id = this.nextId++
      await db.query('insert into effects values ($1)', [id])
      this.acknowledged.push(id)
    }
  }

  private note({ code, message }: HearthError): void {
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1)
    const isRight =
      ['UNAVAILABLE', 'POOL_EXHAUSTED'].includes(code) &&
      /outcome unknown|only reads|rolled back|rolled it back|not run|not sent|nothing was sent|worker died/.test(
        message,
      )
    if (!isRight) this.wrong.push(`${code}: ${message}`)
  }
}

/** Ends every connection of the engine's; one that has not gone yet since the last time is not counted again. */
async function disconnect(ended: Set<string>): Promise<void> {
  const { rows } = await (await postgres.admin()).query(
    `select pid || ' since ' || backend_start, pg_terminate_backend(pid)
     from pg_stat_activity where application_name = 'hearth'`,
  )
  for (const [backend, isEnding] of rows) if (isEnding === 't') ended.add(backend!)
}

async function killWorker({ threads, client }: SqlEngine): Promise<void> {
  await until('a worker is there', () => threads().length > 0)
  await threads()[0]!.terminate()
  await until('the next one answers', () =>
    client.db.query('select 1').then(
      () => true,
      () => false,
    ),
  )
}

/** How many descriptors this process has of each kind, and how many threads. */
function holdings(): Record<string, number> {
  const counts: Record<string, number> = { threads: readdirSync('/proc/self/task').length }
  for (const fd of readdirSync('/proc/self/fd')) {
    const kind = descriptorKind(fd)
    if (kind !== undefined) counts[kind] = (counts[kind] ?? 0) + 1
  }
  return counts
}

function descriptorKind(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, '')
  } catch {
    return undefined // the one that listed them
  }
}

async function withEngine(use: (engine: SqlEngine) => Promise<void>): Promise<void> {
  const endings: (() => Promise<void>)[] = []
  try {
    await use(await openSqlEngine({ after: end => endings.push(end) }, postgres.url))
  } finally {
    for (const end of endings) await end()
  }
}

randomTest(
  `${DISCONNECTS} disconnects and ${WORKER_DEATHS} worker deaths under load: all answered, none run twice, nothing left over`,
  { timeout: FULL ? 1_800_000 : 60_000 },
  async random => {
    // What Node itself opens once, for its first workers, is not counted.
    await withEngine(async engine => {
      await killWorker(engine)
      await disconnect(new Set())
    })
    const before = holdings()
    await withEngine(engine => churn(engine, random))
    // A thread's own descriptors go a moment after its end was told.
    const isBack = () => isDeepStrictEqual(holdings(), before)
    await until('all is back', isBack, 5_000).catch(() => undefined)
    assert.deepEqual(holdings(), before)
    console.log(`# as before: ${JSON.stringify(before)}`)
  },
)

async function churn(engine: SqlEngine, random: Random): Promise<void> {
  const startMs = performance.now()
  const load = new Load(engine.client, random)
  const ended = new Set<string>()
  let deaths = 0
  let early = 0
  while (ended.size < DISCONNECTS || deaths < WORKER_DEATHS) {
    await sleep(random.below(PAUSE_MS_MAX))
    const isDeathDue = deaths / WORKER_DEATHS < ended.size / DISCONNECTS
    if (isDeathDue && deaths < WORKER_DEATHS) {
      deaths++
      await killWorker(engine)
    } else await disconnect(ended)
    if (early === 0 && ended.size > DISCONNECTS / 10) early = process.memoryUsage.rss()
  }
  await load.stop()
  const growth = process.memoryUsage.rss() - early
  const seconds = (performance.now() - startMs) / 1_000
  const errors = [...load.errors].map(([code, count]) => `${count} ${code}`).join(', ')
  console.log(
    `# ${ended.size} disconnects, ${deaths} worker deaths in ${seconds.toFixed(1)} s: ${load.asked} requests, ` +
      `${load.acknowledged.length} writes acknowledged, errors: ${errors}; slowest ${Math.round(load.slowestMs)} ms; ` +
      `memory ${(growth / 2 ** 20).toFixed(1)} MiB up from ${(early / 2 ** 20).toFixed(0)} MiB`,
  )
  assert.deepEqual(load.wrong.slice(0, 5), [])
  assert.equal(load.answered, load.asked)
  assert.ok(load.slowestMs < REQUEST_MS_MAX, `${load.slowestMs} ms`)
  assert.ok(load.acknowledged.length > DISCONNECTS, 'there was load')
  assert.ok(growth < GROWTH_BYTES_MAX, `${growth} bytes more`)
  // Statements of a worker that died may still be at work there.
  await untilQuiet(postgres, 5_000)
  await checkEffects(load)
}

async function checkEffects({ acknowledged }: Load): Promise<void> {
  const admin = await postgres.admin()
  assert.equal(await admin.value('select count(*) - count(distinct id) from effects'), '0')
  const { rows } = await admin.query('select id from effects')
  const found = new Set(rows.map(([id]) => Number(id)))
  const lost = acknowledged.filter(id => !found.has(id))
  assert.deepEqual(lost, [], 'what was acknowledged stands')
}
