/** A disk that is full, and a file that is damaged: the cache goes on without its second tier, and takes it back by itself.
 *  Owns:   a tmpfs of a few megabytes, mounted for the file's tests: needs root.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth, HearthError } from '../engine/client/index.ts'
import { prepare, type ServedEngine, serve } from './helpers/engine.ts'

const DISK_BYTES = 4 * 1024 * 1024

/** Mounts a small tmpfs where the engine keeps its state; false where that is not allowed. */
function mountSmallDisk(t: TestContext, engine: ServedEngine): boolean {
  mkdirSync(engine.stateDir, { recursive: true })
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', engine.stateDir], {
      stdio: 'pipe',
    })
  } catch {
    t.skip('mounting a tmpfs needs root; run as root to try a full disk')
    return false
  }
  engine.endings.push(() => unmount(engine))
  return true
}

function unmount(engine: ServedEngine): void {
  execFileSync('umount', ['-l', engine.stateDir], { stdio: 'pipe' })
}

/** Takes all the room that is left. */
function fill(engine: ServedEngine): string {
  const file = join(engine.stateDir, 'ballast')
  const fd = openSync(file, 'w')
  let bytes = 64 * 1024
  while (bytes >= 1) {
    try {
      writeSync(fd, Buffer.alloc(bytes))
    } catch {
      bytes = Math.floor(bytes / 2)
    }
  }
  closeSync(fd)
  return file
}

async function until(
  what: string,
  condition: () => Promise<boolean>,
  timeoutMs = 30_000,
): Promise<number> {
  const startMs = performance.now()
  while (!(await condition())) {
    assert.ok(performance.now() - startMs < timeoutMs, `not within ${timeoutMs} ms: ${what}`)
    await sleep(20)
  }
  return performance.now() - startMs
}

async function setOrCode(client: Hearth, key: string, value: unknown): Promise<string> {
  try {
    await client.cache.set(key, value)
    return 'ok'
  } catch (error) {
    return (error as HearthError).code
  }
}

test('a full disk: gets and memory go on, durable sets say UNAVAILABLE, health says degraded, and it mends itself', async t => {
  const engine = prepare(t, { HEARTH_SQLITE_MAX_BYTES: '16MiB' })
  if (!mountSmallDisk(t, engine)) return
  await engine.start()
  const client = await engine.connect()
  await client.cache.set('before', 'kept')
  await client.cache.set('deleted later', 1)
  const ballast = fill(engine)
  // Room inside the file and its log is used up first.
  const value = Buffer.alloc(20_000, 1)
  let stored = 0
  let code = 'ok'
  for (; code === 'ok' && stored < 2_000; stored++)
    code = await setOrCode(client, `fill:${stored}`, value)
  assert.equal(code, 'UNAVAILABLE')
  assert.equal(await client.cache.get('before'), 'kept')
  assert.equal(await client.cache.get('nothing'), undefined)
  assert.equal(
    await client.cache.get(`fill:${stored - 1}`),
    undefined,
    'a refused value is not there',
  )
  assert.equal(await client.cache.set('light', 'value', { durability: 'memory' }), true)
  assert.equal(await client.cache.get('light'), 'value')
  const health = await client.health()
  assert.equal(health.status, 'degraded')
  assert.match(health.parts['sqlite']!.reason!, /full/)
  assert.equal(engine.isRunning, true)

  rmSync(ballast)
  const mendedMs = await until(
    'health is ok again',
    async () => (await client.health()).status === 'ok',
  )
  console.log(
    `# ${stored - 1} values fitted; mended ${mendedMs.toFixed(0)} ms after there was room`,
  )
  await until('sets are stored again', async () => (await setOrCode(client, 'after', 1)) === 'ok')
  assert.equal(await client.cache.get('before'), 'kept')
  await client.cache.delete('deleted later')
  await client.close()
  await engine.stop()
  await engine.start()
  const again = await engine.connect()
  assert.equal(await again.cache.get('before'), 'kept')
  assert.equal(await again.cache.get('after'), 1)
  assert.equal(await again.cache.get('deleted later'), undefined)
})

