/** Sessions: well-formed frames however the socket cuts them, and every limit on its two sides.
 *  Owns:   one engine for the file.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  what is sent is made by helpers/frames.ts, not by the client library. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ERRORS } from '../engine/errors.ts'
import { PART_BYTES, SESSION_INFLIGHT_COUNT_MAX } from '../engine/limits.ts'
import { decodeValue } from '../engine/protocol/payload.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { engineOfFile } from './helpers/engine.ts'
import {
  del,
  errorOf,
  frame,
  get,
  header,
  hello,
  nameOf,
  ping,
  type RawClient,
  type Reply,
  rawValue,
  set,
} from './helpers/frames.ts'

const VALUE_BYTES_MAX = 8 * 1024 * 1024
const MEMORY_VALUE_BYTES_MAX = 64 * 1024

const engine = engineOfFile({ HEARTH_SQLITE_MAX_BYTES: '64MiB' })

async function open(): Promise<RawClient> {
  const client = await engine.raw()
  await client.hello()
  return client
}

/** A value's pieces put together, and the reply that ended it. */
async function wholeReply(client: RawClient, id: number): Promise<{ last: Reply; body: Buffer }> {
  const parts: Buffer[] = []
  for (;;) {
    const reply = await client.reply(id)
    parts.push(reply.body)
    if (nameOf(reply) !== 'PART') return { last: reply, body: Buffer.concat(parts) }
  }
}

test('the greeting tells version, engine, session and limits', async () => {
  const client = await engine.raw()
  const greeting = await client.hello()
  assert.equal(greeting.version, 1)
  assert.match(greeting.engine, /^[\w-]{20,}$/)
  assert.equal(greeting.server, 'hearth')
  assert.equal(greeting.maxKeyBytes, 1024)
  assert.equal(greeting.maxValueBytes, VALUE_BYTES_MAX)
  assert.notEqual(greeting.session, (await (await engine.raw()).hello()).session)
})

const REFUSED: [string, () => Buffer][] = [
  ['a HELLO of another version', () => hello(2)],
  ['a HELLO of version 0', () => hello(0)],
  ['a first frame that is not HELLO', () => get(1, 'k')],
  ['a HELLO without a name', () => frame(OPS.HELLO.code, 1, 1)],
  ['a HELLO with one argument too many', () => frame(OPS.HELLO.code, 1, 1, 'x', 'y')],
  ['a HELLO whose version is a word', () => hello('1')],
  ['a HELLO longer than anything small', () => header(OPS.HELLO.code, 1, 0xff_ffff)],
  ['a second HELLO', () => Buffer.concat([hello(), hello()])],
  ['an operation that nobody knows', () => Buffer.concat([hello(), frame(0x66, 7)])],
  ['an operation of the rings', () => Buffer.concat([hello(), frame(OPS.STOP.code, 7)])],
  ['PUT, which only main sends', () => Buffer.concat([hello(), frame(OPS.PUT.code, 7, 'k', 0, 1)])],
  ['a reply sent as a request', () => Buffer.concat([hello(), frame(0x80, 7)])],
  ['a GET with a number for a key', () => Buffer.concat([hello(), frame(OPS.GET.code, 7, 5)])],
  ['a GET without a key', () => Buffer.concat([hello(), frame(OPS.GET.code, 7)])],
  ['a GET with two keys', () => Buffer.concat([hello(), frame(OPS.GET.code, 7, 'a', 'b')])],
  [
    'a key that runs past its frame',
    () => Buffer.concat([hello(), frame(OPS.GET.code, 7, Buffer.from([0xda, 0xff, 0xff, 0x61]))]),
  ],
  ['a SET without a value', () => Buffer.concat([hello(), frame(OPS.SET.code, 7, 'k', null, 0)])],
  [
    'a SET with a negative ttl',
    () => Buffer.concat([hello(), frame(OPS.SET.code, 7, 'k', -1, 0, 1)]),
  ],
  [
    'a KEYS with words for a limit',
    () => Buffer.concat([hello(), frame(OPS.KEYS.code, 7, '*', '', 'x')]),
  ],
  ['a KEYS without arguments', () => Buffer.concat([hello(), frame(OPS.KEYS.code, 7)])],
  ['a GET too long to be one', () => Buffer.concat([hello(), header(OPS.GET.code, 7, 0x80_0000)])],
]
for (const [what, bytes] of REFUSED) {
  test(`${what} is answered by PROTOCOL and a closed connection`, async () => {
    const client = await engine.raw()
    client.send(bytes())
    await client.untilClosed()
    const last = client.replies.at(-1)
    assert.ok(last, 'the engine says why')
    assert.equal(nameOf(last), 'ERROR')
    assert.equal(errorOf(last).wire, ERRORS.PROTOCOL.wire, errorOf(last).message)
  })
}

