/** blocks: what `hearth top` shows, as blocks of lines: charts of one line, bars and tables.
 *  Owns:   the content and its words.   Not here: how blocks stand on the screen (frame.ts), the figures (observe/view/).
 *  Thread: main.
 *  Holds:  no line of a chart is wider than asked for; tables are cut by whoever draws. */

import { CHARTS, type ChartName } from '../../observe/view/charts.ts'
import type { History } from '../../observe/view/history.ts'
import type { Overview } from '../../observe/view/overview.ts'
import {
  bytes,
  clockTime,
  count,
  duration,
  percent,
  share,
  shown,
  UNKNOWN,
  type Unit,
} from '../../observe/view/units.ts'
import { type Style, styled } from '../output.ts'
import { type Column, tableLines } from '../table.ts'
import type { Look } from './look.ts'
import { bar, spark } from './spark.ts'

export interface Block {
  readonly title: string
  readonly lines: readonly string[]
}

const LABEL_CHARS = 30
const VALUE_CHARS = 12
const SLOW_COUNT_MAX = 8

export function blocksOf(look: Look, width: number): Block[] {
  const { history, overview } = look
  const hasPools = overview.pools.length > 0
  const charts = (...names: ChartName[]) => chartLines(history, names, width)
  return [
    { title: 'Health', lines: [...troubleLines(overview), ...alertLines(look)] },
    {
      title: 'Cache',
      lines: [...charts('hits', 'requests'), '', ...tierLines(overview)],
    },
    {
      title: 'Latency in the engine',
      lines: [...charts('gets', 'sets', 'queries'), '', ...opLines(overview)],
    },
    {
      title: 'Postgres',
      lines: [
        ...(hasPools ? [...charts('connections', 'statements'), ''] : []),
        ...poolLines(overview),
        '',
        ...serverLines(overview),
        '',
        ...slowLines(look),
      ],
    },
    {
      title: 'Services and breakers',
      lines: [...serviceLines(overview), '', ...breakerLines(overview)],
    },
    {
      title: 'Memory',
      lines: [...charts('memory'), ...budgetLines(overview, width), '', ...workerLines(overview)],
    },
  ]
}

const TONES: Readonly<Record<string, Style>> = {
  first: 'cyan',
  second: 'yellow',
  third: 'blue',
  bad: 'red',
}

function chartLines(history: History, names: readonly ChartName[], width: number): string[] {
  const sparkChars = Math.max(8, width - LABEL_CHARS - VALUE_CHARS - 2)
  return names.flatMap(name => {
    const { title, unit, lines } = CHARTS[name]
    const columns = lines.map(line => history.column(line.name))
    const most = topOf(unit, columns)
    return lines.map(({ label, tone, name: figure }, at) => {
      const own = label.replace('99th percentile', 'p99')
      const words = (unit === 'ms' ? `${title}, ${own}` : own).slice(0, LABEL_CHARS)
      const drawn = styled(TONES[tone]!, spark(columns[at]!, sparkChars, most))
      const value = shown(history.latest(figure), unit).padStart(VALUE_CHARS)
      return `${words.padEnd(LABEL_CHARS)} ${drawn} ${value}`
    })
  })
}

/** Lines of one chart share a scale. */
function topOf(unit: Unit, columns: readonly (readonly (number | null)[])[]): number {
  if (unit === 'share') return 1
  return Math.max(0, ...columns.flatMap(column => column.filter(value => value !== null)))
}

const STATE_STYLES: Readonly<Record<string, Style>> = {
  ok: 'green',
  closed: 'green',
  degraded: 'yellow',
  warning: 'yellow',
  'half-open': 'yellow',
  down: 'red',
  open: 'red',
}

export function stateWords(state: string): string {
  return styled(STATE_STYLES[state] ?? 'reset', state)
}

function troubleLines({ troubles }: Overview): string[] {
  if (troubles.length === 0) return ['every part is well']
  return troubles.map(({ part, status, words }) => `${stateWords(status)}  ${part}: ${words}`)
}

function alertLines({ alerts }: Look): string[] {
  if (alerts === undefined) return ['this engine has no alerts']
  if (alerts.length === 0) return ['no alert of late']
  return alerts.map(({ name, severity, sinceMs, endedMs, words }) => {
    const since = sinceMs === null ? UNKNOWN : clockTime(sinceMs)
    const until = endedMs === null ? styled('red', 'goes on') : `until ${clockTime(endedMs)}`
    return `alert  ${name} (${severity}) since ${since}, ${until}: ${words}`
  })
}

