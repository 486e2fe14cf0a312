/** Sessions: bytes that are no frames of ours, by the ten thousand, and what they cost everybody else: nothing.
 *  Owns:   one engine for the file.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  every draw comes from the seed that a failure prints. */

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import net from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ERRORS } from '../engine/errors.ts'
import { ownBytes } from '../engine/observe/footprint.ts'
import { OPS, REPLIES } from '../engine/protocol/spec.ts'
import { engineOfFile } from './helpers/engine.ts'
import { del, errorOf, frame, get, header, hello, ping, type Reply, set } from './helpers/frames.ts'
import { FULL, type Random, randomTest } from './helpers/random.ts'

const FRAMES = FULL ? 100_000 : 3_000
const WARM_UP_FRAMES = 1_000
const AT_ONCE = 32
/** What the engine may hold after the storm that it did not before: garbage not collected yet, no more. */
const GROWTH_BYTES_MAX = 3 * 1024 * 1024

const engine = engineOfFile()

/** Bytes to send, and whether they must be refused with PROTOCOL: bytes that merely stop short are not. */
interface Garbage {
  readonly what: string
  readonly bytes: Buffer
  readonly isRefused: boolean
}

const REQUEST_CODES = [
  OPS.HELLO,
  OPS.PING,
  OPS.GET,
  OPS.SET,
  OPS.DEL,
  OPS.KEYS,
  OPS.QUERY,
  OPS.CANCEL,
  OPS.BEGIN,
  OPS.EXECUTE,
  OPS.COMMIT,
  OPS.CLOSE,
  OPS.STREAM,
  OPS.FETCH,
  OPS.COPY_OUT,
  OPS.COPY_READ,
  OPS.COPY_IN,
  OPS.COPY_WRITE,
  OPS.COPY_END,
  OPS.LISTEN,
  OPS.STATS,
  OPS.HEALTH,
].map(op => op.code as number)
const KINDS: readonly ((random: Random) => Garbage)[] = [
  random => ({
    what: 'random bytes',
    bytes: random.bytes(random.between(1, 300)),
    isRefused: false,
  }),
  random => ({
    what: 'random bytes after HELLO',
    bytes: Buffer.concat([hello(), random.bytes(random.between(1, 300))]),
    isRefused: false,
  }),
  random => ({
    what: 'an unknown operation',
    bytes: Buffer.concat([
      hello(),
      frame(codeOfNone(random), random.next(), random.bytes(random.below(100))),
    ]),
    isRefused: true,
  }),
  random => ({
    what: 'a body too long for its operation',
    bytes: Buffer.concat([
      hello(),
      header(OPS.GET.code, random.next(), random.between(0x2_0001, 0xff_ffff)),
    ]),
    isRefused: true,
  }),
  random => ({
    what: 'random arguments',
    bytes: Buffer.concat([
      hello(),
      frame(random.pick(REQUEST_CODES), random.next(), random.bytes(random.between(1, 60))),
    ]),
    isRefused: false,
  }),
  random => ({
    what: 'an unknown version',
    bytes: hello(random.between(2, 0xffff_ffff)),
    isRefused: true,
  }),
  random => {
    const whole = wellFormed(random)
    return {
      what: 'a cut frame',
      bytes: whole.subarray(0, random.below(whole.length)),
      isRefused: false,
    }
  },
  random => {
    const bytes = Buffer.from(wellFormed(random))
    for (let i = random.between(1, 4); i > 0; i--) {
      const at = random.below(bytes.length)
      bytes[at] = bytes[at]! ^ (1 << random.below(8))
    }
    return { what: 'a frame with flipped bits', bytes, isRefused: false }
  },
]

/** HELLO and a few requests, none of which touches the witness's keys. */
function wellFormed(random: Random): Buffer {
  const key = `fuzz:${random.below(50)}`
  const frames = [hello()]
  for (let i = random.between(1, 4); i > 0; i--) {
    frames.push(
      random.pick([
        () => get(random.next(), key),
        () =>
          set(
            random.next(),
            key,
            random.bytes(random.below(200)),
            random.pick([null, 5_000, 'session']),
          ),
        () => del(random.next(), key),
        () => frame(OPS.KEYS.code, random.next(), 'fuzz:*', '', 10),
        () => frame(OPS.QUERY.code, random.next(), 'main', 1_000, 0, 'c', 'select 1', [1, 'two']),
        () => frame(OPS.CANCEL.code, random.next()),
        () => frame(OPS.BEGIN.code, random.next(), 'main', 0, 0, 'c', 'serializable', 3),
        () => frame(OPS.EXECUTE.code, random.next(), random.next(), 0, 'c', 'select 1', []),
        () => frame(OPS.STREAM.code, random.next(), 0, 'main', 0, 0, 'c', 'select 1', [1]),
        () => frame(OPS.FETCH.code, random.next(), random.next(), 10),
        () => frame(OPS.COPY_IN.code, random.next(), 'main', 0, 0, 'c', 'copy t from stdin'),
        () =>
          frame(OPS.COPY_WRITE.code, random.next(), random.next(), random.bytes(random.below(99))),
        () => frame(OPS.LISTEN.code, random.next(), 'main', 'c', 'room'),
      ])(),
    )
  }
  return Buffer.concat(frames)
}

