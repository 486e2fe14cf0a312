/** The hit rate by windows, against its target: judged when there is enough to judge, told once.
 *  Owns:   stderr while it looks at the log.   Thread: main of a test process.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { mock, test } from 'node:test'
import { HitRate } from '../engine/observe/hit_rate.ts'
import { embed } from './helpers/engine.ts'

function reads(memoryHits: number, sqliteHits: number, misses: number) {
  return { memoryHits, sqliteHits, misses }
}

test('a window below the target is warned of once, and one above takes the warning back', t => {
  const lines: string[] = []
  const write = mock.method(fs, 'writeSync', (_fd: number, text: string) => lines.push(text))
  syncBuiltinESMExports()
  t.after(() => {
    write.mock.restore()
    syncBuiltinESMExports()
  })
  const rate = new HitRate(0.8)
  rate.look(reads(0, 0, 0), 1)
  rate.look(reads(10, 10, 90), 30_000)
  assert.equal(rate.recent, null, 'the window is not over')
  rate.look(reads(10, 10, 90), 60_001)
  assert.ok(Math.abs(rate.recent! - 20 / 110) < 1e-9)
  assert.match(rate.warning!, /18\.2 % of gets .* 80\.0 % is the target/)
  assert.equal(lines.length, 1)
  assert.match(lines[0]!, /"level":"warn".*below its target/)
  rate.look(reads(20, 20, 100), 120_002)
  assert.equal(lines.length, 1, 'thirty reads are too few to judge')
  rate.look(reads(500, 500, 110), 121_000)
  assert.equal(rate.warning, undefined)
  assert.ok(rate.recent! > 0.95)
  assert.equal(lines.length, 1)
})

test('a target of 0 is never warned of', () => {
  const rate = new HitRate(0)
  rate.look(reads(0, 0, 0), 1)
  rate.look(reads(0, 0, 1_000), 60_001)
  assert.equal(rate.warning, undefined)
})

test('stats have the rates in total, by tier and by namespace, and health the target', async t => {
  const embedded = await embed(t, { memory: { maxEntries: 1 } })
  const hearth = embedded.local()
  const home = hearth.cache.namespace('home')
  await home.set('a', 1)
  await home.get('a')
  await home.set('b', 1)
  await home.get('a')
  await home.get('none')
  await hearth.cache.get('none')
  const { cache, namespaces } = await hearth.stats()
  assert.equal(cache.hitRate, 0.5)
  assert.equal(cache.memoryHitRate, 0.25)
  assert.equal(cache.sqliteHitRate, 0.25)
  assert.equal(cache.hitRateTarget, 0.8)
  assert.deepEqual(namespaces, {
    home: { memoryHits: 1, sqliteHits: 1, misses: 1, hitRate: 2 / 3 },
  })
  const health = await hearth.health()
  assert.equal(health.status, 'ok')
  assert.equal(health.parts['cache']!.hitRateTarget, 0.8)
})
