/** Breakers and retries on a real server that is stopped, restarted, stalled and hung up on.
 *  Owns:   one server, and proxies in front of it.   Thread: main of a test process.
 *  Holds:  the witness of what ran is the server's own table.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../engine/clock.ts'
import type { HearthError } from '../engine/errors.ts'
import { RETRY_WAITING_COUNT_MAX } from '../workers/postgres/retries.ts'
import { startFaultyProxy } from './helpers/faulty_proxy.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openDatabase, type TestDatabase } from './helpers/postgres_database.ts'
import { until } from './helpers/postgres_pool.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres({ deadlock_timeout: '200ms' })
})

const ECHO = 'select $1::int as i'
const SIZE = { size: 4, min: 2 }

function codeOf(answer: Promise<unknown>): Promise<HearthError | undefined> {
  return answer.then(
    () => undefined,
    (error: HearthError) => error,
  )
}

function breakers({ database }: TestDatabase) {
  return database.stats().breakers
}

/** A connection is there, and ECHO is known to be short. */
async function warm({ value, database }: TestDatabase): Promise<void> {
  await until('one is idle', () => database.stats().idle >= 1)
  for (let i = 0; i < 3; i++) await value(ECHO, [i])
}

test('errors of statements, deadlines, conflicts and own load never count', async t => {
  const opened = openDatabase(t, postgres.url, { size: 2, overflow: 0, acquireTimeoutMs: 50 })
  const { query, together, database } = opened
  await warm(opened)
  const DIVIDE = 'select 1 / $1::int'
  await query(DIVIDE, [1])
  for (let i = 0; i < 30; i++) assert.equal((await codeOf(query(DIVIDE, [0])))?.sqlState, '22012')
  await Promise.all(together(Array(60).fill([DIVIDE, [0]])).map(codeOf))
  const failures = await Promise.all([
    ...Array.from({ length: 12 }, () => codeOf(query('select pg_sleep(2)', [], 150))),
    ...Array.from({ length: 6 }, () =>
      codeOf(query('do $$ begin perform pg_sleep(2); end $$', [], 150)),
    ),
  ])
  const codes = new Set(failures.map(each => each?.code))
  assert.deepEqual(codes, new Set(['TIMEOUT', 'POOL_EXHAUSTED']))
  // Behind a statement that takes longer than usual, on every connection there is.
  const SLEEP = 'select pg_sleep($1::float8)'
  for (let i = 0; i < 3; i++) await query(SLEEP, [0])
  const slow = [SLEEP, [0.7]] as const
  const behind = await Promise.all(
    together([slow, slow, ...Array.from({ length: 8 }, () => [SLEEP, [0], 100] as const)]).map(
      codeOf,
    ),
  )
  const late = behind.filter(error => error?.code === 'TIMEOUT')
  assert.ok(late.length >= 6 && late.every(error => /no answer/.test(error!.message)))
  await Promise.all([
    codeOf(query('select no_such_column')),
    codeOf(query('insert into nowhere values (1)')),
  ])
  const given = codeOf(query('select pg_sleep(3)'))
  await until('it runs', () => database.stats().inUse === 1)
  assert.ok(database.cancel(opened.lastTicket))
  assert.equal((await given)?.sqlState, '57014')
  for (const { state, failures } of Object.values(breakers(opened)))
    assert.deepEqual([state, failures], ['closed', 0])
})

test('a restart under load opens no breaker, and only what was at the server then is of unknown outcome', async t => {
  const opened = openDatabase(t, postgres.url, { size: 6, overflow: 0 })
  const { query, value } = opened
  await query('create table breaker_restart (id int)')
  await warm(opened)
  const errors: HearthError[] = []
  const acknowledged: number[] = []
  let next = 0
  let isOver = false
  const loop = async () => {
    while (!isOver) {
      const id = ++next
      const error = await codeOf(query('insert into breaker_restart values ($1)', [id]))
      if (error === undefined) acknowledged.push(id)
      else errors.push(error)
      assert.equal(await codeOf(query(ECHO, [id])).then(each => each?.code ?? 'read'), 'read')
    }
  }
  const loops = Promise.allSettled(Array.from({ length: 100 }, loop))
  await sleep(200)
  await postgres.server.stop()
  await sleep(800)
  await postgres.restart()
  await until('many more are done', () => acknowledged.length > errors.length + 300)
  isOver = true
  const lostReads = (await loops).filter(({ status }) => status === 'rejected').length
  for (const { message } of errors) assert.match(message, /outcome unknown/)
  assert.ok(errors.length + lostReads <= 6 * 128, 'no more than can be in flight')
  for (const { transitions } of Object.values(breakers(opened))) assert.equal(transitions.open, 0)
  assert.equal(await value('select count(*) - count(distinct id) from breaker_restart'), 0)
  console.log(
    `# ${acknowledged.length} acknowledged, ${errors.length} unknown, ${lostReads} reads lost`,
  )
})

