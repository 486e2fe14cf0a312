/** 14: the reader of ROWS on bodies made by hand: every form, shapes that come and go, and bytes that are no body.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  bodies are made with msgpackr, which shares no code with the reader or with the encoder in C. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { HearthError } from '../engine/errors.ts'
import { emittedPgTypes, renderPgTypes } from '../engine/protocol/emit.ts'
import { encodeValue } from '../engine/protocol/payload.ts'
import { PG_TYPES } from '../engine/protocol/pg_types.ts'
import { type Rows, readRows } from '../engine/protocol/rows.ts'
import { FULL, type Random, randomTest } from './helpers/random.ts'

type Columns = readonly (readonly [name: string, oid: number])[]

function body(columns: Columns, values: readonly unknown[], rowCount: unknown = null): Buffer {
  const shape = encodeValue(columns.flat())
  return Buffer.concat([
    encodeValue('primary'),
    encodeValue(Buffer.from(shape)),
    encodeValue('SELECT'),
    encodeValue(rowCount),
    encodeValue(values),
  ])
}

const read = (bytes: Buffer): Rows => readRows(bytes, 0, bytes.length)
const values = (oid: number, ...given: unknown[]): unknown[] =>
  read(body([['v', oid]], given)).rows.map(row => row['v'])
const oidOf = (name: string): number => PG_TYPES.find(type => type.name === name)!.oid
const arrayOf = (name: string): number => PG_TYPES.find(type => type.name === name)!.arrayOid

function refused(bytes: Buffer): void {
  assert.throws(
    () => read(bytes),
    (error: HearthError) => error instanceof HearthError && error.code === 'PROTOCOL',
  )
}

describe('the reader', () => {
  test('takes every form of a number, a text and bytes', () => {
    const numbers = [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]
    const all = [...numbers, ...numbers.map(value => -value - 1), -32, -33, -128, -129, 0.5]
    assert.deepEqual(values(oidOf('float8'), ...all), all)
    // msgpackr would write -0 as 0.
    const shape = body([['v', oidOf('float8')]], []).subarray(0, -1)
    const minusZero = Buffer.concat([shape, Buffer.from('91cb8000000000000000', 'hex')])
    assert.deepEqual(read(minusZero).rows, [{ v: -0 }])
    const big = [2n ** 63n - 1n, -(2n ** 63n), 0n]
    assert.deepEqual(values(oidOf('int8'), ...big), big)
    const texts = [...[0, 1, 3, 4, 5, 12, 13, 31, 32, 255, 256, 65_535, 65_536]].flatMap(length => [
      'x'.repeat(length),
      'é'.repeat(length),
      `${'x'.repeat(length)}🏠`,
    ])
    assert.deepEqual(values(oidOf('text'), ...texts), texts)
    const buffers = [0, 1, 255, 256, 65_536].map(length => Buffer.alloc(length, 0xc1))
    assert.deepEqual(values(oidOf('bytea'), ...buffers), buffers)
    assert.deepEqual(values(oidOf('bool'), true, false, null), [true, false, null])
  })

  test('makes Dates of numbers in columns of times, and leaves texts as they are', () => {
    for (const name of ['timestamp', 'timestamptz']) {
      const given = [Infinity, -Infinity, 'Mon 11 Jan', null]
      assert.deepEqual(values(oidOf(name), ...given), given)
      assert.ok(values(oidOf(name), 1e12 + 0.5)[0] instanceof Date)
    }
    const at = Date.UTC(2016, 0, 11, 17, 30)
    assert.deepEqual(values(oidOf('timestamptz'), at), [new Date(at)])
    assert.deepEqual(values(oidOf('timestamp'), at), [new Date(2016, 0, 11, 17, 30)])
    assert.deepEqual(values(oidOf('float8'), at), [at])
  })

  test('parses JSON, and leaves what is none as it is', () => {
    const given = ['{"a":[1]}', 'null', '"x"', '{nonsense', '']
    assert.deepEqual(values(oidOf('json'), ...given), [{ a: [1] }, null, 'x', '{nonsense', ''])
    assert.deepEqual(values(arrayOf('jsonb'), [['{}', null], 'x']), [[[{}, null], 'x']])
  })

  test('takes arrays in columns of arrays alone, six deep', () => {
    assert.deepEqual(values(arrayOf('int4'), [1, [], null], '{1'), [[1, [], null], '{1'])
    assert.deepEqual(values(arrayOf('text'), Array(70_000).fill('a')), [Array(70_000).fill('a')])
    refused(body([['v', oidOf('int4')]], [[1]]))
    assert.deepEqual(values(arrayOf('int4'), [[[[[[1]]]]]]), [[[[[[[1]]]]]]])
    refused(body([['v', arrayOf('int4')]], [[[[[[[[1]]]]]]]]))
  })

  test('keeps columns in their order, and the later of two with one name', () => {
    const names = ['b', 'a', '', '__proto__', 'constructor', 'Ü', 'b']
    const columns = names.map(name => [name, 23] as const)
    const { rows, fields } = read(body(columns, [1, 2, 3, 4, 5, 6, 7]))
    assert.deepEqual(Object.keys(rows[0]!), ['b', 'a', '', '__proto_', 'constructor', 'Ü'])
    assert.deepEqual(Object.values(rows[0]!), [7, 2, 3, 4, 5, 6])
    assert.deepEqual(
      fields.map(field => field.name),
      names,
    )
  })

  test('reads a part of a larger buffer, and keeps none of it', () => {
    const inner = body(
      [
        ['b', oidOf('bytea')],
        ['t', 25],
      ],
      [Buffer.from('bytes'), 'text'.repeat(9)],
    )
    const outer = Buffer.concat([Buffer.alloc(7, 0xff), inner, Buffer.alloc(7, 0x01)])
    const found = readRows(outer, 7, 7 + inner.length)
    const kept = found.rows[0]!['b'] as Buffer
    outer.fill(0)
    assert.deepEqual(found, read(inner))
    // The next result in the same buffer, as a socket's are, has other columns of the same length.
    const reused = body([['c1', 23]], [7])
    assert.deepEqual(read(reused).rows, [{ c1: 7 }])
    reused.set(body([['c2', 23]], [8]))
    assert.deepEqual(read(reused).rows, [{ c2: 8 }])
    assert.deepEqual(read(body([['c1', 23]], [9])).rows, [{ c1: 9 }])
    assert.equal(kept.buffer.byteLength, 5)
    assert.deepEqual(read(inner).fields, found.fields)
  })

  test('tells a thousand shapes apart, and knows those it has seen lately', () => {
    const first = read(body([['c0', 23]], [1])).fields
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 1_000; i++) {
        const { rows, fields } = read(body([[`c${i}`, i % 2 === 0 ? 23 : 25]], [i]))
        assert.deepEqual(rows, [{ [`c${i}`]: i }])
        assert.equal(read(body([[`c${i}`, i % 2 === 0 ? 23 : 25]], [i])).fields, fields)
      }
    }
    assert.deepEqual(read(body([['c0', 23]], [1])).fields, first)
    assert.notEqual(read(body([['c0', 23]], [1])).fields, first, 'the oldest have gone')
    const wide = Array.from({ length: 1_600 }, (_, i) => [`${'w'.repeat(60)}${i}`, 23] as const)
    const row = wide.map((_, i) => i)
    assert.deepEqual(Object.values(read(body(wide, row)).rows[0]!), row)
  })
})

describe('what is no body', () => {
  const columns: Columns = [
    ['a', 23],
    ['b', 25],
  ]

  test('is PROTOCOL: counts that do not fit, wrong types, something behind', () => {
    refused(body(columns, [1]))
    refused(body(columns, [1, 'x', 2]))
    refused(
      Buffer.concat([body(columns, []).subarray(0, -1), Buffer.from('9301a17802a179', 'hex')]),
    )
    refused(Buffer.concat([body(columns, [1, 'x']), Buffer.from([0xc0])]))
    for (const rowCount of [-1, 0.5, 'x', true, Number.NaN, 2n ** 60n])
      refused(body(columns, [], rowCount))
    refused(body([], [null, 1]))
    assert.deepEqual(read(body([], [null, null])).rows, [{}, {}])
    const shapes = [
      [],
      [0xc0],
      [0x91, 0xa1, 0x61],
      [0x92, 0x01, 0x01],
      [0x92, 0xa1, 0x61],
      [0x90, 0x90],
      [0xdc, 0],
    ]
    for (const shape of shapes) {
      const parts = ['primary', Buffer.from(shape), 'SELECT', null, []]
      refused(Buffer.concat(parts.map(encodeValue)))
    }
    // Codes that no encoder writes: 0xc1, ext, uint64, float32, maps.
    for (const code of [0xc1, 0xc7, 0xcf, 0xca, 0xd4, 0x80, 0xde])
      refused(
        Buffer.concat([
          body([['v', 25]], []).subarray(0, -1),
          Buffer.from([0x91, code]),
          Buffer.alloc(20),
        ]),
      )
  })

  test('is PROTOCOL before memory is taken for what it announces', () => {
    const head = body(columns, []).subarray(0, -1)
    for (const tail of ['ddffffffff', 'dd80000000', 'dcffff', '9f', '91dbffffffff', '91c6ffffffff'])
      refused(Buffer.concat([head, Buffer.from(tail, 'hex')]))
    const array = body([['v', 1007]], []).subarray(0, -1)
    for (const tail of ['91ddffffffff', '91dcffff01', '919f01'])
      refused(Buffer.concat([array, Buffer.from(tail, 'hex')]))
    assert.throws(() => readRows(Buffer.alloc(4), 0, 5), { code: 'PROTOCOL' })
    assert.throws(() => readRows(Buffer.alloc(4), -1, 4), { code: 'PROTOCOL' })
    assert.throws(() => readRows(Buffer.alloc(4), 3, 2), { code: 'PROTOCOL' })
  })

  randomTest('is PROTOCOL wherever it was cut', {}, random => {
    for (let round = 0; round < (FULL ? 300 : 15); round++) {
      const whole = randomBody(random)
      for (let end = 0; end < whole.length; end++) {
        // What lies behind would read well: only `end` says that it is not there.
        assert.throws(() => readRows(whole, 0, end), { code: 'PROTOCOL' })
      }
      read(whole)
    }
  })

  randomTest('is read or PROTOCOL, and nothing else, when bytes of it are others', {}, random => {
    for (let round = 0; round < (FULL ? 1_000_000 : 30_000); round++) {
      const bytes = random.chance(0.1) ? random.bytes(random.below(80)) : randomBody(random)
      for (let i = random.between(1, 6); i > 0 && bytes.length > 0; i--) {
        bytes[random.below(bytes.length)] = random.chance(0.5)
          ? random.next()
          : 0x80 | random.next()
      }
      try {
        read(bytes)
      } catch (error) {
        assert.ok(error instanceof HearthError && error.code === 'PROTOCOL', bytes.toString('hex'))
      }
    }
  })
})

test('pg_types.h is as fresh as the table', () => {
  const stale = 'native-bindings/src/pg_types.h is stale: run `npm run emit`'
  assert.equal(emittedPgTypes(), renderPgTypes(), stale)
})

test('the table of types has each oid once', () => {
  const oids = PG_TYPES.flatMap(({ oid, arrayOid }) => [oid, arrayOid])
  assert.equal(new Set(oids).size, oids.length)
})

function randomBody(random: Random): Buffer {
  const types = PG_TYPES.flatMap(({ oid, arrayOid }) => [oid, arrayOid])
  const columns = Array.from(
    { length: random.below(5) },
    (_, i) => [`c${i}`, random.pick(types)] as const,
  )
  const rowCount = random.below(4)
  const list = Array.from({ length: rowCount }, () =>
    columns.map(([, oid]) => randomValue(random, oid)),
  )
  const flat = columns.length === 0 ? Array(rowCount).fill(null) : list.flat()
  return body(columns, flat, random.chance(0.5) ? rowCount : null)
}

function randomValue(random: Random, oid: number): unknown {
  const isArray = PG_TYPES.some(type => type.arrayOid === oid)
  if (isArray && random.chance(0.7)) {
    const inner = random.chance(0.3) ? oid : 25
    return Array.from({ length: random.below(3) }, () =>
      inner === oid ? [randomValue(random, 25)] : 'x',
    )
  }
  return random.pick([
    null,
    true,
    7,
    -7,
    300,
    70_000,
    -70_000,
    1.5,
    2n ** 60n,
    'text',
    'é'.repeat(20),
    Buffer.from('b'),
  ])
}