function codeOfNone(random: Random): number {
  const known = new Set(Object.values(OPS).map(op => op.code as number))
  for (;;) {
    const code = random.below(256)
    if (!known.has(code)) return code
  }
}

/** Sends bytes, ends its half of the connection, and gives what came back when the engine has ended the other. */
function attempt(path: string, bytes: Buffer): Promise<Reply[]> {
  const { promise, resolve } = Promise.withResolvers<Reply[]>()
  const socket = net.connect({ path, allowHalfOpen: true })
  const pieces: Buffer[] = []
  socket.on('data', (piece: Buffer) => pieces.push(piece))
  socket.on('error', () => undefined) // The engine may close before all was sent.
  socket.on('end', () => socket.destroy())
  socket.on('close', () => resolve(framesIn(Buffer.concat(pieces))))
  socket.end(bytes)
  return promise
}

function framesIn(bytes: Buffer): Reply[] {
  const replies: Reply[] = []
  let at = 0
  while (at < bytes.length) {
    assert.ok(at + 8 <= bytes.length, 'replies are whole frames')
    const end = at + 8 + (bytes.readUInt32LE(at) >>> 8)
    assert.ok(end <= bytes.length, 'replies are whole frames')
    replies.push({
      op: bytes[at]!,
      id: bytes.readUInt32LE(at + 4),
      body: bytes.subarray(at + 8, end),
    })
    at = end
  }
  return replies
}

function isProtocolError(reply: Reply | undefined): boolean {
  return reply?.op === REPLIES.ERROR.code && errorOf(reply).wire === ERRORS.PROTOCOL.wire
}

async function storm(random: Random, count: number): Promise<void> {
  let left = count
  const lane = async () => {
    while (left-- > 0) {
      const { what, bytes, isRefused } = random.pick(KINDS)(random)
      const replies = await attempt(engine.socket, bytes)
      const refusals = replies.filter(isProtocolError)
      const shown = `${what}: ${bytes.subarray(0, 80).toString('hex')}`
      if (isRefused) assert.ok(isProtocolError(replies.at(-1)), shown)
      assert.ok(refusals.length <= 1, `refused once: ${shown}`)
      if (refusals.length === 1) assert.equal(replies.at(-1), refusals[0], `refused last: ${shown}`)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane))
}

/** A client that minds its own business and checks all it is told. */
async function witness(isOver: () => boolean): Promise<{ rounds: number; slowestMs: number }> {
  const client = await engine.connect({ timeoutMs: 5_000 })
  let rounds = 0
  let slowestMs = 0
  while (!isOver()) {
    const key = `witness:${rounds % 20}`
    const startMs = performance.now()
    await client.cache.set(key, { rounds })
    assert.deepEqual(await client.cache.get(key), { rounds })
    assert.equal(await client.cache.get('witness:none'), undefined)
    slowestMs = Math.max(slowestMs, performance.now() - startMs)
    rounds++
  }
  assert.equal(client.state, 'open')
  await client.close()
  return { rounds, slowestMs }
}

/** The engine's own memory and descriptors when it has nothing to do. */
async function holdings(): Promise<{ bytes: number; descriptors: number }> {
  let bytes = Infinity
  for (let looks = 0; looks < 5; looks++) {
    await sleep(looks === 0 ? 1_500 : 200)
    bytes = Math.min(bytes, ownBytes(engine.pid)!)
  }
  return {
    bytes,
    descriptors: readdirSync(`/proc/${engine.pid}/fd`).length,
  }
}

randomTest(
  `${FRAMES} connections of garbage disturb nobody else and leave nothing behind`,
  { timeout: 600_000 },
  async random => {
    await storm(random, WARM_UP_FRAMES)
    const before = await holdings()
    let isOver = false
    const watched = witness(() => isOver)
    await storm(random, FRAMES).finally(() => {
      isOver = true
    })
    const { rounds, slowestMs } = await watched
    const after = await holdings()
    const grownBytes = after.bytes - before.bytes
    console.log(
      `# ${FRAMES} garbage connections; witness: ${rounds} rounds, slowest ${slowestMs.toFixed(1)} ms; ` +
        `own memory ${(before.bytes / 1e6).toFixed(1)} MB, grew by ${(grownBytes / 1024).toFixed(0)} KiB`,
    )
    assert.ok(rounds > 10, 'the witness was served')
    assert.equal(after.descriptors, before.descriptors, 'no descriptor is left')
    assert.ok(grownBytes < GROWTH_BYTES_MAX, `memory grew by ${grownBytes} bytes`)
  },
)

test('connections that open and vanish at once leave nothing behind', async () => {
  const before = await holdings()
  for (let i = 0; i < 2_000; i++) {
    const socket = net.connect(engine.socket)
    socket.on('error', () => undefined)
    if (i % 2 === 0) socket.destroy()
    else socket.on('connect', () => socket.destroy())
    if (i % 50 === 0) await sleep(1)
  }
  await sleep(100) // Until the backlog is empty.
  const client = await engine.raw()
  await client.hello()
  client.send(ping(1))
  await client.reply(1)
  await client.close()
  assert.equal((await holdings()).descriptors, before.descriptors)
})
