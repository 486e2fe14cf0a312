/** The recorder by itself: its bounds, its percentiles, its bursts, its sketch of parameters.
 *  Owns:   nothing.   Thread: main of a test process.   Holds: the random cases print their seed. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeValue } from '../engine/protocol/payload.ts'
import { Recorder } from '../workers/postgres/insight/recorder.ts'
import { bursts, statements } from '../workers/postgres/insight/report.ts'
import { SAMPLES_BYTES_MAX } from '../workers/postgres/insight/sample.ts'
import { Statements } from '../workers/postgres/statement.ts'
import { randomTest } from './helpers/random.ts'

const OPTIONS = { maxStatements: 100, slowThresholdMs: 100 }

/** Records a call as a lane does. */
function ran(
  recorder: Recorder,
  sql: string,
  more: { params?: unknown[]; ms?: number; client?: number; atMs?: number; rows?: number } = {},
) {
  const { params = [], ms = 1, client = 1, atMs = 0, rows = 1 } = more
  const statement = table.of(sql)
  recorder.see(statement, 'main')
  const bytes = encodeValue(params)
  recorder.took(
    {
      statement,
      client,
      params: bytes,
      paramsStart: 0,
      paramsEnd: bytes.length,
      startedMs: atMs,
      rows,
    },
    ms,
  )
}

let table = new Statements()

test('100 000 different texts take a bounded place, and what is called often stays', () => {
  table = new Statements()
  const recorder = new Recorder({ ...OPTIONS, maxStatements: 500 })
  for (let n = 0; n < 300; n++) ran(recorder, 'select often from t where id = $1', { params: [n] })
  globalThis.gc?.()
  const beforeBytes = process.memoryUsage().heapUsed
  for (let n = 0; n < 50_000; n++) ran(recorder, `select a from t where id = ${n}`)
  for (let n = 0; n < 50_000; n++)
    ran(recorder, `select c${n} from t where id = ${n} -- ${'x'.repeat(n % 100)}`, { ms: 2 })
  globalThis.gc?.()
  const moreBytes = process.memoryUsage().heapUsed - beforeBytes
  const found = statements(recorder)
  assert(found.length <= 500)
  assert.equal(found.find(({ text }) => text === 'select a from t where id = $1')!.calls, 50_000)
  assert.equal(found.find(({ text }) => text === 'select often from t where id = $1')!.calls, 300)
  // The samples, the texts and the columns; the table of statements is bounded by itself.
  const samplesBytes = recorder.slots.samples.reduce(
    (sum, each) => sum + (each?.sql.length ?? 0),
    0,
  )
  assert(samplesBytes <= SAMPLES_BYTES_MAX)
  if (globalThis.gc !== undefined) assert(moreBytes < 2_500_000, `${moreBytes}`)
})

test('long texts take no more room than many short ones', () => {
  const recorder = new Recorder({ ...OPTIONS, maxStatements: 5_000 })
  for (let n = 0; n < 2_000; n++)
    ran(recorder, `select ${Array.from({ length: 200 }, (_, i) => `c${n}_${i}`).join(', ')} from t`)
  const chars = statements(recorder).reduce((sum, { text }) => sum + text!.length, 0)
  assert(chars <= 300 * 1024, String(chars))
  assert(recorder.slots.evictions > 0)
})

test('percentiles are within their half octave, and in order', () => {
  const recorder = new Recorder(OPTIONS)
  for (let i = 1; i <= 1_000; i++) ran(recorder, 'select 1', { ms: i / 10 })
  const [{ p50Ms, p95Ms, p99Ms, maxMs, meanMs }] = statements(recorder) as [
    ReturnType<typeof statements>[number],
  ]
  assert(p50Ms > 50 / 1.5 && p50Ms < 50 * 1.5, String(p50Ms))
  assert(p95Ms > 95 / 1.5 && p95Ms < 95 * 1.5, String(p95Ms))
  assert(p50Ms <= p95Ms && p95Ms <= p99Ms && p99Ms <= maxMs)
  assert.equal(Math.round(maxMs), 100)
  assert(Math.abs(meanMs - 50.05) < 0.01)
})

const LOOPS = [
  {
    name: 'ten within a second, each another',
    expected: 1,
    call: (n: number) => ({ count: 10, atMs: n * 100, params: [n] }),
  },
  { name: 'nine', expected: 0, call: (n: number) => ({ count: 9, atMs: n * 10, params: [n] }) },
  {
    name: 'ten in more than a second',
    expected: 0,
    call: (n: number) => ({ count: 10, atMs: n * 112, params: [n] }),
  },
  { name: 'ten that are the same', expected: 0, call: () => ({ count: 10, atMs: 0, params: [1] }) },
  {
    name: 'two by turns',
    expected: 0,
    call: (n: number) => ({ count: 40, atMs: n, params: [n % 2] }),
  },
  {
    name: 'twelve across a full second',
    expected: 1,
    call: (n: number) => ({ count: 12, atMs: 950 + n * 20, params: [n] }),
  },
]
for (const { name, expected, call } of LOOPS)
  test(`${name} is ${expected === 0 ? 'no' : 'a'} burst`, () => {
    const recorder = new Recorder(OPTIONS)
    for (let n = 0; n < call(0).count; n++) ran(recorder, 'select * from t where id = $1', call(n))
    assert.equal(bursts(recorder).length, expected)
  })

test('ten clients that ask once each are no burst, and literals count as parameters', () => {
  const recorder = new Recorder(OPTIONS)
  for (let n = 0; n < 20; n++)
    ran(recorder, 'select * from t where id = $1', { client: n + 1, params: [n] })
  assert.deepEqual(bursts(recorder), [])
  for (let n = 0; n < 12; n++)
    ran(recorder, `select * from u where id = ${n}`, { client: 3, atMs: n })
  assert.deepEqual(
    bursts(recorder).map(({ text, longest }) => [text, longest]),
    [['select * from u where id = $1', 12]],
  )
})

randomTest(
  'the sketch tells how many kinds of parameters there were, within a fifth',
  {},
  random => {
    for (const kinds of [1, 5, 40, 200]) {
      const recorder = new Recorder(OPTIONS)
      const seed = random.next()
      for (let i = 0; i < kinds * 5; i++)
        ran(recorder, 'select 1', { params: [seed + (i % kinds), 'x'] })
      const { results } = statements(recorder)[0]!
      assert.equal(results.calls, kinds * 5)
      const off = Math.abs(results.parameters - kinds)
      assert(off <= Math.max(1, kinds * 0.2), `${results.parameters} for ${kinds}`)
    }
  },
)
