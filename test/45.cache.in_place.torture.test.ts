/** Three processes read tier 1 in place while one writer changes, deletes, expires and evicts as fast as it can: not one torn,
 *  foreign or expired value, none from before an acknowledged set or delete.
 *  Owns:   an engine, three readers, files in shared memory.   Thread: main of a test process, which is also the engine's.
 *  Runs:   alone, since its processes are to run at the same time.
 *  Holds:  a key's floor is raised only after its change was acknowledged, or its time was over by the wall clock. */

import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Memory } from '../engine/cache/memory.ts'
import { createSegment, SEGMENT_BYTES_MIN } from '../engine/cache/segment.ts'
import type { Hearth } from '../engine/client/index.ts'
import { mapFile } from '../native-bindings/index.ts'
import { embed } from './helpers/engine.ts'
import {
  FLOORS_WORD,
  type InPlaceOptions,
  type InPlaceReport,
  STOP_WORD,
} from './helpers/in_place_reader.ts'
import { FULL, Random, SEED } from './helpers/random.ts'
import {
  bytesOfVersion,
  churn,
  keyOf,
  objectOfVersion,
  type ReaderReport,
} from './helpers/segment_reader.ts'

/** Files that processes share. */
const folder = mkdtempSync('/dev/shm/hearth-torture-')
after(() => rmSync(folder, { recursive: true, force: true }))

const READERS = 3
const KEY_COUNT = 120
const RUN_MS = FULL ? 60_000 : 3_000
/** At the speed of memory a second shows more than the engine's whole run. */
const FAST_RUN_MS = FULL ? 60_000 : 1_000
/** Writes that are on their way at once. */
const BATCH = 200

test(`${RUN_MS} ms of changes show ${READERS} processes nothing that is not true (SEED=${SEED})`, async t => {
  // Too small for the keys' values: each set evicts another.
  const embedded = await embed(t, { memory: { maxBytes: 64 * 1024, maxValueBytes: 4_096 } })
  const floorsFile = join(folder, 'versions')
  const words = new Int32Array(mapFile(floorsFile, 4_096))
  const readers = await startReaders<InPlaceReport>(t, 'in_place_reader.ts', seed => {
    return {
      socket: embedded.socket,
      floorsFile,
      keyCount: KEY_COUNT,
      seed,
    } satisfies InPlaceOptions
  })
  const changes = await changeAll(embedded.local(), words)
  Atomics.store(words, STOP_WORD, 1)
  const reports = await Promise.all(readers)
  const { memory } = await embedded.local().stats()
  t.diagnostic(`${changes} changes, ${memory.evictions} evictions, ${memory.expirations} expired`)
  for (const { peeks, peekHits, gets, getHits } of reports)
    t.diagnostic(`${peekHits} of ${peeks} peeks and ${getHits} of ${gets} gets were hits`)
  assert.deepEqual(
    reports.flatMap(({ errors }) => errors),
    [],
  )
  assert.ok(
    reports.every(({ peekHits }) => peekHits > 10_000),
    'each reader saw much',
  )
  assert.ok(memory.evictions > 100 && memory.expirations > 100, 'every kind of change was met')
  assert.ok(memory.hitsInPlace > 30_000)
})

