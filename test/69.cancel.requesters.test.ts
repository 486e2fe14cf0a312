/** Cancellation: no query outlives its requester. Whatever ends the wish for an answer ends the query at the server within 100 ms.
 *  Owns:   one server.   Thread: main of a test process.   The witness is pg_stat_activity, over a connection of our own.
 *  Runs:   alone, since it measures. */

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../engine/client/index.ts'
import { OPS, REPLIES } from '../engine/protocol/spec.ts'
import { frame, nameOf, RawClient } from './helpers/frames.ts'
import { gateTest } from './helpers/gate.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import {
  backends,
  clientProcess,
  openSqlEngine,
  sharedSqlEngine,
  untilQuiet,
} from './helpers/sql_engine.ts'

const LATE_MS_MAX = 100
const SLOW = 'select pg_sleep(20)'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
  await (await postgres.admin()).query('create table written (id int)')
})

/** Waits until so many statements run at the server. */
async function untilActive(count = 1): Promise<void> {
  await until(`${count} run`, async () => (await backends(postgres, 'active')) === count)
}

/** Each way of asking something that takes long; all are to end the same. */
const ASKED: Record<string, (client: Hearth, signal?: AbortSignal) => Promise<unknown>> = {
  'a query': (client, signal) => client.db.query(SLOW, [], { signal }),
  'a write': (client, signal) =>
    client.db.query('insert into written select 1 from pg_sleep(20)', [], { signal }),
  'a statement in a transaction': (client, signal) =>
    client.db.transaction(
      async tx => {
        await tx.query('insert into written values (1)')
        await tx.query(SLOW)
      },
      { signal },
    ),
  'a stream': (client, signal) =>
    Array.fromAsync(
      client.db.stream('select pg_sleep(20) from generate_series(1, 9)', [], { signal }),
    ),
  'a COPY out': (client, signal) =>
    Array.fromAsync(client.db.copyTo('copy (select pg_sleep(20)) to stdout', { signal })),
}

describe('after an abort', () => {
  for (const [what, ask] of Object.entries(ASKED)) {
    gateTest(
      `${what} rejects at once with the signal's reason, and is over at the server`,
      async (t, gate) => {
        const { client, figure } = await openSqlEngine(t, postgres.url, { size: 1, overflow: 0 })
        const abort = new AbortController()
        const reason = new Error('never mind')
        const asked = ask(client, abort.signal)
        await untilActive()
        const startMs = performance.now()
        abort.abort(reason)
        await assert.rejects(asked, error => error === reason)
        gate('it rejected', performance.now() - startMs, 50)
        gate('it was over', await untilQuiet(postgres), LATE_MS_MAX)
        assert.deepEqual((await client.db.query('select * from written')).rows, [])
        assert.equal(await figure('connects'), 1, 'its connection was kept')
      },
    )

    gateTest(`${what} is over as soon where connections are shared`, async (t, gate) => {
      const { client } = await sharedSqlEngine(t, postgres.url)
      const abort = new AbortController()
      const asked = ask(client, abort.signal)
      await untilActive()
      abort.abort(new Error('never mind'))
      await assert.rejects(asked, /never mind/)
      gate('it was over', await untilQuiet(postgres), LATE_MS_MAX)
    })

    test(`${what} is not even sent when it was aborted before`, async t => {
      const { client, figure } = await openSqlEngine(t, postgres.url)
      const signal = AbortSignal.abort(new Error('before'))
      await assert.rejects(ask(client, signal), /before/)
      assert.equal(await figure('queries'), 0)
    })
  }

  test('what still waits for a connection is answered without being sent', async t => {
    const { client, figure } = await openSqlEngine(t, postgres.url, { size: 1, overflow: 0 })
    const first = new AbortController()
    const running = client.db.query(SLOW, [], { signal: first.signal })
    await untilActive()
    const abort = new AbortController()
    const { signal } = abort
    const waiting = [
      client.db.query('insert into written values (2)', [], { signal }),
      client.db.transaction(tx => tx.query('insert into written values (3)'), { signal }),
      client.db.query('select 1', [], { signal }),
    ]
    await until('they wait', async () => (await figure('waiting')) === 3)
    abort.abort()
    for (const asked of waiting) await assert.rejects(asked, { name: 'AbortError' })
    await until('nobody waits', async () => (await figure('waiting')) === 0)
    first.abort()
    await assert.rejects(running, { name: 'AbortError' })
    assert.deepEqual((await client.db.query('select * from written')).rows, [])
  })

  test('of one statement, its transaction can go on from a savepoint', async t => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    const found = await client.db.transaction(async tx => {
      const part = tx.transaction(inner =>
        inner.query(SLOW, [], { signal: AbortSignal.timeout(100) }),
      )
      await assert.rejects(part, { name: 'TimeoutError' })
      return (await tx.query<{ a: number }>('select 1 as a')).rows
    })
    assert.deepEqual(found, [{ a: 1 }])
  })

  test('an abort that comes late changes nothing, and ids are used again safely', async t => {
    const { client } = await openSqlEngine(t, postgres.url, { size: 2 })
    for (let round = 0; round < 200; round++) {
      const abort = new AbortController()
      const asked = client.db
        .query<{ i: number }>('select $1::int as i, pg_sleep(0.001)', [round], {
          signal: abort.signal,
        })
        .catch(() => undefined)
      if (round % 3 > 0) await sleep(round % 5)
      abort.abort()
      const result = await asked
      if (result !== undefined) assert.equal(result.rows[0]!.i, round)
      const next = await client.db.query<{ i: number }>('select $1::int as i', [round + 1_000])
      assert.equal(next.rows[0]!.i, round + 1_000)
    }
  })
})

