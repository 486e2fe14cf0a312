/** The client while its engine is down, slow, deaf, or comes back.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  deaf and lying engines are plain net servers that answer by hand. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type HearthState } from '../engine/client/index.ts'
import { PROTOCOL_VERSION, REPLIES } from '../engine/protocol/spec.ts'
import { PROJECT, prepare, serve } from './helpers/engine.ts'
import { frame } from './helpers/frames.ts'

test('connect() to nothing rejects with UNAVAILABLE, and says what to do', async t => {
  const engine = prepare(t)
  await assert.rejects(connect({ socket: engine.socket, failOpen: false }), {
    code: 'UNAVAILABLE',
    message: /no engine serves on .*hearth serve/,
  })
})

test('with failOpen nothing is an exception while the engine is down, but for deletes', async t => {
  const engine = prepare(t)
  const client = await engine.connect({ failOpen: true, timeoutMs: 1_000 })
  assert.equal(client.state, 'down')
  assert.equal(await client.cache.get('a'), undefined)
  assert.equal(await client.cache.set('a', 1), false)
  assert.deepEqual(await client.cache.getMany(['a', 'b']), [undefined, undefined])
  await assert.rejects(client.cache.delete('a'))
})

test('with failOpen no request waits for its deadline while the engine is down, whenever it is made', async t => {
  const engine = await serve(t)
  const client = await engine.connect({ failOpen: true, timeoutMs: 4_000 })
  await client.cache.set('a', 1)
  const killed = engine.kill()
  let slowestMs = 0
  for (const endMs = performance.now() + 1_500; performance.now() < endMs; ) {
    const startMs = performance.now()
    await Promise.all([client.cache.get('a'), client.cache.set('a', 1)])
    slowestMs = Math.max(slowestMs, performance.now() - startMs)
    await new Promise(setImmediate)
  }
  await killed
  assert.ok(slowestMs < 3_000, `one took ${slowestMs} ms`)
})

test('a client that began without an engine connects when there is one', async t => {
  const engine = prepare(t)
  const client = await engine.connect({ failOpen: true })
  const states: HearthState[] = []
  client.on('state', state => states.push(state))
  await engine.start()
  for (let i = 0; client.state !== 'open' && i < 1_000; i++) await sleep(20)
  assert.equal(await client.cache.set('a', 1), true)
  assert.equal(await client.cache.get('a'), 1)
  assert.equal(states.at(-1), 'open')
})

test('a restarted engine is found again: what may be repeated is, and what was stored is there', async t => {
  const engine = await serve(t)
  const client = await engine.connect({ timeoutMs: 20_000 })
  const states: HearthState[] = []
  client.on('state', state => states.push(state))
  await client.cache.set('kept', 'value')
  await engine.kill()
  await sleep(20)
  const asked = Promise.all([client.cache.get('kept'), client.cache.set('new', 1), client.ping()])
  await engine.start()
  const [kept, isSet] = await asked
  assert.equal(kept, 'value')
  assert.equal(isSet, true)
  assert.deepEqual(states, ['down', 'open'])
})

test('a request that was sent once is repeated once, and SQL is not', async t => {
  const served = await deafServer(t, 'greets')
  const client = await connect({ socket: served.path, failOpen: false, timeoutMs: 10_000 })
  t.after(() => client.close())
  const got = client.cache.get('a')
  const queried = client.db.query('select 1')
  got.catch(() => undefined)
  queried.catch(() => undefined)
  await served.untilFrames(2)
  served.dropAll()
  await assert.rejects(queried, { code: 'UNAVAILABLE', message: /not known/ })
  await served.untilFrames(1)
  served.dropAll()
  await assert.rejects(got, { code: 'UNAVAILABLE' })
  await sleep(300)
  assert.deepEqual(served.ops, [0x10, 0x20, 0x10])
})

test('a request that nobody answers ends at its deadline: TIMEOUT, or a miss with failOpen', async t => {
  const served = await deafServer(t, 'greets')
  const strict = await connect({ socket: served.path, failOpen: false, timeoutMs: 300 })
  const open = await connect({ socket: served.path, failOpen: true, timeoutMs: 300 })
  t.after(() => Promise.all([strict.close(), open.close()]))
  const startMs = performance.now()
  await assert.rejects(strict.cache.get('a'), { code: 'TIMEOUT' })
  assert.ok(performance.now() - startMs < 3_000)
  assert.equal(await open.cache.get('a'), undefined)
  assert.equal(await open.cache.set('a', 1), false)
})

test('connect() to an engine that never greets ends at the deadline', async t => {
  const served = await deafServer(t, 'silent')
  const startMs = performance.now()
  await assert.rejects(connect({ socket: served.path, failOpen: false, timeoutMs: 300 }))
  assert.ok(performance.now() - startMs < 3_000, `took ${performance.now() - startMs} ms`)
})

test('an engine of another protocol is refused, with failOpen too', async t => {
  const served = await deafServer(t, 'other version')
  await assert.rejects(connect({ socket: served.path }), { code: 'PROTOCOL' })
})

test('a client full of waiting requests still gets through when the engine comes', async t => {
  const engine = await serve(t)
  const client = await engine.connect({ timeoutMs: 15_000 })
  await engine.kill()
  const asked = Array.from({ length: 65_536 }, (_, i) => client.cache.get(`k${i}`))
  const late = client.cache.get('one too many')
  await assert.rejects(late, { code: 'BUSY', retryable: true })
  await engine.start()
  const found = await Promise.all(asked)
  assert.ok(found.every(value => value === undefined))
  assert.ok((await client.ping()) >= 0)
})

test('unknown and impossible options of connect() are refused', async () => {
  await assert.rejects(connect({ sock: '/x' } as never), TypeError)
  for (const timeoutMs of [0, -1, NaN, 'soon']) {
    await assert.rejects(connect({ timeoutMs } as never), TypeError, String(timeoutMs))
  }
})

test('a process that waits for an answer stays alive until it has one, and ends by itself after close()', async t => {
  const engine = await serve(t)
  const script = `
    import { connect } from ${JSON.stringify(join(PROJECT, 'engine', 'client', 'index.ts'))}
    const hearth = await connect({ socket: ${JSON.stringify(engine.socket)}, failOpen: false, timeoutMs: 20_000 })
    await hearth.cache.set('alive', 1)
    console.log('set')
    while (hearth.state !== 'down') await new Promise(resolve => setTimeout(resolve, 5))
    console.log('got', await hearth.cache.get('alive'))
    await hearth.close()`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  const ended = new Promise<number | null>(resolve => child.on('close', resolve))
  child.stdout.on('data', data => {
    output += data
  })
  t.after(() => child.kill())
  while (!output.includes('set')) await sleep(5)
  await engine.kill()
  await sleep(300)
  await engine.start()
  assert.equal(await ended, 0)
  assert.equal(output, 'set\ngot 1\n')
})

interface DeafServer {
  readonly path: string
  /** Operations of the frames that came after HELLO, in order. */
  readonly ops: number[]
  /** Waits until so many frames more have come. */
  untilFrames(count: number): Promise<void>
  dropAll(): void
}

