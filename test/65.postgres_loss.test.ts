/** Connections lost and servers gone: coded errors, nothing sent twice, and the next query works.
 *  Owns:   one server, restarted and killed on the way.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../engine/clock.ts'
import type { HearthError } from '../engine/errors.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openPool, type TestPool, until } from './helpers/postgres_pool.ts'
import { Random, SEED } from './helpers/random.ts'

/** Of whoever asks while it is known that the server is down; the first one waited for seconds. */
const TOLD_MS_MAX = 1_500

let postgres: TestPostgres

before(async () => {
  console.log(`# HEARTH_TEST_SEED=${SEED}`)
  postgres = await sharedPostgres()
})

describe('a terminated backend', () => {
  test('that was idle is replaced without anybody noticing', async t => {
    const { value, pool } = openPool(t, postgres.url, { size: 4, min: 4 })
    await until('four are idle', () => pool.stats().idle === 4)
    for (let round = 0; round < 5; round++) {
      await postgres.terminateBackends()
      await until('the loss is seen', () => pool.stats().closed.lost === 4 * (round + 1))
      await until('they are replaced', () => pool.stats().idle === 4)
      assert.equal(await value('select $1::int', [round]), round)
    }
    assert.equal(pool.stats().errors, 0)
  })

  test('in the middle of a read: UNAVAILABLE, with the SQLSTATE, and it may be asked again', async t => {
    const { query, value } = openPool(t, postgres.url, { size: 1, overflow: 0 })
    const asked = query('select pg_sleep(5)').catch((error: HearthError) => error)
    await postgres.untilRuns('pg_sleep(5)')
    await postgres.terminateBackends()
    const error = (await asked) as HearthError
    assert.deepEqual([error.code, error.sqlState], ['UNAVAILABLE', '57P01'])
    assert.match(error.message, /administrator command.*only reads/)
    assert.equal(await value('select 1'), 1)
  })

  test('in the middle of a write: the outcome is called unknown', async t => {
    const { query, value } = openPool(t, postgres.url, { size: 1, overflow: 0 })
    await query('create table interrupted (id int)')
    const asked = query('insert into interrupted select 1 from pg_sleep(5)').catch(
      (error: HearthError) => error,
    )
    await postgres.untilRuns('pg_sleep(5)')
    await postgres.terminateBackends()
    const error = (await asked) as HearthError
    assert.equal(error.code, 'UNAVAILABLE')
    assert.match(error.message, /outcome unknown/)
    assert.equal(error.retryable, false)
    assert.equal(await value('select count(*) from interrupted'), 0)
  })

  test('that ends itself by its own statement is the same', async t => {
    const { query, value } = openPool(t, postgres.url, { size: 1, overflow: 0 })
    await assert.rejects(query('select pg_terminate_backend(pg_backend_pid())'), {
      code: 'UNAVAILABLE',
    })
    assert.equal(await value('select 1'), 1)
  })

  test('killed with SIGKILL costs a coded error too', async t => {
    const { query, value } = openPool(t, postgres.url, { size: 1, overflow: 0 })
    const pid = Number(await value('select pg_backend_pid()'))
    const asked = query('select pg_sleep(5)').catch((error: HearthError) => error)
    await postgres.untilRuns('pg_sleep(5)')
    process.kill(pid, 'SIGKILL') // the whole server recovers after that
    assert.equal(((await asked) as HearthError).code, 'UNAVAILABLE')
    assert.equal(await value('select 1'), 1)
  })
})

test('under load and terminations nothing runs twice, and nothing acknowledged is lost', async t => {
  const { query, value, pool } = openPool(t, postgres.url, { size: 6, overflow: 0 })
  await query('create table effects (id int)')
  const random = new Random(SEED)
  const outcome = await load(pool, query, async () => {
    for (let round = 0; round < 12; round++) {
      await sleep(random.below(80))
      await postgres.terminateBackends()
    }
  })
  await check(outcome, value)
  assert.ok(outcome.acknowledged.length > 500, `${outcome.acknowledged.length} acknowledged`)
  assert.ok(outcome.unknown.length > 0, 'some were in flight')
  console.log(`# ${outcome.acknowledged.length} acknowledged, ${outcome.unknown.length} unknown`)
})