test('connections lost under statements open it; then one tries at a time, and two successes close it', async t => {
  const proxy = await startFaultyProxy(t, postgres, 'breaker_lost')
  const opened = openDatabase(t, proxy.url, SIZE, { failures: 2, openMs: 300, retries: 0 })
  const { query } = opened
  await warm(opened)
  const lose = async () => {
    const lost = codeOf(query('select pg_sleep(5)'))
    await until('it runs', () => opened.database.stats().inUse === 1)
    proxy.spoil()
    return (await lost)?.code
  }
  assert.equal(await lose(), 'UNAVAILABLE')
  assert.equal(breakers(opened).reads.state, 'closed')
  assert.equal(await lose(), 'UNAVAILABLE')
  assert.equal(breakers(opened).reads.state, 'open')
  await until('there is a connection again', () => opened.database.stats().idle >= 1)
  assert.equal(
    breakers(opened).reads.state,
    'open',
    'a connection that was made proves nothing then',
  )
  assert.equal((await codeOf(query(ECHO, [1])))?.code, 'CIRCUIT_OPEN')
  assert.equal(breakers(opened).writes.state, 'closed')
  await sleep(300)
  const trial = codeOf(query('select pg_sleep(0.2)'))
  const other = await codeOf(query(ECHO, [1]))
  assert.equal(other?.code, 'CIRCUIT_OPEN')
  assert.ok(other.retryAfterMs! <= 100)
  assert.equal(await trial, undefined)
  assert.equal(breakers(opened).reads.state, 'half-open')
  assert.equal((await codeOf(query('select 1 / 0')))?.sqlState, '22012', 'an error is an answer')
  assert.equal(breakers(opened).reads.state, 'closed')
})

test('a silent server counts, one that is heard on another connection does not', async t => {
  const proxy = await startFaultyProxy(t, postgres, 'breaker_silent')
  const opened = openDatabase(t, proxy.url, { size: 4, min: 1 }, { failures: 2 })
  const { query, database } = opened
  const write = (timeoutMs: number) =>
    codeOf(query('insert into nowhere values (1)', [], timeoutMs))
  await until('one is idle', () => database.stats().idle === 1)
  proxy.stall()
  const asked = write(100)
  // Connections made from now on are not stalled: this one goes there.
  assert.equal((await write(1_000))?.sqlState, '42P01')
  assert.match((await asked)!.message, /no answer from Postgres/)
  assert.equal(breakers(opened).writes.failures, 0)
  proxy.stall()
  assert.match((await write(100))!.message, /no answer from Postgres/)
  assert.equal(breakers(opened).writes.failures, 1)
})

test('a write lost in flight is never asked again; what is proven to read is, at once', async t => {
  const isRepeatable = ({ sql }: { sql: string }) => sql.includes('proven')
  const opened = openDatabase(t, postgres.url, SIZE, {}, isRepeatable)
  const { query, value, database } = opened
  await query('create table breaker_lost (id int)')
  const asked = [
    query('select pg_sleep(1), 7 as proven'),
    query('select pg_sleep(1), 8 as other'),
    query('insert into breaker_lost select 1 from pg_sleep(1)'),
  ]
  const answers = Promise.allSettled(asked)
  await postgres.untilRuns('pg_sleep(1)', 3)
  await postgres.terminateBackends()
  const [read, unproven, write] = await answers
  assert.equal(read?.status === 'fulfilled' && read.value.rows[0]!['proven'], 7)
  for (const lost of [unproven!, write!]) {
    assert.ok(lost.status === 'rejected')
    assert.equal(lost.reason.code, 'UNAVAILABLE')
  }
  await sleep(200)
  assert.equal(await value('select count(*) from breaker_lost'), 0)
  const { retried, attempts, recovered } = database.stats().retries
  assert.deepEqual([retried, recovered], [1, 1])
  assert.ok(attempts <= 2, 'the second connection may have been ending too')
})

