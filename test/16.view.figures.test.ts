/** What the page and `hearth top` make of what the engine tells: rows, figures with units, the last ten minutes.
 *  Owns:   nothing.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bar, spark } from '../engine/cli/top/spark.ts'
import type { Health, JsonSample, MetricsJson, SeriesJson } from '../engine/figures.ts'
import { CHARTS, summaryOf } from '../engine/observe/view/charts.ts'
import { alertsOf, slowOf } from '../engine/observe/view/extras.ts'
import { History, SAMPLE_COUNT_MAX } from '../engine/observe/view/history.ts'
import { MEMORY_BUDGET_BYTES, overviewOf } from '../engine/observe/view/overview.ts'
import { clockTime, shown } from '../engine/observe/view/units.ts'

const series = (atMs: number[], share: (number | null)[]): SeriesJson => ({
  everyMs: 2_000,
  atMs,
  values: { memoryHitShare: share },
})

test('figures have their unit, and one that is not known is a dash', () => {
  const values = [0.9314, 0.0834, 1.94, 2_300, 3_250_585, 12_345, null, Number.NaN] as const
  const units = ['share', 'ms', 'ms', 'ms', 'bytes', 'count', 'count', 'ms'] as const
  const words = values.map((value, at) => shown(value, units[at]!))
  assert.deepEqual(words, ['93.1 %', '83 µs', '1.9 ms', '2.3 s', '3.1 MiB', '12 345', '–', '–'])
  assert.deepEqual(
    [0, 0.25, 9.96, 1_234.5].map(value => shown(value, 'perSecond')),
    ['0/s', '0.3/s', '10.0/s', '1 235/s'],
  )
  assert.match(clockTime(Date.UTC(2026, 0, 1, 3, 4, 5)), /^\d\d:\d\d:05$/)
})

test('hours of samples are no more than the last ten minutes of them', () => {
  const history = new History()
  for (let at = 1; at <= 10_000; at++) history.add(series([at * 2_000], [at / 10_000]))
  assert.equal(history.atMs.length, SAMPLE_COUNT_MAX)
  assert.equal(history.column('memoryHitShare').length, SAMPLE_COUNT_MAX)
  assert.deepEqual([history.lastAtMs, history.latest('memoryHitShare')], [20_000_000, 1])
})

test('a stretch without samples is a gap, and a clock that was put back begins anew', () => {
  const history = new History()
  assert.equal(history.add(series([], [])), false)
  history.add(series([10_000, 12_000], [0.5, 0.6]))
  history.add(series([60_000], [0.7]))
  assert.deepEqual(history.column('memoryHitShare'), [0.5, 0.6, null, 0.7])
  assert.equal(history.atMs.length, 4)
  assert.deepEqual(history.column('nothing'), [null, null, null, null])
  history.add(series([20_000], [0.8]))
  assert.deepEqual([history.atMs, history.column('memoryHitShare')], [[20_000], [0.8]])
})

test('a figure that the engine tells of later has nothing before', () => {
  const history = new History()
  history.add(series([2_000, 4_000], [0.1, 0.2]))
  history.add({ everyMs: 2_000, atMs: [6_000], values: { memoryHitShare: [0.3], later: [1] } })
  assert.deepEqual(history.column('later'), [null, null, 1])
})

test('a chart is told in words: each line now, and between which values it was', () => {
  const history = new History()
  assert.match(
    summaryOf(CHARTS.hits, history),
    /^Hit rate by tier\. memory: nothing yet; SQLite: no/,
  )
  history.add(series([2_000, 4_000, 302_000], [0.2, 0.9, 0.5]))
  const words = 'memory: 50.0 % now, 20.0 % to 90.0 % over the last 5 minutes'
  assert.ok(summaryOf(CHARTS.hits, history).includes(words))
})

const metric = (...samples: JsonSample[]) => ({ type: 'gauge', help: '', samples })
const METRICS: MetricsJson = {
  atMs: 1,
  metrics: {
    hearth_requests_total: metric(
      { labels: { op: 'set', outcome: 'ok' }, value: 5 },
      { labels: { op: 'get', outcome: 'ok' }, value: 90 },
      { labels: { op: 'get', outcome: 'timeout' }, value: 2 },
    ),
    hearth_request_duration_seconds: metric({ labels: { op: 'get' }, p50: 0.001, p99: null }),
    hearth_cache_bytes: metric({ labels: { tier: 'memory' }, value: 1_000 }),
    hearth_breaker_state: metric(
      { labels: { breaker: 'main.reads' }, value: 0 },
      { labels: { breaker: 'main.writes' }, value: 2 },
    ),
    hearth_pool_waiting: metric({ labels: { pool: 'main' }, value: 3 }),
  },
}
const HEALTH: Health = {
  status: 'degraded',
  parts: {
    cache: { status: 'ok', hitRateTarget: 0.8, warning: 'few hits' },
    'service.b': { status: 'ok' },
    'service.a': { status: 'down', reason: 'no answer' },
    'postgres.main': { status: 'ok', servers: [{ name: 'r1', role: 'replica', lagMs: 12 }] },
  },
}

test('metrics and health become rows, the worst first', () => {
  const overview = overviewOf(METRICS, HEALTH)
  assert.deepEqual(overview.ops, [
    { op: 'get', count: 92, failed: 2, p50Ms: 1, p99Ms: null },
    { op: 'set', count: 5, failed: 0, p50Ms: null, p99Ms: null },
  ])
  assert.deepEqual(
    overview.breakers.map(({ name, state }) => [name, state]),
    [
      ['main.writes', 'open'],
      ['main.reads', 'closed'],
    ],
  )
  assert.deepEqual(
    overview.services.map(({ name }) => name),
    ['a', 'b'],
  )
  assert.deepEqual(
    overview.troubles.map(({ part, status }) => [part, status]),
    [
      ['cache', 'warning'],
      ['service.a', 'down'],
    ],
  )
  assert.equal(overview.servers[0]!.lagMs, 12)
  assert.equal(overview.pools[0]!.waiting, 3)
  assert.equal(overview.budgetBytes, MEMORY_BUDGET_BYTES + 1_000)
  assert.equal(overview.tiers[1]!.entries, null, 'what is not told is not 0')
})

test('alerts and slow statements of any shape are rows, or nothing', () => {
  const active = [{ name: 'lag', severity: 'critical', message: 'r1 is behind', sinceMs: 5 }]
  const recent = [{ rule: 'old', atMs: 1 }, { rule: 'new', atMs: 3, endedMs: 4 }, 'nonsense']
  const alerts = alertsOf({ active, recent })!
  assert.deepEqual(
    alerts.map(({ name, endedMs }) => [name, endedMs]),
    [
      ['lag', null],
      ['new', 4],
      ['old', 1],
    ],
  )
  for (const nothing of [undefined, null, 'no', 404, []]) assert.equal(alertsOf(nothing), undefined)
  assert.deepEqual(alertsOf({}), [])
  const slow = { database: 'main', text: 'select\n  1', atMs: 1, tookMs: 700, caller: 'web' }
  for (const answer of [[slow], { slow: [slow] }])
    assert.deepEqual(slowOf(answer), [{ ...slow, text: 'select 1' }])
  for (const nothing of [undefined, {}, 'no']) assert.equal(slowOf(nothing), undefined)
})

test('a line of blocks is as wide as asked for, newest at the right', () => {
  assert.equal(spark([0, 5, null, 10], 6, 10), '  ▁▅ █')
  assert.equal(spark([1, 2, 3], 2, 3), '▆█')
  assert.equal(spark([0, 0], 2, 0), '▁▁')
  assert.deepEqual([bar(0, 4), bar(0.5, 4), bar(7, 4)], ['░░░░', '██░░', '████'])
})
