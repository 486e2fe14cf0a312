/** load: many services at once, reading and writing through one engine; written to bench/RESULTS.md.
 *  Owns:   the tables they use, and what must be true of them in the end.   Not here: processes (stand.ts).
 *  Thread: main of the bench, which is all the clients.
 *  Holds:  (1) each client has a connection of its own and one request at a time, with a pause of PAUSE_MS between them as a service
 *          has.  (2) whatever is not answered as it should be counts as failed: an error of any code, a missing row.  (3) no
 *          round counts whose data does not agree in the end: sums, foreign keys, what is cached with what is stored. */

import type { Hearth } from '../../engine/client/index.ts'
import { machineLine, type Size } from '../harness.ts'
import { LOAD_TITLE, writeResults } from '../results.ts'
import { percentile, Stand } from './stand.ts'

const CLIENT_COUNTS = [10, 25, 50, 100, 500]
const SECONDS: Record<Size, number> = { smoke: 2, real: 60 }
const PAUSE_MS = 20
const ACCOUNTS = 1_000
const START_BALANCE = 100
const TTL_MS = 60_000
const SUCCESS_MIN = 0.999
/** Statements are sent by 500 clients with pauses: the pool is not to be the bound. */
const POOL = { HEARTH_POSTGRES_MAIN_POOL_SIZE: '20' }

/** What one round of load was like. */
export interface LoadRow {
  readonly clients: number
  readonly requestsPerSecond: number
  /** 0 to 1. */
  readonly success: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly acquireP99Ms: number
  readonly problems: readonly string[]
}

const BALANCE = 'select balance from account where id = $1'

type Work = (hearth: Hearth, random: () => number) => Promise<unknown>

/** What a service does, and how often. */
const MIX: readonly (readonly [share: number, work: Work])[] = [
  [0.35, (hearth, random) => balanceOf(hearth, accountBy(random), true)],
  [0.2, (hearth, random) => balanceOf(hearth, accountBy(random), false)],
  [0.15, (hearth, random) => hearth.cache.get(`device:${accountBy(random)}`)],
  [0.1, (hearth, random) => hearth.cache.set(`device:${accountBy(random)}`, { at: random() })],
  [0.1, transfer],
  [0.1, note],
]

/** False when a round missed its goal; a smoke run misses none, and writes nothing. */
export async function run(size: Size): Promise<boolean> {
  const rows = await loadRows(size)
  const text = [
    LOAD_TITLE,
    '',
    `Written by \`npm run bench:load\`. Each client has a connection of its own and pauses ${PAUSE_MS} ms on average between requests;`,
    '35 % cached selects, 20 % selects, 15 % gets, 10 % sets, 10 % transactions of two updates, 10 % inserts;',
    `${SECONDS[size]} s each. Afterwards sums and foreign keys are right, and every cached row is the stored one.`,
    '',
    `${machineLine()}; ${new Date().toISOString().slice(0, 10)}`,
    '',
    '| clients | requests/s | success | p50 | p99 | p99.9 | waiting for a connection, p99 | reached |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...rows.map(rowText),
    '',
  ].join('\n')
  console.log(text)
  for (const { problems } of rows) for (const problem of problems) console.error(problem)
  if (size === 'real') writeResults('load', text)
  return size === 'smoke' || rows.every(isReached)
}

function rowText(row: LoadRow): string {
  const { clients, requestsPerSecond, success, p50Ms, p99Ms, p999Ms, acquireP99Ms } = row
  const times = [p50Ms, p99Ms, p999Ms, acquireP99Ms].map(ms => `${ms.toFixed(2)} ms`)
  const share = `${(success * 100).toFixed(3)} %`
  const isFine = isReached(row) ? 'yes' : 'NO'
  return `| ${clients} | ${Math.round(requestsPerSecond)} | ${share} | ${times.join(' | ')} | ${isFine} |`
}

function isReached({ success, problems }: LoadRow): boolean {
  return success >= SUCCESS_MIN && problems.length === 0
}

