/** 27: parameters as msgpack arrive as JavaScript's String() would write them, and nothing else is sent.
 *  Owns: one server.   Thread: main of a test process.   Holds: random values come from a printed seed.
 *  Runs: beside others, since no figure of it is near its bound. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Packr, pack } from 'msgpackr'
import { SEND } from '../native-bindings/pipeline.ts'
import { openPipeline, refusedOf, rowsOf, type TestPipeline } from './helpers/native_pipeline.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { Random, runs, SEED } from './helpers/random.ts'

const { url } = await sharedPostgres()

/** Slot n - 1 gives its n parameters back as texts. */
function defineTexts(opened: TestPipeline, count: number): number {
  const columns = Array.from({ length: count }, (_, i) => `$${i + 1}::text`)
  opened.pipeline.define(count - 1, `texts_${count}`, `select array[${columns.join()}]`)
  return count - 1
}

async function textsOf(opened: TestPipeline, slot: number, params: unknown[]): Promise<unknown> {
  return rowsOf(await opened.execute(slot, params)).values[0]
}

const PLAIN = [
  null,
  true,
  false,
  0,
  -0,
  1,
  -1,
  127,
  128,
  255,
  256,
  -32,
  -33,
  -128,
  -129,
  32_767,
  65_536,
  -32_769,
  2 ** 31,
  -(2 ** 31),
  -(2 ** 31) - 1,
  2 ** 32 - 1,
  2 ** 32,
  Number.MAX_SAFE_INTEGER,
  Number.MIN_SAFE_INTEGER,
  0.1,
  0.1 + 0.2,
  1 / 3,
  -2.5,
  5e-1,
  1e-6,
  1.0000000000000002,
  123_456.789e-9,
  999_999_999_999_999.9,
  0.000001234567890123456,
  4.35,
  Number.NaN,
  Infinity,
  -Infinity,
  2n ** 63n - 1n,
  -(2n ** 63n),
  2n ** 64n - 1n,
  '',
  'text',
  'äöü ☕ 𝄞',
  `quotes ' " \\`,
  'x'.repeat(31),
  'x'.repeat(32),
  'x'.repeat(255),
  'x'.repeat(256),
  'x'.repeat(65_535),
  'x'.repeat(65_536),
]

test('each kind of plain value arrives as String() writes it', async t => {
  const opened = await openPipeline(t, url)
  const slot = defineTexts(opened, PLAIN.length)
  const expected = PLAIN.map(value => (value === null ? null : String(value)))
  assert.deepEqual(await textsOf(opened, slot, PLAIN), expected)
  const one = defineTexts(opened, 1)
  for (const value of PLAIN) {
    const texts = await textsOf(opened, one, [value])
    assert.deepEqual(texts, [value === null ? null : String(value)])
  }
})

test('any number is either sent as String() writes it, or left to JavaScript', async t => {
  const opened = await openPipeline(t, url)
  const count = 500
  const slot = defineTexts(opened, count)
  const random = new Random(SEED)
  const draw = new DataView(new ArrayBuffer(8))
  const plain: number[] = []
  const isPlain = (value: number) =>
    !Number.isFinite(value) ||
    Number.isSafeInteger(value) ||
    (!Number.isInteger(value) && Math.abs(value) >= 1e-6 && Math.abs(value) < 1e15)
  for (let i = 0; plain.length < 20 * count; i++) {
    draw.setUint32(0, random.below(2 ** 32))
    draw.setUint32(4, random.below(2 ** 32))
    // Exponents near zero, or hardly any number would be in the range.
    if (i % 10 > 0)
      draw.setUint16(
        0,
        (random.below(2) << 15) | ((990 + random.below(90)) << 4) | random.below(16),
      )
    const any = draw.getFloat64(0)
    const value = i % 3 === 0 ? Number(any.toPrecision(1 + random.below(17))) : any
    if (isPlain(value)) plain.push(value)
    else assert.equal(statusOf(opened, [value]), SEND.NEEDS_VALUES, `${value} (SEED=${SEED})`)
  }
  for (let at = 0; at < plain.length; at += count) {
    const values = plain.slice(at, at + count)
    const texts = (await textsOf(opened, slot, values)) as string[]
    texts.forEach((text, i) => {
      assert.equal(text, String(values[i]), `SEED=${SEED}`)
    })
  }
})

