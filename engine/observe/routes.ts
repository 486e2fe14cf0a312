/** routes: what each path of the HTTP side answers.
 *  Owns:   the table of paths.   Not here: HTTP itself (http_connection.ts), the figures (observer.ts), the page (page.ts).
 *  Thread: main.
 *  Holds:  (1) every route reads, none changes anything.  (2) 503 means: send no requests here; degraded is 200. */

import type { ServerMetrics, Status } from '../figures.ts'
import type { HttpAnswer, HttpRoutes } from './http_connection.ts'
import type { HttpRequest } from './http_request.ts'
import type { Observer } from './observer.ts'
import type { PageFile } from './page/page.ts'
import { PROMETHEUS_TYPE, prometheusText } from './prometheus.ts'

type Route = (observer: Observer, request: HttpRequest) => Promise<HttpAnswer> | HttpAnswer

/** By path; the page helps itself from these. */
export const ROUTES: Readonly<Record<string, Route>> = {
  '/': (_, request) => pageFile('index.html', request),
  '/page/page.js': (_, request) => pageFile('page.js', request),
  '/page/page.css': (_, request) => pageFile('page.css', request),
  '/page/icon.svg': (_, request) => pageFile('icon.svg', request),
  '/page/paths': () => json(Object.keys(ROUTES)),
  '/metrics': async observer => ({
    status: 200,
    type: PROMETHEUS_TYPE,
    body: prometheusText(await observer.collect()),
  }),
  '/metrics/json': async observer => json(await observer.metrics()),
  '/series': (observer, { query }) =>
    json(observer.seriesSince(Number(query.get('since') ?? 0) || 0)),
  '/insight/slow': async observer => json({ slow: await observer.slow() }),
  '/alerts': observer => json(observer.alertsJson()),
  '/health': async observer => {
    const health = await observer.health()
    return json(health, statusOf(health.status))
  },
  '/health/live': () => json({ status: 'ok' }),
  '/health/ready': ({ phase }) => {
    const isReady = phase === 'serving'
    return json({ status: isReady ? 'ok' : 'down', phase }, isReady ? 200 : 503)
  },
  '/health/services': async observer => {
    const { parts } = await observer.health()
    const services = Object.entries(parts).filter(([name]) => name.startsWith('service.'))
    const named = services.map(([name, part]) => [name.slice('service.'.length), part] as const)
    return json({
      status: worstOf(services.map(([, { status }]) => status)),
      services: Object.fromEntries(named),
    })
  },
  '/health/circuit-breakers': async observer => {
    const [{ parts }, servers] = await Promise.all([observer.health(), observer.servers()])
    const breakers: Record<string, { state: string }> = {}
    for (const { pool, breakers: own } of servers)
      for (const [side, figures] of Object.entries(own)) breakers[`${pool}.${side}`] = figures
    for (const [name, { breaker }] of Object.entries(parts))
      if (breaker !== undefined) breakers[name.replace('.', ':')] = breaker
    const isClosed = Object.values(breakers).every(({ state }) => state === 'closed')
    return json({ status: isClosed ? 'ok' : 'degraded', breakers })
  },
  '/health/pools': async observer => {
    const [{ parts }, servers] = await Promise.all([observer.health(), observer.servers()])
    const statuses = Object.entries(parts).filter(([name]) => name.startsWith('postgres.'))
    return json({
      status: worstOf(statuses.map(([, { status }]) => status)),
      pools: Object.fromEntries(servers.map(server => [server.pool, poolOf(server)])),
    })
  },
  '/health/replication': async observer => {
    const [{ parts }, servers] = await Promise.all([observer.health(), observer.servers()])
    const databases: Record<string, unknown> = {}
    for (const name of new Set(servers.map(({ database }) => database))) {
      const { status, reason, servers: detailed } = parts[`postgres.${name}`] ?? { status: 'down' }
      const own = servers.filter(({ database }) => database === name).map(serverOf)
      databases[name] = { status, reason, servers: detailed ?? own }
    }
    return json({ status: worstOf(Object.values(databases).map(statusIn)), databases })
  },
}

export function routesOf(observer: Observer): HttpRoutes {
  return request =>
    Object.hasOwn(ROUTES, request.path) ? ROUTES[request.path]!(observer, request) : undefined
}

async function pageFile(name: PageFile, { ifNoneMatch }: HttpRequest): Promise<HttpAnswer> {
  return (await import('./page/page.ts')).pageFile(name, ifNoneMatch)
}

function json(value: unknown, status = 200): HttpAnswer {
  return { status, type: 'application/json', body: `${JSON.stringify(value)}\n` }
}

function statusOf(status: Status): number {
  return status === 'down' ? 503 : 200
}

/** Of parts: one that is not ok makes the whole degraded. */
function worstOf(statuses: readonly Status[]): Status {
  return statuses.every(status => status === 'ok') ? 'ok' : 'degraded'
}

function statusIn(database: unknown): Status {
  return (database as { status: Status }).status
}

function poolOf({ connecting, idle, inUse, waiting, role }: ServerMetrics): object {
  return { role, connecting, idle, inUse, waiting }
}

function serverOf({ pool, role, lagMs }: ServerMetrics): object {
  return { name: pool, role, lagMs }
}
