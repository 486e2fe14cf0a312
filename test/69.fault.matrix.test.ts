/** Faults: operation × fault, the whole matrix: each cell ends by its deadline with the right words, and the next use works.
 *  Owns:   one server, restarted on the way; an engine and a proxy a cell.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  after each cell nothing ran twice, nothing of what failed stands, no transaction is open at the server.
 *
 *                         backend terminated   server restarted   worker killed   libpq error   socket stalled
 *      read, write        here                 here               here            here          here
 *      many in flight     here, 65             here, 65           here            here          here
 *      transaction        69.session           69.session         69.session      here          here
 *      stream             69.session           69.session         69.session      here          here
 *      COPY out, in       69.session           69.session         69.session      here          here
 *      LISTEN             68.listen            68.listen          68.listen       here          here
 *
 *      69.session: 69.session.faults.test.ts · 68.listen: 68.listen.channels.test.ts · 65: 65.shared_loss.test.ts, from within */

import assert from 'node:assert/strict'
import { before, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gap, Hearth, HearthError } from '../engine/client/index.ts'
import { type FaultyProxy, startFaultyProxy } from './helpers/faulty_proxy.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { WireClient } from './helpers/postgres_wire.ts'
import { openSqlEngine, type SqlEngine } from './helpers/sql_engine.ts'

/** Of everything asked while a socket stalls. Elsewhere a request has its usual 30 s and must not need them. */
const DEADLINE_MS = 1_000
/** From the fault, or from the deadline behind it, to the answer; the engine's own grace for a cancellation is 250 ms. */
const ANSWER_MS_MAX = 1_500
const MANY = 300
/** Connections that do not even answer a cancellation are given up after five seconds. */
const NEXT_MS_MAX = 9_000

let postgres: TestPostgres
let cellCount = 0

before(async () => {
  postgres = await sharedPostgres()
  const admin = await postgres.admin()
  await admin.query(
    'create table many as select generate_series(1, 200000) as i; create table held (id int); checkpoint',
  )
})

/** What one cell has to work with. */
interface Cell {
  readonly name: string
  readonly engine: SqlEngine
  readonly client: Hearth
  readonly proxy: FaultyProxy
  /** A table of its own: (id int). */
  readonly table: string
  /** Undefined: as usual. */
  readonly timeoutMs: number | undefined
  /** Strikes, once. */
  strike(): Promise<void>
}

type FaultName =
  | 'the backend is terminated'
  | 'the server is restarted'
  | 'the worker is killed'
  | 'libpq meets an error'
  | 'the socket stalls'

const FAULTS: Record<FaultName, (cell: Omit<Cell, 'strike'>) => unknown> = {
  'the backend is terminated': async ({ name }) => {
    const sql = 'select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1'
    await (await postgres.admin()).query(sql, [name])
  },
  'the server is restarted': () => postgres.restart(),
  'the worker is killed': ({ engine }) => engine.killWorker(),
  'libpq meets an error': ({ proxy }) => proxy.spoil(),
  'the socket stalls': ({ proxy }) => proxy.stall(),
}
const ALL = Object.keys(FAULTS) as FaultName[]

/** Each operation's rows that are not in another file, and what its error says there: [code, words]. */
interface Operation {
  readonly expected: Partial<Record<FaultName, readonly [code: string, words: RegExp]>>
  /** Begins, has the fault strike when it is under way, and rejects. */
  run(cell: Cell): Promise<unknown>
}

const WORKER_DIED = ['UNAVAILABLE', /worker died/] as const
const MAY_REPEAT = ['UNAVAILABLE', /connection to Postgres was lost.*only reads/] as const
const UNKNOWN = ['UNAVAILABLE', /connection to Postgres was lost.*outcome unknown/] as const
const ROLLED_BACK = ['UNAVAILABLE', /lost in the transaction.*nothing of it stands/] as const

