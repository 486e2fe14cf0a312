/** Reading tier 1 in place when its engine ends, by a signal, kill -9 or a restart: nothing of a dead engine's is ever served.
 *  Owns:   engines, a folder in shared memory.   Thread: main of a test process.
 *  Holds:  peek() is asked before the event loop can have told of the engine's end.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { READER_PAGE, READER_PAGE_MAGIC } from '../engine/cache/reader_page.ts'
import { createSegment, HEADER, STATE, setState } from '../engine/cache/segment.ts'
import type { Hearth } from '../engine/client/index.ts'
import { MappedTier } from '../engine/client/mapped_tier.ts'
import { mapFile, mapFileReadOnly } from '../native-bindings/index.ts'
import { serve } from './helpers/engine.ts'
import { WITNESS, type WitnessReport } from './helpers/in_place_witness.ts'

const folder = mkdtempSync('/dev/shm/hearth-in-place-')
after(() => rmSync(folder, { recursive: true, force: true }))

test('the peek after a kill -9 finds nothing, before any event tells of the engine’s end', async t => {
  const engine = await serve(t)
  const client = await engine.connect({ failOpen: true, timeoutMs: 500 })
  await client.cache.set('k', 1)
  assert.equal(client.cache.peek('k'), 1)
  const { pid } = engine
  engine.signal('SIGKILL')
  blockUntilGone(pid)
  assert.equal(client.state, 'open', 'the socket’s end has not been seen')
  assert.equal(client.cache.peek('k'), undefined)
  assert.equal(await client.cache.get('k'), undefined)
  await engine.untilExit()
})

test('an engine that was closed serves nothing in place, and the next one does', async t => {
  const engine = await serve(t)
  const client = await engine.connect({ failOpen: true })
  await client.cache.set('k', 'kept')
  const { pid } = engine
  engine.signal('SIGTERM')
  blockUntilGone(pid)
  assert.equal(client.cache.peek('k'), undefined)
  await engine.untilExit()
  await engine.start()
  await untilInPlace(client)
  assert.equal(client.cache.peek('k'), undefined, 'tier 1 begins empty')
  assert.equal(await client.cache.get('k'), 'kept')
  assert.equal(client.cache.peek('k'), 'kept')
})

test('after a new engine has acknowledged a change nobody sees the killed one’s value', async t => {
  const engine = await serve(t)
  const file = join(folder, 'witness')
  const words = new Int32Array(mapFile(file, 4_096))
  const script = join(import.meta.dirname, 'helpers', 'in_place_witness.ts')
  let writer = await engine.connect({ failOpen: true })
  await writer.cache.set('n', 0)
  for (let round = 1; round <= 2; round++) {
    Atomics.store(words, WITNESS.stop, 0)
    const child = fork(script, [engine.socket, file])
    t.after(() => child.kill('SIGKILL'))
    assert.equal(await message(child), 'ready')
    const report = message(child)
    await sleep(20 * round)
    await engine.kill()
    await engine.start()
    await writer.close()
    writer = await engine.connect()
    await writer.cache.set('n', round)
    Atomics.store(words, WITNESS.floor, round)
    for (let i = 0; i < 500 && writer.cache.peek('n') !== round; i++) await sleep(10)
    assert.equal(writer.cache.peek('n'), round)
    await sleep(50) // the witness looks on
    Atomics.store(words, WITNESS.stop, 1)
    const { peeks, seen, errors } = (await report) as WitnessReport
    assert.deepEqual(errors, [])
    assert.ok(peeks > 1_000)
    // It never lets its event loop turn, so it cannot have found the new engine: nothing for ever.
    assert.deepEqual(seen, [round - 1, -1])
    assert.equal(await writer.cache.get('n'), round)
  }
})

test('what a killed engine left in shared memory goes with the next start', async t => {
  const engine = await serve(t)
  await engine.connect()
  const segment = engine.greeting!.segment!.path
  assert.ok(existsSync(segment) && existsSync(`${segment}.pages`))
  const before = new Int32Array(mapFileReadOnly(segment))
  await engine.kill()
  assert.ok(existsSync(segment))
  await engine.start()
  assert.ok(!existsSync(segment) && !existsSync(`${segment}.pages`))
  assert.equal(before[HEADER.state], STATE.closed, 'and whoever still maps it is told')
  const next = engine.greeting!.segment!.path
  await engine.connect()
  await engine.kill()
  rmSync(next)
  assert.ok(existsSync(`${next}.pages`))
  await engine.start()
  assert.ok(!existsSync(`${next}.pages`), 'pages without a segment too')
})

test('a segment is served from only as long as it is live, guarded and of the right engine', () => {
  const page = (): ArrayBuffer => {
    const memory = mapFile(join(folder, `page-${Math.random()}`), 4_096)
    new Int32Array(memory)[READER_PAGE.magic] = READER_PAGE_MAGIC
    return memory
  }
  const memory = new ArrayBuffer(64 * 1024)
  const options = { pid: 1, hashSeed: 1, engineId: 'this one', guardWord: 32 }
  const segment = createSegment(memory, options)
  assert.throws(() => new MappedTier(memory, page(), 'this one', 64), /gone/)
  segment.words[32] = 4_711
  assert.throws(() => new MappedTier(memory, page(), 'another', 64), /another engine/)
  assert.throws(() => new MappedTier(memory, new ArrayBuffer(4_096), 'this one', 64), /page/)
  const tier = new MappedTier(memory, page(), 'this one', 64)
  assert.equal(tier.isLive(), false, 'it is being built')
  setState(segment, STATE.live)
  assert.equal(tier.isLive(), true)
  segment.words[32] = 4_711 | 0x4000_0000
  assert.equal(tier.isLive(), false)
  segment.words[32] = 0
  assert.equal(tier.isLive(), false)
  segment.words[32] = 4_711
  setState(segment, STATE.closed)
  assert.equal(tier.isLive(), false)
  for (const [word, value] of [
    [0, 1],
    [1, 1],
    [4, 1 << 30],
    [5, 3],
    [7, 1 << 30],
    [14, 0],
    [14, 5_000],
  ] as const) {
    createSegment(memory, options)
    segment.words[word] = value
    assert.throws(() => new MappedTier(memory, page(), 'this one', 64), /no segment/)
  }
})

/** Waits without a turn of the event loop. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

function blockUntilGone(pid: number): void {
  for (let i = 0; i < 5_000; i++) {
    const stat = readFileIfThere(`/proc/${pid}/stat`)
    if (stat === '' || / Z /.test(stat)) return
    block(1)
  }
  throw new Error(`process ${pid} does not end`)
}

function readFileIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

async function untilInPlace(client: Hearth): Promise<void> {
  for (let i = 0; !client.inPlace.isOn && i < 500; i++) await sleep(10)
  assert.deepEqual(client.inPlace, { isOn: true })
}

/** What a child says next. */
function message(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    child.once('message', resolve)
    // Its last word may come after its end.
    const fail = (code: number | null) => reject(new Error(`a witness ended with ${code}`))
    child.once('exit', code => setTimeout(fail, 1_000, code).unref())
  })
}
