/** Prometheus' rules and Grafana's dashboards: each expression is run by a real Prometheus that scrapes a loaded engine.
 *  Owns:   one server, an engine, a Prometheus for the file.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../engine/client/index.ts'
import { ALERTS, type AlertSpec, FROM_OUTSIDE } from '../engine/observe/alerts/alert_spec.ts'
import { prometheusName } from '../engine/observe/alerts/prometheus_rules.ts'
import { METRICS } from '../engine/observe/metric_spec.ts'
import { PROJECT } from './helpers/engine.ts'
import { openEngine } from './helpers/engine_parts.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { NO_PROMETHEUS, type Prometheus, startPrometheus } from './helpers/prometheus.ts'

const RULES = join(PROJECT, 'engine', 'deploy', 'prometheus')
const DASHBOARDS = join(PROJECT, 'engine', 'deploy', 'grafana')
const rulesFiles = readdirSync(RULES).filter(name => name.endsWith('.rules.yml'))

/** Of these an engine without replicas, services and limits has no series. */
const NOT_HERE = new Set([
  'hearth_replica_lag_seconds',
  'hearth_service_up',
  'hearth_rate_limited_total',
])

interface Panel {
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly fieldConfig?: {
    defaults: { unit?: string; thresholds?: { steps: unknown[] } }
  }
  readonly targets?: { expr: string }[]
}

interface Dashboard {
  readonly uid: string
  readonly schemaVersion: number
  readonly panels: Panel[]
  readonly annotations: { list: { expr?: string }[] }
  readonly templating: { list: { name: string; type: string; definition?: string }[] }
}

const dashboard = (name: string): Dashboard =>
  JSON.parse(readFileSync(join(DASHBOARDS, `${name}.json`), 'utf8'))

/** Every expression that is run anywhere, with what it belongs to. */
function expressions(): [where: string, expr: string][] {
  const all: [string, string][] = []
  for (const [name, { expr, threshold }] of Object.entries<AlertSpec>({
    ...ALERTS,
    ...FROM_OUTSIDE,
  }))
    all.push([prometheusName(name), expr.replaceAll('$t', String(threshold))])
  for (const name of ['database', 'cache']) {
    const { panels, annotations } = dashboard(name)
    for (const { title, targets = [] } of panels)
      for (const { expr } of targets) all.push([`${name}: ${title}`, filled(expr)])
    for (const { expr } of annotations.list)
      if (expr !== undefined) all.push([`${name}: annotation`, filled(expr)])
  }
  return all
}

/** With Grafana's variables as it fills them in. */
function filled(expr: string): string {
  const text = expr
    .replaceAll('$__rate_interval', '1m')
    .replaceAll(/\$(job|instance|pool)\b/g, '.*')
  assert.doesNotMatch(text, /\$/, expr)
  return text
}

/** Each metric with its labels, as an expression selects it. */
function selectorsIn(expr: string): string[] {
  return [...expr.matchAll(/\bhearth_\w+(\{[^}]*\})?/g)].map(match => match[0])
}

describe('dashboards', () => {
  for (const [name, panelCount] of [
    ['database', 7],
    ['cache', 8],
  ] as const)
    test(`${name} has at least ${panelCount} panels, each with a description, a unit and thresholds`, () => {
      const { panels, schemaVersion, templating, uid } = dashboard(name)
      const shown = panels.filter(({ type }) => type !== 'row')
      assert.ok(shown.length >= panelCount)
      assert.ok(schemaVersion >= 38)
      assert.equal(uid, `hearth-${name}`)
      assert.equal(templating.list[0]!.type, 'datasource')
      for (const { title, description, fieldConfig, targets } of shown) {
        assert.ok(description !== undefined && description.length > 10, title)
        assert.ok(fieldConfig?.defaults.unit !== undefined, title)
        assert.ok(fieldConfig.defaults.thresholds!.steps.length > 0, title)
        assert.ok(targets!.length > 0, title)
      }
      assert.equal(new Set(shown.map(({ title }) => title)).size, shown.length)
    })
})

test('there are alerts enough, and each metric that one names is in the table', () => {
  const count = (group: string) =>
    Object.values<AlertSpec>(ALERTS).filter(each => each.group === group).length
  assert.ok(count('database') >= 11)
  assert.ok(count('cache') >= 8)
  for (const [where, expr] of expressions())
    for (const selector of selectorsIn(expr)) {
      const name = /^\w+/.exec(selector)![0]
      const base = name.replace(/_(bucket|count|sum)$/, '')
      assert.ok(name in METRICS || base in METRICS, `${where} names ${name}`)
    }
})

