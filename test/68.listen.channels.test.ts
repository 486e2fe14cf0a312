/** LISTEN: every notification once and in order, one connection for all, and a word about each gap.
 *  Owns:   one server.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gap, Hearth, Subscription } from '../engine/client/index.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { serve } from './helpers/engine.ts'
import { frame, nameOf } from './helpers/frames.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { openSqlEngine } from './helpers/sql_engine.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
})

async function notify(channel: string, payload: string): Promise<void> {
  await (await postgres.admin()).query('select pg_notify($1, $2)', [channel, payload])
}

/** Backends that have a LISTEN of Hearth's. */
async function listening(): Promise<number> {
  const sql = `select count(*) from pg_stat_activity where application_name = 'hearth' and query ~* '^(listen|unlisten|notify)'`
  return Number(await (await postgres.admin()).value(sql))
}

function gapsOf(subscription: Subscription): Gap[] {
  const gaps: Gap[] = []
  subscription.on('gap', gap => gaps.push(gap))
  return gaps
}

test('the callback gets each payload with its channel, in order, from the moment listen() resolved', async t => {
  const { client } = await openSqlEngine(t, postgres.url)
  const got: string[] = []
  await client.db.listen('room', (payload, channel) => got.push(`${channel}:${payload}`))
  for (let i = 0; i < 100; i++) await notify('room', `p${i}`)
  await notify('other', 'not for us')
  await until('all came', () => got.length >= 100)
  assert.deepEqual(
    got,
    Array.from({ length: 100 }, (_, i) => `room:p${i}`),
  )
})

test('a loop gets them too, and ends with close()', async t => {
  const { client } = await openSqlEngine(t, postgres.url)
  const subscription = await client.db.listen('room')
  const got: string[] = []
  const looping = (async () => {
    for await (const payload of subscription) {
      got.push(payload)
      if (payload === 'last') subscription.close()
    }
  })()
  await notify('room', '')
  await notify('room', 'ü'.repeat(3_990))
  await notify('room', 'last')
  await looping
  assert.deepEqual(
    got.map(payload => payload.length),
    [0, 3_990, 4],
  )
})

test('all share one connection, which is there only while anybody listens, beside a pool in full use', async t => {
  const { client, connect } = await openSqlEngine(t, postgres.url, { size: 1, overflow: 0, min: 0 })
  const others = [client, await connect(), await connect()]
  const got: string[] = []
  const listen = (each: Hearth, name: string) => each.db.listen(name, text => got.push(name + text))
  const subscriptions = await Promise.all(
    others.flatMap(each => ['a', 'b', 'c"d', 'Mixed Case'].map(name => listen(each, name))),
  )
  assert.equal(await listening(), 1)
  await client.db.transaction(async () => {
    for (const name of ['a', 'b', 'c"d', 'Mixed Case']) await notify(name, '!')
    await until('each of three has each of four', () => got.length === 12)
  })
  assert.deepEqual(new Set(got), new Set(['a!', 'b!', 'c"d!', 'Mixed Case!']))
  for (const subscription of subscriptions) subscription.close()
  await until('the connection is closed', async () => (await listening()) === 0)
})

test('one that closes is not told any more, others of its channel are', async t => {
  const { client } = await openSqlEngine(t, postgres.url)
  const first: string[] = []
  const second: string[] = []
  const closing = await client.db.listen('room', payload => first.push(payload))
  await client.db.listen('room', payload => second.push(payload))
  closing.close()
  closing.close()
  await notify('room', 'x')
  await until('the other has it', () => second.length === 1)
  const again = await client.db.listen('room', payload => first.push(payload))
  await notify('room', 'y')
  await until('both have it', () => first.length === 1 && second.length === 2)
  again.close()
})

test('the end of a client ends its subscriptions at the engine', async t => {
  const { client, connect } = await openSqlEngine(t, postgres.url)
  const other = await connect()
  await other.db.listen('room', () => undefined)
  assert.equal(await listening(), 1)
  await other.close()
  await until('UNLISTEN, and the connection goes', async () => (await listening()) === 0)
  assert.equal((await client.db.query('select 1')).rowCount, 1)
})

