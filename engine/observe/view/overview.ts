/** overview: metrics and health as the rows of the tables that the page and `hearth top` show.
 *  Owns:   nothing.   Not here: how they look (../page/browser, cli/top), what went over time (history.ts).
 *  Thread: any, a browser's too.
 *  Holds:  (1) what the engine does not tell is null or an empty list, never a made-up 0.  (2) worst first, then by name. */

import type { Health, JsonSample, MetricsJson, PartHealth, Status } from '../../figures.ts'

/** What the process may have above a bare Node; what tier 1 holds comes on top. */
export const MEMORY_BUDGET_BYTES = 20 * 1024 * 1024

export interface Trouble {
  readonly part: string
  /** A warning is worth a look, though nothing is wrong. */
  readonly status: Exclude<Status, 'ok'> | 'warning'
  readonly words: string
}

export interface TierRow {
  readonly title: string
  readonly hits: number
  readonly entries: number | null
  readonly bytes: number | null
  readonly maxBytes: number | null
  readonly evicted: number | null
  readonly expired: number | null
}

export interface OpRow {
  readonly op: string
  readonly count: number
  readonly failed: number
  readonly p50Ms: number | null
  readonly p99Ms: number | null
}

export interface PoolRow {
  readonly name: string
  readonly connecting: number
  readonly idle: number
  readonly inUse: number
  readonly waiting: number
  readonly acquireP99Ms: number | null
  readonly readP99Ms: number | null
  readonly writeP99Ms: number | null
}

export interface ServerRow {
  readonly database: string
  readonly name: string
  readonly role: string
  readonly state: string
  readonly lagMs: number | null
  /** What is wrong, and what is to be done about it. */
  readonly words: string
}

export interface BreakerRow {
  readonly name: string
  readonly state: 'closed' | 'half-open' | 'open'
  readonly opened: number
}

export interface ServiceRow {
  readonly name: string
  readonly status: Status
  readonly words: string
}

export interface WorkerRow {
  readonly name: string
  readonly restarts: number
  readonly requestBytes: number
  readonly replyBytes: number
}

export interface Overview {
  readonly status: Status
  readonly partCount: number
  readonly troubles: Trouble[]
  readonly uptimeMs: number | null
  readonly clients: number | null
  readonly inFlight: number | null
  readonly hitRateTarget: number | null
  readonly tiers: TierRow[]
  readonly misses: number
  readonly hitsInPlace: number
  readonly ops: OpRow[]
  readonly pools: PoolRow[]
  readonly servers: ServerRow[]
  readonly failovers: number
  readonly breakers: BreakerRow[]
  readonly services: ServiceRow[]
  readonly workers: WorkerRow[]
  readonly privateBytes: number | null
  readonly overNodeBytes: number | null
  /** What overNodeBytes may be now. */
  readonly budgetBytes: number
}

/** Takes what `GET /metrics/json` and `GET /health` gave. */
export function overviewOf({ metrics }: MetricsJson, health: Health): Overview {
  const figures = new Figures(metrics)
  const uptimeSeconds = figures.value('hearth_uptime_seconds')
  const parts = Object.entries(health.parts)
  return {
    status: health.status,
    partCount: parts.length,
    troubles: parts.flatMap(([part, found]) => troublesOf(part, found)),
    uptimeMs: uptimeSeconds === null ? null : uptimeSeconds * 1e3,
    clients: figures.value('hearth_clients'),
    inFlight: figures.value('hearth_requests_in_flight'),
    hitRateTarget: health.parts['cache']?.hitRateTarget ?? null,
    tiers: [tierOf(figures, 'memory', 'memory'), tierOf(figures, 'sqlite', 'SQLite')],
    misses: figures.value('hearth_cache_requests_total', { tier: 'sqlite', result: 'miss' }) ?? 0,
    hitsInPlace: figures.value('hearth_cache_hits_in_place_total') ?? 0,
    ops: opsOf(figures),
    pools: figures.names('hearth_pool_waiting', 'pool').map(name => poolOf(figures, name)),
    servers: parts.flatMap(([part, { servers }]) => serversOf(part, servers ?? [])),
    failovers: figures.sum('hearth_failovers_total'),
    breakers: breakersOf(figures),
    services: servicesOf(parts),
    workers: figures.names('hearth_worker_restarts_total', 'worker').map(name => ({
      name,
      restarts: figures.value('hearth_worker_restarts_total', { worker: name }) ?? 0,
      requestBytes: figures.value('hearth_ring_depth', { ring: `${name}.requests` }) ?? 0,
      replyBytes: figures.value('hearth_ring_depth', { ring: `${name}.replies` }) ?? 0,
    })),
    privateBytes: figures.value('hearth_private_bytes'),
    overNodeBytes: figures.value('hearth_private_over_node_bytes'),
    budgetBytes:
      MEMORY_BUDGET_BYTES + (figures.value('hearth_cache_bytes', { tier: 'memory' }) ?? 0),
  }
}

type Labels = Readonly<Record<string, string>>

