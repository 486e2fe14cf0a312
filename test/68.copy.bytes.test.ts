/** COPY: bytes into tables and out of queries, all or nothing, with both ends holding each other back.
 *  Owns:   one server.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ownBytes } from '../engine/observe/footprint.ts'
import { serve } from './helpers/engine.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { FULL, Random, SEED } from './helpers/random.ts'
import { backends, openSqlEngine, sharedSqlEngine, untilQuiet } from './helpers/sql_engine.ts'

const MEBIBYTE = 1024 * 1024

let postgres: TestPostgres

before(async () => {
  console.log(`# HEARTH_TEST_SEED=${SEED}`)
  postgres = await sharedPostgres()
  await (await postgres.admin()).query('create table copied (id int, v text)')
})

async function count(): Promise<number> {
  return Number(await (await postgres.admin()).value('select count(*) from copied'))
}

function* lines(rows: number, width = 80): Generator<string> {
  for (let i = 0; i < rows; i++) yield `${i}\t${'x'.repeat(width)}\n`
}

test('10 MB go in and come out the same, cut anywhere', async t => {
  const { client, figure } = await openSqlEngine(t, postgres.url, { size: 1, overflow: 0 })
  const random = new Random(SEED)
  const whole = Buffer.from([...lines(100_000, 95)].join(''))
  assert.ok(whole.length > 10_000_000)
  async function* pieces() {
    for (let at = 0; at < whole.length; ) {
      const bytes = random.chance(0.02) ? random.below(300_000) : random.below(20_000)
      yield whole.subarray(at, at + bytes)
      at += bytes
    }
  }
  const inMs = performance.now()
  assert.deepEqual(await client.db.copyFrom('copy copied from stdin', pieces()), {
    rowCount: 100_000,
  })
  const outMs = performance.now()
  const hash = createHash('sha1')
  let longest = 0
  for await (const chunk of client.db.copyTo('copy (select * from copied order by id) to stdout')) {
    hash.update(chunk)
    longest = Math.max(longest, chunk.length)
  }
  const endMs = performance.now()
  console.log(`# 10 MB in: ${(outMs - inMs).toFixed(0)} ms, out: ${(endMs - outMs).toFixed(0)} ms`)
  assert.equal(hash.digest('hex'), createHash('sha1').update(whole).digest('hex'))
  assert.ok(longest <= 65_536, `${longest} bytes at once`)
  assert.equal(await figure('connects'), 1)
  await client.db.query('truncate copied')
})

test('takes strings, bytes, arrays and generators, text and binary and CSV', async t => {
  const { client } = await sharedSqlEngine(t, postgres.url)
  assert.deepEqual(await client.db.copyFrom('copy copied from stdin', []), { rowCount: 0 })
  await client.db.copyFrom('copy copied from stdin', ['1\tü', '\n2\t', '\\N\n'])
  await client.db.copyFrom(
    'COPY copied FROM STDIN (FORMAT csv)',
    new Set([Buffer.from('3,"a,b"\n')]),
  )
  const csv = await Array.fromAsync(client.db.copyTo('copy copied to stdout (format csv)'))
  assert.equal(Buffer.concat(csv).toString(), '1,ü\n2,\n3,"a,b"\n')
  const binary = await Array.fromAsync(client.db.copyTo('copy copied to stdout (format binary)'))
  await client.db.query('truncate copied')
  const again = await client.db.copyFrom('copy copied from stdin (format binary)', binary)
  assert.equal(again.rowCount, 3)
  await client.db.query('truncate copied')
})

test('a row longer than a chunk comes in several', async t => {
  const { client } = await sharedSqlEngine(t, postgres.url)
  const chunks = await Array.fromAsync(
    client.db.copyTo(`copy (select repeat('y', 300000)) to stdout`),
  )
  assert.ok(chunks.length > 4 && chunks.every(chunk => chunk.length <= 65_536))
  assert.equal(Buffer.concat(chunks).toString(), `${'y'.repeat(300_000)}\n`)
})

describe('nothing stands', () => {
  const sources: Record<string, [() => AsyncGenerator<string>, object]> = {
    'the source throws': [
      async function* () {
        yield* lines(5_000)
        throw new Error('the source is broken')
      },
      { message: 'the source is broken' },
    ],
    'the server refuses a line': [
      async function* () {
        yield* lines(5_000)
        yield 'no number\tx\n'
        yield* lines(5_000)
      },
      { code: 'DATABASE', sqlState: '22P02' },
    ],
    'the source gives something else than text and bytes': [
      async function* () {
        yield* lines(10)
        yield 42 as never
      },
      TypeError as never,
    ],
  }
  for (const [why, [source, expected]] of Object.entries(sources)) {
    test(`when ${why}, and the connection is used again`, async t => {
      const { client, figure } = await openSqlEngine(t, postgres.url, { size: 1, overflow: 0 })
      for (let round = 0; round < 3; round++) {
        await assert.rejects(client.db.copyFrom('copy copied from stdin', source()), expected)
        assert.equal(await count(), 0)
        assert.ok((await untilQuiet(postgres)) < 300)
        assert.equal((await client.db.query('select 1')).rowCount, 1)
      }
      assert.equal(await figure('connects'), 1)
    })
  }

  test('when it is aborted in the middle', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const abort = new AbortController()
    async function* source() {
      yield* lines(5_000)
      setTimeout(() => abort.abort(new Error('no more')), 20)
      await sleep(1_000, undefined, { ref: false })
      yield '1\tx\n'
    }
    const { signal } = abort
    const startMs = performance.now()
    const copying = client.db.copyFrom('copy copied from stdin', source(), { signal })
    await until('it is aborted', () => signal.aborted)
    assert.ok((await untilQuiet(postgres)) < 100)
    await assert.rejects(copying, /no more/)
    assert.ok(performance.now() - startMs < 2_000)
    assert.equal(await count(), 0)
  })

  test('when the source stands still for too long', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    async function* source() {
      yield '1\tx\n'
      await sleep(400)
      yield '2\tx\n'
    }
    const copying = client.db.copyFrom('copy copied from stdin', source(), { idleTimeoutMs: 150 })
    await assert.rejects(copying, { code: 'TIMEOUT', message: /nothing was asked for 150 ms/ })
    assert.equal(await count(), 0)
  })
})

describe('refused', () => {
  const REFUSED: [what: string, sql: string, way: 'in' | 'out'][] = [
    ['a query', 'select 1', 'out'],
    ['a COPY to a file', `copy copied to '/tmp/nowhere'`, 'out'],
    ['the wrong way out', 'copy copied from stdin', 'out'],
    ['the wrong way in', 'copy copied to stdout', 'in'],
    ['an empty text', '', 'in'],
  ]
  for (const [what, sql, way] of REFUSED) {
    test(`${what} is no ${way === 'in' ? 'copyFrom' : 'copyTo'}()`, async t => {
      const { client } = await sharedSqlEngine(t, postgres.url)
      const asked =
        way === 'in' ? client.db.copyFrom(sql, ['1\tx\n']) : Array.fromAsync(client.db.copyTo(sql))
      await assert.rejects(asked, { code: 'BAD_REQUEST' })
    })
  }

  test('what only looks like one is found out by the server’s answer', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const disguised = `copy (select 'x from stdin') to stdout`
    await assert.rejects(client.db.copyFrom(disguised, ['1\tx\n']), { code: /.+/ as never })
    assert.equal((await client.db.query('select 1')).rowCount, 1)
    await untilQuiet(postgres)
  })

  test('two statements in one, a table that does not exist, an unknown option', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const two = 'copy copied to stdout; drop table copied'
    await assert.rejects(Array.fromAsync(client.db.copyTo(two)), { sqlState: '42601' })
    await assert.rejects(client.db.copyFrom('copy nowhere from stdin', []), { sqlState: '42P01' })
    await assert.rejects(
      client.db.copyFrom('copy copied from stdin', [], { x: 1 } as never),
      TypeError,
    )
    await assert.rejects(client.db.copyFrom('copy copied from stdin', 'text'), TypeError)
    assert.equal(await count(), 0)
  })
})

test('a loop that breaks off ends the COPY at the server and keeps the connection', async t => {
  const { client, figure } = await openSqlEngine(t, postgres.url, { size: 1, overflow: 0 })
  for (let round = 0; round < 5; round++) {
    const sql = `copy (select repeat('z', 1000) from generate_series(1, 1000000)) to stdout`
    for await (const _ of client.db.copyTo(sql)) break
    assert.ok((await untilQuiet(postgres)) < 200)
  }
  assert.equal((await client.db.query('select 1')).rowCount, 1)
  assert.equal(await figure('connects'), 1)
})

test('readers and writers that are slow cost the engine a few chunks, not the whole', async t => {
  const engine = await serve(t, { HEARTH_POSTGRES_URL: postgres.url })
  const client = await engine.connect()
  const rows = FULL ? 1_000_000 : 100_000
  const sql = `copy (select i, repeat('w', 300) from generate_series(1, ${rows}) i) to stdout`
  for await (const _ of client.db.copyTo(sql)) break
  await client.db.copyFrom('copy copied from stdin', lines(10_000))
  await sleep(1_500)
  const settledBytes = ownBytes(engine.pid)!
  let peakBytes = settledBytes
  const timer = setInterval(() => {
    peakBytes = Math.max(peakBytes, ownBytes(engine.pid)!)
  }, 5)
  t.after(() => clearInterval(timer))
  let bytes = 0
  let chunks = 0
  for await (const chunk of client.db.copyTo(sql)) {
    bytes += chunk.length
    if (chunks++ === 5) await sleep(500)
  }
  async function* slow() {
    for (let part = 0; part < 20; part++) {
      yield* lines(rows / 50, 300)
      if (part === 5) await sleep(300)
    }
  }
  await client.db.copyFrom('copy copied from stdin', slow())
  const grownBytes = peakBytes - settledBytes
  console.log(
    `# ${(bytes / MEBIBYTE).toFixed(0)} MiB out and ${((rows / 2.5 / MEBIBYTE) * 300).toFixed(0)} MiB in: peak +${(grownBytes / MEBIBYTE).toFixed(1)} MiB`,
  )
  assert.ok(bytes > rows * 300)
  assert.ok(grownBytes < 8 * MEBIBYTE, `grew by ${grownBytes} bytes`)
  await client.db.query('truncate copied')
  assert.equal(await backends(postgres, 'idle in%'), 0)
})
