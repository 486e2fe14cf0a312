/** A reader in another thread, by the rule in segment.ts, while the tier changes as fast as it can: no torn, expired,
 *  deleted or foreign bytes.
 *  Owns:   one worker.   Thread: main writes, the worker reads.
 *  Runs:   alone, since its threads are to run at the same time.
 *  Holds:  main raises a key's floor only after its set or delete has returned. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { Memory } from '../engine/cache/memory.ts'
import { createSegment, SEGMENT_BYTES_MIN } from '../engine/cache/segment.ts'
import { FULL, SEED } from './helpers/random.ts'
import { churn, type ReaderOptions, type ReaderReport } from './helpers/segment_reader.ts'

const KEY_COUNT = 120
const CHURN_MS = FULL ? 20_000 : 2_000

test(`${CHURN_MS} ms of churn show a reader no byte that is not the key's own (SEED=${SEED})`, async t => {
  const shared = new SharedArrayBuffer(SEGMENT_BYTES_MIN)
  const floors = new SharedArrayBuffer(4 * (1 + KEY_COUNT))
  const segment = createSegment(shared as unknown as ArrayBuffer, { pid: 1, hashSeed: SEED })
  const memory = new Memory(segment, { valueBytesMax: 4_096 })
  const workerData: ReaderOptions = { segment: shared, floors, keyCount: KEY_COUNT, seed: SEED + 1 }
  const worker = new Worker(new URL('./helpers/segment_reader.ts', import.meta.url), { workerData })
  const answer = once(worker, 'message') as Promise<[ReaderReport]>
  await once(worker, 'online')
  const changes = await churn(memory, new Int32Array(floors), {
    keyCount: KEY_COUNT,
    seed: SEED,
    ms: CHURN_MS,
  })
  Atomics.store(new Int32Array(floors), 0, 1)
  const [report] = await answer
  await worker.terminate()
  t.diagnostic(
    `${changes} changes, ${report.lookups} look-ups, ${report.hits} hits, ${report.thrownAway} thrown away`,
  )
  assert.deepEqual(report.errors, [])
  assert.ok(report.hits > 10_000, 'the reader saw much')
  assert.ok(report.thrownAway > 100, 'and met many changes')
})
