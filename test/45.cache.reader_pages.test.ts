/** Reader pages: what clients that read in place report makes eviction and hit rates true, and cannot harm anybody.
 *  Owns:   engines.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  hostile clients speak the protocol by hand. */

import assert from 'node:assert/strict'
import { existsSync, ftruncateSync, openSync, readdirSync, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { READER_PAGE } from '../engine/cache/reader_page.ts'
import { decodeValue } from '../engine/protocol/payload.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { mapFileWritable } from '../native-bindings/index.ts'
import { type ServedEngine, serve } from './helpers/engine.ts'
import { frame, type RawClient } from './helpers/frames.ts'
import { Random, SEED } from './helpers/random.ts'

/** Tier 1 for a few dozen entries. */
const SMALL = { HEARTH_MEMORY_MAX_ENTRIES: '50' }

/** The folder with the pages of an engine's clients. */
function pagesFolder(engine: ServedEngine): string {
  return `${engine.greeting!.segment!.path}.pages`
}

test('an entry that is read in place alone is kept when others are evicted, and one that nobody reads goes', async t => {
  const engine = await serve(t, SMALL)
  const [reader, writer] = [await engine.connect(), await engine.connect()]
  await writer.cache.set('hot', 1)
  await writer.cache.set('cold', 1)
  for (let i = 0; i < 3_000; i++) {
    assert.equal(reader.cache.peek('hot'), 1, `it was evicted before set ${i}`)
    if (i % 10 === 0) assert.equal(reader.cache.peek('hot'), 1)
    const sets = Array.from({ length: 10 }, (_, j) =>
      writer.cache.set(`scan:${i}:${j}`, 1, { durability: 'memory', ttlMs: 60_000 }),
    )
    await Promise.all(sets)
  }
  assert.equal(reader.cache.peek('cold'), undefined)
  assert.ok((await writer.stats()).memory.evictions > 20_000)
})

interface Attached {
  readonly raw: RawClient
  readonly path: string
  readonly bytes: number
}

/** A client of another make: asks for a page, and then does what it likes. */
async function attach(engine: ServedEngine): Promise<Attached> {
  const raw = await engine.raw()
  await raw.hello()
  raw.send(frame(OPS.ATTACH.code, 7))
  const { path, bytes } = decodeValue((await raw.reply(7)).body) as Attached
  return { raw, path, bytes }
}

test('garbage in a page, a page cut short and one that grows harm nobody', async t => {
  const engine = await serve(t, SMALL)
  const honest = await engine.connect()
  for (let i = 0; i < 50; i++) await honest.cache.set(`k${i}`, i)
  const hostile = await attach(engine)
  const page = new Uint8Array(mapFileWritable(hostile.path))
  const fd = openSync(hostile.path, 'r+')
  const random = new Random(SEED)
  for (let round = 0; round < 5; round++) {
    page.fill(0xff)
    page.set(random.bytes(64), 4)
    await sleep(120)
    const { memory } = await honest.stats()
    assert.ok(memory.hits < 1e9, `${memory.hits} hits`)
    for (let i = 0; i < 50; i++) await honest.cache.set(`r${round}:${i}`, i)
    assert.equal(await honest.cache.get(`r${round}:7`), 7)
  }
  ftruncateSync(fd, 10)
  await honest.stats()
  ftruncateSync(fd, 1 << 20)
  await honest.stats()
  await sleep(400)
  hostile.raw.send(frame(OPS.ATTACH.code, 8))
  assert.equal(decodeValue((await hostile.raw.reply(8)).body), null, 'one page a connection')
  await hostile.raw.close()
  assert.equal((await honest.ping()) > 0, true)
  assert.ok(engine.isRunning)
  assert.doesNotMatch(engine.log(), /"level":"error"/)
})

test('a page is its client’s alone: an unguessable name in a folder nobody lists, gone once it is mapped', async t => {
  const engine = await serve(t)
  const { path, bytes } = await attach(engine)
  assert.equal(dirname(path), pagesFolder(engine))
  assert.match(basename(path), /^[0-9a-f]{32}$/)
  assert.equal(statSync(path).size, bytes)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(statSync(dirname(path)).mode & 0o777, 0o710)
  assert.equal(statSync(engine.greeting!.segment!.path).mode & 0o777, 0o640)
  new Int32Array(mapFileWritable(path))[READER_PAGE.mapped] = 1
  for (let i = 0; existsSync(path) && i < 1_000; i++) await sleep(10)
  assert.ok(!existsSync(path))
})

test('a thousand clients that come and go leave no page and no descriptor', async t => {
  const engine = await serve(t)
  const keeper = await engine.connect()
  await keeper.cache.set('k', 1)
  const descriptors = () => readdirSync(`/proc/${engine.pid}/fd`).length
  const before = descriptors()
  for (let i = 0; i < 100; i++) {
    const clients = await Promise.all(Array.from({ length: 10 }, () => engine.connect()))
    for (const client of clients) assert.equal(client.cache.peek('k'), 1)
    await Promise.all(clients.map(client => client.close()))
  }
  const { memory } = await keeper.stats()
  for (let i = 0; descriptors() > before && i < 500; i++) await sleep(20)
  assert.ok(descriptors() <= before, `${descriptors()} descriptors, ${before} before`)
  for (let i = 0; readdirSync(pagesFolder(engine)).length > 0 && i < 250; i++) await sleep(20)
  assert.deepEqual(readdirSync(pagesFolder(engine)), [])
  assert.equal(memory.hitsInPlace, 1_000, 'the last hits of one that leaves are counted')
  await engine.stop()
  assert.ok(!existsSync(pagesFolder(engine)))
})
