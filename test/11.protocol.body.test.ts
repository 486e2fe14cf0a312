/** Headers and bodies: what is written is read back, and bytes that are not the table's are PROTOCOL.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  a reader is given exactly its range, between guards that would decode to something else. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { HearthError } from '../engine/errors.ts'
import {
  BodyReader,
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeNil,
  writeText,
  writeTextHeader,
  writeTime,
  writeUint,
} from '../engine/protocol/body.ts'
import {
  BODY_BYTES_MAX,
  bodyBytesOf,
  HEADER_BYTES,
  opOf,
  readId,
  readWord,
  writeHeader,
} from '../engine/protocol/header.ts'
import { encodeValue } from '../engine/protocol/payload.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { FULL, randomTest, runs } from './helpers/random.ts'

const GUARD = 0x2a
const uint = fc.oneof(
  fc.nat(0xff),
  fc.nat(0x1_ffff),
  fc.integer({ min: 0xffff_0000, max: 0x1_0000_ffff }),
  fc.nat(Number.MAX_SAFE_INTEGER),
)
const text = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ minLength: 60, maxLength: 300 }),
  fc.integer({ min: 65_500, max: 65_600 }).map(length => 'é'.repeat(length / 2)),
)

/** Writes between guards; a reader over what was written. */
function written(bytesMax: number, write: (target: Buffer, at: number) => number): BodyReader {
  const target = Buffer.alloc(bytesMax + 16, GUARD)
  const end = write(target, 8)
  assert.ok(end <= 8 + bytesMax, 'no more than was said')
  for (let at = 0; at < 8; at++) assert.equal(target[at], GUARD, 'nothing before')
  for (let at = 8 + bytesMax; at < target.length; at++)
    assert.equal(target[at], GUARD, 'nothing behind')
  return new BodyReader().reset(target, 8, end)
}

/** The same bytes, read by msgpackr's writer: our forms are msgpack. */
function asMsgpackr(value: unknown): BodyReader {
  const bytes = encodeValue(value)
  return new BodyReader().reset(bytes, 0, bytes.length)
}

function isProtocol(error: unknown): boolean {
  return (
    error instanceof HearthError &&
    error.code === 'PROTOCOL' &&
    error.message.startsWith('malformed frame: ')
  )
}

describe('a header', () => {
  test('gives back op, id and length, in eight bytes', () => {
    const header = fc.record({
      op: fc.nat(0xff),
      id: fc.nat(0xffff_ffff),
      bytes: fc.nat(BODY_BYTES_MAX),
      at: fc.nat(9),
    })
    fc.assert(
      fc.property(header, ({ op, id, bytes, at }) => {
        const target = Buffer.alloc(32, GUARD)
        assert.equal(writeHeader(target, at, op, id, bytes), at + HEADER_BYTES)
        const word = readWord(target, at)
        assert.deepEqual([opOf(word), bodyBytesOf(word), readId(target, at)], [op, bytes, id])
        assert.equal(target[at + HEADER_BYTES], GUARD)
      }),
      runs(500, 50_000),
    )
  })

  test('stands on the wire as drawn: bytes:24 | op:8 in one little-endian word, then the id', () => {
    const target = Buffer.alloc(8)
    writeHeader(target, 0, 0x81, 0xdead_beef, 0x12_3456)
    assert.equal(target.toString('hex'), '81563412efbeadde')
  })
})