describe('at its timeoutMs', () => {
  gateTest('a query is over at the server', async (t, gate) => {
    const { client } = await sharedSqlEngine(t, postgres.url)
    await assert.rejects(client.db.query(SLOW, [], { timeoutMs: 150 }), { code: 'TIMEOUT' })
    gate('it was over', await untilQuiet(postgres), LATE_MS_MAX)
  })
})

describe('when its client', () => {
  const CODE: Record<string, string> = {
    'a query': `hearth.db.query('${SLOW}').catch(() => {})`,
    'a statement in a transaction': `hearth.db.transaction(tx => tx.query('${SLOW}')).catch(() => {})`,
    'a transaction that does nothing': `hearth.db.transaction(async tx => { await tx.query('insert into written values (1)'); await new Promise(() => setTimeout(() => {}, 1e6)) }).catch(() => {})`,
    'a stream': `(async () => { for await (const _ of hearth.db.stream('select i, pg_sleep(0.001) from generate_series(1, 1000000) i')); })().catch(() => {})`,
    'a COPY out': `(async () => { for await (const _ of hearth.db.copyTo('copy (select i, pg_sleep(0.001) from generate_series(1, 1000000) i) to stdout')); })().catch(() => {})`,
    'a COPY in': `hearth.db.copyFrom('copy written from stdin', (async function* () { for (;;) { yield '1\\\\n'; await new Promise(resolve => setTimeout(resolve, 1)) } })()).catch(() => {})`,
  }
  for (const [what, code] of Object.entries(CODE)) {
    gateTest(`is killed, ${what} is over at the server, rolled back`, async (t, gate) => {
      const { client, socket, figure } = await sharedSqlEngine(t, postgres.url)
      const child = await clientProcess(t, socket, `${code};\nsetTimeout(ready, 100)`)
      const open = async () =>
        (await backends(postgres, 'active')) + (await backends(postgres, 'idle in%')) > 0
      await until('it is under way', open)
      child.kill('SIGKILL')
      gate('it was over', await untilQuiet(postgres), LATE_MS_MAX)
      assert.deepEqual((await client.db.query('select * from written')).rows, [])
      await until('none is in use', async () => (await figure('inUse')) === 0)
    })
  }

  gateTest(
    'closes, everything of it is over: forty queries, transactions, streams',
    async (t, gate) => {
      const { client, connect, figure } = await openSqlEngine(t, postgres.url, { size: 5 })
      const other = await connect()
      const asked = Array.from({ length: 40 }, (_, i) => Object.values(ASKED)[i % 5]!(other))
      const settled = Promise.allSettled(asked)
      await until('all are busy', async () => (await backends(postgres, 'active')) >= 5)
      await other.close()
      gate('it was over', await untilQuiet(postgres), LATE_MS_MAX)
      for (const outcome of await settled) assert.equal(outcome.status, 'rejected')
      assert.equal(await figure('waiting'), 0)
      assert.deepEqual((await client.db.query('select * from written')).rows, [])
    },
  )
})

