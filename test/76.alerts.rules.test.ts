/** Alerts: when one fires and ends, on a clock that the test holds; trends; what each alert measures.
 *  Owns:   a folder.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { loadConfig } from '../engine/config/load.ts'
import { DURATION_BOUNDS_MS } from '../engine/histogram.ts'
import { setLogLevel } from '../engine/log.ts'
import { ALERTS, type AlertSpec } from '../engine/observe/alerts/alert_spec.ts'
import { StateOfAlert } from '../engine/observe/alerts/alert_state.ts'
import {
  Alerts,
  type AlertsOptions,
  RECENT_COUNT_MAX,
  SUBJECT_COUNT_MAX,
  UNSEEN_MS_MAX,
} from '../engine/observe/alerts/alerts.ts'
import { Growth } from '../engine/observe/alerts/growth.ts'
import { shownValue } from '../engine/observe/alerts/shown_value.ts'
import { secondsTo, TrendHistory } from '../engine/observe/alerts/trend.ts'
import { Families } from '../engine/observe/families.ts'
import type { MetricName } from '../engine/observe/metric_spec.ts'
import { Random } from './helpers/random.ts'

setLogLevel('error')
const folder = mkdtempSync(join(tmpdir(), 'hearth-alerts-'))
after(() => rmSync(folder, { recursive: true }))

const MINUTE = 60_000
type Row = readonly [name: MetricName, labels: readonly string[], value: number | readonly number[]]

function familiesOf(rows: readonly Row[]): Families {
  const families = new Families()
  // Without it tier 2 would be down.
  families.add('hearth_cache_bytes', ['sqlite'], 1)
  for (const [name, labels, value] of rows) families.add(name, labels, value)
  return families
}

/** Alerts that are sent nowhere, on a clock of their own: `at(seconds, rows)` is one look, and gives what fires. */
function stand(options: Partial<AlertsOptions> = {}) {
  const stateDir = mkdtempSync(join(folder, 'state-'))
  const base = { dailyCap: 50, repeatMs: 0, rules: {}, channels: {}, stateDir }
  const alerts = new Alerts({ ...base, ...options })
  const startMs = Date.now()
  return {
    alerts,
    at(seconds: number, rows: readonly Row[]): string[] {
      alerts.look(familiesOf(rows), startMs + seconds * 1e3)
      const { active } = alerts.list()
      return active.map(({ alert, subject }) => `${alert} ${subject}`.trim()).toSorted()
    },
  }
}

const waiting = (count: number, pool = 'main'): Row => ['hearth_pool_waiting', [pool], count]

describe('an alert', () => {
  test('fires when it was so for its time without a break, and ends beyond its clear threshold', () => {
    const { at, alerts } = stand()
    assert.deepEqual(at(0, [waiting(50)]), [])
    assert.deepEqual(at(50, [waiting(50)]), [])
    assert.deepEqual(at(55, [waiting(20)]), [], 'not above it: from the beginning')
    assert.deepEqual(at(60, [waiting(50)]), [])
    assert.deepEqual(at(119, [waiting(50)]), [])
    assert.deepEqual(at(120, [waiting(50)]), ['pool_waiting main'])
    assert.deepEqual(at(130, [waiting(10)]), ['pool_waiting main'], 'between the thresholds')
    assert.deepEqual(at(600, [waiting(10)]), ['pool_waiting main'])
    assert.deepEqual(at(610, [waiting(2)]), ['pool_waiting main'], 'not clear for long enough')
    assert.deepEqual(at(640, [waiting(19)]), ['pool_waiting main'])
    assert.deepEqual(at(650, [waiting(2)]), ['pool_waiting main'])
    assert.deepEqual(at(710, [waiting(2)]), [])
    const [over] = alerts.list().recent
    assert.equal(over!.alert, 'pool_waiting')
    assert.equal(over!.untilMs! - over!.sinceMs, 650_000)
  })

  test('is one for each subject, and what is not measured ends it after a while only', () => {
    const { at } = stand()
    at(0, [waiting(50), waiting(50, 'archive'), waiting(0, 'calm')])
    const both = ['pool_waiting archive', 'pool_waiting main']
    assert.deepEqual(at(60, [waiting(50), waiting(50, 'archive')]), both)
    assert.deepEqual(at(UNSEEN_MS_MAX / 1e3, [waiting(50)]), both)
    assert.deepEqual(at(60 + UNSEEN_MS_MAX / 1e3, [waiting(50)]), ['pool_waiting main'])
  })

  test('that is not known neither begins nor ends', () => {
    const state = new StateOfAlert()
    const bounds = { when: 'above', threshold: 1, clear: 0, forMs: 10 } as const
    state.take(2, bounds, 0)
    state.take(Number.NaN, bounds, 5)
    assert.equal(state.take(2, bounds, 10), 'fires')
    assert.equal(state.take(0, bounds, 20), undefined)
    assert.equal(state.take(Number.NaN, bounds, 1e6), undefined)
    assert.equal(state.take(0, bounds, 1e6), 'resolved')
  })

  test('goes by what is configured: threshold, clear along with it, time, or not at all', () => {
    const rules = { pool_waiting: { threshold: 100, forMs: 0 }, ring_depth: { enabled: false } }
    const { at, alerts } = stand({ rules })
    assert.deepEqual(at(0, [waiting(100), ['hearth_ring_depth', ['r'], 1e9]]), [])
    assert.deepEqual(at(600, [waiting(101), ['hearth_ring_depth', ['r'], 1e9]]), [
      'pool_waiting main',
    ])
    assert.equal(alerts.list().active[0]!.threshold, 100)
    at(610, [waiting(26)])
    assert.deepEqual(at(700, [waiting(26)]), ['pool_waiting main'], 'clear is a quarter, here 25')
    at(710, [waiting(25)])
    assert.deepEqual(at(770, [waiting(25)]), [])
  })

  test('tables are bounded', () => {
    const { alerts, at } = stand({ rules: { pool_waiting: { forMs: 0 } } })
    const many = Array.from({ length: SUBJECT_COUNT_MAX + 50 }, (_, i) => waiting(50, `p${i}`))
    assert.ok(at(0, many).length <= SUBJECT_COUNT_MAX)
    at(UNSEEN_MS_MAX / 1e3, [])
    assert.equal(alerts.list().active.length, 0)
    assert.equal(alerts.list().recent.length, RECENT_COUNT_MAX)
  })
})