class Figures {
  private readonly metrics: MetricsJson['metrics']

  constructor(metrics: MetricsJson['metrics']) {
    this.metrics = metrics
  }

  all(metric: string, labels: Labels = {}): JsonSample[] {
    const wanted = Object.entries(labels)
    const samples = this.metrics[metric]?.samples ?? []
    return samples.filter(sample => wanted.every(([name, value]) => sample.labels[name] === value))
  }

  /** Null: the engine does not have it. */
  value(metric: string, labels: Labels = {}): number | null {
    return this.all(metric, labels)[0]?.value ?? null
  }

  sum(metric: string, labels: Labels = {}): number {
    return this.all(metric, labels).reduce((sum, { value }) => sum + (value ?? 0), 0)
  }

  names(metric: string, label: string): string[] {
    return [...new Set(this.all(metric).map(({ labels }) => labels[label] ?? ''))].sort()
  }

  p99Ms(metric: string, labels: Labels): number | null {
    return ms(this.all(metric, labels)[0]?.p99)
  }
}

function ms(seconds: number | null | undefined): number | null {
  return seconds === null || seconds === undefined ? null : seconds * 1e3
}

function troublesOf(part: string, { status, reason, warning }: PartHealth): Trouble[] {
  const found: Trouble[] = []
  if (status !== 'ok') found.push({ part, status, words: reason ?? 'no reason is given' })
  if (warning !== undefined) found.push({ part, status: 'warning', words: warning })
  return found
}

function tierOf(figures: Figures, tier: string, title: string): TierRow {
  return {
    title,
    hits: figures.value('hearth_cache_requests_total', { tier, result: 'hit' }) ?? 0,
    entries: figures.value('hearth_cache_entries', { tier }),
    bytes: figures.value('hearth_cache_bytes', { tier }),
    maxBytes: figures.value('hearth_cache_max_bytes', { tier }),
    evicted: figures.value('hearth_cache_evictions_total', { tier, reason: 'room' }),
    expired: figures.value('hearth_cache_evictions_total', { tier, reason: 'expired' }),
  }
}

/** Those asked most first. */
function opsOf(figures: Figures): OpRow[] {
  const rows = figures.names('hearth_requests_total', 'op').map(op => {
    const count = figures.sum('hearth_requests_total', { op })
    const ok = figures.value('hearth_requests_total', { op, outcome: 'ok' }) ?? 0
    const { p50, p99 } = figures.all('hearth_request_duration_seconds', { op })[0] ?? {}
    return { op, count, failed: count - ok, p50Ms: ms(p50), p99Ms: ms(p99) }
  })
  return rows.filter(({ count }) => count > 0).sort((a, b) => b.count - a.count)
}

function poolOf(figures: Figures, pool: string): PoolRow {
  const inState = (state: string) => figures.value('hearth_pool_connections', { pool, state }) ?? 0
  return {
    name: pool,
    connecting: inState('connecting'),
    idle: inState('idle'),
    inUse: inState('in_use'),
    waiting: figures.value('hearth_pool_waiting', { pool }) ?? 0,
    acquireP99Ms: figures.p99Ms('hearth_pool_acquire_duration_seconds', { pool }),
    readP99Ms: figures.p99Ms('hearth_query_duration_seconds', { pool, kind: 'read' }),
    writeP99Ms: figures.p99Ms('hearth_query_duration_seconds', { pool, kind: 'write' }),
  }
}

function serversOf(part: string, servers: readonly Record<string, unknown>[]): ServerRow[] {
  const text = (value: unknown) => (value === undefined || value === null ? '' : String(value))
  return servers.map(({ name, role, state, lagMs, reason, advice }) => ({
    database: part.replace(/^postgres\./, ''),
    name: text(name),
    role: text(role),
    state: text(state),
    lagMs: typeof lagMs === 'number' ? lagMs : null,
    words: [reason, advice].map(text).filter(Boolean).join('; '),
  }))
}

const STATES = ['closed', 'half-open', 'open'] as const

function breakersOf(figures: Figures): BreakerRow[] {
  const rows = figures.all('hearth_breaker_state').map(({ labels, value }) => {
    const name = labels['breaker'] ?? ''
    const opened = figures.value('hearth_breaker_transitions_total', { breaker: name, to: 'open' })
    return { name, state: STATES[value ?? 0] ?? 'closed', opened: opened ?? 0 }
  })
  const rank = ({ state }: BreakerRow) => -STATES.indexOf(state)
  return rows.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name))
}

const STATUS_RANK: Readonly<Record<Status, number>> = { down: 0, degraded: 1, ok: 2 }

function servicesOf(parts: readonly (readonly [string, PartHealth])[]): ServiceRow[] {
  return parts
    .filter(([part]) => part.startsWith('service.'))
    .map(([part, { status, reason, warning }]) => ({
      name: part.slice('service.'.length),
      status,
      words: reason ?? warning ?? '',
    }))
    .sort((a, b) => STATUS_RANK[a.status] - STATUS_RANK[b.status] || (a.name < b.name ? -1 : 1))
}