test(`and ${FAST_RUN_MS} ms at the speed of memory, without an engine in between (SEED=${SEED})`, async t => {
  const segmentFile = join(folder, 'segment')
  const floorsFile = join(folder, 'floors')
  const segment = createSegment(mapFile(segmentFile, SEGMENT_BYTES_MIN), { pid: 1, hashSeed: SEED })
  const floors = new Int32Array(mapFile(floorsFile, 4_096))
  const memory = new Memory(segment, { valueBytesMax: 4_096 })
  const readers = await startReaders<ReaderReport>(t, 'segment_reader.ts', seed => {
    return { segment: segmentFile, floors: floorsFile, keyCount: KEY_COUNT, seed }
  })
  const changes = await churn(memory, floors, { keyCount: KEY_COUNT, seed: SEED, ms: FAST_RUN_MS })
  Atomics.store(floors, STOP_WORD, 1)
  const reports = await Promise.all(readers)
  t.diagnostic(`${changes} changes, ${memory.stats().evictions} evictions`)
  for (const { lookups, hits, thrownAway } of reports)
    t.diagnostic(`${lookups} look-ups, ${hits} hits, ${thrownAway} thrown away`)
  assert.deepEqual(
    reports.flatMap(({ errors }) => errors),
    [],
  )
  assert.ok(reports.every(({ hits, thrownAway }) => hits > 10_000 && thrownAway > 100))
})

/** Children that read until they are told to stop; their reports to come. Resolves once all have begun. */
async function startReaders<Report>(
  t: TestContext,
  helper: string,
  optionsOf: (seed: number) => object,
): Promise<Promise<Report>[]> {
  const started = Array.from({ length: READERS }, (_, i) =>
    startReader<Report>(helper, optionsOf(SEED + i + 1)),
  )
  t.after(() => {
    for (const { child } of started) child.kill('SIGKILL')
  })
  await Promise.all(started.map(({ ready }) => ready))
  return started.map(({ report }) => report)
}

function startReader<Report>(
  helper: string,
  options: object,
): { child: ChildProcess; ready: Promise<void>; report: Promise<Report> } {
  const child = fork(join(import.meta.dirname, 'helpers', helper), [JSON.stringify(options)])
  const ready = Promise.withResolvers<void>()
  const report = Promise.withResolvers<Report>()
  report.promise.catch(() => undefined)
  child.on('message', message => {
    if (message === 'ready') ready.resolve()
    else report.resolve(message as Report)
  })
  const fail = (code: number | null) => {
    const error = new Error(`a reader ended with ${code}`)
    ready.reject(error)
    report.reject(error)
  }
  // Its last word may come after its end.
  child.once('exit', code => setTimeout(fail, 1_000, code).unref())
  return { child, ready: ready.promise, report: report.promise }
}

/** A version of a key that ends by itself. */
interface Ending {
  readonly key: number
  readonly version: number
  readonly atMs: number
}

async function changeAll(client: Hearth, words: Int32Array): Promise<number> {
  const random = new Random(SEED)
  const keys = Array.from({ length: KEY_COUNT }, (_, key) => keyOf(key).toString())
  const versions = new Uint32Array(KEY_COUNT)
  let endings: Ending[] = []
  let changes = 0
  const raise = (key: number, version: number): void => {
    if (version > words[FLOORS_WORD + key]!) Atomics.store(words, FLOORS_WORD + key, version)
  }
  const change = async (): Promise<void> => {
    const key = random.below(KEY_COUNT)
    const version = ++versions[key]!
    changes++
    if (random.chance(0.2)) {
      await client.cache.delete(keys[key]!)
      return raise(key, version)
    }
    const ttlMs = random.chance(0.2) ? random.between(1, 20) : 60_000
    const value = version % 3 === 0 ? objectOfVersion(key, version) : bytesOfVersion(key, version)
    const durability = random.chance(0.1) ? 'commit' : 'memory'
    await client.cache.set(keys[key]!, value, { ttlMs, durability })
    raise(key, version)
    // Its end was reckoned before the acknowledgement, so it is over by then at the latest.
    if (ttlMs < 60_000) endings.push({ key, version: version + 1, atMs: Date.now() + ttlMs + 1 })
  }
  for (const endMs = Date.now() + RUN_MS; Date.now() < endMs; await turn()) {
    await Promise.all(Array.from({ length: BATCH }, change))
    const nowMs = Date.now()
    for (const { key, version, atMs } of endings) if (atMs < nowMs) raise(key, version)
    endings = endings.filter(({ atMs }) => atMs >= nowMs)
  }
  return changes
}