/** Looks every ten seconds for as long as it takes; the rows are what was counted so far. */
function fires(rows: (seconds: number) => readonly Row[], seconds: number): string[] {
  const { at } = stand()
  let found: string[] = []
  for (let now = 0; now <= seconds; now += 10) found = at(now, rows(now))
  return found
}

/** A histogram with so many durations, all in the bucket of this bound. */
function durations(count: number, boundMs: number): number[] {
  const bucket = DURATION_BOUNDS_MS.indexOf(boundMs)
  return [0, ...DURATION_BOUNDS_MS.map((_, i) => (i === bucket ? count : 0)), 0]
}

const reads = (hits: number, misses: number, tier = 'memory'): Row[] => [
  ['hearth_cache_requests_total', [tier, 'hit'], hits],
  ['hearth_cache_requests_total', ['sqlite', 'miss'], misses],
]

/** For each alert: rows by time with which it alone fires, and for how long they must go on. */
const CASES: Record<string, [rows: (seconds: number) => readonly Row[], seconds: number]> = {
  'database_down main': [() => [['hearth_pool_up', ['main'], 0]], 60],
  'breaker_open main.reads': [() => [['hearth_breaker_state', ['main.reads'], 2]], 20],
  'breaker_flapping main.reads': [
    s => [['hearth_breaker_transitions_total', ['main.reads', 'open'], 7 + Math.floor(s / 60)]],
    300,
  ],
  sql_failures: [
    s => [
      ['hearth_requests_total', ['query', 'ok'], s * 9],
      ['hearth_requests_total', ['query', 'circuit_open'], s],
    ],
    240,
  ],
  sql_errors: [
    s => [
      ['hearth_requests_total', ['query', 'ok'], s],
      ['hearth_requests_total', ['query', 'database'], s],
    ],
    600,
  ],
  'statement_latency main': [
    s => [['hearth_query_duration_seconds', ['main', 'read'], durations(s, 2_500)]],
    480,
  ],
  'pool_wait main': [
    s => [['hearth_pool_acquire_duration_seconds', ['main'], durations(s, 500)]],
    480,
  ],
  'pool_waiting main': [() => [waiting(21)], 60],
  'pool_use main': [() => [['hearth_pool_utilization_ratio', ['main'], 0.95]], 300],
  'pool_use_trend main': [
    s => [['hearth_pool_utilization_ratio', ['main'], 0.4 + s / 6_000]],
    2_400,
  ],
  statement_latency_trend: [
    // Of a hundred a second, more and more take half a second or longer.
    s => {
      const slow = s + (s * s) / 1_200
      const [fast, slower] = [durations(s * 100 - slow, 100), durations(slow, 1_000)]
      return [
        ['hearth_query_duration_seconds', ['main', 'read'], fast.map((n, i) => n + slower[i]!)],
      ]
    },
    2_700,
  ],
  'replica_lag main.1': [() => [['hearth_replica_lag_seconds', ['main.1'], 6]], 60],
  'failover main': [s => [['hearth_failovers_total', ['main'], s < 50 ? 0 : 1]], 60],
  'rate_limited client': [s => [['hearth_rate_limited_total', ['client'], s * 2]], 400],
  hit_rate: [s => reads(s * 7, s * 3), 1_000],
  hit_rate_trend: [s => reads(s * 90 - (s * s) / 400, s * 5 + (s * s) / 400), 3_000],
  memory_share: [
    s => [...reads(s, 0), ['hearth_cache_requests_total', ['sqlite', 'hit'], s * 9]],
    2_500,
  ],
  memory_evictions: [s => [['hearth_cache_evictions_total', ['memory', 'room'], s * 101]], 700],
  sqlite_evictions: [s => [['hearth_cache_evictions_total', ['sqlite', 'room'], s * 11]], 700],
  sqlite_full: [() => [['hearth_cache_max_bytes', ['sqlite'], 1]], 1_800],
  cache_writes_fail: [s => [['hearth_cache_writes_total', ['failed'], s / 10]], 120],
  cache_failures: [
    s => [
      ['hearth_requests_total', ['get', 'ok'], s * 90],
      ['hearth_requests_total', ['get', 'timeout'], s * 2],
      ['hearth_requests_total', ['claim', 'timeout'], s * 90],
    ],
    240,
  ],
  cache_latency: [s => [['hearth_request_duration_seconds', ['get'], durations(s, 100)]], 480],
  query_cache_hit_rate: [
    s => [
      ['hearth_query_cache_requests_total', ['memory'], s],
      ['hearth_query_cache_requests_total', ['miss'], s * 9],
    ],
    2_500,
  ],
  'invalidations table': [s => [['hearth_cache_invalidations_total', ['table'], s * 101]], 700],
  disk_free: [() => [['hearth_disk_free_bytes', [], 1e6]], 60],
  disk_free_trend: [s => [['hearth_disk_free_bytes', [], 1e10 - s * 1e6]], 2_400],
  'service_down api': [() => [['hearth_service_up', ['api'], 0]], 60],
  'worker_restarts sqlite': [
    s => [['hearth_worker_restarts_total', ['sqlite'], s < 50 ? 0 : 1]],
    60,
  ],
  requests_in_flight: [() => [['hearth_requests_in_flight', [], 2_001]], 60],
  'ring_depth r': [() => [['hearth_ring_depth', ['r'], 100_000]], 60],
  memory_use: [() => [['hearth_private_over_node_bytes', [], 70 * 1024 ** 2]], 600],
}

