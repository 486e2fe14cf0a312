/** hearth/keyv beyond what Keyv's suite asks: who else's keys it leaves alone, how long things live, many at a time, engine down.
 *  Owns:   one engine a test.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import Keyv from 'keyv'
import { KeyvHearth } from '../engine/client/keyv.ts'
import { PROJECT, prepare, serve } from './helpers/engine.ts'

test('clear() without a namespace leaves the rest of the cache alone', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  await client.cache.set('mine', 1)
  const keyv = new Keyv({ store: new KeyvHearth(client) })
  await keyv.set('theirs', 2)
  assert.deepEqual(await Array.fromAsync(client.cache.keys()), ['keyv:keyv:theirs', 'mine'])
  await keyv.clear()
  assert.deepEqual(await Array.fromAsync(client.cache.keys()), ['mine'])
})

test('a namespace with the characters of a pattern clears and iterates its own keys alone', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  const odd = new Keyv({ store: new KeyvHearth(client), namespace: 'a*[b]' })
  const plain = new Keyv({ store: new KeyvHearth(client), namespace: 'axb' })
  await odd.set('k', 1)
  await plain.set('k', 2)
  assert.deepEqual(await Array.fromAsync(odd.iterator!(undefined)), [['k', 1]])
  await odd.clear()
  assert.equal(await odd.get('k'), undefined)
  assert.equal(await plain.get('k'), 2)
})

test('what has a ttl has it in the engine too, and what has none outlives the engine’s default', async t => {
  const engine = await serve(t, { HEARTH_CACHE_DEFAULT_TTL: '50ms' })
  const client = await engine.connect()
  const keyv = new Keyv({ store: new KeyvHearth(client), ttl: undefined })
  await keyv.set('short', 1, 60_000)
  await keyv.set('long', 1)
  await keyv.setMany([
    { key: 'short many', value: 1, ttl: 60_000 },
    { key: 'long many', value: 1 },
  ])
  const cache = client.cache.namespace('keyv:keyv') // This adapter's, then Keyv's own default.
  for (const key of ['short', 'short many']) {
    const ttlMs = (await cache.ttl(key))!
    assert.ok(ttlMs > 0 && ttlMs <= 60_000, `${key}: ${ttlMs}`)
  }
  assert.equal(await cache.ttl('long'), Infinity)
  assert.equal(await cache.ttl('long many'), Infinity)
})

test('many keys go at a time: set, got, asked for, iterated and deleted', async t => {
  const engine = await serve(t)
  const store = new KeyvHearth({ socket: engine.socket, cacheNamespace: 'many' })
  const keyv = new Keyv<number>({ store, namespace: 'n' })
  const keys = Array.from({ length: 1_200 }, (_, i) => `k${i}`)
  const set = await keyv.setMany(keys.map((key, value) => ({ key, value })))
  assert.deepEqual(new Set(set as unknown as boolean[]), new Set([true]))
  assert.deepEqual(await keyv.getMany([...keys, 'none']), [...keys.keys(), undefined])
  assert.deepEqual(await keyv.hasMany(['k1', 'none', 'k2']), [true, false, true])
  const iterated = new Map(await Array.fromAsync(keyv.iterator!(undefined)))
  assert.deepEqual(iterated, new Map(keys.map((key, value) => [key, value])))
  assert.equal(await keyv.deleteMany(keys), true)
  assert.equal(await keyv.deleteMany(keys), false)
  await keyv.disconnect()
})

test('while the engine is down Keyv misses and says so where something may be left', async t => {
  const engine = prepare(t)
  const store = new KeyvHearth({ socket: engine.socket, timeoutMs: 300 })
  const keyv = new Keyv({ store })
  const errors: { code: string }[] = []
  keyv.on('error', error => errors.push(error))
  assert.equal(await keyv.get('a'), undefined)
  await keyv.set('a', 1)
  assert.deepEqual(errors, [])
  await keyv.clear()
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['TIMEOUT'],
  )
  await keyv.disconnect()
})

test('a client that it was given stays open, one of its own is closed', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  await new Keyv({ store: new KeyvHearth(client) }).disconnect()
  assert.equal(client.state, 'open')
  const own = new Keyv({ store: new KeyvHearth({ socket: engine.socket }), throwOnErrors: true })
  await own.set('a', 1)
  await own.disconnect()
  await assert.rejects(own.get('a'), { code: 'CLOSED' })
})

test('the bundle works by the package’s name, and has the client of hearth/client, not another one', async t => {
  const engine = await serve(t)
  const file = join(engine.folder, 'users.mjs')
  mkdirSync(join(engine.folder, 'node_modules'))
  symlinkSync(PROJECT, join(engine.folder, 'node_modules', 'hearth'))
  symlinkSync(join(PROJECT, 'node_modules', 'keyv'), join(engine.folder, 'node_modules', 'keyv'))
  writeFileSync(file, SCRIPT)
  const args = [file, engine.socket]
  const output = execFileSync(process.execPath, args, { cwd: engine.folder, encoding: 'utf8' })
  assert.equal(output, '{"own":1,"given":1,"isSame":true}\n')
})

const SCRIPT = `
  import Keyv from 'keyv'
  import { connect, HearthError } from 'hearth/client'
  import { KeyvHearth } from 'hearth/keyv'
  const socket = process.argv[2]
  const store = new KeyvHearth({ socket })
  const keyv = new Keyv({ store, namespace: 'users' })
  await keyv.set('a', 1)
  const own = await keyv.get('a')
  const hearth = await connect({ socket })
  const given = await new Keyv({ store: new KeyvHearth(hearth), namespace: 'users' }).get('a')
  const error = await store.get('x'.repeat(5_000)).catch(error => error)
  console.log(JSON.stringify({ own, given, isSame: error instanceof HearthError }))
  await keyv.disconnect()
  await hearth.close()
`
