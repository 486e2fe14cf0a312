/** Limits: what was counted outlives the engine, whatever the clocks did meanwhile.
 *  Owns:   a folder.   Thread: main of a test process.
 *  Runs:   beside others. */

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Clocks, LimitFile } from '../engine/guard/limit_file.ts'
import { LIMITED, RateLimits } from '../engine/guard/rate_limit.ts'
import { serve } from './helpers/engine.ts'

const DAY_MS = 24 * 3_600_000
const WINDOW_MS = 60_000
const NOW_MS = 5_000_000
const RATE = { max: 10, windowMs: WINDOW_MS, text: '10/1m' }
const SETTINGS = { perClient: RATE, global: RATE, cachePerClient: RATE, maxSubjects: 64 }

function clocks(bootId: string, bootMs: number, wallMs: number): Clocks {
  return { bootId, bootMs: () => bootMs, wallMs: () => wallMs }
}

function fileOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-limits-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'limits')
}

/** A file with two of three used, at NOW_MS and 20 seconds later. */
function saved(t: TestContext): string {
  const path = fileOf(t)
  const limits = new RateLimits(SETTINGS)
  limits.check('user:7', 3, WINDOW_MS, NOW_MS)
  limits.check('user:7', 3, WINDOW_MS, NOW_MS + 20_000)
  new LimitFile(path, limits, clocks('boot 1', NOW_MS + 30_000, 1_000 * DAY_MS)).stop()
  return path
}

/** What is left of three, and how long until two may come, at `bootMs` of a new engine. */
function seenAt(path: string, { bootId, bootMs, wallMs }: Clocks): [number, number] {
  const limits = new RateLimits(SETTINGS)
  new LimitFile(path, limits, { bootId, bootMs, wallMs }).load()
  const log = limits.subjects.logOf('user:7', WINDOW_MS, bootMs())!
  const waitMs = log.waitMs(bootMs(), 2)
  return [log.used, waitMs]
}

for (const jumpMs of [0, DAY_MS, -DAY_MS]) {
  test(`a restart keeps what was counted, with the wall clock ${jumpMs / DAY_MS} days off`, t => {
    const path = saved(t)
    const wallMs = 1_000 * DAY_MS + 10_000 + jumpMs
    assert.deepEqual(seenAt(path, clocks('boot 1', NOW_MS + 40_000, wallMs)), [2, 20_000])
    assert.deepEqual(seenAt(path, clocks('boot 1', NOW_MS + 59_999, wallMs)), [2, 1])
    assert.deepEqual(seenAt(path, clocks('boot 1', NOW_MS + 60_000, wallMs)), [1, 0])
    assert.deepEqual(seenAt(path, clocks('boot 1', NOW_MS + 80_000, wallMs)), [0, 0])
  })
}

test('after another boot the wall clock tells how long it was, and one set back costs a window at most', t => {
  const path = saved(t)
  const wallMs = 1_000 * DAY_MS
  // 30 s after the first of them, it was saved; 10 s later the machine is up again.
  assert.deepEqual(seenAt(path, clocks('boot 2', 700, wallMs + 10_000)), [2, 20_000])
  assert.deepEqual(seenAt(path, clocks('boot 2', 700, wallMs + 35_000)), [1, 0])
  assert.deepEqual(seenAt(path, clocks('boot 2', 700, wallMs + DAY_MS)), [0, 0])
  assert.deepEqual(seenAt(path, clocks('boot 2', 700, wallMs - DAY_MS)), [2, 30_000])
  assert.deepEqual(seenAt(path, clocks('', 700, wallMs - DAY_MS)), [2, 30_000])
})

test('every kind of limit is kept, and the shared log of those without room', t => {
  const path = fileOf(t)
  const limits = new RateLimits(SETTINGS)
  for (let i = 0; i < 10; i++) limits.admit(1_000, LIMITED.sql)
  for (let i = 0; i < 10; i++) limits.admit(1_001, LIMITED.cache)
  for (let i = 0; i < 70; i++) limits.check(`s${i}`, 5, WINDOW_MS)
  new LimitFile(path, limits).stop()
  const again = new RateLimits(SETTINGS)
  new LimitFile(path, again).load()
  assert.throws(() => again.admit(1_000, LIMITED.sql), /limits\.per_client = "10\/1m"/)
  assert.throws(() => again.admit(1_002, LIMITED.sql), /limits\.global = "10\/1m"/)
  assert.throws(() => again.admit(1_001, LIMITED.cache), /limits\.cache_per_client/)
  assert.equal(again.check('s0', 1, WINDOW_MS).isAllowed, false)
  assert.equal(again.check('one more', 5, WINDOW_MS).isAllowed, false)
})

test('a file that is cut short, or is none of ours, stops nothing', t => {
  const path = saved(t)
  const whole = readFileSync(path)
  const seen = clocks('boot 1', NOW_MS + 40_000, 0)
  for (let bytes = 0; bytes < whole.length; bytes += 7) {
    truncateSync(path, bytes)
    seenAt(path, seen)
    writeFileSync(path, whole)
  }
  whole.writeDoubleLE(1e300, whole.length - 12)
  writeFileSync(path, whole)
  assert.deepEqual(seenAt(path, seen), [2, 20_000])
  whole.writeDoubleLE(1e300, whole.length - 24)
  writeFileSync(path, whole)
  assert.deepEqual(seenAt(path, seen), [2, WINDOW_MS])
  writeFileSync(path, 'not one of ours\n')
  assert.deepEqual(seenAt(path, seen), [0, 0])
})

test('a limit that was used up is used up after a clean restart, and what counts only now is counted on', async t => {
  const engine = await serve(t)
  const limit = { max: 3, windowMs: 600_000 }
  const before = await engine.connect()
  for (const remaining of [2, 1, 0]) {
    const answer = await before.limits.check('user:7', limit)
    assert.deepEqual(answer, { allowed: true, remaining, retryAfterMs: 0 })
  }
  assert.equal((await before.limits.check('user:7', limit)).allowed, false)
  await before.limits.check('user:8', limit)
  await engine.stop()
  await engine.start()
  const after = await engine.connect()
  const refused = await after.limits.check('user:7', limit)
  assert.equal(refused.allowed, false)
  assert.ok(refused.retryAfterMs > 500_000 && refused.retryAfterMs <= 600_000)
  assert.equal((await after.limits.check('user:8', limit)).remaining, 1)
})