describe('of what the engine counts, there fires', () => {
  for (const [expected, [rows, seconds]] of Object.entries(CASES)) {
    test(`${expected}, and nothing else`, () => {
      assert.deepEqual(fires(rows, seconds), [expected])
    })
  }

  test('sqlite_down, when tier 2 tells nothing', () => {
    const { alerts } = stand()
    for (const atMs of [0, MINUTE]) alerts.look(new Families(), atMs)
    assert.deepEqual(
      alerts.list().active.map(({ alert }) => alert),
      ['sqlite_down'],
    )
  })

  test('each alert of the table', () => {
    const tested = new Set([...Object.keys(CASES).map(each => each.split(' ')[0]), 'sqlite_down'])
    assert.deepEqual(
      Object.keys(ALERTS).filter(name => !tested.has(name)),
      [],
    )
  })

  test('nothing while little is asked: a share of a few requests says nothing', () => {
    const rows = (s: number): Row[] => [
      ...reads(0, s / 60),
      ['hearth_requests_total', ['query', 'database'], s / 60],
      ['hearth_query_duration_seconds', ['main', 'read'], durations(s / 60, 10_000)],
    ]
    assert.deepEqual(fires(rows, 3_000), [])
  })
})

describe('a trend', () => {
  const points = (count: number, value: (i: number) => number) => ({
    atMs: Array.from({ length: count }, (_, i) => i * MINUTE),
    values: Array.from({ length: count }, (_, i) => value(i)),
    count,
  })

  test('that is steady tells when the limit is reached, noise and outliers or not', () => {
    const seeded = new Random(7)
    const random = () => seeded.below(1e6) / 1e6
    const rises = points(60, i => i)
    assert.equal(secondsTo(100, rises), 41 * 60)
    const noisy = points(60, i => i + (random() - 0.5) * 4 + (i % 13 === 5 ? 300 : 0))
    const left = secondsTo(100, noisy)
    assert.ok(Math.abs(left - 41 * 60) < 5 * 60, `${left}`)
    const falls = points(60, i => 100 - i)
    assert.equal(secondsTo(0, falls), 41 * 60)
  })

  test('is none for noise, a flat line, a wave, few points, the other way, or past the limit', () => {
    const seeded = new Random(11)
    const random = () => seeded.below(1e6) / 1e6
    for (const [what, value] of Object.entries({
      noise: () => random(),
      flat: () => 5,
      wave: (i: number) => Math.sin(i / 3),
      away: (i: number) => 50 - i / 10,
      past: (i: number) => 200 + i,
      'a step': (i: number) => (i < 55 ? 1 : 2),
      'a step upon a slow rise': (i: number) => i / 1e3 + (i < 30 ? 0 : 40),
      'a line that is half noise': (i: number) => (i % 9 < 5 ? i : random() * 1_000 - 500),
    }))
      assert.equal(secondsTo(100, points(60, value)), Number.POSITIVE_INFINITY, what)
    assert.equal(
      secondsTo(
        100,
        points(10, i => i),
      ),
      Number.POSITIVE_INFINITY,
      'few',
    )
  })

  test('is of two hours at most, a point a minute', () => {
    const history = new TrendHistory()
    for (let s = 0; s < 4 * 3_600; s += 10) history.add(s < 2 * 3_600 ? 1_000 : s / 60, s * 1e3)
    const left = history.secondsTo(300)
    assert.ok(Math.abs(left - 3_600) < 120, `${left}`)
  })
})