test('any text, bytes, integer, boolean or null comes back (fast-check)', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'five', 'select $1::text, $2::bytea, $3::int8, $4::bool, $5::text')
  const text = fc.string({ unit: 'binary', maxLength: 300 }).filter(each => !each.includes('\0'))
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(
        fc.option(text),
        fc.option(fc.uint8Array({ maxLength: 300 })),
        fc.option(fc.maxSafeInteger()),
        fc.option(fc.boolean()),
        fc.option(text),
      ),
      async params => {
        const [a, b, c, d, e] = params
        const bytes = b === null ? null : Buffer.from(b)
        const { values } = rowsOf(await opened.execute(0, [a, bytes, c, d, e]))
        assert.deepEqual(values, [a, bytes, c, d, e])
      },
    ),
    runs(100, 5_000),
  )
})

/** What sending says; nothing may be sent. */
function statusOf(opened: TestPipeline, params: unknown): number {
  const bytes = pack(params)
  if (opened.pipeline.pending === 0) opened.pipeline.forget(1_000)
  opened.pipeline.define(1_000, 'probe', 'select 1')
  const status = opened.pipeline.execute(1_000, 1, bytes, 0, bytes.length)
  opened.pipeline.forget(1_000)
  return status
}

test('what only JavaScript can write is not sent', async t => {
  const opened = await openPipeline(t, url)
  for (const params of [
    [[1, 2]],
    [{ a: 1 }],
    [new Date()],
    [undefined],
    [new Map([[1, 2]])],
    ['a\0b'],
    [1e15 + 0.5],
    [2 ** 53],
    [1e21],
    [9.999999e-7],
    [5e-324],
    {},
    'text',
    7,
    null,
  ]) {
    assert.equal(statusOf(opened, params), SEND.NEEDS_VALUES, JSON.stringify(params))
  }
  assert.equal(opened.pipeline.pending, 0)
})

test('bytes that are no msgpack array, or only the beginning of one, are not sent', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'probe', 'select 1')
  const whole = pack(['text', 1.5, -70_000, 2 ** 40, Buffer.alloc(300), null, 'x'.repeat(70_000)])
  for (let size = 0; size < whole.length; size += size < 400 ? 1 : 997) {
    const exact = Buffer.from(whole.subarray(0, size)) // nothing behind it that could be read by mistake
    assert.equal(opened.pipeline.execute(0, 1, exact, 0, size), SEND.NEEDS_VALUES, `${size} bytes`)
  }
  const longer = Buffer.concat([whole, Buffer.from([0])])
  assert.equal(opened.pipeline.execute(0, 1, longer, 0, longer.length), SEND.NEEDS_VALUES)
  for (const head of [
    [0xdd, 0xff, 0xff, 0xff, 0xff],
    [0xdc, 0xff, 0xff],
    [0x9f, 0xc6, 0xff, 0xff, 0xff, 0xff],
    [0x91, 0xdb, 0xff, 0xff, 0xff, 0xff, 0x41],
    [0x91, 0xc1],
  ]) {
    assert.equal(
      opened.pipeline.execute(0, 1, Buffer.from(head), 0, head.length),
      SEND.NEEDS_VALUES,
    )
  }
  assert.equal(opened.pipeline.pending, 0)
})

test(`random bytes do no harm (SEED=${SEED})`, async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'probe', 'select 1')
  const random = new Random(SEED)
  const sent: Promise<unknown>[] = []
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.from(Array.from({ length: 1 + random.below(20) }, () => random.below(256)))
    bytes[0] = 0x90 | random.below(6)
    const status = opened.pipeline.execute(0, i, bytes, 0, bytes.length)
    if (status === SEND.DONE) opened.pipeline.finish()
    if (status === SEND.REFUSED) assert.equal(await opened.connect(url), undefined)
  }
  await Promise.all(sent)
})