test('a read lost in flight is asked again once the server has proven that it only reads', async t => {
  const opened = openDatabase(t, postgres.url, SIZE)
  const { query, database } = opened
  await query('create table breaker_proof as select i from generate_series(1, 3000) i')
  const asked = [
    query('select count(*)::int as n from breaker_proof a, breaker_proof b where a.i <> b.i + 1'),
    query('select pg_sleep(2)'),
  ]
  const answers = Promise.allSettled(asked)
  await postgres.untilRuns('from breaker_proof a')
  await postgres.untilRuns('pg_sleep(2)')
  await postgres.terminateBackends()
  const [read, doubtful] = await answers
  assert.equal(read?.status === 'fulfilled' && read.value.rows[0]!['n'], 3_000 * 3_000 - 2_999)
  assert.ok(doubtful?.status === 'rejected')
  assert.equal(doubtful.reason.code, 'UNAVAILABLE')
  assert.equal(database.stats().retries.recovered, 1)
})

test('a deadlock is over for both sides, be it on connections of their own', async t => {
  const { query, value, database } = openDatabase(t, postgres.url, SIZE)
  await query('create table breaker_rows as select i as id, 0 as n from generate_series(1, 2) i')
  const body = (first: number, second: number) => `do $$ begin
    update breaker_rows set n = n + 1 where id = ${first};
    perform pg_sleep(0.2);
    update breaker_rows set n = n + 1 where id = ${second};
  end $$`
  await Promise.all([query(body(1, 2)), query(body(2, 1))])
  assert.equal(await value('select min(n) * 10 + max(n) from breaker_rows'), 22)
  const { retries, breakers: after } = database.stats()
  assert.ok(retries.retried >= 1, 'the server chose one to give way, or both')
  assert.equal(retries.recovered, retries.retried)
  assert.equal(after.writes.failures, 0)
})