function tierLines({ tiers, misses, hitsInPlace }: Overview): string[] {
  const reads = tiers.reduce((sum, { hits }) => sum + hits, misses)
  const rows = tiers.map(tier => [
    tier.title,
    count(tier.hits),
    share(tier.hits, reads),
    shown(tier.entries, 'count'),
    shown(tier.bytes, 'bytes'),
    shown(tier.maxBytes, 'bytes'),
    shown(tier.evicted, 'count'),
    shown(tier.expired, 'count'),
  ])
  rows.splice(1, 0, ['  in place', count(hitsInPlace), share(hitsInPlace, reads)])
  rows.push(['missed', count(misses), share(misses, reads)])
  return ruled(['tier'], ['hits', 'share', 'entries', 'size', 'limit', 'evicted', 'expired'], rows)
}

function opLines({ ops }: Overview): string[] {
  if (ops.length === 0) return ['no request has come yet']
  const rows = ops
    .slice(0, 10)
    .map(({ op, count: requests, failed, p50Ms, p99Ms }) => [
      op,
      count(requests),
      count(failed),
      shown(p50Ms, 'ms'),
      shown(p99Ms, 'ms'),
    ])
  return ruled(['operation, since the start'], ['requests', 'failed', 'median', 'p99'], rows)
}

function poolLines({ pools }: Overview): string[] {
  if (pools.length === 0) return ['no Postgres database is configured']
  const rows = pools.map(pool => [
    pool.name,
    ...[pool.inUse, pool.idle, pool.connecting, pool.waiting].map(count),
    ...[pool.acquireP99Ms, pool.readP99Ms, pool.writeP99Ms].map(value => shown(value, 'ms')),
  ])
  const counts = ['in use', 'idle', 'connecting', 'waiting']
  return ruled(['pool'], [...counts, 'wait p99', 'reads p99', 'writes p99'], rows)
}

function serverLines({ servers }: Overview): string[] {
  if (servers.length === 0) return ['no replica is configured']
  const rows = servers.map(({ name, database, role, state, lagMs, words }) => [
    name,
    database,
    role,
    state,
    lagMs === null ? UNKNOWN : duration(lagMs),
    words,
  ])
  return ruled(['server', 'database', 'role', 'state'], ['lag'], rows)
}

function slowLines({ slow }: Look): string[] {
  if (slow === undefined) return ['this engine keeps no slow queries']
  if (slow.length === 0) return ['no statement has taken long']
  const rows = slow
    .slice(0, SLOW_COUNT_MAX)
    .map(({ atMs, caller, tookMs, text }) => [
      atMs === null ? UNKNOWN : clockTime(atMs),
      caller,
      duration(tookMs),
      text,
    ])
  const titles: Column[] = [
    { title: 'slow query' },
    { title: 'caller' },
    { title: 'took', align: 'right' },
    { title: 'statement' },
  ]
  return headed(titles, rows)
}

function serviceLines({ services }: Overview): string[] {
  if (services.length === 0) return ['no service is registered']
  const rows = services.map(({ name, status, words }) => [name, stateWords(status), words])
  return ruled(['service', 'state', 'why'], [], rows)
}

function breakerLines({ breakers }: Overview): string[] {
  if (breakers.length === 0) return ['nothing has a breaker']
  const rows = breakers.map(({ name, state, opened }) => [name, stateWords(state), count(opened)])
  return ruled(['breaker', 'state'], ['times opened'], rows)
}

function budgetLines({ overNodeBytes, budgetBytes, tiers }: Overview, width: number): string[] {
  const rows: [string, number | null, number | null][] = [
    ['above a bare Node, of budget', overNodeBytes, budgetBytes],
    ...tiers.map(tier => [`${tier.title}, of its limit`, tier.bytes, tier.maxBytes] as never),
  ]
  const barChars = Math.min(40, Math.max(8, width - LABEL_CHARS - 36))
  return rows.flatMap(([label, used, limit]) => {
    if (used === null || limit === null) return []
    const drawn = styled('cyan', bar(used / limit, barChars))
    const words = `${bytes(used)} of ${bytes(limit)}, ${percent(used / limit)}`
    return [`${label.slice(0, LABEL_CHARS).padEnd(LABEL_CHARS)} ${drawn} ${words}`]
  })
}

function workerLines({ workers }: Overview): string[] {
  const rows = workers.map(({ name, restarts, requestBytes, replyBytes }) => [
    name,
    count(restarts),
    bytes(requestBytes),
    bytes(replyBytes),
  ])
  return ruled(['worker'], ['restarts', 'requests in its ring', 'replies in its ring'], rows)
}

function ruled(
  lefts: readonly string[],
  rights: readonly string[],
  rows: readonly (readonly string[])[],
): string[] {
  const columns = [
    ...lefts.map(title => ({ title })),
    ...rights.map(title => ({ title, align: 'right' as const })),
  ]
  return headed(columns, rows)
}

function headed(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const width = Math.max(columns.length, ...rows.map(row => row.length))
  const all = [...columns, ...Array<Column>(width - columns.length).fill({ title: '' })]
  const [titles, , ...lines] = tableLines(all, rows)
  return [styled('dim', titles!), ...lines]
}