test('parameters are read from the middle of shared memory', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'three', 'select $1::text, $2::int, $3::bytea')
  const shared = Buffer.from(new SharedArrayBuffer(4_096))
  const bytes = pack(['from a ring', 42, Buffer.from([1, 2, 3])])
  bytes.copy(shared, 1_001)
  const answer = opened.sent(id =>
    opened.pipeline.execute(0, id, shared, 1_001, 1_001 + bytes.length),
  )
  shared.fill(0xff) // libpq has its own copy
  assert.deepEqual(rowsOf(await answer).values, ['from a ring', 42, Buffer.from([1, 2, 3])])
})

test('an empty Buffer is an empty bytea and not NULL, either way', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'empty', 'select $1::bytea is null, length($1::bytea)')
  assert.deepEqual(rowsOf(await opened.execute(0, [Buffer.alloc(0)])).values, [false, 0])
  assert.deepEqual(rowsOf(await opened.executeValues(0, [new Uint8Array(0)])).values, [false, 0])
  assert.deepEqual(rowsOf(await opened.executeValues(0, [null])).values, [true, null])
})

test('float32, as other encoders write it, is the number it stands for', async t => {
  const opened = await openPipeline(t, url)
  const slot = defineTexts(opened, 1)
  const bytes = new Packr({ useFloat32: 3 }).pack([0.5])
  assert.equal(bytes[1], 0xca)
  const answer = await opened.sent(id => opened.pipeline.execute(slot, id, bytes, 0, bytes.length))
  assert.deepEqual(rowsOf(answer).values, [['0.5']])
})

test('values: text, bytes, null; toString() may throw or finish the pipeline', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'three', 'select $1::text, $2::bytea, $3::text')
  const { values } = rowsOf(await opened.executeValues(0, ['{1,2}', Buffer.from('b'), undefined]))
  assert.deepEqual(values, ['{1,2}', Buffer.from('b'), null])
  assert.throws(() => opened.pipeline.executeValues(0, 1, ['a\0b']), TypeError)
  assert.throws(() => opened.pipeline.executeValues(0, 1, 'abc' as unknown as string[]))
  const thrower = {
    toString: () => {
      throw new Error('no text of mine')
    },
  }
  assert.throws(() => opened.pipeline.executeValues(0, 1, [thrower]), /no text of mine/)
  const finisher = {
    toString: () => {
      opened.pipeline.forget(0)
      opened.pipeline.finish()
      return 'x'
    },
  }
  assert.equal(opened.pipeline.executeValues(0, 1, [finisher, null, null]), SEND.REFUSED)
})

test('the wrong number of parameters is the server’s error, and of that request alone', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'one', 'select $1::int')
  const [few, many, right] = await Promise.all([
    opened.execute(0, []),
    opened.execute(0, [1, 2]),
    opened.execute(0, [3]),
  ])
  assert.equal(refusedOf(few!).sqlState, '08P01')
  assert.equal(refusedOf(many!).sqlState, '08P01')
  assert.deepEqual(rowsOf(right!).values, [3])
})

test('60 000 parameters, and 16 MB of them, go through', async t => {
  const opened = await openPipeline(t, url)
  const columns = Array.from({ length: 60_000 }, (_, i) => `$${i + 1}::int`)
  opened.pipeline.define(0, 'many', `select cardinality(array[${columns.join()}])`)
  assert.deepEqual(rowsOf(await opened.execute(0, new Array(60_000).fill(1))).values, [60_000])
  opened.pipeline.define(1, 'much', 'select length($1::text), length($2::bytea)')
  const size = 8_000_000
  const answer = await opened.execute(1, ['t'.repeat(size), Buffer.alloc(size, 7)])
  assert.deepEqual(rowsOf(answer).values, [size, size])
})