// Each waits for the dialer's patience to be over.
describe('while no connection can be made', { concurrency: true }, () => {
  test('a server that is gone: what was not sent is asked again until it is back, and the breakers open meanwhile', async t => {
    const settings = { failures: 3, openMs: 60_000, backoffMs: 500, retries: 6 }
    const opened = openDatabase(t, postgres.url, SIZE, settings)
    const { query, value, together, database } = opened
    const impatient = openDatabase(t, postgres.url, SIZE, { ...settings, retries: 0 })
    await value('create table breaker_outage (id int)')
    const trying = openDatabase(t, postgres.url, SIZE, { ...settings, failures: 1, openMs: 300 })
    await Promise.all([warm(opened), warm(impatient), warm(trying)])
    await postgres.server.stop()
    const all = [opened, impatient, trying]
    await until('the loss is seen', () => all.every(each => each.database.stats().idle === 0))
    const first = trying.value(ECHO, [1])
    const writes = Array.from({ length: 20 }, (_, i) =>
      query('insert into breaker_outage values ($1)', [i]),
    )
    // Those who wait are refused together: one failure, whatever their number.
    const refused = await Promise.all(
      Array.from({ length: 50 }, () => codeOf(impatient.query(ECHO, [1]))),
    )
    assert.deepEqual(new Set(refused.map(each => each?.code)), new Set(['UNAVAILABLE']))
    assert.deepEqual(
      [breakers(impatient).reads.state, breakers(impatient).reads.failuresInRow],
      ['closed', 1],
    )
    for (let i = 0; i < 2; i++)
      assert.equal((await codeOf(impatient.query(ECHO, [1])))?.code, 'UNAVAILABLE')
    assert.equal(breakers(impatient).reads.state, 'open')
    const startMs = monotonicMs()
    const open = await Promise.all(
      Array.from({ length: 200 }, () => codeOf(impatient.query(ECHO, [1]))),
    )
    assert.ok((monotonicMs() - startMs) / 200 < 5, 'each is answered within milliseconds')
    for (const error of open) {
      assert.deepEqual([error?.code, error?.retryable], ['CIRCUIT_OPEN', true])
      assert.ok(error!.retryAfterMs! > 50_000 && error!.retryAfterMs! <= 60_000)
      assert.match(error!.message, /"main\.reads" is open.*cannot be reached.*nothing was sent/)
    }
    const write = await codeOf(impatient.query('insert into breaker_outage values (-1)'))
    assert.equal(write?.code, 'UNAVAILABLE', 'the breaker of the reads keeps no write back')
    await until('all wait to be asked again', () => database.stats().retries.waiting === 20)

    // Retries stop: at their deadline, when they are given up, and where there is no room for more.
    const shortMs = monotonicMs()
    assert.equal(
      (await codeOf(query('insert into breaker_outage values (-2)', [], 350)))?.code,
      'UNAVAILABLE',
    )
    assert.ok(monotonicMs() - shortMs < 350, 'the pause would not have ended before its deadline')
    const given = codeOf(query('insert into breaker_outage values (-3)', []))
    assert.equal(database.stats().retries.waiting, 21)
    assert.ok(database.cancel(opened.lastTicket))
    assert.equal((await given)?.sqlState, '57014')
    assert.equal(database.cancel(opened.lastTicket), false)

    // Who asked before the breaker opened waits on; whose statement is its trial learns at once that the server is not back.
    await until('a trial may be made', () => {
      const { state, retryAfterMs } = breakers(trying).reads
      return state === 'open' && retryAfterMs === 0
    })
    assert.equal((await codeOf(trying.query(ECHO, [2])))?.code, 'UNAVAILABLE')
    assert.equal(breakers(trying).reads.state, 'open')
    assert.equal(trying.database.stats().retries.retried, 1)

    await postgres.restart()
    assert.equal(await first, 1)
    await Promise.all(writes)
    assert.equal(await value('select count(*) from breaker_outage'), 20)
    assert.equal(await value('select count(distinct id) from breaker_outage where id >= 0'), 20)
    const { retries } = database.stats()
    assert.deepEqual([retries.waiting, retries.recovered], [0, 20])
    // The connection that was made is the proof that it is back: nobody waits for the 60 s.
    await until('it lets try', () => breakers(impatient).reads.state !== 'open', 20_000)
    await until('it is closed', async () => {
      await codeOf(impatient.query(ECHO, [1]))
      return breakers(impatient).reads.state === 'closed'
    })
    assert.deepEqual(breakers(impatient).reads.transitions, { closed: 1, 'half-open': 1, open: 1 })
    await Promise.all(together(Array.from({ length: 100 }, (_, i) => [ECHO, [i]])))
  })

  test('a pool that closes answers those who wait to be asked again, and the room for them is bounded', async t => {
    const { together, database } = openDatabase(t, 'host=/nonexistent user=x', SIZE, {
      failures: 1_000_000,
      failureRate: 1,
      minCalls: 1_000_000,
    })
    const asked = together(
      Array.from({ length: RETRY_WAITING_COUNT_MAX + 7 }, (_, i) => [ECHO, [i]] as const),
    ).map(codeOf)
    await until('the patience is over', () => database.stats().retries.waiting > 0)
    assert.equal(database.stats().retries.waiting, RETRY_WAITING_COUNT_MAX)
    await database.close()
    const codes = (await Promise.all(asked)).map(error => error?.code)
    assert.equal(codes.filter(code => code === 'UNAVAILABLE').length, 7)
    assert.equal(codes.filter(code => code === 'CLOSED').length, RETRY_WAITING_COUNT_MAX)
  })

  test('large parameters of those who wait are bounded together', async t => {
    const { together, database } = openDatabase(t, 'host=/nonexistent user=x', SIZE)
    const large = 'x'.repeat(1024 * 1024 - 100)
    const asked = together(Array.from({ length: 5 }, () => ['select $1', [large]] as const)).map(
      codeOf,
    )
    await until('the patience is over', () => database.stats().retries.waiting > 0)
    assert.equal(database.stats().retries.waiting, 2)
    await database.close()
    const codes = (await Promise.all(asked)).map(error => error?.code)
    assert.deepEqual(codes.toSorted(), [
      'CLOSED',
      'CLOSED',
      'UNAVAILABLE',
      'UNAVAILABLE',
      'UNAVAILABLE',
    ])
  })
})