const CODED: [string, () => Buffer, keyof typeof ERRORS][] = [
  ['an empty key', () => get(7, ''), 'BAD_REQUEST'],
  ['a SET with an empty key', () => set(7, '', 1), 'BAD_REQUEST'],
  ['a DEL with an empty key', () => del(7, ''), 'BAD_REQUEST'],
  ['a policy that is not configured', () => set(7, 'k', 1, 'no-such-policy'), 'BAD_REQUEST'],
  ['a policy named as an object’s own', () => set(7, 'k', 1, 'constructor'), 'BAD_REQUEST'],
  ['a key of 1025 bytes', () => get(7, 'k'.repeat(1025)), 'KEY_TOO_LARGE'],
  ['a key of 1026 bytes in 342 characters', () => get(7, '€'.repeat(342)), 'KEY_TOO_LARGE'],
  ['a SET with a key of 1025 bytes', () => set(7, 'k'.repeat(1025), 1), 'KEY_TOO_LARGE'],
  ['a DEL with a key of 100 000 bytes', () => del(7, 'k'.repeat(100_000)), 'KEY_TOO_LARGE'],
  [
    'a value one byte over the limit',
    () => set(7, 'k', rawValue(VALUE_BYTES_MAX + 1)),
    'VALUE_TOO_LARGE',
  ],
  ['a SET of 15 MiB', () => set(7, 'k', rawValue(15 * 1024 * 1024)), 'VALUE_TOO_LARGE'],
  ['a durability that is none', () => set(7, 'k', 1, null, 9), 'BAD_REQUEST'],
  [
    'SQL where no database is configured',
    () => frame(OPS.QUERY.code, 7, 'main', 1_000, 0, 'c', 'select 1', []),
    'NOT_CONFIGURED',
  ],
]
for (const [what, bytes, code] of CODED) {
  test(`${what} is ${code}, and the connection goes on`, async () => {
    const client = await open()
    client.send(bytes(), ping(8))
    const reply = await client.reply(7)
    assert.equal(nameOf(reply), 'ERROR')
    assert.equal(errorOf(reply).wire, ERRORS[code].wire, errorOf(reply).message)
    assert.equal(nameOf(await client.reply(8)), 'OK')
    await client.close()
  })
}

test('a key of 1024 bytes is a key', async () => {
  const client = await open()
  const key = 'k'.repeat(1024)
  client.send(set(1, key, 'v'), get(2, key))
  assert.equal(nameOf(await client.reply(1)), 'OK')
  assert.equal(decodeValue((await client.reply(2)).body), 'v')
})

const SIZES = [1, 2, 255, 4_096]
for (const edge of [MEMORY_VALUE_BYTES_MAX, PART_BYTES, 2 * PART_BYTES, VALUE_BYTES_MAX]) {
  for (const bytes of [edge - 1, edge, edge + 1]) if (bytes <= VALUE_BYTES_MAX) SIZES.push(bytes)
}
for (const bytes of SIZES) {
  test(`a value of ${bytes} bytes comes back as it was, from both tiers`, async () => {
    const client = await open()
    const value = rawValue(bytes, bytes % 251)
    const key = `size:${bytes}`
    client.send(set(1, key, value), get(2, key))
    assert.equal(nameOf(await client.reply(1)), 'OK')
    const { last, body } = await wholeReply(client, 2)
    const tier = bytes <= MEMORY_VALUE_BYTES_MAX ? 'VALUE_MEMORY' : 'VALUE_SQLITE'
    assert.equal(nameOf(last), tier)
    assert.ok(body.equals(value), 'the bytes are the same')
    await client.close()
  })
}

test('a smaller value replaces a large one, and a large one a small', async () => {
  const client = await open()
  for (const bytes of [600_000, 10, 300_000, 70_000, 300_000, 5]) {
    client.send(set(1, 'sizes', rawValue(bytes)), get(2, 'sizes'))
    assert.equal(nameOf(await client.reply(1)), 'OK')
    assert.equal((await wholeReply(client, 2)).body.length, bytes)
  }
  client.send(del(3, 'sizes'), get(4, 'sizes'))
  assert.equal(decodeValue((await client.reply(3)).body), 1)
  assert.equal(nameOf(await client.reply(4)), 'MISS')
})