describe('CANCEL by hand', () => {
  test('is answered by the request that it names alone, with 57014', async t => {
    const { socket } = await sharedSqlEngine(t, postgres.url)
    const raw = await RawClient.open(socket)
    t.after(() => raw.close())
    await raw.hello()
    raw.send(frame(OPS.QUERY.code, 5, 'main', 20_000, 0, 'c', SLOW, []))
    await untilActive()
    raw.send(frame(OPS.CANCEL.code, 5))
    const reply = await raw.reply(5)
    assert.equal(reply.op, REPLIES.ERROR.code)
    assert.match(reply.body.toString('latin1'), /given up.*57014/s)
    raw.send(frame(OPS.CANCEL.code, 5), frame(OPS.CANCEL.code, 99), frame(OPS.PING.code, 6))
    assert.equal(nameOf(await raw.reply(6)), 'OK')
    assert.equal(raw.replies.length, 0)
  })

  test('of a connection does not reach the requests of another with the same id', async t => {
    const { socket } = await sharedSqlEngine(t, postgres.url)
    const [one, two] = [await RawClient.open(socket), await RawClient.open(socket)]
    t.after(() => Promise.all([one.close(), two.close()]))
    for (const raw of [one, two]) await raw.hello()
    one.send(frame(OPS.QUERY.code, 5, 'main', 5_000, 0, 'c', 'select pg_sleep(0.3)', []))
    await untilActive()
    two.send(frame(OPS.CANCEL.code, 5))
    assert.notEqual((await one.reply(5)).op, REPLIES.ERROR.code)
  })
})

describe('a handle', () => {
  async function two(t: Parameters<typeof openSqlEngine>[0]) {
    const { socket } = await sharedSqlEngine(t, postgres.url)
    const clients = [await RawClient.open(socket), await RawClient.open(socket)] as const
    t.after(async () => void (await Promise.all(clients.map(raw => raw.close()))))
    for (const raw of clients) await raw.hello()
    return clients
  }
  const begin = (id: number) => frame(OPS.BEGIN.code, id, 'main', 0, 0, 'c', '', 0)
  const message = (body: Buffer) => body.toString('latin1')

  test('of another connection is refused, whatever is tried with it', async t => {
    const [one, two_] = await two(t)
    one.send(begin(1))
    const opened = await one.reply(1)
    assert.equal(nameOf(opened), 'OPENED')
    const handle = opened.body
    const attempts = [
      frame(OPS.EXECUTE.code, 2, handle, 0, 'c', 'select 1', []),
      frame(OPS.COMMIT.code, 2, handle),
      frame(OPS.CLOSE.code, 2, handle),
      frame(OPS.STREAM.code, 2, handle, 'main', 0, 0, 'c', 'select 1', []),
      frame(OPS.FETCH.code, 2, handle, 0),
      frame(OPS.COPY_READ.code, 2, handle),
      frame(OPS.COPY_WRITE.code, 2, handle, Buffer.from('x')),
      frame(OPS.COPY_END.code, 2, handle),
    ]
    for (const attempt of attempts) {
      two_.send(attempt)
      assert.match(message((await two_.reply(2)).body), /another connection opened it/)
    }
    one.send(frame(OPS.EXECUTE.code, 2, handle, 0, 'c', 'select 1', []))
    assert.equal(nameOf(await one.reply(2)), 'ROWS')
  })

  test('of one kind takes no operation of another', async t => {
    const [one] = await two(t)
    one.send(begin(1))
    const handle = (await one.reply(1)).body
    for (const attempt of [
      frame(OPS.FETCH.code, 2, handle, 0),
      frame(OPS.COPY_READ.code, 2, handle),
      frame(OPS.COPY_WRITE.code, 2, handle, Buffer.from('x')),
      frame(OPS.COPY_END.code, 2, handle),
    ]) {
      one.send(attempt)
      assert.match(message((await one.reply(2)).body), /is of a transaction/)
    }
    one.send(frame(OPS.COMMIT.code, 3, handle))
    assert.equal(nameOf(await one.reply(3)), 'OK')
    one.send(frame(OPS.COMMIT.code, 4, handle))
    assert.match(message((await one.reply(4)).body), /nothing open/)
  })

  test('that was asked for by a client that is gone meanwhile is closed at once', async t => {
    const { connect } = await sharedSqlEngine(t, postgres.url)
    for (let round = 0; round < 20; round++) {
      const client = await connect()
      client.db.transaction(tx => tx.query('insert into written values (1)')).catch(() => undefined)
      if (round % 2 === 0) await new Promise(setImmediate)
      await client.close()
    }
    await untilQuiet(postgres)
  })
})
