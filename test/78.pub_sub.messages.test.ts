/** Messages between clients: who gets them, in what order, and what those are told who could not keep up or were cut off.
 *  Owns:   one engine a test, subscribers in processes of their own where it matters.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gap } from '../engine/client/index.ts'
import { MESSAGE_BYTES_MAX, PATTERNS_OF_ONE_MAX } from '../engine/limits.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { embed, serve } from './helpers/engine.ts'
import { errorOf, frame, nameOf } from './helpers/frames.ts'
import { startSubscriber } from './helpers/subscriber.ts'

const DEAF_MS = 3_000

test('a message goes to everybody whose glob matches its channel, and the publisher is told how many', async t => {
  const engine = await serve(t)
  const [publisher, one, two] = [
    await engine.connect(),
    await engine.connect(),
    await engine.connect(),
  ]
  const got: unknown[] = []
  await one.subscribe('room:*', (message, channel) => got.push(['glob', channel, message]))
  await one.subscribe('room:kitchen', (message, channel) => got.push(['name', channel, message]))
  await two.subscribe('room:[k-m]?*', (message, channel) => got.push(['class', channel, message]))
  await two.subscribe('garden', () => got.push('wrong'))
  const message = { at: new Date(0), ids: new Set([1n]), bytes: new Uint8Array([1, 2]), none: null }
  assert.equal(await publisher.publish('room:kitchen', message), 3)
  assert.equal(await publisher.publish('room:attic', 1), 1)
  assert.equal(await publisher.publish('cellar', 1), 0)
  await untilTrue(() => got.length === 4)
  assert.deepEqual(
    got.toSorted((a, b) => String(a).localeCompare(String(b))),
    [
      ['class', 'room:kitchen', message],
      ['glob', 'room:attic', 1],
      ['glob', 'room:kitchen', message],
      ['name', 'room:kitchen', message],
    ],
  )
})

test('what was published before is not delivered, what comes after close() neither, and a loop ends then', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  await client.publish('a', 'too early')
  const subscription = await client.subscribe<number>('a')
  for (let n = 0; n < 3; n++) assert.equal(await client.publish('a', n), 1)
  const seen: number[] = []
  for await (const { message, channel } of subscription) {
    assert.equal(channel, 'a')
    if (seen.push(message) === 3) subscription.close()
  }
  assert.deepEqual(seen, [0, 1, 2])
  assert.equal(await client.publish('a', 'too late'), 0)
  const again: unknown[] = []
  await client.subscribe('a', message => again.push(message))
  assert.equal(await client.publish('a', 'again'), 1)
  await untilTrue(() => again.length === 1)
})

test('a callback that throws costs neither later messages nor other requests', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  const thrown: unknown[] = []
  const own = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', error => thrown.push(error.message))
  t.after(() => {
    process.removeAllListeners('uncaughtException')
    for (const listener of own) process.on('uncaughtException', listener)
  })
  let count = 0
  await client.subscribe('a', message => {
    count++
    throw new Error(`cannot take ${message}`)
  })
  const answers = await Promise.all([1, 2, 3].map(n => client.publish('a', n)))
  assert.deepEqual(answers, [1, 1, 1])
  await untilTrue(() => count === 3 && thrown.length === 3)
  assert.deepEqual(thrown, ['cannot take 1', 'cannot take 2', 'cannot take 3'])
})

test('one connection has 256 subscriptions and no more, and room again when it closes one', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  const all = []
  for (let n = 0; n < PATTERNS_OF_ONE_MAX; n++) all.push(await client.subscribe(`c${n}`))
  await assert.rejects(client.subscribe('more'), { code: 'BUSY' })
  assert.equal(await client.publish('c7', 1), 1)
  all[7]!.close()
  await client.subscribe('more')
  assert.equal(await client.publish('c7', 1), 0)
})

test('what cannot be sent is refused before it is', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  const long = new Uint8Array(MESSAGE_BYTES_MAX)
  await assert.rejects(client.publish('a', long), { code: 'VALUE_TOO_LARGE' })
  await assert.rejects(client.publish('', 1), { code: 'BAD_REQUEST' })
  await assert.rejects(client.publish('x'.repeat(2_000), 1), { code: 'BAD_REQUEST' })
  await assert.rejects(client.subscribe('x'.repeat(2_000)), { code: 'BAD_REQUEST' })
  await assert.rejects(client.publish(7 as never, 1), TypeError)
  await assert.rejects(client.subscribe('a', 'no function' as never), TypeError)
  await assert.rejects(
    client.subscribe('a', () => 1, { onGaps() {} } as never),
    /unknown option/,
  )
  const raw = await engine.raw()
  await raw.hello()
  raw.send(frame(OPS.PUBLISH.code, 2, 'a', Buffer.alloc(MESSAGE_BYTES_MAX + 1)))
  assert.match(errorOf(await raw.reply(2)).message, /65536 are allowed/)
  raw.send(frame(OPS.SUBSCRIBE.code, 3, 3, 'a'))
  assert.match(errorOf(await raw.reply(3)).message, /space 3/)
})

test('a message that is no value is told as lost, and costs its subscribers nothing else', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  const got: unknown[] = []
  const gaps: Gap[] = []
  const onGap = (gap: Gap) => gaps.push(gap)
  await client.subscribe('a', message => got.push(message), { onGap })
  const raw = await engine.raw()
  await raw.hello()
  raw.send(rawPublish(2, 'a', Buffer.from([0xd9, 5, 0x61])))
  assert.equal(nameOf(await raw.reply(2)), 'COUNT')
  await client.publish('a', 'fine')
  await untilTrue(() => got.length === 1)
  assert.deepEqual(got, ['fine'])
  assert.deepEqual(gaps, [{ lost: 1, reason: 'a message on a is no value' }])
})

test('a deaf subscriber is told exactly how many it lost, and neither the publisher nor others wait for it', async t => {
  const engine = await serve(t)
  const deaf = await startSubscriber(t, engine.socket, 'n*')
  const publisher = await engine.connect()
  const attentive = await engine.connect()
  let heard = 0
  const onGap = () => assert.fail('the attentive one lost something')
  await attentive.subscribe('numbers', () => heard++, { onGap })
  deaf.deafen(DEAF_MS)
  const filling = 'x'.repeat(4_000)
  const startMs = performance.now()
  let count = 0
  let reached = 0
  // As many as it takes: half the time it is deaf, in steps that the attentive one keeps up with.
  while (performance.now() - startMs < DEAF_MS / 2) {
    const sent = Array.from({ length: 50 }, () =>
      publisher.publish('numbers', { n: count++, filling }),
    )
    for (const receivers of await Promise.all(sent)) reached += receivers
    await untilTrue(() => heard === count)
  }
  const missed = await deaf.until(count)
  console.log(`# ${count} messages of 4 kB: the deaf one got ${missed.count}, lost ${missed.lost}`)
  assert.ok(missed.lost > 0, 'more came than its socket holds')
  assert.equal(missed.count + missed.lost, count)
  assert.equal(reached, count + missed.count, 'the publisher was told of those that were sent')
  assert.ok(missed.isInOrder)
  await publisher.publish('numbers', { n: count })
  const after = await deaf.until(count + 1)
  assert.deepEqual([after.last, after.count], [count, missed.count + 1])
})

test('a killed subscriber is gone at once, and its subscriptions with it', async t => {
  const engine = await serve(t)
  const publisher = await engine.connect()
  const others = await Promise.all(
    Array.from({ length: 3 }, () => startSubscriber(t, engine.socket, 'numbers')),
  )
  assert.equal(await publisher.publish('numbers', { n: 1 }), 3)
  others[0]!.child.kill('SIGKILL')
  let receivers = 3
  for (let n = 2; receivers === 3 && n < 200; n++) {
    await sleep(10)
    receivers = await publisher.publish('numbers', { n })
  }
  assert.equal(receivers, 2)
})

test('after the engine was killed and started anew a subscription is there again, told of a gap', async t => {
  const engine = await serve(t)
  const client = await engine.connect({ failOpen: true })
  const got: unknown[] = []
  const subscription = await client.subscribe('a', message => got.push(message))
  subscription.on('gap', ({ lost }) => got.push(['gap', lost]))
  await client.publish('a', 'before')
  await untilTrue(() => got.length === 1)
  await engine.kill()
  await assert.rejects(client.publish('a', 'nobody there'), { code: 'UNAVAILABLE' })
  await engine.start()
  await untilTrue(() => got.length === 2)
  assert.equal(await client.publish('a', 'after'), 1)
  await untilTrue(() => got.length === 3)
  assert.deepEqual(got, ['before', ['gap', undefined], 'after'])
})

test('a loop ends with CLOSED when its client is closed', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  const subscription = await client.subscribe('a')
  const looping = (async () => {
    for await (const _ of subscription) assert.fail('nothing was published')
  })()
  await client.close()
  await assert.rejects(looping, { code: 'CLOSED' })
})

test('clients in the engine’s process and clients at the socket reach each other', async t => {
  const engine = await embed(t)
  const local = engine.local()
  const remote = await engine.connect()
  const got: unknown[] = []
  await local.subscribe('a', message => got.push(`local ${message}`))
  await remote.subscribe('a', message => got.push(`remote ${message}`))
  assert.equal(await local.publish('a', 1), 2)
  assert.equal(await remote.publish('a', 2), 2)
  await untilTrue(() => got.length === 4)
  assert.deepEqual(got.toSorted(), ['local 1', 'local 2', 'remote 1', 'remote 2'])
})

async function untilTrue(condition: () => boolean): Promise<void> {
  const endMs = performance.now() + 10_000
  while (!condition() && performance.now() < endMs) await sleep(5)
  assert.ok(condition(), 'it did not come about in time')
}

/** A PUBLISH whose message is these very bytes. */
function rawPublish(id: number, channel: string, message: Buffer): Buffer {
  const head = frame(OPS.PUBLISH.code, id, channel)
  const whole = Buffer.concat([head, message])
  whole.writeUInt32LE(((whole.length - 8) << 8) | OPS.PUBLISH.code, 0)
  return whole
}
