/** The log of tier 2: how long it gets, that the disk has most of it before it is checkpointed, and who waits for that.
 *  Owns:   a file a test.   Thread: main of a test process.
 *  Holds:  durations given to WalPace are made up, so nothing here measures this machine. */

import assert from 'node:assert/strict'
import { readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadWriteback } from '../native-bindings/writeback.ts'
import type { SqliteStore } from '../workers/sqlite/store.ts'
import { WalFile } from '../workers/sqlite/wal_file.ts'
import { WalPace } from '../workers/sqlite/wal_pace.ts'
import { optionsFor, Tier, temporaryFolder } from './helpers/sqlite.ts'

const MIB = 1024 * 1024
const VALUE = Buffer.alloc(1_000, 7)

/** A disk that takes so long for a MiB, under a load that fills one every so often; the length after many checkpoints. */
function settled(msPerMib: number, msBetweenMibs: number, fixedMs = 0): number {
  const pace = new WalPace(12 * MIB)
  let nowMs = 1_000
  for (let i = 0; i < 200; i++) {
    const mib = pace.dueBytes / MIB
    nowMs += mib * msBetweenMibs
    const ms = fixedMs + mib * msPerMib
    pace.took(ms, nowMs)
    nowMs += ms
    assert.ok(pace.dueBytes >= MIB && pace.dueBytes <= 12 * MIB)
  }
  return pace.dueBytes / MIB
}

test('a log whose checkpoints are short grows to its share', () => {
  assert.equal(settled(0.05, 100), 12)
})

test('with time to spare, a log is kept so short that nobody waits long for its checkpoint', () => {
  assert.ok(settled(2, 200) * 2 <= 3)
  assert.ok(settled(1, 200) <= 3)
})

test('under a load that checkpoints hold up, a log grows to its share', () => {
  assert.equal(settled(1.5, 4), 12)
  assert.equal(settled(0.1, 4, 20), 12, 'all the more on a disk that takes long each time')
})

test('a length that neither holds up gets nor puts is kept', () => {
  const mib = settled(2, 20)
  assert.ok(mib > 1 && mib < 12, `${mib} MiB`)
})

test('a log is never shorter than a MiB, however slow the disk is', () => {
  assert.equal(settled(50, 10_000), 1)
})

test('a log has a descriptor for the kernel beside SQLite’s own, and it goes with the store', () => {
  const folder = temporaryFolder()
  const tier = new Tier(optionsFor(folder))
  tier.putNow('first', VALUE)
  assert.equal(logsOpen(folder), 2)
  for (let i = 0; i < 600; i++) tier.putNow(`key:${i}`, VALUE)
  assert.equal(logsOpen(folder), 2)
  tier.close()
  assert.equal(logsOpen(folder), 0)
})

test('the kernel is asked for a log by quarters of a MiB, and from its beginning when it begins anew', () => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'cache.sqlite-wal'), '')
  const asked: [at: number, bytes: number][] = []
  let answer = 0
  const store = { options: optionsFor(folder), epoch: 1, statements: {} } as SqliteStore
  const wal = new WalFile(store, (_fd, at, bytes) => {
    asked.push([at, bytes])
    return answer
  })
  for (const bytes of [100_000, 300_000, 500_000, 600_000, 50_000, 270_000]) wal.grew(bytes)
  const expected = [
    [0, 300_000],
    [300_000, 300_000],
    [0, 270_000],
  ]
  assert.deepEqual(asked, expected)
  answer = -5
  wal.grew(600_000)
  assert.equal(logsOpen(folder), 0, 'a descriptor that is refused goes')
  wal.close()
})

test('with synchronous off there is nothing to write ahead', () => {
  const folder = temporaryFolder()
  const tier = new Tier(optionsFor(folder, { synchronous: 'OFF' }))
  for (let i = 0; i < 600; i++) tier.putNow(`key:${i}`, VALUE)
  assert.equal(logsOpen(folder), 1)
  tier.close()
})

test('a descriptor that cannot be written back is answered with its error', () => {
  const start = loadWriteback()
  assert.ok(start(1_000_000, 0, 4_096) < 0)
})

test('a group is answered before its checkpoint, which comes with settle()', () => {
  const tier = new Tier(optionsFor(temporaryFolder()))
  let settles = 0
  let fullest = 0
  for (let i = 0; i < 3_000; i++) {
    const ticket = tier.put(`key:${i}`, VALUE)
    tier.handler.flush!(tier.replies)
    assert.equal(tier.answer(ticket).name, 'OK')
    const filled = tier.stats()['writtenBytes']!
    tier.handler.settle!()
    if (tier.stats()['writtenBytes']! > filled) settles++
    fullest = Math.max(fullest, tier.stats()['walBytes']!)
  }
  assert.equal(settles, 3_000, 'what is written is counted, and copied, after the answer')
  assert.ok(fullest < 4 * MIB, 'checkpoints came in time')
  tier.close()
})

/** Descriptors of this process on the log in a folder. */
function logsOpen(folder: string): number {
  return readdirSync('/proc/self/fd').filter(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(`${folder}/cache.sqlite-wal`)
    } catch {
      return false // The one that reads this very list.
    }
  }).length
}