/** One round for each count of clients, on one engine. */
export async function loadRows(size: Size): Promise<LoadRow[]> {
  const stand = new Stand({ postgres: true, env: POOL })
  const rows: LoadRow[] = []
  try {
    await stand.start()
    await prepare(await stand.client())
    for (const count of CLIENT_COUNTS) rows.push(await round(stand, count, SECONDS[size] * 1_000))
  } finally {
    await stand.stop()
  }
  return rows
}

async function prepare({ db }: Hearth): Promise<void> {
  await db.query('create table account (id int primary key, balance int not null)')
  await db.query(
    'create table entry (id bigint generated always as identity primary key, account int not null references account, amount int not null)',
  )
  await db.query(
    `insert into account select g, ${START_BALANCE} from generate_series(1, ${ACCOUNTS}) g`,
  )
}

async function round(stand: Stand, clientCount: number, forMs: number): Promise<LoadRow> {
  const clients = await Promise.all(Array.from({ length: clientCount }, () => stand.client()))
  const tookMs: number[] = []
  let failed = 0
  const startMs = performance.now()
  const service = async (hearth: Hearth, index: number): Promise<void> => {
    const random = randomFrom(index + 1)
    while (performance.now() - startMs < forMs) {
      const work = drawn(random())
      const sentMs = performance.now()
      try {
        await work(hearth, random)
      } catch {
        failed++
      }
      tookMs.push(performance.now() - sentMs)
      await new Promise(resolve => setTimeout(resolve, PAUSE_MS * 2 * random()))
    }
  }
  await Promise.all(clients.map(service))
  const seconds = (performance.now() - startMs) / 1_000
  const { pools } = await clients[0]!.stats()
  const problems = await disagreements(clients[0]!)
  await Promise.all(clients.map(client => client.close()))
  const sorted = Float64Array.from(tookMs).sort()
  return {
    clients: clientCount,
    requestsPerSecond: sorted.length / seconds,
    success: 1 - failed / sorted.length,
    p50Ms: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
    p999Ms: percentile(sorted, 0.999),
    acquireP99Ms: Number(pools['main']!['acquireP99Ms']),
    problems,
  }
}

function drawn(at: number): Work {
  let left = at
  for (const [share, work] of MIX) {
    left -= share
    if (left < 0) return work
  }
  return MIX[0]![1]
}

async function balanceOf(hearth: Hearth, id: number, isCached: boolean): Promise<number> {
  const options = isCached ? { cache: { ttlMs: TTL_MS } } : {}
  const { rows } = await hearth.db.query<{ balance: number }>(BALANCE, [id], options)
  return rows[0]!.balance
}

/** Moves an amount; the lower account first, so that no two wait for each other. */
async function transfer(hearth: Hearth, random: () => number): Promise<void> {
  const some = accountBy(random)
  const other = (some % ACCOUNTS) + 1
  const [first, second] = some < other ? [some, other] : [other, some]
  await hearth.db.transaction(async tx => {
    await tx.query('update account set balance = balance - 1 where id = $1', [first])
    await tx.query('update account set balance = balance + 1 where id = $1', [second])
  })
}

async function note(hearth: Hearth, random: () => number): Promise<void> {
  await hearth.db.query('insert into entry (account, amount) values ($1, $2)', [
    accountBy(random),
    1,
  ])
}

/** What is not as it must be, in words. */
async function disagreements(hearth: Hearth): Promise<string[]> {
  const problems: string[] = []
  const { rows: sums } = await hearth.db.query<{ sum: number; orphans: number }>(
    `select (select sum(balance)::int from account) as sum,
            (select count(*)::int from entry e left join account a on a.id = e.account where a.id is null) as orphans`,
  )
  const { sum, orphans } = sums[0]!
  if (sum !== ACCOUNTS * START_BALANCE) problems.push(`the balances add up to ${sum}`)
  if (orphans > 0) problems.push(`${orphans} entries have no account`)
  for (let id = 1; id <= ACCOUNTS; id++) {
    const cached = await balanceOf(hearth, id, true)
    const stored = await balanceOf(hearth, id, false)
    if (cached !== stored) problems.push(`account ${id}: ${cached} cached, ${stored} stored`)
  }
  return problems
}

function accountBy(random: () => number): number {
  // Some are asked for more often than others.
  return 1 + Math.floor(random() ** 2 * ACCOUNTS)
}

/** mulberry32: the same numbers in each run. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b_79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
