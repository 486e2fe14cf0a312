/** Histograms, their percentiles, and the table of requests that are answered later.
 *  Owns:   nothing.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { countOf, DURATION_BOUNDS_MS, Histogram, percentileOf, sumOf } from '../engine/histogram.ts'
import { OpenRequests } from '../engine/router/open_requests.ts'
import { RequestMeter, WIRE_GONE } from '../engine/router/request_meter.ts'
import { randomTest } from './helpers/random.ts'

test('a duration falls into the first bucket whose bound it does not pass', () => {
  const histogram = new Histogram()
  for (const boundMs of DURATION_BOUNDS_MS) histogram.add(boundMs)
  histogram.add(1e9, 3)
  const [sumMs, ...counts] = histogram.figures()
  assert.deepEqual(counts, [...DURATION_BOUNDS_MS.map(() => 1), 3])
  assert.equal(
    sumMs,
    DURATION_BOUNDS_MS.reduce((sum, each) => sum + each, 3e9),
  )
  assert.equal(countOf(histogram.figures()), DURATION_BOUNDS_MS.length + 3)
})

test('a percentile lies in the bucket of the true one, and what came since is a difference', () => {
  const histogram = new Histogram()
  for (let ms = 1; ms <= 100; ms++) histogram.add(ms)
  const before = histogram.figures()
  const p50 = percentileOf(before, 0.5)
  assert.ok(p50 > 25 && p50 <= 50, `${p50}`)
  assert.ok(percentileOf(before, 0.99) > 50)
  assert.ok(Number.isNaN(percentileOf(sumOf([]), 0.5)))
  histogram.add(2_000, 10)
  const since = sumOf([histogram.figures()], before)
  assert.equal(countOf(since), 10)
  assert.ok(percentileOf(since, 0.5) > 1_000)
  assert.equal(countOf(sumOf([before, since])), 110)
})

randomTest(
  'requests that are answered later are found by client and id, whatever comes and goes',
  {},
  random => {
    const open = new OpenRequests()
    const model = new Map<string, number>()
    for (let step = 0; step < 20_000; step++) {
      const client = random.between(1, 8)
      const id = random.chance(0.1) ? 0xffff_ffff : random.below(300)
      const key = `${client}/${id}`
      const kind = random.below(1_000)
      if (kind < 550) {
        open.add(client, id, step & 0x7f, step)
        model.set(key, step)
      } else if (kind < 999) {
        assert.equal(open.take(client, id), model.has(key), `step ${step}`)
        if (model.has(key))
          assert.deepEqual([open.op, open.startMs], [model.get(key)! & 0x7f, model.get(key)])
        model.delete(key)
      } else {
        const own = [...model].filter(([each]) => each.startsWith(`${client}/`))
        const taken: number[] = []
        open.takeAll(client, (_op, startMs) => taken.push(startMs))
        assert.deepEqual(taken.sort(), own.map(([, startMs]) => startMs).sort())
        for (const [each] of own) model.delete(each)
      }
      assert.equal(open.count, model.size, `step ${step}`)
    }
  },
)

test('a request is counted once, by what ended it first', () => {
  const meter = new RequestMeter()
  meter.turnBegins()
  meter.answered(0x10, 0)
  meter.answered(0x10, 0)
  meter.answered(0x11, 4)
  meter.opened(1, 7, 0x20)
  meter.opened(1, 8, 0x20)
  meter.turnEnds()
  assert.equal(meter.openCount, 2)
  meter.closed(1, 7, 12)
  meter.closed(1, 7, 0)
  meter.gone(1)
  const found = meter
    .figures()
    .map(({ op, durations, failures }) => [op, countOf(durations), [...failures]])
  assert.deepEqual(found, [
    [0x10, 2, []],
    [0x11, 1, [[4, 1]]],
    [
      0x20,
      2,
      [
        [12, 1],
        [WIRE_GONE, 1],
      ],
    ],
  ])
})