test('growth begins anew when a total fell, and forgets what is older than its window', () => {
  const growth = new Growth()
  assert.deepEqual(growth.of('a', [100], MINUTE, 0), { by: [0], overMs: 0 })
  assert.deepEqual(growth.of('a', [130], MINUTE, 30_000).by, [30])
  assert.deepEqual(growth.of('a', [190], MINUTE, 90_000).by, [60])
  assert.deepEqual(growth.of('a', [5], MINUTE, 100_000).by, [0])
  assert.deepEqual(growth.of('a', [7], MINUTE, 110_000), { by: [2], overMs: 10_000 })
})

test('values are shown with their units', () => {
  assert.equal(shownValue(0.1234, 'share'), '12.3 %')
  assert.equal(shownValue(300 * 1024 ** 2, 'bytes'), '300 MiB')
  assert.equal(shownValue(0.0251, 'seconds'), '25.1 ms')
  assert.equal(shownValue(5_400, 'left'), '90 min')
  assert.equal(shownValue(4 * 3_600, 'left'), '4 h')
  assert.equal(shownValue(1_234.5, 'count'), '1230')
})

test('an alert clears on the quiet side of its threshold', () => {
  for (const [name, { when, threshold, clear }] of Object.entries<AlertSpec>(ALERTS))
    if (when === 'above') assert.ok(clear <= threshold, name)
    else if (name !== 'database_down' && name !== 'service_down')
      assert.ok(clear >= threshold, name)
})

test('the configuration refuses an alert that is none, and is on with a channel', () => {
  const file = join(folder, 'alerts.toml')
  const load = (text: string) => {
    writeFileSync(file, text)
    return loadConfig({ file, env: {}, cwd: folder }).config.alerts
  }
  assert.throws(
    () => load('[alerts.rules.pool_wating]\nthreshold = 3'),
    /:1: .*nearest is pool_waiting/,
  )
  assert.throws(
    () => load('alerts.slack.url = "ftp://x/secret"'),
    error => {
      assert.match((error as Error).message, /https:\/\/ or http:\/\//)
      assert.doesNotMatch((error as Error).message, /secret/)
      return true
    },
  )
  assert.equal(load('').enabled, undefined)
  assert.equal(load('alerts.daily_cap = 3').enabled, undefined)
  assert.equal(load('alerts.ntfy.url = "https://ntfy.sh/topic"').enabled, true)
  assert.equal(load('alerts.email.to = ["a@example.net"]').enabled, true)
  assert.equal(load('[alerts]\nenabled = false\nslack.url = "https://h/x"').enabled, false)
  assert.deepEqual(
    { ...load('alerts.rules.hit_rate.for = "2m"').rules },
    { hit_rate: { forMs: 120_000 } },
  )
})
