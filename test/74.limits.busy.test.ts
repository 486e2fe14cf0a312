/** Limits: too many connections, too much at once. Who is over a limit is told or made to wait; the rest go on.
 *  Owns:   one engine a test.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { SESSION_COUNT_MAX, TICKET_COUNT_MAX } from '../engine/limits.ts'
import { ownBytes } from '../engine/observe/footprint.ts'
import { serve } from './helpers/engine.ts'
import { frame, get, header, nameOf, type RawClient, rawValue, set } from './helpers/frames.ts'
import { FULL } from './helpers/random.ts'

const MEBIBYTE = 1024 * 1024

test('more unanswered requests than the worker has tickets are all answered', async t => {
  const engine = await serve(t)
  const clients = await Promise.all(
    Array.from({ length: 12 }, () => engine.connect({ timeoutMs: 30_000 })),
  )
  const count = Math.ceil((TICKET_COUNT_MAX * 3) / clients.length)
  const answers = await Promise.all(
    clients.flatMap((client, lane) =>
      Array.from({ length: count }, (_, i) =>
        i % 2 === 0 ? client.cache.set(`${lane}:${i}`, i) : client.cache.get(`none:${i}`),
      ),
    ),
  )
  assert.equal(
    answers.filter(answer => answer === true).length,
    clients.length * Math.ceil(count / 2),
  )
})

test('a hundred clients that each store megabytes at once are all served, in bounded memory', async t => {
  const engine = await serve(t, { HEARTH_SQLITE_MAX_BYTES: '64MiB' })
  const settledBytes = ownBytes(engine.pid)!
  const count = FULL ? 200 : 60
  const clients: RawClient[] = []
  for (let i = 0; i < count; i++) {
    const client = await engine.raw()
    await client.hello()
    clients.push(client)
  }
  let peakBytes = 0
  const timer = setInterval(() => {
    peakBytes = Math.max(peakBytes, ownBytes(engine.pid)!)
  }, 5)
  t.after(() => clearInterval(timer))
  const value = rawValue(4 * MEBIBYTE)
  for (const [i, client] of clients.entries()) client.send(set(1, `k:${i % 8}`, value))
  for (const client of clients) assert.equal(nameOf(await client.reply(1, 60_000)), 'OK')
  const grownBytes = peakBytes - settledBytes
  console.log(`# ${count} sets of 4 MiB at once: peak +${(grownBytes / MEBIBYTE).toFixed(1)} MiB`)
  assert.ok(grownBytes < 120 * MEBIBYTE, `grew by ${grownBytes} bytes`)
})

test('frames that are begun and never finished hold up other long ones only until their deadline', async t => {
  if (!FULL) return t.skip('waits 12 s; HEARTH_TEST_FULL=1 runs it')
  const engine = await serve(t)
  // Two take the whole budget; more of them would take turns with it, a deadline each.
  for (let i = 0; i < 2; i++) {
    const client = await engine.raw()
    await client.hello()
    client.send(header(0x11, 1, 8 * MEBIBYTE), rawValue(100_000))
  }
  await sleep(200)
  const hearth = await engine.connect({ timeoutMs: 20_000 })
  await hearth.cache.set('small', 1)
  assert.equal(await hearth.cache.set('large', Buffer.alloc(MEBIBYTE)), true)
})

test('a KEYS for more keys than a reply may have gets as many as it may have', async t => {
  const engine = await serve(t)
  const hearth = await engine.connect()
  await hearth.cache.setMany(Array.from({ length: 1_200 }, (_, i) => ({ key: `k${i}`, value: 1 })))
  const client = await engine.raw()
  await client.hello()
  client.send(frame(0x13, 1, '*', '', 0xffff_ffff))
  const reply = await client.reply(1)
  assert.equal(nameOf(reply), 'RESULT')
  assert.equal(reply.body.readUInt16BE(1), 1_000)
})

test(`connections past ${SESSION_COUNT_MAX} are refused, and those that are there go on`, async t => {
  const softLimit = Number(
    /Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1],
  )
  if (softLimit < SESSION_COUNT_MAX + 200) {
    return t.skip(`needs ${SESSION_COUNT_MAX + 200} open files; the limit here is ${softLimit}`)
  }
  const engine = await serve(t)
  const clients: RawClient[] = []
  t.after(() => {
    for (const client of clients) client.socket.destroy()
  })
  const startBytes = ownBytes(engine.pid)!
  while (clients.length < SESSION_COUNT_MAX) {
    const some = await Promise.all(Array.from({ length: 128 }, () => engine.raw()))
    await Promise.all(some.map(client => client.hello()))
    clients.push(...some)
  }
  const eachBytes = (ownBytes(engine.pid)! - startBytes) / clients.length
  console.log(`# ${clients.length} connections: ${(eachBytes / 1024).toFixed(1)} KiB each`)
  const refused = await engine.raw()
  await refused.untilClosed()
  clients[0]!.send(get(1, 'k'))
  assert.equal(nameOf(await clients[0]!.reply(1)), 'MISS')
  clients.pop()!.socket.destroy()
  await sleep(100)
  const late = await engine.raw()
  await late.hello()
  await late.close()
})
