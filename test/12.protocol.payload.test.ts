/** Values as msgpack: the kinds of CONTRACT survive at any depth, each value stands by itself, bad bytes only throw.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  deepStrictEqual tells a Map from an object and undefined from a missing field. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { monotonicMs } from '../engine/clock.ts'
import { decodeSequence, decodeValue, encodeValue } from '../engine/protocol/payload.ts'
import { FULL, randomTest, runs } from './helpers/random.ts'

// msgpackr gives a field called __proto__ another name, on purpose.
const name = fc.string().filter(key => key !== '__proto__')
const number = fc
  .oneof(fc.integer(), fc.maxSafeInteger(), fc.double())
  .filter(value => !Object.is(value, -0))
const leaf = fc.oneof(
  number,
  fc.string({ unit: 'binary' }),
  fc.boolean(),
  fc.constant(null),
  fc.constant(undefined),
  fc.bigInt(),
  fc.date(),
  fc.uint8Array().map(bytes => Uint8Array.from(bytes)),
)
const { value: anyValue } = fc.letrec<{ value: unknown }>(tie => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.array(tie('value')),
    fc.dictionary(name, tie('value'), { noNullPrototype: true }),
    fc.array(fc.tuple(tie('value'), tie('value'))).map(entries => new Map(entries)),
    fc.array(leaf).map(items => new Set(items)),
  ),
}))

function roundTrip(value: unknown): unknown {
  return decodeValue(encodeValue(value))
}

describe('a round trip', () => {
  test('keeps numbers, texts, Date, Map, Set, bigint, Uint8Array and undefined at any depth', () => {
    fc.assert(
      fc.property(anyValue, value => assert.deepStrictEqual(roundTrip(value), value)),
      runs(1_500, 100_000),
    )
  })

  test('keeps bigints of every size apart from numbers', () => {
    const edges = [7n, 8n, 31n, 32n, 53n, 63n, 64n, 65n, 200n].flatMap(bits => [
      2n ** bits - 1n,
      2n ** bits,
      -(2n ** bits),
      -(2n ** bits) - 1n,
    ])
    assert.deepStrictEqual(roundTrip(edges), edges)
    const numbers = edges.filter(edge => edge === BigInt(Number(edge))).map(Number)
    assert.deepStrictEqual(roundTrip(numbers), numbers)
  })

  test('keeps a Map wherever it is: in objects without prototype, beside a field named constructor', () => {
    const map = new Map<unknown, unknown>([[{ a: 1 }, new Map([[1n, new Set([1])]])]])
    assert.deepStrictEqual(roundTrip({ constructor: 'x', map }), { constructor: 'x', map })
    const bare = Object.assign(Object.create(null), { map })
    assert.deepStrictEqual((roundTrip(bare) as { map: unknown }).map, map)
    assert.deepStrictEqual(roundTrip([new Set([map])]), [new Set([map])])
  })

  test('keeps an Error’s name and message', () => {
    const error = roundTrip({ error: new RangeError('too far') }) as { error: Error }
    assert.ok(error.error instanceof RangeError)
    assert.equal(error.error.message, 'too far')
  })

  test('keeps dates before 1970, with milliseconds, far away and invalid', () => {
    for (const ms of [
      0,
      1,
      -1,
      999,
      2 ** 32 * 1_000,
      2 ** 34 * 1_000,
      -62_135_596_800_000,
      8.64e15,
      NaN,
    ]) {
      assert.equal((roundTrip(new Date(ms)) as Date).getTime(), ms)
    }
  })
})

describe('a decoded value', () => {
  test('is a copy: bytes of reused or shared memory may change behind it', () => {
    for (const memory of [new ArrayBuffer(128), new SharedArrayBuffer(128)]) {
      const shared = Buffer.from(memory as ArrayBuffer)
      const value = {
        bytes: Uint8Array.of(1, 2, 3),
        buffer: Buffer.from('abc'),
        text: 'a text of more than a few bytes',
      }
      const encoded = encodeValue(value)
      encoded.copy(shared, 5)
      const decoded = decodeValue(shared, 5, 5 + encoded.length)
      shared.fill(0xff)
      assert.deepStrictEqual(decoded, value)
    }
  })

  test('stands by itself: nothing that one message defines changes how the next is read', () => {
    const definesRecord = Buffer.from([0xd4, 0x72, 0x40, 0x92, 0xa1, 0x61, 0xa1, 0x62, 1, 2])
    for (const bytes of [
      definesRecord,
      Buffer.from([0xd4, 0x72, 0x41]),
      Buffer.from([0xd5, 0x72, 0x40, 0x01]),
    ]) {
      try {
        decodeValue(bytes)
      } catch {}
    }
    const numbers = Array.from({ length: 128 }, (_, i) => i)
    assert.deepStrictEqual(decodeValue(Buffer.from([0xdc, 0, 128, ...numbers])), numbers)
    assert.deepStrictEqual(roundTrip({ a: 1, b: [{ a: 2, b: 3 }] }), { a: 1, b: [{ a: 2, b: 3 }] })
  })

  test('cannot reach the prototype of objects', () => {
    roundTrip(
      JSON.parse(
        '{ "__proto__": { "polluted": 1 }, "constructor": { "prototype": { "polluted": 1 } } }',
      ),
    )
    assert.equal('polluted' in {}, false)
  })

  test('of a sequence comes in order, and an empty sequence is none', () => {
    const values = [1, 'two', [3], null, { four: 4 }]
    assert.deepStrictEqual(decodeSequence(Buffer.concat(values.map(encodeValue))), values)
    assert.deepStrictEqual(decodeSequence(Buffer.alloc(0)), [])
  })
})

describe('bad bytes', () => {
  test('trailing, missing and cut ones throw', () => {
    assert.throws(() => decodeValue(Buffer.from([1, 2])))
    assert.throws(() => decodeValue(Buffer.alloc(0)))
    const whole = encodeValue({
      a: ['text', 1n, new Date(1), new Map([[1, 2]])],
      b: Buffer.alloc(40),
    })
    for (let end = 0; end < whole.length; end++)
      assert.throws(() => decodeValue(whole, 0, end), `cut at ${end}`)
  })

  test('that claim to be huge take neither memory nor time', () => {
    const startedMs = monotonicMs()
    const before = process.memoryUsage().rss
    for (const head of [0xc6, 0xc9, 0xdb, 0xdd, 0xdf]) {
      for (const length of [0xffff_ffff, 0x7fff_ffff, 0x01ff_ffff]) {
        const bytes = Buffer.alloc(5)
        bytes[0] = head
        bytes.writeUInt32BE(length, 1)
        assert.throws(() => decodeValue(bytes))
        assert.throws(() => decodeValue(Buffer.concat([Buffer.from([0x91]), bytes])))
      }
    }
    assert.ok(process.memoryUsage().rss - before < 64 << 20)
    assert.ok(monotonicMs() - startedMs < 1_000)
  })

  randomTest(
    'random bytes give a value or an error, soon, and leave the decoder sound',
    {},
    random => {
      const sound = { text: 'sound', map: new Map([[1, [2n]]]), at: new Date(5) }
      const encoded = encodeValue(sound)
      for (let round = 0; round < (FULL ? 1_000_000 : 20_000); round++) {
        const bytes = random.chance(0.5)
          ? random.bytes(random.between(1, 40))
          : damaged(encoded, random.below(encoded.length), random.below(256))
        const startedMs = monotonicMs()
        try {
          decodeValue(bytes)
        } catch (error) {
          assert.ok(error instanceof Error)
        }
        assert.ok(monotonicMs() - startedMs < 1_000, `${bytes.toString('hex')} took long`)
        if (round % 100 === 0) assert.deepStrictEqual(roundTrip(sound), sound)
      }
    },
  )

  test('a structure that contains itself is a RangeError', () => {
    const loop: unknown[] = []
    loop.push(loop)
    assert.throws(() => encodeValue(loop), RangeError)
  })
})

function damaged(bytes: Buffer, at: number, byte: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] = byte
  return copy
}