const OPERATIONS: Record<string, Operation> = {
  'a read': {
    expected: {
      'the backend is terminated': MAY_REPEAT,
      'the server is restarted': MAY_REPEAT,
      'the worker is killed': WORKER_DIED,
      'libpq meets an error': MAY_REPEAT,
      'the socket stalls': ['TIMEOUT', /no answer from Postgres(?!.*outcome unknown)/],
    },
    run: cell => runSlowly(cell, 'select pg_sleep(20)'),
  },
  'a write': {
    expected: {
      'the backend is terminated': UNKNOWN,
      'the server is restarted': UNKNOWN,
      'the worker is killed': WORKER_DIED,
      'libpq meets an error': UNKNOWN,
      'the socket stalls': ['TIMEOUT', /no answer from Postgres.*outcome unknown/],
    },
    run: cell => runSlowly(cell, `insert into ${cell.table} select 1 from pg_sleep(20)`),
  },
  'a transaction between statements': {
    expected: {
      'libpq meets an error': ROLLED_BACK,
      'the socket stalls': ['TIMEOUT', /no answer from Postgres/],
    },
    run: ({ client, table, timeoutMs, strike }) =>
      client.db.transaction(async tx => {
        await tx.query(`insert into ${table} values (1)`)
        await strike()
        await tx.query(`insert into ${table} values (2)`, [], { timeoutMs })
      }),
  },
  'a stream': {
    expected: {
      'libpq meets an error': ROLLED_BACK,
      'the socket stalls': ['TIMEOUT', /no answer from Postgres|longer than it may/],
    },
    run: async ({ client, timeoutMs, strike }) => {
      let batches = 0
      for await (const _ of client.db.stream('select * from many', [], { timeoutMs }))
        if (batches++ === 20) await strike()
    },
  },
  'a COPY out': {
    expected: {
      'libpq meets an error': ROLLED_BACK,
      'the socket stalls': ['TIMEOUT', /nothing of it stands/],
    },
    run: async ({ client, timeoutMs, strike }) => {
      let chunks = 0
      const sql = `copy (select repeat('x', 500) from many) to stdout`
      for await (const _ of client.db.copyTo(sql, { timeoutMs }))
        if (chunks++ === 20) await strike()
    },
  },
  'a COPY in': {
    expected: {
      'libpq meets an error': ROLLED_BACK,
      'the socket stalls': ['TIMEOUT', /nothing of it stands/],
    },
    run: ({ client, table, timeoutMs, strike }) =>
      client.db.copyFrom(`copy ${table} from stdin`, pieces(strike), { timeoutMs }),
  },
}

/** Runs something that takes long, and strikes while the server works on it. */
async function runSlowly({ name, client, timeoutMs, strike }: Cell, sql: string): Promise<unknown> {
  const running = client.db.query(sql, [], { timeoutMs })
  running.catch(() => undefined)
  // Not any statement: a connection that has just been made is active for a moment too.
  const isRunning = `select count(*) from pg_stat_activity
    where application_name = $1 and state = 'active' and query like '%pg_sleep(20)%'`
  const admin = await postgres.admin()
  await until('it runs', async () => (await admin.value(isRunning, [name])) === '1')
  await strike()
  return await running
}

async function* pieces(strike: () => Promise<void>): AsyncGenerator<string> {
  for (let i = 0; i < 200; i++) {
    yield '1\n'.repeat(5_000)
    if (i === 5) await strike()
  }
}

/** Backends of one cell in such a state. */
async function countOf(name: string, state: string): Promise<number> {
  const sql = 'select count(*) from pg_stat_activity where application_name = $1 and state like $2'
  return Number(await (await postgres.admin()).value(sql, [name, state]))
}

async function openCell(t: TestContext, fault: FaultName): Promise<Cell> {
  const name = `cell_${++cellCount}`
  const proxy = await startFaultyProxy(t, postgres, name)
  const engine = await openSqlEngine(t, proxy.url, { size: 4, overflow: 0 })
  const { client } = engine
  await (await postgres.admin()).query(`create table ${name} (id int)`)
  const timeoutMs = fault === 'the socket stalls' ? DEADLINE_MS : undefined
  const cell = { name, engine, client, proxy, table: name, timeoutMs }
  let isStruck = false
  const strike = async () => {
    if (isStruck) return
    isStruck = true
    await FAULTS[fault](cell)
  }
  return { ...cell, strike }
}

/** The next use works, as soon as the part that died is there again; nothing is left open behind. */
async function checkAfterwards({ name, client, table }: Cell): Promise<void> {
  await until('the next query is answered', () => isAnswering(client), NEXT_MS_MAX)
  await client.db.transaction(async tx => void (await tx.query(`insert into ${table} values (9)`)))
  // A stalled connection is closed after 5 s, and its server sees that within another.
  const isQuiet = async () =>
    (await countOf(name, 'active')) + (await countOf(name, 'idle in%')) === 0
  await until('nothing runs or is open', isQuiet)
  const { rows } = await client.db.query(`select id from ${table}`)
  assert.deepEqual(rows, [{ id: 9 }])
}

function isAnswering(client: Hearth): Promise<boolean> {
  return client.db.query('select 1', [], { timeoutMs: 500 }).then(
    () => true,
    () => false,
  )
}

