/** Transactions: from the client's function to COMMIT, and every way back.
 *  Owns:   one server.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HearthError, Transaction } from '../engine/client/index.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { backends, openSqlEngine, sharedSqlEngine, untilQuiet } from './helpers/sql_engine.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres({ deadlock_timeout: '50ms' })
  await (await postgres.admin()).query('create table kept (id int primary key, v int default 0)')
})

async function ids(): Promise<number[]> {
  const { rows } = await (await postgres.admin()).query('select id from kept order by id')
  return rows.map(row => Number(row[0]))
}

test('its value comes after COMMIT, and its statements see each other', async t => {
  const { client } = await sharedSqlEngine(t, postgres.url)
  const value = await client.db.transaction(async tx => {
    await tx.query('insert into kept values ($1), ($2)', [1, 2])
    assert.deepEqual(await ids(), [], 'nobody else sees them')
    return (await tx.query<{ n: number }>('select count(*)::int as n from kept')).rows[0]!.n
  })
  assert.equal(value, 2)
  assert.deepEqual(await ids(), [1, 2])
  await client.db.query('truncate kept')
})

test('results are those of db.query, types and fields and all', async t => {
  const { client } = await sharedSqlEngine(t, postgres.url)
  const sql = `select 1 as a, 2::int8 ^ 60 as b, now() as at, '{"x":1}'::jsonb as j, null as n, array[1,2] as l, '\\x00ff'::bytea as x`
  const alone = await client.db.query(sql)
  await client.db.transaction(async tx => {
    const inside = await tx.query<Record<string, unknown>>(sql)
    assert.ok(inside.rows[0]!['at'] instanceof Date)
    for (const result of [alone, inside]) result.rows[0]!['at'] = undefined
    assert.deepEqual(inside.rows, alone.rows)
    assert.deepEqual(inside.fields, alone.fields)
    assert.deepEqual([inside.command, inside.rowCount], ['SELECT', 1])
    assert.equal((await tx.query('create temp table passing (a int)')).rowCount, null)
  })
})

describe('BEGIN', () => {
  for (const isolation of ['read committed', 'repeatable read', 'serializable'] as const) {
    test(`sets ${isolation}`, async t => {
      const { client } = await sharedSqlEngine(t, postgres.url)
      const found = await client.db.transaction(tx => tx.query('show transaction_isolation'), {
        isolation,
      })
      assert.deepEqual(found.rows, [{ transaction_isolation: isolation }])
    })
  }

  test('sets read only and deferrable, and a write is READ_ONLY then', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const options = { isolation: 'serializable', readOnly: true, deferrable: true } as const
    await client.db.transaction(async tx => {
      const sql = `select current_setting('transaction_read_only') as r, current_setting('transaction_deferrable') as d`
      assert.deepEqual((await tx.query(sql)).rows, [{ r: 'on', d: 'on' }])
    }, options)
    const writing = client.db.transaction(tx => tx.query('insert into kept values (1)'), options)
    await assert.rejects(writing, { code: 'READ_ONLY', sqlState: '25006' })
  })

  test('takes no option that does not exist, and no impossible one', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const nothing = async () => undefined
    for (const options of [
      { isolated: true },
      { isolation: 'chaos' },
      { retries: -1 },
      { retries: 1000 },
      { timeoutMs: 0 },
      { signal: {} },
    ])
      await assert.rejects(client.db.transaction(nothing, options as never), TypeError)
    await assert.rejects(client.db.transaction(undefined as never), TypeError)
  })
})

describe('a function that throws', () => {
  test('rolls everything back, frees its locks, and its error is the one that comes out', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const mine = new Error('mine')
    const failing = client.db.transaction(async tx => {
      await tx.query('insert into kept values (1)')
      throw mine
    })
    await assert.rejects(failing, error => error === mine)
    assert.deepEqual(await ids(), [])
    assert.equal(await backends(postgres, 'idle in%'), 0, 'over at the server before it rejects')
  })

  test('an error of a statement that is not caught rolls back; the connection is used again', async t => {
    const { client, figure } = await openSqlEngine(t, postgres.url, { size: 1, overflow: 0 })
    for (let round = 0; round < 3; round++) {
      const failing = client.db.transaction(async tx => {
        await tx.query('insert into kept values (1)')
        await tx.query('select 1/0')
      })
      await assert.rejects(failing, { code: 'DATABASE', sqlState: '22012' })
    }
    assert.deepEqual(await ids(), [])
    assert.equal(await figure('connects'), 1)
  })

  test('an error that is swallowed makes COMMIT fail: 25P02, nothing stands', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const failing = client.db.transaction(async tx => {
      await tx.query('insert into kept values (1)')
      await tx.query('select 1/0').catch(() => undefined)
      await assert.rejects(tx.query('select 1'), { sqlState: '25P02' })
    })
    await assert.rejects(failing, { code: 'DATABASE', sqlState: '25P02', message: /rolled back/ })
    assert.deepEqual(await ids(), [])
  })

  test('a COMMIT that the server refuses rejects with its words', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    await client.db.query('create table later (id int unique deferrable initially deferred)')
    const failing = client.db.transaction(tx => tx.query('insert into later values (1), (1)'))
    await assert.rejects(failing, { code: 'DATABASE', sqlState: '23505' })
    assert.deepEqual((await client.db.query('select * from later')).rows, [])
  })
})

describe('nesting', () => {
  test('commits the parts that returned and undoes those that threw', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    await client.db.transaction(async tx => {
      await tx.query('insert into kept values (1)')
      const inner = await tx.transaction(async part => {
        await part.query('insert into kept values (2)')
        await part
          .transaction(async deep => {
            await deep.query('insert into kept values (3)')
            await deep.query('select 1/0')
          })
          .catch(() => undefined)
        return 'inner'
      })
      assert.equal(inner, 'inner')
      const failing = tx.transaction(async part => {
        await part.query('insert into kept values (4)')
        throw new Error('undo this')
      })
      await assert.rejects(failing, /undo this/)
      await tx.query('insert into kept values (5)')
    })
    assert.deepEqual(await ids(), [1, 2, 5])
    await client.db.query('truncate kept')
  })

  test('an unhandled error of an inner one undoes the whole', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const failing = client.db.transaction(async tx => {
      await tx.query('insert into kept values (1)')
      await tx.transaction(part => part.query('select 1/0'))
    })
    await assert.rejects(failing, { sqlState: '22012' })
    assert.deepEqual(await ids(), [])
  })

  test('two at once in one transaction are refused, and one that ended takes nothing more', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    await client.db.transaction(async tx => {
      let part: Transaction | undefined
      await tx.transaction(async inner => {
        part = inner
        await assert.rejects(
          tx.transaction(async () => undefined),
          { code: 'BAD_REQUEST' },
        )
      })
      await assert.rejects(part!.query('select 1'), { code: 'CLOSED' })
      await tx.query('select 1')
    })
  })
})

describe('a statement in it', () => {
  const LEAVING = [
    'commit',
    'rollback',
    'begin',
    'START TRANSACTION',
    'end',
    'abort',
    `prepare transaction 'x'`,
    'rollback and chain',
    'listen room',
    'copy kept to stdout',
  ]
  for (const sql of LEAVING) {
    test(`${sql} is refused before it is sent, and the transaction goes on`, async t => {
      const { client } = await sharedSqlEngine(t, postgres.url)
      await client.db.transaction(async tx => {
        await assert.rejects(tx.query(sql), { code: 'BAD_REQUEST', message: /nothing was sent/ })
        assert.equal((await tx.query('select 1')).rowCount, 1)
      })
    })
  }

  test('savepoints by hand, LOCK and cursors by hand work', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    await client.db.transaction(async tx => {
      await tx.query('lock table kept')
      await tx.query('savepoint mine')
      await tx.query('insert into kept values (1)')
      await tx.query('rollback to savepoint mine')
      await tx.query('declare c cursor for select 1 as a')
      assert.deepEqual((await tx.query('fetch c')).rows, [{ a: 1 }])
    })
    assert.deepEqual(await ids(), [])
  })

  test('one that ends the transaction in disguise is found out: nothing more is asked in it', async t => {
    const { client, figure } = await openSqlEngine(t, postgres.url, { size: 1, overflow: 0 })
    for (const disguised of [';commit', ';rollback', ';commit and chain', ';rollback and chain']) {
      const failing = client.db.transaction(async tx => {
        await assert.rejects(tx.query(disguised), { code: 'BAD_REQUEST', message: /by itself/ })
        await tx.query('insert into kept values (77)')
      })
      await assert.rejects(failing, { code: 'BAD_REQUEST' })
    }
    assert.deepEqual(await ids(), [])
    assert.equal(await figure('connects'), 1)
  })

  test('several at once run in the order in which they were asked', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const seen = await client.db.transaction(async tx => {
      await tx.query('create temp table ordered (at serial, i int) on commit drop')
      const asked = Array.from({ length: 50 }, (_, i) =>
        tx.query('insert into ordered (i) values ($1)', [i]),
      )
      await Promise.all(asked)
      return tx.query<{ i: number }>('select i from ordered order by at')
    })
    assert.deepEqual(
      seen.rows.map(row => row.i),
      Array.from({ length: 50 }, (_, i) => i),
    )
  })

  test('at its deadline it is cancelled, and the transaction has failed', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const failing = client.db.transaction(async tx => {
      const late = tx.query('select pg_sleep(5)', [], { timeoutMs: 100 })
      await assert.rejects(late, { code: 'TIMEOUT', sqlState: '57014' })
      await assert.rejects(tx.query('select 1'), { sqlState: '25P02' })
      throw new Error('enough')
    })
    await assert.rejects(failing, /enough/)
    assert.ok((await untilQuiet(postgres)) < 100)
  })

  test('SET is gone for the next who has the connection, SET LOCAL with the transaction', async t => {
    const { client } = await openSqlEngine(t, postgres.url, { size: 1, overflow: 0 })
    for (const sql of [`set work_mem = '7MB'`, `set local work_mem = '7MB'`]) {
      await client.db.transaction(async tx => {
        await tx.query(sql)
        assert.deepEqual((await tx.query('show work_mem')).rows, [{ work_mem: '7MB' }])
      })
      const { rows } = await client.db.query('show work_mem')
      assert.deepEqual(rows, [{ work_mem: '4MB' }], sql)
    }
  })

  test('a plan that is out of date fails the transaction, and nothing is prepared again in silence', async t => {
    const { client } = await openSqlEngine(t, postgres.url, { size: 1, overflow: 0 })
    await client.db.query('create table shaped (a int)')
    const ask = 'select * from shaped'
    for (let i = 0; i < 3; i++) await client.db.query(ask)
    await (await postgres.admin()).query('alter table shaped add column b int')
    const failing = client.db.transaction(async tx => {
      await tx.query('insert into kept values (1)')
      await tx.query(ask)
    })
    await assert.rejects(failing, { code: 'DATABASE', sqlState: '0A000' })
    assert.deepEqual(await ids(), [])
    const next = await client.db.transaction(tx => tx.query(ask))
    assert.equal(next.fields.length, 2, 'the connection has started afresh')
    for (let i = 0; i < 3; i++) assert.equal((await client.db.query(ask)).fields.length, 2)
  })
})

describe('again after a conflict', () => {
  test('a serialization failure: the whole function, until it goes through', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    await client.db.query('insert into kept values (1, 0)')
    let runs = 0
    const add = () =>
      client.db.transaction(
        async tx => {
          runs++
          const { rows } = await tx.query<{ v: number }>('select v from kept where id = 1')
          await sleep(20)
          await tx.query('update kept set v = $1 where id = 1', [rows[0]!.v + 1])
        },
        { isolation: 'serializable', retries: 15 },
      )
    await Promise.all([add(), add(), add(), add()])
    assert.deepEqual((await client.db.query('select v from kept where id = 1')).rows, [{ v: 4 }])
    assert.ok(runs > 4, `${runs} runs`)
    await client.db.query('truncate kept')
  })

  test('a deadlock: one of the two is run again, and both come through', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    await client.db.query('insert into kept values (1), (2)')
    let runs = 0
    const both = (first: number, second: number) =>
      client.db.transaction(
        async tx => {
          runs++
          await tx.query('update kept set v = v + 1 where id = $1', [first])
          await sleep(60)
          await tx.query('update kept set v = v + 1 where id = $1', [second])
        },
        { retries: 5 },
      )
    await Promise.all([both(1, 2), both(2, 1)])
    assert.equal(runs, 3)
    assert.deepEqual((await client.db.query('select v from kept')).rows, [{ v: 2 }, { v: 2 }])
    await client.db.query('truncate kept')
  })

  test('only as often as was asked for, and never unasked; other errors never', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const raising = async (state: string, retries: number | undefined) => {
      let runs = 0
      const sql = `do $$ begin raise exception 'as if' using errcode = '${state}'; end $$`
      const failing = client.db.transaction(
        async tx => {
          runs++
          await tx.query(sql)
        },
        { retries },
      )
      await assert.rejects(failing, { sqlState: state })
      return runs
    }
    assert.equal(await raising('40001', undefined), 1)
    assert.equal(await raising('40P01', 3), 4)
    // 40003 says that nobody knows the outcome: it must never be run again, though its class is that of the other two.
    for (const state of ['40003', '40002', '23505', '57014'])
      assert.equal(await raising(state, 3), 1)
  })
})

describe('limits', () => {
  test('a pause that is too long is rolled back, the next use says so, and the connection is free', async t => {
    const pool = { size: 1, overflow: 0, idleInTransactionTimeoutMs: 150 }
    const { client, figure } = await openSqlEngine(t, postgres.url, pool)
    const failing = client.db.transaction(async tx => {
      await tx.query('insert into kept values (1)')
      await sleep(60)
      await tx.query('select 1')
      await sleep(60)
      await tx.query('select 1')
      await until('it is rolled back', async () => (await backends(postgres, 'idle in%')) === 0)
      assert.equal((await client.db.query('select 1 as a')).rows.length, 1, 'others go on')
      await tx.query('select 1')
    })
    await assert.rejects(failing, (error: HearthError) => {
      assert.equal(error.code, 'TIMEOUT')
      assert.match(error.message, /nothing was asked for 150 ms \(idleTimeoutMs\)/)
      return true
    })
    assert.deepEqual(await ids(), [])
    assert.equal(await figure('connects'), 1, 'the connection was kept')
  })

  test('an idle limit of its own that is longer than the pool’s holds, at the server too', async t => {
    const { client } = await openSqlEngine(t, postgres.url, { idleInTransactionTimeoutMs: 100 })
    await client.db.transaction(
      async tx => {
        const { rows } = await tx.query('show idle_in_transaction_session_timeout')
        assert.deepEqual(rows, [{ idle_in_transaction_session_timeout: '6s' }])
        await sleep(300)
        await tx.query('select 1')
      },
      { idleTimeoutMs: 1_000 },
    )
  })

  test('the whole is held to its timeoutMs: in a statement, and in a function that asks nothing', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    for (const wait of [
      (tx: Transaction) => tx.query('select pg_sleep(5)'),
      () => sleep(5_000, undefined, { ref: false }),
    ]) {
      const startMs = performance.now()
      const failing = client.db.transaction(wait, { timeoutMs: 200 })
      await assert.rejects(failing, { code: 'TIMEOUT' })
      assert.ok(performance.now() - startMs < 3_000)
      await untilQuiet(postgres, 2_000)
    }
  })

  test('waiting for a connection ends as it does for a query, and the function is not run', async t => {
    const pool = { size: 1, overflow: 0, acquireTimeoutMs: 150 }
    const { client } = await openSqlEngine(t, postgres.url, pool)
    await client.db.transaction(async () => {
      let wasRun = false
      const second = client.db.transaction(async () => {
        wasRun = true
      })
      await assert.rejects(second, { code: 'POOL_EXHAUSTED' })
      assert.equal(wasRun, false)
    })
  })

  test('after its end nothing can be asked in it', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    let kept: Transaction | undefined
    await client.db.transaction(async tx => {
      kept = tx
    })
    await assert.rejects(kept!.query('select 1'), { code: 'CLOSED' })
    await assert.rejects(
      kept!.transaction(async () => undefined),
      { code: 'CLOSED' },
    )
    assert.throws(() => kept!.stream('select 1'), { code: 'CLOSED' })
  })
})

test('a hundred transactions at once over ten connections each have their own', async t => {
  const { client, figure } = await openSqlEngine(t, postgres.url, { size: 10, overflow: 0 })
  await client.db.query('create table counted (i int)')
  const sums = await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      client.db
        .transaction(async tx => {
          await tx.query('create temp table own (i int) on commit drop')
          await tx.query('insert into own values ($1), ($1)', [i])
          if (i % 5 === 0) throw new Error('every fifth')
          await tx.query('insert into counted values ($1)', [i])
          return (await tx.query<{ sum: number }>('select sum(i)::int as sum from own')).rows[0]!
            .sum
        })
        .catch((error: Error) => error.message),
    ),
  )
  assert.deepEqual(
    sums,
    Array.from({ length: 100 }, (_, i) => (i % 5 === 0 ? 'every fifth' : 2 * i)),
  )
  assert.deepEqual((await client.db.query('select count(*) from counted')).rows, [{ count: 80 }])
  await until('none is in use', async () => (await figure('inUse')) === 0)
})
