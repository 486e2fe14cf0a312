/** The cache's commands for tags, patterns and single keys, against a real engine.
 *  Owns:   one engine for the file.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hearth, type Outcome } from './helpers/cli.ts'
import { engineOfFile } from './helpers/engine.ts'

const engine = engineOfFile()

function run(...args: string[]): Promise<Outcome> {
  return hearth(args, { env: { HEARTH_SOCKET: engine.socket } })
}

async function json(...args: string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await run(...args, '--json')
  assert.equal(stderr, '')
  assert.equal(code, 0)
  return JSON.parse(stdout)
}

test('set takes tags, and invalidate ends what has one of them', async () => {
  assert.equal((await run('set', 'a', '1', '--tag', 'room:kitchen', '--tag', 'x')).code, 0)
  assert.equal((await run('set', 'b', '2', '--tag', 'x')).code, 0)
  const one = await run('invalidate', '--tag', 'room:kitchen')
  assert.equal(one.code, 0)
  assert.equal(one.stdout, 'invalidated 1 entry\n')
  assert.equal((await run('get', 'a')).code, 1)
  assert.equal((await run('get', 'b')).stdout, '2\n')
  assert.deepEqual(await json('invalidate', '--tag', 'x', '--tag', 'y'), { invalidated: 1 })
  assert.deepEqual(await json('invalidate', '--tag', 'x'), { invalidated: 0 })
})

test('invalidate takes a pattern, alone or beside tags', async () => {
  await Promise.all(['dev:1', 'dev:2'].map(key => run('set', key, '1')))
  await run('set', 'tagged', '1', '--tag', 't')
  const { stdout } = await run('invalidate', '--pattern', 'dev:*', '--tag', 't')
  assert.equal(stdout, 'invalidated 3 entries\n')
})

test('stats --key tells what is known of a key, and exits with 1 when that is nothing', async () => {
  await run('set', 'k', '"v"', '--ttl', '5m', '--grace', '1m', '--tag', 'room:kitchen')
  const { code, stdout } = await run('stats', '--key', 'k')
  assert.equal(code, 0)
  assert.match(stdout, /^memory {4}version \d+, expires in .*then .* of grace/m)
  assert.match(stdout, /^SQLite {4}version \d+/m)
  assert.match(stdout, /^tag {7}room:kitchen$/m)
  const known = await json('stats', '--key', 'k')
  assert.equal((known['sqlite'] as { graceMs: number }).graceMs, 60_000)
  const none = await run('stats', '--key', 'nothing')
  assert.equal(none.code, 1)
  assert.match(none.stdout, /has no entry/)
})

test('stats --key explains an adaptive time to live', async () => {
  const { cache } = await engine.connect()
  for (let i = 0; i < 3; i++) {
    await cache.set('adaptive', 'same', { adaptive: { minMs: 60_000, maxMs: 600_000 } })
    await cache.lookup('adaptive')
    await cache.lookup('adaptive')
  }
  const { stdout } = await run('stats', '--key', 'adaptive')
  assert.match(stdout, /^adaptive {2}lives 240\.0 s \(doubled: unchanged, and read 2 times\)/m)
})

test('stats shows namespaces once there are any', async () => {
  const client = await engine.connect()
  const home = client.cache.namespace('home')
  await home.set('a', 1)
  await home.get('a')
  await client.stats()
  assert.match((await run('stats')).stdout, /^home +1 +0 +0 +100\.0 %$/m)
})