describe('an argument', () => {
  test('uint: from 0 to 2^53 - 1, as msgpackr writes it too', () => {
    fc.assert(
      fc.property(uint, value => {
        const reader = written(SCALAR_BYTES_MAX, (target, at) => writeUint(target, at, value))
        assert.equal(reader.uint(), value)
        reader.done()
        assert.equal(asMsgpackr(value).uint(), value)
      }),
      runs(1_000, 100_000),
    )
  })

  test('uint: in the shortest form there is', () => {
    const lengths = [0, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000].map(
      value => writeUint(Buffer.alloc(9), 0, value),
    )
    assert.deepEqual(lengths, [1, 1, 2, 2, 3, 3, 5, 5, 9])
  })

  test('text: any string of well-formed UTF-16, in the shortest form, as msgpackr reads and writes it', () => {
    fc.assert(
      fc.property(text, value => {
        const reader = written(textBytesMax(value), (target, at) => writeText(target, at, value))
        assert.equal(reader.end - 8, encodeValue(value).length)
        assert.equal(reader.text(), value)
        reader.done()
        assert.equal(asMsgpackr(value).text(), value)
      }),
      runs(500, 20_000),
    )
  })

  test('text: a lone surrogate becomes U+FFFD, and keeps to its room', () => {
    for (const value of ['\ud800', 'a\udfffb', '\ud800'.repeat(40)]) {
      const reader = written(textBytesMax(value), (target, at) => writeText(target, at, value))
      assert.equal(reader.text(), value.toWellFormed())
    }
  })

  test('text: each length of header, at its edges', () => {
    for (const bytes of [0, 1, 31, 32, 255, 256, 65_535, 65_536]) {
      const value = 'x'.repeat(bytes)
      const reader = written(textBytesMax(value), (target, at) => writeText(target, at, value))
      assert.equal(reader.text(), value)
      const head = written(5, (target, at) => writeTextHeader(target, at, bytes))
      assert.equal(reader.end - 8 - bytes, head.end - 8)
    }
  })

  test('time: any float64, Infinity too, and integers from other writers', () => {
    for (const value of [0, 1, 1_700_000_000_123, 0.5, Number.MAX_SAFE_INTEGER, Infinity]) {
      assert.equal(written(9, (target, at) => writeTime(target, at, value)).time(), value)
      assert.equal(asMsgpackr(value).time(), value)
    }
  })

  test('ttl: nil, milliseconds or a policy', () => {
    assert.equal(written(1, writeNil).ttl(), undefined)
    for (const value of [0, 60_000, 2 ** 40, 'session', '', 'p'.repeat(300)])
      assert.equal(asMsgpackr(value).ttl(), value)
  })

  test('also in shared memory, where rings are written in place', () => {
    const target = Buffer.from(new SharedArrayBuffer(256))
    for (const value of ['short', 'größe €', 'long '.repeat(12), '']) {
      const end = writeUint(target, writeText(target, 3, value), 300)
      const reader = new BodyReader().reset(target, 3, end)
      assert.equal(reader.text(), value)
      assert.equal(reader.uint(), 300)
      reader.done()
    }
  })
})

const READS = {
  text: (reader: BodyReader) => reader.text(),
  textRange: (reader: BodyReader) => reader.textRange(),
  uint: (reader: BodyReader) => reader.uint(),
  time: (reader: BodyReader) => reader.time(),
  ttl: (reader: BodyReader) => reader.ttl(),
  raw: (reader: BodyReader) => reader.raw(),
  done: (reader: BodyReader) => reader.done(),
} as const

const WRONG = {
  text: [0x00, null, true, [], 1.5],
  uint: [null, 'text', -1, 1.5, true, 2 ** 60, NaN, Infinity],
  time: [null, 'text', -1, []],
  ttl: [true, [], {}, -1, 1.5],
} as const

describe('malformed bytes', () => {
  for (const [kind, values] of Object.entries(WRONG)) {
    for (const value of values) {
      test(`${JSON.stringify(value) ?? value} where ${kind} is expected is PROTOCOL`, () => {
        assert.throws(() => READS[kind as keyof typeof WRONG](asMsgpackr(value)), isProtocol)
      })
    }
  }

  test('a body cut short anywhere is PROTOCOL, though valid bytes follow behind its end', () => {
    const whole = [
      ...encodeValue('a key of some length, more than thirty-one bytes'),
      ...encodeValue(2 ** 40),
    ]
    const bytes = Buffer.from([...whole, ...encodeValue(77), ...encodeValue('more')])
    for (let end = 0; end < whole.length; end++) {
      const reader = new BodyReader().reset(bytes, 0, end)
      const readAll = (): void => {
        reader.text()
        reader.uint()
        reader.done()
      }
      assert.throws(readAll, isProtocol, `cut at ${end}`)
      assert.ok(reader.at <= end)
    }
  })

  test('a str that says it is 4 GiB long is PROTOCOL', () => {
    for (const kind of ['text', 'textRange', 'ttl'] as const) {
      const bytes = Buffer.from([0xdb, 0xff, 0xff, 0xff, 0xff, 0x61])
      assert.throws(() => READS[kind](new BodyReader().reset(bytes, 0, bytes.length)), isProtocol)
    }
  })

  test('bytes left over are PROTOCOL', () => {
    const reader = asMsgpackr([1]).reset(Buffer.from([1, 2]), 0, 2)
    reader.uint()
    assert.throws(() => reader.done(), isProtocol)
  })

  randomTest(
    'random bytes read by any table row are values or PROTOCOL, and never read past the end',
    {},
    random => {
      const rows = Object.values(OPS)
      for (let round = 0; round < (FULL ? 2_000_000 : 40_000); round++) {
        const bytes = random.bytes(random.below(24) + 16)
        const end = random.between(0, bytes.length - 8)
        const reader = new BodyReader().reset(bytes, 0, end)
        const row = random.pick(rows)
        try {
          for (const [, kind] of row.args)
            if (kind in READS) READS[kind as keyof typeof READS](reader)
        } catch (error) {
          if (!isProtocol(error)) throw error
        }
        assert.ok(reader.at <= end, `${bytes.toString('hex')} to ${end} was read to ${reader.at}`)
      }
    },
  )
})
