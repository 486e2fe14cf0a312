/** Clients that ask and do not read: they stall themselves, the engine's memory stays within bounds, nobody else notices.
 *  Owns:   one engine a test.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { SESSION_UNSENT_BYTES_MAX } from '../engine/limits.ts'
import { ownBytes } from '../engine/observe/footprint.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { type ServedEngine, serve } from './helpers/engine.ts'
import { frame, get, nameOf, type RawClient, rawValue, set } from './helpers/frames.ts'
import { FULL } from './helpers/random.ts'

const MEBIBYTE = 1024 * 1024
const skip = !FULL && 'HEARTH_TEST_FULL=1 runs it (10 s)'

async function open(engine: ServedEngine): Promise<RawClient> {
  const client = await engine.raw()
  await client.hello()
  return client
}

/** Runs `during` with an eye on the engine's memory and on another client; gives the most memory and the longest wait. */
async function watched(
  engine: ServedEngine,
  during: () => Promise<void>,
): Promise<{ peakBytes: number; slowestMs: number }> {
  // A list of all keys, of which many are asked for, holds up the worker for all.
  const other = await engine.connect({ timeoutMs: 30_000 })
  const seen = { peakBytes: 0, slowestMs: 0 }
  let isOver = false
  const watching = (async () => {
    while (!isOver) {
      const startMs = performance.now()
      await other.cache.set('other', 1)
      assert.equal(await other.cache.get('other'), 1)
      seen.slowestMs = Math.max(seen.slowestMs, performance.now() - startMs)
      seen.peakBytes = Math.max(seen.peakBytes, ownBytes(engine.pid)!)
      await sleep(2)
    }
  })()
  await during().finally(() => {
    isOver = true
  })
  await watching
  return seen
}

/** Sends as much as the socket takes until it takes no more for a while. */
async function sendUntilStuck(client: RawClient, bytes: Buffer, timesMax: number): Promise<number> {
  for (let times = 0; times < timesMax; times++) {
    if (client.isClosed) return times
    if (client.socket.write(bytes)) continue
    const drained = new Promise(resolve => client.socket.once('drain', () => resolve('drained')))
    if ((await Promise.race([drained, sleep(300, 'stuck')])) === 'stuck') return times
  }
  return timesMax
}

test('gets of memory without reading: the sender is stalled, then served when it reads', async t => {
  const engine = await serve(t)
  const client = await open(engine)
  client.send(set(1, 'k', rawValue(60_000)))
  await client.reply(1)
  const settledBytes = ownBytes(engine.pid)!
  client.pause()
  const batch = Buffer.concat(Array.from({ length: 1_000 }, (_, i) => get(i, 'k')))
  let sent = 0
  const { peakBytes, slowestMs } = await watched(engine, async () => {
    sent = await sendUntilStuck(client, batch, 200)
    await sleep(300)
  })
  const grownBytes = peakBytes - settledBytes
  console.log(
    `# stalled after ${sent}000 gets of 60 kB; +${(grownBytes / MEBIBYTE).toFixed(1)} MiB, others' slowest ${slowestMs.toFixed(1)} ms`,
  )
  assert.ok(sent < 200, 'the engine stopped reading')
  assert.ok(grownBytes < 8 * MEBIBYTE, `grew by ${grownBytes} bytes`)
  let replies = 0
  client.resume()
  for (
    const endMs = performance.now() + 20_000;
    replies < 1_000 && performance.now() < endMs;
    replies++
  ) {
    assert.equal(nameOf(await client.next()), 'VALUE_MEMORY')
  }
  assert.equal(replies, 1_000)
})

test('gets of large values without reading: one piece of each is in memory, no more', {
  skip,
}, async t => {
  const engine = await serve(t, { HEARTH_SQLITE_MAX_BYTES: '64MiB' })
  const client = await open(engine)
  for (let i = 0; i < 4; i++) client.send(set(i, `large:${i}`, rawValue(4 * MEBIBYTE, i)))
  for (let i = 0; i < 4; i++) await client.reply(i)
  await sleep(1_500)
  const settledBytes = ownBytes(engine.pid)!
  const readers = await Promise.all(Array.from({ length: 10 }, () => open(engine)))
  const { peakBytes, slowestMs } = await watched(engine, async () => {
    for (const reader of readers) {
      reader.pause()
      reader.send(...[0, 1, 2, 3].map(i => get(i, `large:${i}`)))
    }
    await sleep(1_000)
  })
  const grownBytes = peakBytes - settledBytes
  console.log(
    `# 40 stalled reads of 4 MiB: +${(grownBytes / MEBIBYTE).toFixed(1)} MiB, others' slowest ${slowestMs.toFixed(1)} ms`,
  )
  // 40 pieces of 256 KiB, and as much twice in buffers they came through that are not collected yet.
  assert.ok(grownBytes < 48 * MEBIBYTE, `grew by ${grownBytes} bytes`)
  const reader = readers[0]!
  reader.resume()
  const bytes = [0, 0, 0, 0]
  for (let ended = 0; ended < 4; ) {
    const reply = await reader.next()
    bytes[reply.id]! += reply.body.length
    if (nameOf(reply) === 'VALUE_SQLITE') ended++
  }
  assert.deepEqual(bytes, Array(4).fill(4 * MEBIBYTE))
})