test('a disk that is full at the start: the engine starts, serves from memory, and mends itself', async t => {
  const engine = prepare(t)
  if (!mountSmallDisk(t, engine)) return
  const ballast = fill(engine)
  await engine.start()
  const client = await engine.connect()
  assert.equal(await client.cache.get('a'), undefined)
  assert.equal(await setOrCode(client, 'a', 1), 'UNAVAILABLE')
  assert.equal(await client.cache.set('a', 2, { durability: 'memory' }), true)
  assert.equal(await client.cache.get('a'), 2)
  assert.equal((await client.health()).status, 'degraded')
  rmSync(ballast)
  await until('sets are stored', async () => (await setOrCode(client, 'b', 1)) === 'ok')
  await until('health is ok', async () => (await client.health()).status === 'ok')
  await engine.stop()
})

test('a write that was refused for want of room never shows an older value again', async t => {
  // Written with its group and not later, so that it is refused at once.
  const engine = prepare(t, { HEARTH_MEMORY_MAX_ENTRIES: '1', HEARTH_SQLITE_FLUSH_INTERVAL: '0' })
  if (!mountSmallDisk(t, engine)) return
  await engine.start()
  const client = await engine.connect()
  await client.cache.set('k', 'old')
  const ballast = fill(engine)
  const value = Buffer.alloc(20_000, 1)
  for (let i = 0; (await setOrCode(client, `fill:${i}`, value)) === 'ok'; i++);
  const newer = 'new'.repeat(10_000) // more than any that was refused: there is no room for it
  await client.cache.set('k', newer, { durability: 'memory' })
  assert.equal(await client.cache.get('k'), newer)
  await client.cache.set('other', 1, { durability: 'memory' }) // takes the one place in memory
  // The log may have found a little room for the newer one.
  const found = await client.cache.get('k')
  assert.ok(found === undefined || found === newer, 'the old value is hidden')
  rmSync(ballast)
  await until('sets are stored', async () => (await setOrCode(client, 'b', 1)) === 'ok')
  assert.notEqual(await client.cache.get('k'), 'old')
  await engine.stop()
})

test('a damaged file at the start is set aside, and a new one begun', async t => {
  const engine = await serve(t)
  let client = await engine.connect()
  await client.cache.set('a', 1)
  await engine.stop()
  for (const damage of ['no database at all', 'x'.repeat(100_000), '']) {
    writeFileSync(engine.sqliteFile, damage)
    await engine.start()
    client = await engine.connect()
    assert.equal(await client.cache.get('a'), undefined)
    assert.equal(await client.cache.set('a', damage.length), true)
    assert.equal((await client.health()).status, 'ok')
    await client.close()
    await engine.stop()
  }
  assert.ok(readdirSync(engine.stateDir).length > 1, 'the damaged files are kept beside it')
})

test('pages overwritten while the engine runs: gets go on, the file is set aside, writes come back', async t => {
  const engine = await serve(t, {
    HEARTH_MEMORY_MAX_BYTES: '64KiB',
    HEARTH_SQLITE_CACHE_BYTES: '64KiB',
  })
  const client = await engine.connect({ timeoutMs: 10_000 })
  const keys = Array.from({ length: 2_000 }, (_, i) => `k${i}`)
  await client.cache.setMany(keys.map(key => ({ key, value: `${key}:${'x'.repeat(500)}` })))
  await sleep(1_500) // The log is written back, and its pages are forgotten by the cache in time.
  const bytes = statSync(engine.sqliteFile).size
  const fd = openSync(engine.sqliteFile, 'r+')
  writeSync(fd, Buffer.alloc(bytes - 4_096, 0xa5), 0, bytes - 4_096, 4_096)
  closeSync(fd)
  let hits = 0
  for (let i = 0; i < 3; i++) {
    for (const [at, value] of (await client.cache.getMany<string>(keys)).entries()) {
      if (value !== undefined) {
        assert.equal(value.split(':')[0], keys[at])
        hits++
      }
    }
  }
  for (let i = 0; i < 50; i++) await setOrCode(client, `new:${i}`, 'x'.repeat(3_000))
  await until('sets are stored again', async () => (await setOrCode(client, 'after', 1)) === 'ok')
  await until('health is ok again', async () => (await client.health()).status === 'ok')
  assert.equal(await client.cache.get('after'), 1)
  console.log(
    `# ${hits} hits of ${keys.length * 3} while damaged; files: ${readdirSync(engine.stateDir).join(' ')}`,
  )
  assert.equal((await client.stats()).workers[0]!.restarts, 0, 'no worker died of it')
})
