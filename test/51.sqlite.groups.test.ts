/** Tier 2 commits in groups: nothing is answered before its COMMIT, and what was answered survives a kill.
 *  Owns:   temporary folders, processes to be killed.   Thread: main of a test process.
 *  Holds:  every child is dead at the end. SEED picks the moments. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { FULL, SEED } from './helpers/random.ts'
import { optionsFor, Tier, temporaryFolder } from './helpers/sqlite.ts'

// The tests' own look at the file, from outside.
const Database = createRequire(import.meta.url)('better-sqlite3') as typeof import('better-sqlite3')
const ROUNDS = FULL ? 40 : 4
const ONE = Buffer.from([1])

describe('a group', () => {
  test('is answered at its end and not before, in order, while its reads see its writes at once', () => {
    const tier = new Tier(optionsFor(temporaryFolder()))
    const before = tier.get('a')
    const put = tier.put('a', ONE)
    const read = tier.get('a')
    const del = tier.del('a')
    const again = tier.get('a')
    const last = tier.put('b', ONE)
    assert.equal(tier.answer(before).name, 'MISS')
    assert.equal(tier.answer(read).name, 'FOUND')
    assert.equal(tier.answer(again).name, 'MISS')
    for (const ticket of [put, del, last]) assert.throws(() => tier.answer(ticket), /no answer yet/)
    tier.flush()
    assert.equal(tier.answer(put).name, 'OK')
    assert.deepEqual([...tier.answer(del).body], [1])
    assert.deepEqual([...tier.answers.keys()].slice(-3), [put, del, last])
    assert.equal(tier.stats().commits, 1)
    assert.equal(tier.stats().groupSize, 3)
    tier.close()
  })

  test('may be asked for figures in its midst, which is nothing wrong with the file', () => {
    const tier = new Tier(optionsFor(temporaryFolder()))
    tier.putNow('a', ONE)
    tier.putNow('b', ONE)
    const { walBytes } = tier.stats()
    assert.ok(walBytes! > 0)
    tier.get('a')
    tier.get('b')
    assert.equal(tier.stats().walBytes, walBytes, 'of a group of reads')
    tier.put('c', ONE)
    assert.equal(tier.stats().walBytes, walBytes, 'of a group of writes')
    tier.flush()
    assert.equal(tier.handler.health().state, 'ok')
    tier.close()
  })

  test('is seen by another connection only once it was answered', () => {
    const options = optionsFor(temporaryFolder())
    const tier = new Tier(options)
    const other = new Database(options.file, { readonly: true })
    const count = other.prepare('select count(*) from entries').pluck()
    tier.put('a', ONE)
    assert.equal(count.get(), 0)
    tier.flush()
    assert.equal(count.get(), 1)
    other.close()
    tier.close()
  })

  test('that meets a locked file fails whole with UNAVAILABLE, reads go on, and the next succeeds', () => {
    const options = optionsFor(temporaryFolder())
    const tier = new Tier(options)
    tier.putNow('kept', ONE)
    const other = new Database(options.file)
    other.exec('begin immediate')
    const tickets = [tier.put('a', ONE), tier.del('kept'), tier.put('b', ONE)]
    const read = tier.get('never')
    tier.flush()
    for (const ticket of tickets) {
      assert.equal(tier.answer(ticket).error?.code, 'UNAVAILABLE')
      assert.match(tier.answer(ticket).error!.message, /another process holds the cache file/)
    }
    assert.equal(tier.answer(read).name, 'MISS')
    assert.equal(tier.health().state, 'degraded')
    other.exec('rollback')
    other.close()
    assert.equal(tier.putNow('a', ONE).name, 'OK')
    assert.equal(tier.health().state, 'ok')
    // Its deletion failed, but a value that a client was told is gone, or was told is new, must not come back as old.
    assert.equal(tier.getNow('kept'), undefined)
    tier.close()
  })

  test('may be asked for figures in its middle, while it reads or writes, and is healthy after that', () => {
    const tier = new Tier(optionsFor(temporaryFolder()))
    tier.putNow('a', ONE)
    const { walBytes } = tier.stats()
    assert.ok(walBytes! > 0)
    for (let i = 0; i < 3; i++) tier.get('a')
    assert.equal(tier.stats().walBytes, walBytes, 'as it was before the reads of this drain')
    assert.equal(tier.health().state, 'ok')
    tier.flush()
    const put = tier.put('b', ONE)
    assert.equal(tier.stats().walBytes, walBytes)
    assert.deepEqual(tier.health().reason, undefined)
    assert.equal(tier.ended(put).name, 'OK')
    assert.ok(tier.stats().walBytes! > walBytes!)
    tier.close()
  })

  test('that fails in its middle leaves nothing of itself, and no transaction open', () => {
    const options = optionsFor(temporaryFolder())
    const tier = new Tier(options)
    tier.putNow('kept', ONE)
    const other = new Database(options.file)
    other.exec(`create trigger refuse before insert on entries when new.key = 'bad'
      begin select raise(abort, 'refused by the test'); end`)
    const tickets = ['good', 'bad', 'later'].map(key => tier.put(key, ONE))
    tier.flush()
    for (const ticket of tickets) assert.equal(tier.answer(ticket).error?.code, 'UNAVAILABLE')
    assert.equal(other.prepare('select count(*) from entries').pluck().get(), 1)
    other.exec('drop trigger refuse')
    other.close()
    assert.equal(tier.putNow('bad', ONE).name, 'OK')
    assert.deepEqual(tier.keysNow('*'), ['bad', 'kept'])
    assert.equal(tier.health().state, 'ok')
    tier.close()
  })

  test('writes more than the WAL has room for in several commits, each answered', () => {
    const options = optionsFor(temporaryFolder(), { maxBytes: 2 * 1024 * 1024 })
    const tier = new Tier(options)
    const tickets = Array.from({ length: 1_000 }, (_, i) =>
      tier.put(`k${i}`, Buffer.alloc(1_000, i)),
    )
    tier.flush()
    for (const ticket of tickets) assert.equal(tier.answer(ticket).name, 'OK')
    assert.ok(tier.stats().commits! > 1)
    assert.deepEqual(tier.getNow('k999'), Buffer.alloc(1_000, 999))
    tier.close()
  })

  test('that fails very often doubts everything, and begins anew when the disk is well', () => {
    const options = optionsFor(temporaryFolder(), { busyTimeoutMs: 0 })
    const tier = new Tier(options)
    for (let i = 0; i < 3_000; i++) tier.put(`old:${i}`, ONE)
    tier.flush()
    const other = new Database(options.file)
    other.exec('begin immediate')
    for (let i = 0; i < 3_000; i++) tier.put(`old:${i}:${'x'.repeat(40)}`, ONE)
    tier.flush()
    assert.equal(tier.getNow('old:1'), undefined)
    other.exec('rollback')
    other.close()
    assert.equal(tier.putNow('new', ONE).name, 'OK')
    assert.deepEqual(tier.keysNow('*'), ['new'])
    assert.equal(tier.health().state, 'ok')
    tier.close()
  })
})

test(`nothing acknowledged is lost by kill -9, ${ROUNDS} rounds (SEED=${SEED})`, async () => {
  const folder = temporaryFolder()
  let state = SEED
  let first = 0
  let total = 0
  for (let round = 0; round < ROUNDS; round++) {
    state = (state * 48_271 + 11) % 2_147_483_647
    const acknowledged = await writeUntilKilled(folder, first, 40 + (state % 200))
    total += acknowledged.length
    const tier = new Tier(optionsFor(folder))
    assert.equal(tier.health().state, 'ok')
    assert.equal(tier.handler.stats()['setAsideAs'], undefined)
    for (const number of acknowledged) {
      assert.equal(tier.getNow(`key:${number}`)?.toString(), `value of ${number}`)
    }
    tier.close()
    first = (acknowledged.at(-1) ?? first) + 1_000
  }
  assert.ok(total > 0, 'the writer got to write')
  console.log(`# ${total} acknowledged writes, none lost`)
})

async function writeUntilKilled(folder: string, first: number, afterMs: number): Promise<number[]> {
  const script = new URL('./helpers/sqlite_writer.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [script, folder, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', chunk => {
    text += chunk
  })
  const ended = once(child, 'close')
  await once(child.stdout, 'data')
  await sleep(afterMs)
  child.kill('SIGKILL')
  await ended
  return text.split('\n').slice(0, -1).map(Number)
}