for (const fault of ALL) {
  // A stalled connection takes its time; those cells wait side by side. The other faults would meet each other.
  describe(`when ${fault}`, { concurrency: fault === 'the socket stalls' }, () => {
    for (const [what, { expected, run }] of Object.entries(OPERATIONS)) {
      const words = expected[fault]
      if (words === undefined) continue
      test(`${what} rejects with ${words[0]} and what is known of it, in time`, async t => {
        const cell = await openCell(t, fault)
        let sinceMs = 0
        const running = run({
          ...cell,
          strike: async () => {
            await cell.strike()
            sinceMs ||= performance.now()
          },
        })
        await assert.rejects(running, (error: HearthError) => {
          assert.equal(error.code, words[0], error.message)
          assert.match(error.message, words[1])
          return true
        })
        const tookMs = performance.now() - sinceMs - (cell.timeoutMs ?? 0)
        assert.ok(tookMs < ANSWER_MS_MAX, `answered ${Math.round(tookMs)} ms late`)
        await checkAfterwards(cell)
      })
    }

    test(`${MANY} short writes in flight are each answered in time, and none is run twice`, async t => {
      const cell = await openCell(t, fault)
      await checkMany(cell, SAYS_GOODBYE.has(fault))
    })

    if (fault === 'libpq meets an error' || fault === 'the socket stalls')
      test('LISTEN goes on by itself, and tells of the gap', async t => {
        await checkListen(await openCell(t, fault))
      })
  })
}

const SAYS_GOODBYE: ReadonlySet<FaultName> = new Set([
  'the backend is terminated',
  'the server is restarted',
])

/** Writes that wait at the server, many on each connection, are struck there. */
async function checkMany(
  { engine, client, name, table, timeoutMs, strike }: Cell,
  isGoodbye: boolean,
): Promise<void> {
  const sql = `insert into ${table} values ($1)`
  for (let i = 0; i < 20; i++) await client.db.query(sql, [-1])
  const admin = await WireClient.open(postgres.url)
  await admin.query(`begin; lock table ${table} in access exclusive mode`)
  const answers = Array.from({ length: MANY }, async (_, id) => {
    await client.db.query(sql, [id], { timeoutMs })
    return id
  })
  const settling = Promise.allSettled(answers)
  await until('they wait for the lock', async () => (await countOf(name, 'active')) > 0)
  // An attempt to connect that is stalled half-way is given up after ten seconds only.
  await until('nobody is connecting', async () => (await engine.figure('connecting')) === 0)
  await strike()
  const sinceMs = performance.now()
  // A restart has ended this one too.
  await admin.query('rollback').catch(() => undefined)
  await admin.close().catch(() => undefined)
  const settled = await settling
  const tookMs = performance.now() - sinceMs - (timeoutMs ?? 0)
  assert.ok(tookMs < ANSWER_MS_MAX * 2, `the last was answered ${Math.round(tookMs)} ms late`)
  const failed = settled.flatMap(each => (each.status === 'rejected' ? [each.reason] : []))
  for (const { code, message } of failed as HearthError[]) {
    assert.ok(['UNAVAILABLE', 'TIMEOUT', 'POOL_EXHAUSTED'].includes(code), `${code} ${message}`)
    assert.match(message, /outcome unknown|worker died|was not run|nothing was sent|not sent/)
  }
  // What a server has undone in ending its sessions is sent again.
  assert.ok(isGoodbye || failed.length > 0, 'the fault met some of them')
  await until('the next query is answered', () => isAnswering(client), NEXT_MS_MAX)
  // What was in a stalled socket may still arrive, once: the server reads on until its client is gone.
  await until('nothing runs', async () => (await countOf(name, 'active')) === 0)
  const { rows } = await client.db.query<{ id: number; n: number }>(
    `select id, count(*)::int as n from ${table} where id >= 0 group by id`,
  )
  const found = new Set(rows.map(row => row.id))
  assert.ok(
    rows.every(row => row.n === 1),
    'none ran twice',
  )
  for (const each of settled)
    if (each.status === 'fulfilled')
      assert.ok(found.has(each.value), `${each.value} was acknowledged`)
  console.log(
    `# ${MANY - failed.length} acknowledged, ${failed.length} failed, ${found.size} stand`,
  )
}

async function checkListen({ client, strike }: Cell): Promise<void> {
  const got: string[] = []
  const gaps: Gap[] = []
  const first = await client.db.listen('fault', payload => got.push(payload))
  first.on('gap', gap => gaps.push(gap))
  await strike()
  // A connection that is silent is not known to be dead: it is found out by the next thing that is asked of it.
  const second = await client.db.listen('fault_too')
  await until('the gap is told', () => gaps.length > 0)
  assert.equal(gaps[0]!.lost, undefined)
  assert.match(gaps[0]!.reason, /lost/)
  await (await postgres.admin()).query(`select pg_notify('fault', 'after')`)
  await until('the next one comes', () => got.length > 0)
  assert.deepEqual(got, ['after'])
  assert.equal(gaps.length, 1)
  second.close()
  first.close()
  await sleep(1)
}
