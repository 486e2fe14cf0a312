/** A ring at its edges: the end of the data, a full ring, cursors at the end of their 32 bits, long messages.
 *  Owns:   nothing.   Thread: main of a test process; both ends of the ring are in it.
 *  Holds:  a queue of arrays is the reference. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { AssertionError } from '../engine/assert.ts'
import { RECORD_BYTES_MAX, RING_BYTES } from '../engine/limits.ts'
import {
  createRingMemory,
  FLAG_MORE,
  RECORD_HEADER_BYTES,
  RING_BYTES_MIN,
  type RingMemory,
  recordBytes,
} from '../engine/ring/layout.ts'
import { RingReader } from '../engine/ring/reader.ts'
import { RingWriter } from '../engine/ring/writer.ts'
import { FULL, Random, randomTest } from './helpers/random.ts'

const SIZES = [64, 128, 256, 512, 1_024, RING_BYTES] as const

/** Cursors, in units of 8 bytes: the start of life, before the sign changes, before they wrap to 0. */
const CURSORS = [0, 0x7fff_fff0, -0x8000_0000, -16, -1] as const

interface Ring {
  readonly writer: RingWriter
  readonly reader: RingReader
  readonly memory: RingMemory
}

/** A ring that has carried `cursor` units already. */
function ringAt(dataBytes: number, cursor = 0): Ring {
  const memory = createRingMemory(dataBytes)
  const control = new Int32Array(memory.shared, 0, 64)
  const writer = new RingWriter(memory)
  const reader = new RingReader(memory)
  control[0] = cursor
  control[32] = cursor
  Object.assign(writer, { tail: cursor, published: cursor, knownHead: cursor })
  Object.assign(reader, { head: cursor, released: cursor, knownTail: cursor })
  return { writer, reader, memory }
}

function read(reader: RingReader): { op: number; ticket: number; body: Buffer } | undefined {
  if (!reader.next()) return undefined
  const body = Buffer.from(reader.bytes.subarray(reader.start, reader.end))
  return { op: reader.op, ticket: reader.ticket, body }
}

function pushAndRead({ writer, reader }: Ring, ticket: number, body: Buffer): void {
  assert.ok(writer.push(7, ticket, body, 0, body.length), 'an empty ring takes a record')
  writer.publish()
  assert.deepEqual(read(reader), { op: 7, ticket, body })
  assert.equal(read(reader), undefined)
  reader.release()
}

describe('the end of the data', () => {
  for (const dataBytes of SIZES.slice(0, 5)) {
    for (let left = 0; left <= 48; left += 8) {
      test(`a record that finds ${left} bytes left in a ring of ${dataBytes} comes out whole`, () => {
        if (left >= dataBytes) return
        for (let bodyBytes = 0; bodyBytes <= Math.min(40, dataBytes >> 3); bodyBytes++) {
          // The cursor alone decides where the next record begins.
          const ring = ringAt(dataBytes, (dataBytes - left) >> 3)
          for (let i = 0; i < 3; i++) pushAndRead(ring, i, Buffer.alloc(bodyBytes, 0xa0 + i))
          assert.equal(ring.writer.depthBytes(), 0)
        }
      })
    }
  }

  test('a pad of eight bytes, too short for a record header, is skipped', () => {
    const ring = ringAt(256, (256 - 8) >> 3)
    pushAndRead(ring, 1, Buffer.alloc(0))
    assert.equal(ring.writer.depthBytes(), 0, 'head and tail agree')
    pushAndRead(ring, 2, Buffer.from('next'))
  })

  test('a record that fits exactly up to the end leaves no pad', () => {
    const { writer, reader } = ringAt(256, (256 - recordBytes(16)) >> 3)
    assert.ok(writer.push(1, 1, Buffer.alloc(16, 1), 0, 16))
    assert.equal(writer.depthBytes(), recordBytes(16))
    assert.equal(writer.reserve(0), RECORD_HEADER_BYTES, 'the next one begins at 0')
    writer.publish()
    assert.equal(read(reader)?.body.length, 16)
  })

  test('a pad that is published without its record is not a message', () => {
    const { writer, reader } = ringAt(256, (256 - 16) >> 3)
    assert.ok(writer.reserve(24) > 0)
    writer.publish()
    assert.equal(read(reader), undefined)
    reader.release()
    assert.equal(writer.depthBytes(), 0)
    pushAndRead({ writer, reader, memory: createRingMemory(64) }, 1, Buffer.alloc(24, 1))
  })
})

