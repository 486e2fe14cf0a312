/** A full disk under invalidations: what was to go is a miss from that moment on, and stays one over a `kill -9`.
 *  Owns:   one engine; a small memory disk where this process may mount one.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { appendFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth, HearthError } from '../engine/client/index.ts'
import { prepare, type ServedEngine } from './helpers/engine.ts'
import { smallDisk } from './helpers/sqlite.ts'

const disk = smallDisk(3 << 20)

test('on a full disk an invalidation fails, its entries are a miss, and it is finished when there is room', {
  skip: disk === undefined ? 'mounting a tmpfs needs root: run as root to see this' : false,
}, async t => {
  const engine = prepare(t, { HEARTH_ENGINE_STATE_DIR: join(disk!, 'state') })
  await engine.start()
  const hearth = await engine.connect()
  const { cache } = hearth
  const long = Buffer.alloc(70_000)
  await cache.set('tagged', long, { tags: ['t'], ttlMs: 0 })
  await cache.set('pattern:1', long, { ttlMs: 0 })
  await cache.set('kept', long, { ttlMs: 0 })
  const filler = join(disk!, 'filler')
  fill(filler)
  await untilFails(engine, hearth)
  await assert.rejects(cache.invalidateTags(['t']), { code: 'UNAVAILABLE' })
  await assert.rejects(cache.invalidatePattern('pattern:*'), { code: 'UNAVAILABLE' })
  assert.equal(await cache.get('tagged'), undefined)
  assert.equal(await cache.get('pattern:1'), undefined)
  rmSync(filler)
  await sleep(1_500)
  assert.equal(await cache.get('tagged'), undefined)
  assert.equal(await cache.get('pattern:1'), undefined)
  await engine.kill()
  await engine.start()
  const again = await engine.connect()
  assert.equal(await again.cache.get('tagged'), undefined, 'it was finished before the kill')
  assert.equal(await again.cache.get('pattern:1'), undefined)
  assert.equal((await again.health()).status, 'ok')
})

function fill(file: string): void {
  for (let bytes = 1 << 20; bytes >= 512; bytes >>= 1) {
    try {
      for (;;) appendFileSync(file, Buffer.alloc(bytes))
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
    }
  }
}

/** What the log has room for is used up. */
async function untilFails(_engine: ServedEngine, { cache }: Hearth): Promise<void> {
  for (let i = 0; i < 200; i++) {
    try {
      await cache.set(`more:${i}`, Buffer.alloc(60_000))
    } catch (error) {
      assert.equal((error as HearthError).code, 'UNAVAILABLE')
      return
    }
  }
  assert.fail('the disk never filled')
}