test('a signal closes it, before and after', async t => {
  const { client } = await openSqlEngine(t, postgres.url)
  await assert.rejects(
    client.db.listen('room', undefined, { signal: AbortSignal.abort(new Error('no')) }),
    /no/,
  )
  const abort = new AbortController()
  const subscription = await client.db.listen('room', undefined, { signal: abort.signal })
  const looping = Array.fromAsync(subscription)
  abort.abort()
  assert.deepEqual(await looping, [])
})

test('names that no channel can have, and callbacks that are none, are refused', async t => {
  const { client } = await openSqlEngine(t, postgres.url)
  for (const name of ['', 'x'.repeat(64), 'a\0b'])
    await assert.rejects(client.db.listen(name), { code: 'BAD_REQUEST' })
  await assert.rejects(client.db.listen('room', 'text' as never), TypeError)
  await assert.rejects(client.db.listen('room', undefined, { x: 1 } as never), TypeError)
})

describe('after a loss it is listened to again, and the gap is told', () => {
  const LOSSES: Record<
    string,
    (engine: Awaited<ReturnType<typeof openSqlEngine>>) => Promise<unknown>
  > = {
    'the backend is terminated': () => postgres.terminateBackends(),
    'the server is restarted': () => postgres.restart(),
    'the worker dies': engine => engine.killWorker(),
  }
  for (const [what, lose] of Object.entries(LOSSES)) {
    test(what, async t => {
      const engine = await openSqlEngine(t, postgres.url)
      const got: string[] = []
      const subscription = await engine.client.db.listen('room', payload => got.push(payload))
      const gaps = gapsOf(subscription)
      await notify('room', 'before')
      await until('it came', () => got.length === 1)
      await lose(engine)
      await until('the gap is told', () => gaps.length > 0, 10_000)
      assert.equal(gaps[0]!.lost, undefined)
      assert.match(gaps[0]!.reason, /lost|died|restarting/)
      // Told when it is listened to again: what is notified from now on comes.
      await notify('room', 'after')
      await until('it came', () => got.length === 2)
      assert.deepEqual(got, ['before', 'after'])
      assert.equal(gaps.length, 1)
    })
  }

  test('the engine is killed and started again', async t => {
    const engine = await serve(t, { HEARTH_POSTGRES_URL: postgres.url })
    const client = await engine.connect()
    const got: string[] = []
    const subscription = await client.db.listen('room', payload => got.push(payload))
    const gaps = gapsOf(subscription)
    await engine.kill()
    await sleep(50)
    await engine.start()
    await until('the gap is told', () => gaps.length > 0, 15_000)
    await notify('room', 'after')
    await until('it came', () => got.length === 1)
  })
})

test('a subscriber that does not read loses notifications, is told how many, and nobody else does', async t => {
  const engine = await serve(t, { HEARTH_POSTGRES_URL: postgres.url })
  const other = await engine.connect()
  let others = 0
  await other.db.listen('busy', () => others++)
  const slow = await engine.raw()
  await slow.hello()
  slow.send(frame(OPS.LISTEN.code, 7, 'main', 'c', 'busy'))
  assert.equal(nameOf(await slow.reply(7)), 'LISTENING')
  slow.pause()
  const COUNT = 1_500
  const admin = await postgres.admin()
  for (let i = 0; i < COUNT / 100; i++)
    await admin.query(
      `select pg_notify('busy', i || repeat('x', 4000)) from generate_series(${i * 100}, ${i * 100 + 99}) i`,
    )
  await until('the other has all', () => others === COUNT, 10_000)
  slow.resume()
  await admin.query(`select pg_notify('busy', 'last')`)
  let came = 0
  let lost = 0
  while (came + lost < COUNT) {
    const reply = await slow.reply(7)
    if (nameOf(reply) === 'NOTIFICATION') came++
    else if (nameOf(reply) === 'GAP') {
      const counted = reply.body.readUInt16BE(1) // A uint past 255.
      lost += reply.body[0] === 0xcd ? counted : reply.body[0]!
    }
  }
  console.log(`# ${came} came, ${lost} were lost and counted`)
  assert.ok(lost > 100 && came > 100)
  assert.ok(came + lost >= COUNT && came + lost <= COUNT + 1)
})
