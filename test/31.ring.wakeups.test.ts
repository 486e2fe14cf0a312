/** Wake-ups: the steps of a sleeper and a mover interleaved by hand, where two threads would need luck to meet.
 *  Owns:   Atomics.waitAsync, for the length of one call.   Thread: main of a test process.
 *  Holds:  every sleeper here must be woken by the next move. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { wake } from '../engine/ring/doorbell.ts'
import { createRingMemory, HEAD, HEAD_PARKED, TAIL, TAIL_PARKED } from '../engine/ring/layout.ts'
import { RingReader } from '../engine/ring/reader.ts'
import { RingWriter } from '../engine/ring/writer.ts'

const WAKE_MS_MAX = 2_000
const BODY = Buffer.alloc(16, 1)

function ring(dataBytes = 256) {
  const memory = createRingMemory(dataBytes)
  const control = new Int32Array(memory.shared, 0, 64)
  return { writer: new RingWriter(memory), reader: new RingReader(memory), control }
}

/** Runs `mover` where a sleeper has marked itself parked and is about to wait. */
function beforeTheWait(mover: () => void, sleeper: () => Promise<unknown> | undefined) {
  const { waitAsync } = Atomics
  Atomics.waitAsync = ((...args: Parameters<typeof waitAsync>) => {
    Atomics.waitAsync = waitAsync
    mover()
    return waitAsync(...args)
  }) as typeof waitAsync
  try {
    return sleeper()
  } finally {
    Atomics.waitAsync = waitAsync
  }
}

async function isWoken(wait: Promise<unknown> | undefined): Promise<boolean> {
  if (wait === undefined) return true
  return Promise.race([wait.then(() => true), sleep(WAKE_MS_MAX, false)])
}

function drain(reader: RingReader): number {
  let count = 0
  while (reader.next()) count++
  reader.release()
  return count
}

describe('a reader', () => {
  test('that has seen a move before its mover looks for sleepers is woken by the next move', async () => {
    const { writer, reader, control } = ring()
    writer.push(1, 1, BODY, 0, 16)
    writer.publish()
    // The mover has stored the tail, and is slow: it has not looked at the parked word yet.
    assert.equal(drain(reader), 1)
    const tail = Atomics.load(control, TAIL)
    const wait = beforeTheWait(
      () => wake(control, TAIL, TAIL_PARKED, tail),
      () => reader.onceReadable(),
    )
    writer.push(1, 2, BODY, 0, 16)
    writer.publish()
    assert.ok(await isWoken(wait))
    assert.equal(drain(reader), 1)
  })

  test('that is about to sleep when the tail moves does not sleep', () => {
    const { writer, reader } = ring()
    assert.equal(drain(reader), 0)
    const wait = beforeTheWait(
      () => {
        writer.push(1, 1, BODY, 0, 16)
        writer.publish()
      },
      () => reader.onceReadable(),
    )
    assert.equal(wait, undefined)
    assert.equal(drain(reader), 1)
  })

  test('whose wait ran out of time and was begun anew is woken', async () => {
    const { writer, reader } = ring()
    await reader.onceReadable(1)
    const wait = reader.onceReadable()
    writer.push(1, 1, BODY, 0, 16)
    writer.publish()
    assert.ok(await isWoken(wait))
  })

  test('that stopped in the middle of what is there does not sleep over the rest', () => {
    const { writer, reader } = ring()
    for (let i = 0; i < 3; i++) writer.push(1, i, BODY, 0, 16)
    writer.publish()
    assert.ok(reader.next())
    reader.release()
    assert.equal(reader.onceReadable(), undefined)
    assert.equal(drain(reader), 2)
  })

  test('that nobody wakes stays asleep', async () => {
    const { writer, reader } = ring()
    const wait = reader.onceReadable()
    writer.push(1, 1, BODY, 0, 16) // Not published.
    assert.ok(wait !== undefined)
    assert.equal(await Promise.race([wait.then(() => 'woken'), sleep(30, 'asleep')]), 'asleep')
    writer.publish()
    assert.ok(await isWoken(wait))
  })
})

describe('a writer that waits for room', () => {
  test('publishes first, so the reader can make room', () => {
    const { writer, reader } = ring(64)
    while (writer.push(1, 1, BODY, 0, 8));
    const wait = writer.onceRoom()
    assert.ok(wait !== undefined)
    assert.ok(drain(reader) > 0)
  })

  test('is woken by release(), also when its mover is slow', async () => {
    const { writer, reader, control } = ring(128)
    while (writer.push(1, 1, BODY, 0, 16));
    writer.publish()
    assert.ok(reader.next())
    reader.release()
    const head = Atomics.load(control, HEAD)
    while (writer.push(1, 1, BODY, 0, 16));
    const wait = beforeTheWait(
      () => wake(control, HEAD, HEAD_PARKED, head),
      () => writer.onceRoom(),
    )
    assert.ok(wait !== undefined)
    drain(reader)
    assert.ok(await isWoken(wait))
    assert.ok(writer.push(1, 1, BODY, 0, 16))
  })

  test('does not sleep when room came after its push had failed', () => {
    const { writer, reader } = ring(64)
    while (writer.push(1, 1, BODY, 0, 8));
    writer.publish()
    drain(reader)
    assert.equal(writer.onceRoom(), undefined)
  })
})

test('a mover that finds nobody parked notifies nobody', () => {
  const { writer } = ring()
  const { notify } = Atomics
  let notifications = 0
  Atomics.notify = ((...args: Parameters<typeof notify>) => {
    notifications++
    return notify(...args)
  }) as typeof notify
  try {
    for (let i = 0; i < 3; i++) {
      writer.push(1, i, BODY, 0, 16)
      writer.publish()
    }
  } finally {
    Atomics.notify = notify
  }
  assert.equal(notifications, 0)
})
