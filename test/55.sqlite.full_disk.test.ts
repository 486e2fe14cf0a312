/** A full or read-only disk: reads and memory go on, durable writes say UNAVAILABLE, and it mends itself.
 *  Owns:   small memory disks, where this process may mount them; else these tests are skipped and say so.
 *  Thread: main of a test process.
 *  Holds:  every disk is unmounted at the end. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { appendFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { wallMs } from '../engine/clock.ts'
import { optionsFor, smallDisk, Tier } from './helpers/sqlite.ts'

const MIB = 1024 * 1024
const VALUE = Buffer.alloc(1_000, 7)
const isMountable = smallDisk(MIB) !== undefined
const skip = isMountable ? false : 'mounting a tmpfs needs root: run as root to see these'

/** Fills what is left of a disk. */
function fillUp(folder: string): string {
  const filler = join(folder, 'filler')
  for (let bytes = MIB; bytes >= 512; bytes >>= 1) appendUntilFull(filler, Buffer.alloc(bytes))
  return filler
}

function appendUntilFull(file: string, block: Buffer): void {
  try {
    for (;;) appendFileSync(file, block)
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
  }
}

async function until(condition: () => boolean, forMs = 5_000): Promise<void> {
  const endMs = wallMs() + forMs
  while (!condition()) {
    assert.ok(wallMs() < endMs, 'it never came true')
    await sleep(20)
  }
}

test('a disk that fills up: reads go on, sets are UNAVAILABLE, space brings it back', {
  skip,
}, async () => {
  const folder = smallDisk(2 * MIB)!
  const tier = new Tier(optionsFor(folder))
  for (let i = 0; i < 200; i++) tier.put(`kept:${i}`, VALUE)
  tier.flush()
  const filler = fillUp(folder)
  let failed = 0
  for (let i = 0; i < 1_000 && failed < 10; i++) {
    const { error } = tier.putNow(`more:${i}`, VALUE)
    if (error === undefined) continue
    failed++
    assert.equal(error.code, 'UNAVAILABLE')
    assert.match(error.message, /disk under the cache is full/)
  }
  assert.equal(failed, 10)
  assert.equal(tier.health().state, 'degraded')
  assert.match(tier.health().reason!, /full/)
  for (let i = 0; i < 200; i++) assert.deepEqual(tier.getNow(`kept:${i}`), VALUE)
  rmSync(filler)
  assert.equal(tier.putNow('after', VALUE).name, 'OK', 'the next durable set tries the disk again')
  assert.equal(tier.health().state, 'ok')
  assert.deepEqual(tier.getNow('after'), VALUE)
  tier.close()
  const again = new Tier(optionsFor(folder))
  assert.deepEqual(again.getNow('kept:199'), VALUE)
  assert.equal(again.handler.stats()['setAsideAs'], undefined)
  again.close()
})

test('a full disk mends without a request, and a value whose write failed does not come back old', {
  skip,
}, async () => {
  const folder = smallDisk(2 * MIB)!
  const tier = new Tier(optionsFor(folder))
  tier.putNow('k', Buffer.from('old'))
  const filler = fillUp(folder)
  while (tier.putNow('more', Buffer.alloc(100_000)).error === undefined) {}
  assert.equal(tier.putNow('k', Buffer.alloc(100_000, 'new')).error?.code, 'UNAVAILABLE')
  assert.equal(tier.getNow('k'), undefined, 'neither the old value nor an error')
  tier.handler.idle!()
  assert.equal(tier.health().state, 'degraded')
  rmSync(filler)
  await until(() => {
    tier.handler.idle!()
    return tier.health().state === 'ok'
  })
  assert.equal(tier.getNow('k'), undefined)
  tier.close()
  const again = new Tier(optionsFor(folder))
  assert.equal(again.getNow('k'), undefined)
  again.close()
})

test('a disk with no room for a new file: misses and UNAVAILABLE, until there is room', {
  skip,
}, async () => {
  const folder = smallDisk(MIB)!
  const filler = fillUp(folder)
  const tier = new Tier(optionsFor(folder))
  assert.equal(tier.health().state, 'degraded')
  assert.equal(tier.getNow('k'), undefined)
  assert.deepEqual(tier.keysNow('*'), [])
  assert.equal(tier.putNow('k', VALUE).error?.code, 'UNAVAILABLE')
  assert.throws(() => tier.delNow('k'), { code: 'UNAVAILABLE' })
  rmSync(filler)
  await until(() => tier.putNow('k', VALUE).name === 'OK')
  assert.equal(tier.health().state, 'ok')
  assert.deepEqual(tier.getNow('k'), VALUE)
  tier.close()
})

test('a read-only disk: misses and UNAVAILABLE, until it is writable again', { skip }, async () => {
  const folder = smallDisk(4 * MIB)!
  const first = new Tier(optionsFor(folder))
  first.putNow('k', VALUE)
  first.close()
  execFileSync('mount', ['-o', 'remount,ro', folder])
  const tier = new Tier(optionsFor(folder))
  assert.equal(tier.health().state, 'degraded')
  assert.equal(tier.getNow('k'), undefined)
  assert.equal(tier.putNow('other', VALUE).error?.code, 'UNAVAILABLE')
  execFileSync('mount', ['-o', 'remount,rw', folder])
  await until(() => {
    tier.handler.idle!()
    return tier.health().state === 'ok'
  })
  assert.deepEqual(tier.getNow('k'), VALUE, 'the file is the same one')
  assert.equal(tier.putNow('other', VALUE).name, 'OK')
  tier.close()
})

test('a disk smaller than the bound is the bound', {
  skip,
}, () => {
  const folder = smallDisk(2 * MIB)!
  const tier = new Tier(optionsFor(folder, { maxBytes: 64 * MIB }))
  for (let i = 0; i < 3_000; i++) assert.equal(tier.putNow(`k${i}`, VALUE).name, 'OK')
  for (let i = 2_300; i < 3_000; i++) assert.deepEqual(tier.getNow(`k${i}`), VALUE)
  assert.equal(tier.health().state, 'ok')
  tier.close()
})
