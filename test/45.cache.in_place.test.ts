/** Reading tier 1 in place: when it happens, when it must not, and what the engine learns of it.
 *  Owns:   engines, folders in shared memory.   Thread: main of a test process.
 *  Holds:  peek() answers within the test's own turn, so nothing that the event loop does can have helped it.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { OPS } from '../engine/protocol/spec.ts'
import { embed, PROJECT, type ServedEngine, serve } from './helpers/engine.ts'
import { frame } from './helpers/frames.ts'

const IN_PLACE = { isOn: true }
/** Waits without a turn of the event loop. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

test('a hit is read without a word to the engine, and the engine counts it', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  assert.deepEqual(client.inPlace, IN_PLACE)
  await client.cache.set('k', { a: [1, 'two', new Date(3)] })
  engine.signal('SIGSTOP')
  try {
    assert.deepEqual(client.cache.peek('k'), { a: [1, 'two', new Date(3)] })
    assert.deepEqual(await client.cache.get('k'), { a: [1, 'two', new Date(3)] })
    assert.equal(client.cache.peek('none'), undefined)
  } finally {
    engine.signal('SIGCONT')
  }
  const { memory } = await client.stats()
  assert.equal(memory.hitsInPlace, 2)
  assert.equal(memory.hits, 2)
  assert.equal(memory.misses, 1, 'a peek that finds nothing is a miss of this tier')
})

test('what is not in tier 1 comes over the socket: large values, evicted ones, other tiers’ misses', async t => {
  const engine = await serve(t, { HEARTH_MEMORY_MAX_ENTRIES: '1' })
  const client = await engine.connect()
  const large = Buffer.alloc(100_000, 7)
  await client.cache.set('large', large)
  await client.cache.set('evicted', 1)
  await client.cache.set('last', 2)
  assert.equal(client.cache.peek('large'), undefined)
  assert.equal(client.cache.peek('evicted'), undefined)
  assert.ok(Buffer.from((await client.cache.get<Buffer>('large'))!).equals(large))
  assert.equal((await client.cache.lookup('evicted'))!.tier, 'sqlite')
  assert.equal(client.cache.peek('evicted'), 1, 'and is in tier 1 now')
  assert.equal(await client.cache.get('none'), undefined)
})

test('another client’s acknowledged set, delete and expiry are seen at once', async t => {
  const engine = await serve(t)
  const [reader, writer] = [await engine.connect(), await engine.connect()]
  for (let i = 0; i < 200; i++) {
    await writer.cache.set('k', i)
    assert.equal(reader.cache.peek('k'), i)
    await writer.cache.delete('k')
    assert.equal(reader.cache.peek('k'), undefined)
  }
  await writer.cache.set('brief', 1, { ttlMs: 60 })
  assert.equal(reader.cache.peek('brief'), 1)
  block(61)
  assert.equal(reader.cache.peek('brief'), undefined, 'main has not even removed it yet')
})

test('a client sees its own writes in order, acknowledged or not', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  await client.cache.set('k', 'old')
  const isSet = client.cache.set('k', 'new')
  assert.equal(client.cache.peek('k'), undefined, 'neither the old value nor a guess')
  const got = client.cache.get('k')
  assert.equal(client.cache.peek('other'), undefined)
  assert.equal(await got, 'new')
  await isSet
  assert.equal(client.cache.peek('k'), 'new')
  const isGone = client.cache.delete('k')
  assert.equal(await client.cache.get('k'), undefined)
  await isGone
  // Also when a write ends otherwise than by its acknowledgement.
  await assert.rejects(client.cache.set('k'.repeat(2_000), 1), { code: 'KEY_TOO_LARGE' })
  const many = Array.from({ length: 500 }, (_, i) => client.cache.set('k', i))
  assert.equal(await client.cache.get('k'), 499)
  await Promise.all(many)
  assert.equal(client.cache.peek('k'), 499)
})

test('any value and any key reads in place as over the socket', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  const socket = await engine.connect({ sharedMemory: false })
  assert.deepEqual(socket.inPlace, { isOn: false, reason: 'the option sharedMemory is false' })
  const values = [
    null,
    0,
    '',
    'aé€𐍈\0',
    2n ** 100n,
    new Map([[1, new Set(['x'])]]),
    Buffer.from('bytes'),
    { deep: [{ er: 1.5 }] },
    'x'.repeat(60_000),
    Array.from({ length: 9 }, (_, i) => 'y'.repeat(100 * i)),
  ]
  const keys = ['a', 'ключ', '𐍈'.repeat(100), '\0', 'k'.repeat(1_024), 'lone \ud800 surrogate']
  for (const key of keys) {
    for (const value of values) {
      await client.cache.set(key, value)
      const found = client.cache.peek(key)
      assert.notEqual(found, undefined)
      assert.deepStrictEqual(found, await socket.cache.get(key))
    }
  }
  const bytes = client.cache.peek<Buffer>('a')
  assert.equal(client.cache.peek('k'.repeat(1_025)), undefined)
  assert.throws(() => client.cache.peek(5 as never), { code: 'BAD_REQUEST' })
  await client.cache.set('mine', Buffer.from('abc'))
  client.cache.peek<Buffer>('mine')!.fill(0)
  assert.equal(client.cache.peek<Buffer>('mine')!.toString(), 'abc', 'a buffer is a copy')
  assert.ok(bytes)
})

test('a value that is read again and again is each time the caller’s own, and never an old one', async t => {
  const engine = await serve(t)
  const [reader, writer] = [await engine.connect(), await engine.connect()]
  for (let version = 0; version < 20; version++) {
    await writer.cache.set('flat', { version, name: 'a', nothing: null })
    await writer.cache.set('deep', { version, list: [version] })
    await writer.cache.set('text', `version ${version}`)
    await writer.cache.set('brief', version, { ttlMs: 40 })
    for (let i = 0; i < 5; i++) {
      const flat = reader.cache.peek<{ name: string; more?: number }>('flat')!
      assert.deepEqual({ ...flat }, { version, name: 'a', nothing: null })
      flat.name = 'changed'
      flat.more = 1
      const deep = reader.cache.peek<{ list: number[] }>('deep')!
      assert.deepEqual(deep, { version, list: [version] })
      deep.list.push(9)
      assert.equal(reader.cache.peek('text'), `version ${version}`)
      const brief = reader.cache.peek('brief')
      assert.ok(brief === version || brief === undefined)
    }
    if (version % 5 > 0) continue
    block(41)
    assert.equal(reader.cache.peek('brief'), undefined, 'its time is over')
    await writer.cache.delete('flat', 'text')
    assert.equal(reader.cache.peek('flat'), undefined)
    assert.equal(reader.cache.peek('text'), undefined)
  }
})

test('a stored undefined, and bytes that are no msgpack, are left to the socket', async t => {
  const engine = await serve(t)
  const client = await engine.connect({ timeoutMs: 1_000 })
  await client.cache.set('undefined', undefined)
  assert.equal(client.cache.peek('undefined'), undefined)
  assert.equal(await client.cache.get('undefined'), undefined)
  const raw = await engine.raw()
  await raw.hello()
  raw.send(frame(OPS.SET.code, 5, 'broken', null, 0, Buffer.from([0xdc, 0xff, 0xff])))
  await raw.reply(5)
  assert.equal(client.cache.peek('broken'), undefined)
  await assert.rejects(client.cache.get('broken'))
  assert.equal((await client.stats()).memory.hitsInPlace, 0)
})

test('a loop of awaits lets timers run', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  await client.cache.set('k', 1)
  let isOver = false
  const timer = setTimeout(() => {
    isOver = true
  }, 20)
  let gets = 0
  for (; !isOver && gets < 5_000_000; gets++) await client.cache.get('k')
  clearTimeout(timer)
  assert.ok(isOver, `${gets} gets, and no timer ran`)
})

test('a client inside the engine’s process reads in place too, and stops when the engine is closed', async t => {
  const { engine, local, connect } = await embed(t)
  const [client, other] = [local(), await connect()]
  await client.untilOpen()
  assert.deepEqual([client.inPlace, other.inPlace], [IN_PLACE, IN_PLACE])
  await client.cache.set('k', 1)
  assert.deepEqual([client.cache.peek('k'), other.cache.peek('k')], [1, 1])
  await engine.close()
  assert.deepEqual([client.cache.peek('k'), other.cache.peek('k')], [undefined, undefined])
})

test('a client without the native binding, or without the right to the segment, uses the socket', async t => {
  const engine = await serve(t, { HEARTH_ENGINE_SOCKET_MODE: '0666' })
  const client = await engine.connect()
  await client.cache.set('k', { over: 'the socket' })
  // A copy of the bundle alone: nothing of the package is around it.
  const alone = mkdtempSync(join(tmpdir(), 'hearth-in-place-'))
  t.after(() => rmSync(alone, { recursive: true, force: true }))
  copyFileSync(join(PROJECT, 'dist', 'client.mjs'), join(alone, 'client.mjs'))
  assert.deepEqual(seenBy(join(alone, 'client.mjs'), alone, engine), {
    isOn: false,
    reason: 'hearth: no folder native-bindings',
    peek: null,
    get: { over: 'the socket' },
  })
  const bundle = join(PROJECT, 'dist', 'client.mjs')
  assert.equal(seenBy(bundle, alone, engine).isOn, true)
})

test('another user than those the segment’s mode lets in uses the socket', {
  skip: process.geteuid!() !== 0 && 'only root can become another user',
}, async t => {
  const engine = await serve(t, {
    HEARTH_ENGINE_SOCKET_MODE: '0666',
    HEARTH_ACCESS_SERVICE_MEMBERS: 'uid:65534',
  })
  // The engine's folder is its user's own; this test's other user has to pass through.
  chmodSync(engine.folder, 0o711)
  const client = await engine.connect()
  await client.cache.set('k', { over: 'the socket' })
  const script = clientScript('client', engine.socket)
  const seen = JSON.parse(runAs(65_534, 65_534, script)) as Seen
  assert.deepEqual(seen, {
    isOn: false,
    reason: 'EACCES: map',
    peek: null,
    get: { over: 'the socket' },
  })
  // A member of the group, which is root's here, is let in, and gets its page as its own.
  const member = JSON.parse(runAs(65_534, 0, script)) as Seen
  assert.deepEqual(member, {
    isOn: true,
    peek: { over: 'the socket' },
    get: { over: 'the socket' },
  })
})

interface Seen {
  readonly isOn: boolean
  readonly reason?: string
  readonly peek: unknown
  readonly get: unknown
}

/** What a process of its own sees through a client's bundle. */
function seenBy(bundle: string, cwd: string, engine: ServedEngine): Seen {
  const script = join(cwd, 'script.mjs')
  writeFileSync(script, clientScript(bundle, engine.socket))
  return JSON.parse(execFileSync(process.execPath, [script], { cwd, encoding: 'utf8' })) as Seen
}

function clientScript(bundle: string, socket: string): string {
  const from = bundle === 'client' ? join(PROJECT, 'dist', 'client.mjs') : bundle
  return `
    import { connect } from ${JSON.stringify(from)}
    const hearth = await connect({ socket: ${JSON.stringify(socket)}, failOpen: false })
    const { isOn, reason } = hearth.inPlace
    const peek = hearth.cache.peek('k') ?? null
    const get = await hearth.cache.get('k')
    console.log(JSON.stringify({ isOn, reason: reason && reason.split(' above')[0].split(" '")[0], peek, get }))
    await hearth.close()`
}

function runAs(uid: number, gid: number, script: string): string {
  return execFileSync(process.execPath, ['--input-type=module', '-e', script], {
    uid,
    gid,
    encoding: 'utf8',
    cwd: '/',
  })
}
