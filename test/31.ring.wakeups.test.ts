/** Wake-ups: the steps of a sleeper and a mover interleaved by hand, where two threads would need luck to meet.
 *  Owns:   Atomics.waitAsync, store and notify, for the length of one call.   Thread: main of a test process.
 *  Holds:  every sleeper here must be woken by the next move. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { wake } from '../engine/ring/doorbell.ts'
import {
  BELL_BESIDE,
  CAN_RING_BESIDE,
  createRingMemory,
  HEAD,
  HEAD_PARKED,
  TAIL,
  TAIL_PARKED,
} from '../engine/ring/layout.ts'
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
    reader.wait(1)
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

describe('a reader that is called back', () => {
  for (const way of ['by a bell', 'without one, in waitAsync'] as const) {
    const open = () => {
      const parts = ring()
      // What a writer whose thread has no native binding leaves at 0.
      if (way !== 'by a bell') parts.control[TAIL_PARKED + CAN_RING_BESIDE] = 0
      return { ...parts, calls: new Calls(parts.reader) }
    }

    test(`is called once for a move, ${way}`, async () => {
      const { writer, reader, control, calls } = open()
      for (let i = 0; i < 3; i++) {
        assert.ok(calls.sleep())
        writer.push(1, i, BODY, 0, 16)
        writer.publish()
        writer.push(1, i, BODY, 0, 16)
        writer.publish()
        await calls.next()
        assert.equal(drain(reader), 2)
        await turns(5)
        assert.equal(calls.count, i + 1)
      }
      assert.equal(control[TAIL_PARKED + BELL_BESIDE] !== 0, way === 'by a bell')
      reader.close()
    })

    test(`that is about to sleep when the tail moves is not called, ${way}`, async () => {
      const { writer, reader, calls } = open()
      const isAsleep = afterTheMark(
        () => {
          writer.push(1, 1, BODY, 0, 16)
          writer.publish()
        },
        () => calls.sleep(),
      )
      assert.equal(isAsleep, false)
      assert.equal(drain(reader), 1)
      await turns(5)
      assert.equal(calls.count, 0, 'the ring of that move finds it awake')
      assert.ok(calls.sleep())
      writer.push(1, 2, BODY, 0, 16)
      writer.publish()
      await calls.next()
      reader.close()
    })

    test(`that has seen a move before its mover looks is called for the next, ${way}`, async () => {
      const { writer, reader, control, calls } = open()
      writer.push(1, 1, BODY, 0, 16)
      writer.publish()
      assert.equal(drain(reader), 1)
      const tail = Atomics.load(control, TAIL)
      const isAsleep = afterTheMark(
        () => wake(control, TAIL, TAIL_PARKED, tail),
        () => calls.sleep(),
      )
      assert.ok(isAsleep)
      writer.push(1, 2, BODY, 0, 16)
      writer.publish()
      await calls.next()
      assert.equal(drain(reader), 1)
      reader.close()
    })

    test(`is not called after close(), ${way}`, async () => {
      const { writer, reader, calls } = open()
      assert.ok(calls.sleep())
      writer.push(1, 1, BODY, 0, 16)
      writer.publish()
      reader.close()
      await turns(5)
      assert.equal(calls.count, 0)
    })
  }

  test('goes over to a bell once its writer says that it can ring', async () => {
    const { writer, reader, control } = ring()
    control[TAIL_PARKED + CAN_RING_BESIDE] = 0
    const calls = new Calls(reader)
    for (let i = 0; i < 3; i++) {
      assert.ok(calls.sleep())
      control[TAIL_PARKED + CAN_RING_BESIDE] = 1
      writer.push(1, i, BODY, 0, 16)
      writer.publish()
      await calls.next()
      assert.equal(drain(reader), 1)
    }
    assert.ok(control[TAIL_PARKED + BELL_BESIDE]! > 0)
    reader.close()
  })
})

/** A reader's callbacks, counted and waited for. */
class Calls {
  count = 0
  private readonly reader: RingReader
  private came = Promise.withResolvers<void>()

  constructor(reader: RingReader) {
    this.reader = reader
  }

  sleep(): boolean {
    return this.reader.whenReadable(() => {
      this.count++
      this.came.resolve()
    })
  }

  async next(): Promise<void> {
    assert.ok(await isWoken(this.came.promise), 'called back')
    this.came = Promise.withResolvers<void>()
  }
}

/** Runs `mover` where a sleeper has marked itself parked and has not looked at the cursor yet. */
function afterTheMark<Result>(mover: () => void, sleeper: () => Result): Result {
  const { store } = Atomics
  Atomics.store = ((words: Int32Array, index: number, value: number) => {
    const stored = store(words, index, value)
    if (index !== TAIL_PARKED) return stored
    Atomics.store = store
    mover()
    return stored
  }) as typeof store
  try {
    return sleeper()
  } finally {
    Atomics.store = store
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await sleep(1)
}

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