test('a restarted and a crashed server under load: coded errors, then everything goes on', async t => {
  const { query, value, pool } = openPool(t, postgres.url, { size: 6, overflow: 0 })
  await query('drop table if exists effects')
  await query('create table effects (id int)')
  await (await postgres.admin()).query('checkpoint')
  const outcome = await load(pool, query, async () => {
    await sleep(100)
    await postgres.restart()
    await sleep(300)
    // With synchronous_commit off a crash may lose what was acknowledged, so this one checks only for doubles.
    await postgres.server.kill()
    await postgres.restart()
    await sleep(300)
  })
  assert.equal(
    await value('select count(*) - count(distinct id) from effects'),
    0,
    'nothing ran twice',
  )
  for (const error of outcome.errors) assert.equal(error.code, 'UNAVAILABLE', error.message)
  assert.equal(await value('select 42'), 42)
  console.log(`# ${outcome.acknowledged.length} acknowledged, ${outcome.unknown.length} unknown`)
})

describe('a server that is down', () => {
  test('for less than the patience: requests wait, and are answered when it is back', async t => {
    const { value, pool } = openPool(t, postgres.url, { size: 4, min: 2 })
    await value('select 1')
    await postgres.server.stop()
    // What is sent to a connection whose end has not been read may have run.
    await until('the loss is seen', () => pool.stats().idle === 0)
    const asked = Array.from({ length: 20 }, (_, i) => value('select $1::int', [i]))
    await sleep(300)
    await postgres.restart()
    assert.deepEqual(
      await Promise.all(asked),
      Array.from({ length: 20 }, (_, i) => i),
    )
    assert.ok(pool.stats().connectFailures > 0)
    assert.equal(pool.stats().errors, 0)
  })

  test('for longer: UNAVAILABLE, then at once, and it works again by itself', async t => {
    const { query, value, pool } = openPool(t, postgres.url, { size: 4, min: 2 })
    await value('select 1')
    await postgres.server.stop()
    await until('the loss is seen', () => pool.stats().idle === 0)
    await assert.rejects(query('select 1'), (error: HearthError) => {
      assert.equal(error.code, 'UNAVAILABLE')
      assert.match(error.message, /was not run/)
      return true
    })
    const startedMs = monotonicMs()
    await assert.rejects(query('select 1'), { code: 'UNAVAILABLE' })
    assert.ok(monotonicMs() - startedMs < TOLD_MS_MAX, 'the second one is told at once')
    assert.match(pool.stats().down!, /No such file|refused/)
    await postgres.restart()
    await until('it is up again', () => pool.stats().idle > 0)
    assert.equal(await value('select 1'), 1)
    assert.equal(pool.stats().down, undefined)
  })

  test('on a port where nobody listens says so', async t => {
    const { query } = openPool(t, 'postgresql://me:secret@127.0.0.1:1/db')
    await assert.rejects(query('select 1'), (error: HearthError) => {
      assert.equal(error.code, 'UNAVAILABLE')
      assert.doesNotMatch(error.message, /secret/)
      return true
    })
  })
})

describe('a refused login', () => {
  const CASES: [what: string, change: (url: string) => string, words: RegExp][] = [
    [
      'a database that does not exist',
      url => url.replace('@/postgres', '@/nowhere'),
      /"nowhere" does not exist/,
    ],
    [
      'a role that does not exist',
      url => url.replace('postgres@', 'nobody_here@'),
      /"nobody_here" does not exist/,
    ],
    ['a url that is none', () => 'postgresql://[', /\w/],
  ]
  for (const [what, change, words] of CASES) {
    test(`${what}: every request is told at once and nobody waits`, async t => {
      const { query, pool } = openPool(t, change(postgres.url))
      const startedMs = monotonicMs()
      for (let i = 0; i < 3; i++) {
        await assert.rejects(query('select 1'), (error: HearthError) => {
          assert.equal(error.code, 'UNAVAILABLE')
          assert.match(error.message, words)
          return true
        })
      }
      assert.ok(monotonicMs() - startedMs < 2_500)
      assert.ok(pool.stats().connectFailures < 10, 'it is not tried at each request')
    })
  }

  test('is tried again, and works once the cause is mended', async t => {
    const { query, value } = openPool(t, postgres.urlOf('later'))
    await assert.rejects(query('select 1'), { code: 'UNAVAILABLE' })
    await postgres.createDatabase('later')
    await until(
      'it is there',
      () =>
        value('select 1').then(
          found => found === 1,
          () => false,
        ),
      10_000,
    )
  })
})