/** A server that takes requests and answers none: not even HELLO (silent), HELLO alone (greets), or with a refusal. */
async function deafServer(
  t: TestContext,
  manner: 'silent' | 'greets' | 'other version',
): Promise<DeafServer> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-test-'))
  const path = join(folder, 'deaf.sock')
  const ops: number[] = []
  let taken = 0
  const sockets = new Set<net.Socket>()
  const server = net.createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    let bytes = Buffer.alloc(0)
    socket.on('data', (piece: Buffer) => {
      bytes = Buffer.concat([bytes, piece])
      while (bytes.length >= 8 && bytes.length >= 8 + (bytes.readUInt32LE(0) >>> 8)) {
        const id = bytes.readUInt32LE(4)
        if (bytes[0] !== 0x01) ops.push(bytes[0]!)
        else if (manner === 'greets')
          socket.write(frame(REPLIES.GREETING.code, id, { version: PROTOCOL_VERSION }))
        else if (manner === 'other version')
          socket.end(frame(REPLIES.ERROR.code, id, 2, 'version 9 only', {}))
        bytes = bytes.subarray(8 + (bytes.readUInt32LE(0) >>> 8))
      }
    })
  })
  await new Promise<void>(resolve => server.listen(path, resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    path,
    ops,
    async untilFrames(count) {
      for (let i = 0; ops.length < taken + count && i < 1_000; i++) await sleep(5)
      taken += count
    },
    dropAll() {
      for (const socket of sockets) socket.destroy()
    },
  }
}