describe('with a real Prometheus', { skip: NO_PROMETHEUS }, () => {
  const endings: (() => Promise<void>)[] = []
  let prometheus: Prometheus
  let metricsUrl: string

  before(async () => {
    const ending = { after: (end: () => Promise<void>) => void endings.unshift(end) }
    const postgres = await sharedPostgres()
    const { engine, connect } = await openEngine(ending, {
      http: { listen: '127.0.0.1:0' },
      postgres: { main: { url: postgres.url, pool: { size: 4 } } },
    })
    const url = new URL((await engine.httpUrl())!)
    metricsUrl = `${url.origin}/metrics`
    const client = await connect({ sharedMemory: false })
    await load(client)
    const files = rulesFiles.map(name => join(RULES, name))
    prometheus = await startPrometheus(ending, url.host, files)
    await prometheus.until('hearth_uptime_seconds')
    await load(client)
    await sleep(1_100)
    await load(client)
    await prometheus.until('rate(hearth_query_duration_seconds_count{kind="write"}[1m]) > 0')
    await prometheus.until('rate(hearth_query_cache_requests_total{result="memory"}[1m]) > 0')
  })

  after(async () => {
    for (const end of endings) await end()
  })

  test('promtool finds nothing in the rules, their tests pass, the example is a configuration', () => {
    const run = (...args: string[]) => {
      const { status, stdout, stderr } = spawnSync('promtool', args, {
        cwd: RULES,
        encoding: 'utf8',
      })
      assert.equal(status, 0, `promtool ${args.join(' ')}\n${stdout}${stderr}`)
    }
    run('check', 'rules', ...rulesFiles)
    run('test', 'rules', ...readdirSync(RULES).filter(name => name.endsWith('.test.yml')))
    run('check', 'config', 'prometheus.example.yml')
  })

  test('promtool finds nothing in what a loaded engine tells', async () => {
    const text = await (await fetch(metricsUrl)).text()
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
      input: text,
      encoding: 'utf8',
    })
    assert.equal(status, 0, stdout + stderr)
    assert.equal(stderr + stdout, '')
  })

  test('every expression is evaluated, and all that it selects is there', async () => {
    const missing: string[] = []
    for (const [where, expr] of expressions()) {
      await prometheus.query(expr)
      for (const selector of selectorsIn(expr)) {
        const name = /^\w+/.exec(selector)![0]
        if (NOT_HERE.has(name)) continue
        // What has gone wrong is counted from its first time on: without it there is no such series.
        const present = selector.replace(/, outcome(=~?)"[^"]*"/, '')
        const found = await prometheus.query(`count(${present})`)
        if (found.length === 0) missing.push(`${where}: ${present}`)
      }
    }
    assert.deepEqual(missing, [])
  })

  test('panels show something, and the rules are healthy and silent', async () => {
    const silent: string[] = []
    for (const name of ['database', 'cache'])
      for (const { title, targets = [] } of dashboard(name).panels)
        for (const { expr } of targets)
          if ((await prometheus.query(filled(expr))).length === 0) silent.push(title)
    assert.deepEqual(silent, ['Requests not served', 'Replica lag'], 'nothing failed, no replicas')
    const rules = await prometheus.rules()
    assert.ok(rules.length >= 30)
    assert.deepEqual(
      rules.filter(({ health }) => health !== 'ok'),
      [],
    )
    const firing = await prometheus.query('ALERTS{alertstate="firing"}')
    assert.deepEqual(
      firing.map(({ metric }) => metric['alertname']),
      [],
    )
  })
})

/** A little of everything. */
async function load(client: Hearth): Promise<void> {
  const { cache, db } = client
  await db.query('create table if not exists loaded (id int)')
  await db.query('create table if not exists steady (id int)')
  for (let i = 0; i < 20; i++) {
    await cache.set(`key:${i}`, i, { tags: ['loaded'] })
    await cache.get(`key:${i}`)
    await cache.get(`absent:${i}`)
    await db.query('insert into loaded values ($1)', [i])
    await db.query('select count(*) from steady', [], { cache: { ttlMs: 60_000 } })
  }
  await cache.invalidateTags(['loaded'])
}