describe('a full ring', () => {
  for (const dataBytes of SIZES) {
    test(`a ring of ${dataBytes} takes records to its last byte, then refuses, and goes on after release()`, () => {
      const { writer, reader } = ringAt(dataBytes)
      const body = Buffer.alloc(0)
      let count = 0
      while (writer.push(1, count, body, 0, 0)) count++
      assert.equal(count, dataBytes / RECORD_HEADER_BYTES, 'no byte is wasted')
      assert.equal(writer.depthBytes(), dataBytes)
      writer.publish()
      for (let i = 0; i < count; i++) assert.equal(read(reader)?.ticket, i)
      assert.equal(writer.push(1, 0, body, 0, 0), false, 'read is not released')
      reader.release()
      assert.equal(writer.depthBytes(), 0)
      assert.ok(writer.push(1, 0, body, 0, 0))
    })

    test(`a record of the largest size fits an empty ring of ${dataBytes} wherever it stands`, () => {
      const largest = new RingWriter(createRingMemory(dataBytes)).messageBytesMax
      assert.equal(largest, Math.min(RECORD_BYTES_MAX, dataBytes / 8))
      const step = dataBytes > 1_024 ? 4_096 - 8 : 8
      for (let at = 0; at < dataBytes; at += step) {
        pushAndRead(ringAt(dataBytes, at >> 3), at, Buffer.alloc(largest, 9))
      }
    })
  }

  test('a push that finds no room changes nothing', () => {
    const { writer, reader } = ringAt(256)
    const body = Buffer.alloc(32, 3)
    let count = 0
    while (writer.push(1, count, body, 0, 32)) count++
    const depthBytes = writer.depthBytes()
    for (let i = 0; i < 5; i++) assert.equal(writer.push(2, 99, body, 0, 32), false)
    assert.equal(writer.depthBytes(), depthBytes)
    writer.publish()
    for (let i = 0; i < count; i++) assert.equal(read(reader)?.ticket, i)
    assert.equal(read(reader), undefined)
  })

  test('nothing is readable before publish()', () => {
    const { writer, reader } = ringAt(256)
    writer.push(1, 1, Buffer.alloc(0), 0, 0)
    assert.equal(reader.next(), false)
    writer.publish()
    assert.equal(reader.next(), true)
  })

  test('a ring too small for a record and its pad is refused, and one whose size is no power of two', () => {
    assert.throws(() => createRingMemory(RING_BYTES_MIN / 2), AssertionError)
    assert.throws(() => createRingMemory(1_000), AssertionError)
    assert.throws(
      () => ringAt(256).writer.reserve(33),
      AssertionError,
      'more than an eighth of the ring',
    )
  })
})

describe('long messages', () => {
  test('come out whole, after the short ones that were pushed between their parts', () => {
    const { writer, reader } = ringAt(1_024)
    const long = new Random(1).bytes(300)
    const stoppedAt = writer.pushPart(5, 50, long, 0, 300, 0)
    assert.equal(stoppedAt, 300)
    const ring = ringAt(1_024)
    const part = (from: number, to: number): void => {
      const at = ring.writer.reserve(to - from)
      long.copy(ring.writer.bytes, at, from, to)
      ring.writer.commit(at, 5, 50, to - from, to < 300 ? FLAG_MORE : 0, 300)
    }
    part(0, 100)
    ring.writer.push(1, 1, long, 0, 3)
    part(100, 101)
    ring.writer.push(1, 2, long, 0, 0)
    part(101, 200)
    part(200, 300)
    ring.writer.publish()
    assert.deepEqual(read(ring.reader), { op: 1, ticket: 1, body: long.subarray(0, 3) })
    assert.deepEqual(read(ring.reader), { op: 1, ticket: 2, body: Buffer.alloc(0) })
    assert.deepEqual(read(ring.reader), { op: 5, ticket: 50, body: long })
    writer.publish()
    assert.deepEqual(read(reader), { op: 5, ticket: 50, body: long })
  })

  test('larger than the whole ring go through it as room comes', () => {
    const { writer, reader } = ringAt(256)
    const long = new Random(2).bytes(10_000)
    let found: ReturnType<typeof read>
    for (let from = 0, turns = 0; found === undefined; turns++) {
      from = writer.pushPart(5, 1, long, 0, long.length, from)
      writer.publish()
      found = read(reader)
      reader.release()
      assert.ok(turns < 1_000, 'it ends')
    }
    assert.deepEqual(found.body, long)
  })

  test('of the length of a record exactly are one record', () => {
    const { writer, reader } = ringAt(1_024)
    const body = new Random(3).bytes(writer.messageBytesMax)
    assert.equal(writer.pushPart(5, 1, body, 0, body.length, 0), body.length)
    assert.equal(writer.depthBytes(), recordBytes(body.length))
    writer.publish()
    assert.deepEqual(read(reader)?.body, body)
  })
})

describe('against a plain queue', () => {
  for (const dataBytes of SIZES.slice(0, 5)) {
    for (const cursor of CURSORS) {
      randomTest(`random steps on a ring of ${dataBytes} from cursor ${cursor}`, {}, random =>
        randomSteps(ringAt(dataBytes, cursor), random),
      )
    }
  }
})

function randomSteps({ writer, reader }: Ring, random: Random): void {
  const queue: { op: number; ticket: number; body: Buffer }[] = []
  let publishedCount = 0
  for (let step = 0; step < (FULL ? 200_000 : 5_000); step++) {
    const action = random.below(10)
    if (action < 5) {
      const body = random.bytes(random.below(writer.messageBytesMax + 1))
      const op = random.between(1, 255)
      if (random.chance(0.5)) {
        if (writer.push(op, step, body, 0, body.length)) queue.push({ op, ticket: step, body })
        continue
      }
      const at = writer.reserve(random.between(body.length, writer.messageBytesMax))
      if (at < 0 || random.chance(0.1)) continue // Reserved and given up: nothing was queued.
      body.copy(writer.bytes, at)
      writer.commit(at, op, step, body.length)
      queue.push({ op, ticket: step, body })
    } else if (action < 7) {
      writer.publish()
      publishedCount = queue.length
    } else if (action < 9) {
      const found = read(reader)
      if (publishedCount === 0) assert.equal(found, undefined)
      else {
        assert.deepEqual(found, queue.shift())
        publishedCount--
      }
    } else {
      reader.release()
    }
  }
}
