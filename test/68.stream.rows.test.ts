/** Streams: rows in batches, as fast as they are taken, in bounded memory, and nothing left behind however the loop ends.
 *  Owns:   one server.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ownBytes } from '../engine/observe/footprint.ts'
import { serve } from './helpers/engine.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { FULL } from './helpers/random.ts'
import { backends, openSqlEngine, sharedSqlEngine, untilQuiet } from './helpers/sql_engine.ts'

const MEBIBYTE = 1024 * 1024
const ROWS = FULL ? 2_000_000 : 200_000
const GROWTH_BYTES_MAX = 8 * MEBIBYTE

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
  await (await postgres.admin()).query(
    `create table readings as select i as id, 'sensor ' || i % 50 as sensor, random() as value,
       '2024-01-01'::timestamptz + i * interval '1 second' as at from generate_series(1, ${ROWS}) i`,
  )
})

test('gives every row once, in order, in batches of exactly batchRows but the last', async t => {
  const { client } = await sharedSqlEngine(t, postgres.url)
  const sizes: number[] = []
  let next = 1
  const sql = 'select id, sensor from readings where id <= $1 order by id'
  for await (const rows of client.db.stream<{ id: number }>(sql, [10_500], { batchRows: 2_000 })) {
    sizes.push(rows.length)
    for (const { id } of rows) assert.equal(id, next++)
  }
  assert.deepEqual(sizes, [2_000, 2_000, 2_000, 2_000, 2_000, 500])
  assert.ok((await untilQuiet(postgres)) < 200)
})

test('values are those of db.query; without rows there is no batch', async t => {
  const { client } = await sharedSqlEngine(t, postgres.url)
  const sql = `select $1::jsonb as j, now()::timestamptz(0) as at, array[1,2] as l, 2::int8 ^ 60 as n where $2`
  const { rows } = await client.db.query(sql, [{ a: 1 }, true])
  const batches = await Array.fromAsync(client.db.stream(sql, [{ a: 1 }, true]))
  assert.equal(batches.length, 1)
  assert.deepEqual({ ...batches[0]![0], at: 0 }, { ...rows[0], at: 0 })
  assert.deepEqual(await Array.fromAsync(client.db.stream(sql, [{ a: 1 }, false])), [])
})

test('rows of very different widths stay whole, and pieces small', async t => {
  const { client } = await sharedSqlEngine(t, postgres.url)
  const sql = `select i, repeat('x', (i % 7 = 0)::int * 100000 + 10) as v from generate_series(1, 500) i`
  let count = 0
  for await (const rows of client.db.stream<{ i: number; v: string }>(sql, [], { batchRows: 7 })) {
    for (const { i, v } of rows) {
      assert.equal(i, ++count)
      assert.equal(v.length, i % 7 === 0 ? 100_010 : 10)
    }
  }
  assert.equal(count, 500)
})

describe('the loop', () => {
  const ENDINGS: Record<string, (rows: AsyncIterable<unknown[]>) => Promise<void>> = {
    break: async batches => {
      for await (const _ of batches) break
    },
    throw: async batches => {
      const looping = async () => {
        for await (const _ of batches) throw new Error('enough')
      }
      await assert.rejects(looping(), /enough/)
    },
    'the end of the rows': async batches => {
      for await (const _ of batches);
    },
  }
  for (const [what, loop] of Object.entries(ENDINGS)) {
    test(`ended by ${what} leaves no cursor and no transaction, and its connection in the pool`, async t => {
      const { client, figure } = await openSqlEngine(t, postgres.url, { size: 1, overflow: 0 })
      for (let round = 0; round < 3; round++) {
        await loop(client.db.stream('select * from readings limit 5000'))
        assert.ok((await untilQuiet(postgres)) < 200)
        assert.equal((await client.db.query('select 1')).rowCount, 1)
      }
      assert.equal(await figure('connects'), 1)
    })
  }

  test('what the query calls may write, and stands when the loop came to the end', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    await client.db.query('create table noted (id int)')
    await client.db.query(
      `create function note(int) returns int language sql as 'insert into noted values ($1) returning id'`,
    )
    const sql = 'select note(i) from generate_series(1, 200) i'
    for await (const _ of client.db.stream(sql, [], { batchRows: 50 })) break
    assert.deepEqual((await client.db.query('select count(*) from noted')).rows, [{ count: 0 }])
    await Array.fromAsync(client.db.stream(sql))
    assert.deepEqual((await client.db.query('select count(*) from noted')).rows, [{ count: 200 }])
  })
})

describe('errors', () => {
  test('of the text come with the position in the text that was given', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const failing = Array.fromAsync(client.db.stream('select nope from readings'))
    await assert.rejects(failing, { code: 'DATABASE', sqlState: '42703', position: 8 })
  })

  test('in the middle come after the rows before, and leave nothing', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    let count = 0
    const failing = (async () => {
      const sql = 'select 1 / (i - 5000) from generate_series(1, 10000) i'
      for await (const rows of client.db.stream(sql, [], { batchRows: 100 })) count += rows.length
    })()
    await assert.rejects(failing, { sqlState: '22012' })
    assert.ok(count > 0 && count < 5_000, `${count} rows`)
    assert.ok((await untilQuiet(postgres)) < 200)
  })

  test('what is no query to read is refused', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    for (const sql of ['delete from readings', 'show all', 'begin', '', '-- nothing'])
      await assert.rejects(Array.fromAsync(client.db.stream(sql)), { code: 'BAD_REQUEST' }, sql)
    const writing = 'with gone as (delete from readings returning *) select * from gone'
    await assert.rejects(Array.fromAsync(client.db.stream(writing)), { code: 'DATABASE' })
    assert.throws(() => client.db.stream('select 1', [], { batchRows: 0 }), TypeError)
    assert.throws(() => client.db.stream('select 1', [], { rows: 1 } as never), TypeError)
  })
})

test('in a transaction it sees what was written there, beside other statements, two at once', async t => {
  const { client } = await sharedSqlEngine(t, postgres.url)
  await client.db.transaction(async tx => {
    await tx.query('create temp table mine on commit drop as select generate_series(1, 3000) as i')
    const sum = async () => {
      let total = 0
      for await (const rows of tx.stream<{ i: number }>('select i from mine', [])) {
        for (const { i } of rows) total += i
        await tx.query('select 1')
      }
      return total
    }
    assert.deepEqual(await Promise.all([sum(), sum()]), [4_501_500, 4_501_500])
    assert.deepEqual(
      (await tx.query('select count(*) from pg_cursors where name <> $1', [''])).rows,
      [{ count: 0 }],
    )
  })
})

test('a loop that does not come back for more loses its cursor, and is told', async t => {
  const { client } = await openSqlEngine(t, postgres.url, { idleInTransactionTimeoutMs: 150 })
  const looping = async () => {
    for await (const _ of client.db.stream('select * from readings'))
      await until('it is over', async () => (await backends(postgres, 'idle in%')) === 0)
  }
  await assert.rejects(looping(), { code: 'TIMEOUT', message: /nothing was asked for 150 ms/ })
})

test('the whole is held to its timeoutMs', async t => {
  const { client } = await sharedSqlEngine(t, postgres.url)
  const slow = 'select i, pg_sleep(0.01) from generate_series(1, 1000) i'
  const startMs = performance.now()
  await assert.rejects(Array.fromAsync(client.db.stream(slow, [], { timeoutMs: 300 })), {
    code: 'TIMEOUT',
  })
  assert.ok(performance.now() - startMs < 5_000)
  await untilQuiet(postgres, 2_000)
})

test('slow readers hold up themselves alone: eight others go on at full speed', async t => {
  const { client, connect } = await openSqlEngine(t, postgres.url, { size: 10, overflow: 0 })
  const counts = new Array(8).fill(0)
  let isOver = false
  const slow = (async () => {
    let taken = 0
    for await (const rows of client.db.stream('select * from readings')) {
      taken += rows.length
      await sleep(100)
      if (isOver) break
    }
    return taken
  })()
  const startMs = performance.now()
  await Promise.all(
    counts.map(async (_, lane) => {
      const other = await connect()
      for await (const rows of other.db.stream('select * from readings limit 50000'))
        counts[lane] += rows.length
    }),
  )
  const tookMs = performance.now() - startMs
  const queryMs = performance.now()
  await client.db.query('select 1')
  console.log(
    `# 8 × 50 000 rows in ${tookMs.toFixed(0)} ms beside a slow reader; a query then ${(performance.now() - queryMs).toFixed(1)} ms`,
  )
  isOver = true
  assert.deepEqual(counts, new Array(8).fill(50_000))
  assert.ok((await slow) < 50_000)
})

test(`${ROWS} rows pass through the engine in less than 8 MiB of its memory`, async t => {
  const engine = await serve(t, { HEARTH_POSTGRES_URL: postgres.url })
  const client = await engine.connect()
  // Whatever the first use of the path costs for good is there before.
  for await (const _ of client.db.stream('select * from readings limit 20000'));
  await sleep(1_500)
  const settledBytes = ownBytes(engine.pid)!
  let peakBytes = settledBytes
  const timer = setInterval(() => {
    peakBytes = Math.max(peakBytes, ownBytes(engine.pid)!)
  }, 5)
  t.after(() => clearInterval(timer))
  let count = 0
  const startMs = performance.now()
  for await (const rows of client.db.stream('select * from readings')) count += rows.length
  const tookMs = performance.now() - startMs
  const grownBytes = peakBytes - settledBytes
  console.log(
    `# ${count} rows in ${tookMs.toFixed(0)} ms; own memory ${(settledBytes / MEBIBYTE).toFixed(1)} MiB, peak +${(grownBytes / MEBIBYTE).toFixed(1)} MiB`,
  )
  assert.equal(count, ROWS)
  assert.ok(grownBytes < GROWTH_BYTES_MAX, `grew by ${grownBytes} bytes`)
})