test('when the server gives fewer connections than the pool may have, those it gives do the work', async t => {
  const admin = await postgres.admin()
  await admin.query('create role limited login connection limit 2')
  const { value, pool } = openPool(t, postgres.url.replace('postgres@', 'limited@'), { size: 6 })
  const answers = await Promise.all(
    Array.from({ length: 60 }, (_, i) => value('select $1::int', [i])),
  )
  assert.deepEqual(
    answers,
    Array.from({ length: 60 }, (_, i) => i),
  )
  assert.ok(pool.stats().connects <= 2)
  assert.equal(pool.stats().errors, 0)
})

test('without libpq every query says NOT_CONFIGURED and what to install', () => {
  const hook = `import { registerHooks } from 'node:module'
    registerHooks({ resolve(name, context, next) {
      if (name === 'libpq') throw new Error('libpq.so.5: cannot open shared object file')
      return next(name, context)
    } })`
  const script = `import { Pool } from ${JSON.stringify(join(import.meta.dirname, '../workers/postgres/pool.ts'))}
    import { POOL_DEFAULTS } from ${JSON.stringify(join(import.meta.dirname, '../workers/postgres/database.ts'))}
    const pool = new Pool({ name: 'main', url: 'postgresql:///x', ...POOL_DEFAULTS })
    const request = { sql: 'select 1', params: [], timeoutMs: 0, correlationId: 'c' }
    for (let i = 0; i < 2; i++) await pool.query(request).catch(error => console.log(error.code, error.message))
    await pool.close()`
  const hookUrl = `data:text/javascript,${encodeURIComponent(hook)}`
  const out = execFileSync(process.execPath, [
    '--import',
    hookUrl,
    '--input-type=module',
    '-e',
    script,
  ])
  const lines = out.toString().trim().split('\n')
  assert.equal(lines.length, 2)
  for (const line of lines)
    assert.match(line, /^NOT_CONFIGURED .*cannot open shared object.*apt install libpq5/)
})

interface LoadOutcome {
  acknowledged: number[]
  unknown: number[]
  errors: HearthError[]
}

/** Inserts numbers one after the other on twenty tracks while `disturb` runs. */
async function load(
  pool: TestPool['pool'],
  query: TestPool['query'],
  disturb: () => Promise<void>,
): Promise<LoadOutcome> {
  const outcome: LoadOutcome = { acknowledged: [], unknown: [], errors: [] }
  let nextId = 0
  let isOver = false
  const track = async () => {
    while (!isOver) {
      const id = nextId++
      try {
        await query('insert into effects values ($1)', [id])
        outcome.acknowledged.push(id)
      } catch (error) {
        outcome.errors.push(error as HearthError)
        if (/outcome unknown/.test((error as Error).message)) outcome.unknown.push(id)
        await sleep(1)
      }
    }
  }
  const tracks = Array.from({ length: 20 }, track)
  await disturb()
  isOver = true
  await Promise.all(tracks)
  assert.equal(pool.stats().waiting + pool.stats().busy, 0)
  return outcome
}

async function check(outcome: LoadOutcome, value: TestPool['value']): Promise<void> {
  for (const error of outcome.errors) assert.equal(error.code, 'UNAVAILABLE', error.message)
  assert.equal(
    await value('select count(*) - count(distinct id) from effects'),
    0,
    'nothing ran twice',
  )
  const missing =
    'select count(*) from unnest($1::int[]) id where not exists (select from effects e where e.id = id.id)'
  assert.equal(await value(missing, [outcome.acknowledged]), 0, 'what was acknowledged is there')
  const told = [...outcome.acknowledged, ...outcome.unknown]
  const secretly = 'select count(*) from effects where not id = any($1::int[])'
  assert.equal(await value(secretly, [told]), 0, 'what was said not to have run has not')
}