test('frames cut at every byte are whole again', async () => {
  const client = await open()
  client.socket.setNoDelay(true)
  const bytes = Buffer.concat([
    set(1, 'cut', 'value'),
    get(2, 'cut'),
    ping(3),
    del(4, 'cut'),
    get(5, 'cut'),
  ])
  for (let cut = 0; cut <= bytes.length; cut++) {
    client.send(bytes.subarray(0, cut))
    await sleep(1)
    client.send(bytes.subarray(cut))
    const names = []
    for (const id of [1, 2, 3, 4, 5]) names.push(nameOf(await client.reply(id)))
    assert.deepEqual(names, ['OK', 'VALUE_MEMORY', 'OK', 'COUNT', 'MISS'], `cut at ${cut}`)
  }
})

test('frames that come byte by byte are whole again', async () => {
  const client = await open()
  for (const byte of Buffer.concat([set(1, 'drip', 'value'), get(2, 'drip')])) {
    client.send(Buffer.from([byte]))
    await sleep(1)
  }
  assert.equal(nameOf(await client.reply(1)), 'OK')
  assert.equal(decodeValue((await client.reply(2)).body), 'value')
})

test('a large value cut near its header and its end is whole again', async () => {
  const client = await open()
  const value = rawValue(700_000, 7)
  const bytes = Buffer.concat([set(1, 'big-cut', value), get(2, 'big-cut')])
  for (const cut of [1, 7, 8, 9, 20, 65_535, 65_536, 65_537, bytes.length - 30, bytes.length - 1]) {
    client.send(bytes.subarray(0, cut))
    await sleep(2)
    client.send(bytes.subarray(cut))
    assert.equal(nameOf(await client.reply(1)), 'OK')
    assert.ok((await wholeReply(client, 2)).body.equals(value), `cut at ${cut}`)
  }
})

test('a body over its limit is read past, in pieces too', async () => {
  const client = await open()
  const tooLarge = set(1, 'k', rawValue(VALUE_BYTES_MAX + 1_000))
  for (const cut of [8, 100, 1_000_000, tooLarge.length - 1]) {
    client.send(tooLarge.subarray(0, cut))
    await sleep(5)
    client.send(tooLarge.subarray(cut), ping(2))
    assert.equal(errorOf(await client.reply(1)).wire, ERRORS.VALUE_TOO_LARGE.wire)
    assert.equal(nameOf(await client.reply(2)), 'OK')
  }
})

test('a SET and a GET in one write, unanswered, read the new value', async () => {
  const client = await open()
  const rounds = 500
  const frames: Buffer[] = []
  for (let i = 0; i < rounds; i++) {
    frames.push(set(i * 3, 'order', i), get(i * 3 + 1, 'order'), ping(i * 3 + 2))
  }
  client.send(...frames)
  for (let i = 0; i < rounds; i++) {
    assert.equal(decodeValue((await client.reply(i * 3 + 1)).body), i)
  }
})

test(`more requests than a connection may have unanswered (${SESSION_INFLIGHT_COUNT_MAX}) are all answered`, async () => {
  const client = await open()
  const count = SESSION_INFLIGHT_COUNT_MAX * 5
  const frames: Buffer[] = []
  for (let i = 0; i < count; i++)
    frames.push(i % 3 === 0 ? set(i, `many:${i}`, i) : get(i, `no:${i}`))
  client.send(...frames)
  const seen = new Set<number>()
  for (let i = 0; i < count; i++) {
    const reply = await client.next()
    assert.equal(nameOf(reply), reply.id % 3 === 0 ? 'OK' : 'MISS')
    seen.add(reply.id)
  }
  assert.equal(seen.size, count)
})

test('a connection that says nothing is closed after five seconds, one that began a frame after ten', async t => {
  if (process.env['HEARTH_TEST_FULL'] !== '1') t.skip('waits 17 s; HEARTH_TEST_FULL=1 runs it')
  else {
    const silent = await engine.raw()
    const half = await open()
    const whole = await open()
    half.send(set(1, 'k', 'value').subarray(0, 10))
    await silent.untilClosed(8_000)
    assert.equal(errorOf(silent.replies.at(-1)!).wire, ERRORS.TIMEOUT.wire)
    await half.untilClosed(12_000)
    assert.equal(errorOf(half.replies.at(-1)!).wire, ERRORS.TIMEOUT.wire)
    whole.send(ping(1))
    assert.equal(nameOf(await whole.reply(1)), 'OK')
  }
})