test('hits in SQLite without reading: their values are not kept, and come when the client reads', async t => {
  const engine = await serve(t, {
    HEARTH_SQLITE_MAX_BYTES: '64MiB',
    HEARTH_MEMORY_MAX_BYTES: '1MiB',
  })
  const client = await open(engine)
  // Asked for before it is known how long they are: 300 MB in all.
  const bytes = 200_000
  const count = 1_500
  for (let i = 0; i < 20; i++) client.send(set(i, `k:${i}`, rawValue(bytes, i)))
  for (let i = 0; i < 20; i++) await client.reply(i)
  await sleep(1_500)
  const settledBytes = ownBytes(engine.pid)!
  client.pause()
  const { peakBytes, slowestMs } = await watched(engine, async () => {
    client.send(...Array.from({ length: count }, (_, i) => get(i, `k:${i % 20}`)))
    await sleep(1_500)
  })
  const grownBytes = peakBytes - settledBytes
  console.log(
    `# ${count} unread hits of 200 kB: +${(grownBytes / MEBIBYTE).toFixed(1)} MiB, others' slowest ${slowestMs.toFixed(1)} ms`,
  )
  assert.ok(grownBytes < 2 * SESSION_UNSENT_BYTES_MAX, `grew by ${grownBytes} bytes`)
  client.resume()
  for (let i = 0; i < count; i++) {
    const reply = await client.next()
    assert.equal(nameOf(reply), 'VALUE_SQLITE')
    assert.ok(reply.body.equals(rawValue(bytes, reply.id % 20)), 'each gets its own')
  }
})

async function openWithKeys(engine: ServedEngine): Promise<RawClient> {
  const client = await open(engine)
  for (let i = 0; i < 1_000; i++) client.send(set(i, `${i}:`.padEnd(1_000, 'k'), 1))
  for (let i = 0; i < 1_000; i++) await client.reply(i)
  client.pause()
  return client
}

/** What cannot be had again later is kept for the client, up to a limit: each of these replies is a megabyte. */
async function askForLists(engine: ServedEngine, client: RawClient, count: number): Promise<void> {
  client.send(...Array.from({ length: count }, (_, i) => frame(OPS.KEYS.code, i, '*', '', 1_000)))
  await engine.untilLogged('does not read its replies')
}

test('replies past the limit close the connection', async t => {
  const engine = await serve(t)
  const client = await openWithKeys(engine)
  await askForLists(engine, client, 60)
  client.resume()
  await client.untilClosed()
})

test('and the memory of those replies is given back', { skip }, async t => {
  const engine = await serve(t)
  const client = await openWithKeys(engine)
  await sleep(1_500)
  const settledBytes = ownBytes(engine.pid)!
  const { peakBytes, slowestMs } = await watched(engine, () => askForLists(engine, client, 200))
  // What is asked already is still listed, a step at a time, for nobody.
  let leftBytes = Number.POSITIVE_INFINITY
  for (let i = 0; leftBytes >= 6 * MEBIBYTE && i < 10; i++) {
    await sleep(1_000)
    leftBytes = ownBytes(engine.pid)! - settledBytes
  }
  console.log(
    `# closed at the limit: peak +${((peakBytes - settledBytes) / MEBIBYTE).toFixed(1)} MiB, left +${(leftBytes / MEBIBYTE).toFixed(1)} MiB, others' slowest ${slowestMs.toFixed(1)} ms`,
  )
  assert.ok(peakBytes - settledBytes < SESSION_UNSENT_BYTES_MAX * 3)
  assert.ok(leftBytes < 6 * MEBIBYTE, `kept ${leftBytes} bytes`)
  assert.equal((await (await engine.connect()).stats()).clients, 2, 'its place is free')
})

test('a reader that is merely behind gets a thousand values of tier 2 without being cut off', async t => {
  const engine = await serve(t, {
    HEARTH_SQLITE_MAX_BYTES: '256MiB',
    HEARTH_MEMORY_MAX_BYTES: '1MiB',
  })
  const hearth = await engine.connect({ timeoutMs: 30_000 })
  const keys = Array.from({ length: 1_000 }, (_, i) => `k:${i}`)
  const value = Buffer.alloc(60_000, 7)
  await hearth.cache.setMany(keys.map(key => ({ key, value })))
  const asked = hearth.cache.getMany<Buffer>(keys)
  await new Promise(setImmediate)
  // The service is busy with something else while its replies come.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 700)
  const found = await asked
  assert.ok(found.every(bytes => bytes?.length === value.length))
  assert.doesNotMatch(engine.log(), /does not read/)
})
