/** stats: the engine's figures, at one look.
 *  Owns:   their layout.   Thread: main.
 *  Holds:  a figure that the engine does not give is shown as `-`; --json gives all there are. */

import { wallMs } from '../../clock.ts'
import type { EngineStats, WarmedResultFigures } from '../../figures.ts'
import { withEngine } from '../client.ts'
import type { Input } from '../input.ts'
import { keyLines } from '../key_lines.ts'
import { print, printJson, styled } from '../output.ts'
import { headline } from '../stats_headline.ts'
import { bytes, type Column, count, duration, share, tableLines } from '../table.ts'

export async function run(input: Input): Promise<number> {
  const { key } = input.options
  if (key !== undefined) return explainKey(input, key)
  const stats = await withEngine(input, hearth => hearth.stats())
  if (input.isJson) printJson(stats)
  else
    print(
      sectionsOf(stats)
        .map(lines => lines.join('\n'))
        .join('\n\n'),
    )
  return 0
}

async function explainKey(input: Input, key: string): Promise<number> {
  const known = await withEngine(input, hearth => hearth.cache.explain(key))
  if (input.isJson) printJson(known)
  else print(keyLines(known, wallMs()).join('\n'))
  return known['memory'] === null && known['sqlite'] === null ? 1 : 0
}

function sectionsOf(stats: EngineStats): string[][] {
  const sections = [
    [headline(stats)],
    tiers(stats),
    namespaces(stats),
    pools(stats),
    servers(stats),
    cachedQueries(stats),
    services(stats),
    limits(stats),
    workers(stats),
  ]
  return sections.filter(lines => lines.length > 0)
}

function namespaces(stats: EngineStats): string[] {
  const rows = Object.entries(stats.namespaces).map(([name, reads]) => {
    const { memoryHits, sqliteHits, misses } = reads
    const all = memoryHits + sqliteHits + misses
    return [
      name,
      ...[memoryHits, sqliteHits, misses].map(count),
      share(memoryHits + sqliteHits, all),
    ]
  })
  const rights = ['memory', 'SQLite', 'missed', 'hit rate']
  return rows.length === 0 ? [] : ruled([{ title: 'namespace' }, ...right(rights)], rows)
}

function tiers({ memory, sqlite }: EngineStats): string[] {
  const gets = memory.hits + sqlite.hits + sqlite.misses
  const rows = [
    ['memory', count(memory.hits), share(memory.hits, gets), ...room(memory)],
    ['SQLite', count(sqlite.hits), share(sqlite.hits, gets), ...room(sqlite)],
    ['missed', count(sqlite.misses), share(sqlite.misses, gets)],
  ]
  const rights = ['gets', 'share', 'entries', 'bytes', 'limit', 'full', 'evicted', 'expired']
  return [...ruled([{ title: 'tier' }, ...right(rights)], rows), ...warmedLines(memory.warmed)]
}

/** Nothing for an engine that had nothing to bring back, or is older than this. */
function warmedLines(warmed: EngineStats['memory']['warmed'] | undefined): string[] {
  if (warmed === null || warmed === undefined) return []
  const { entries, outOf, tookMs } = warmed
  const share = `${count(entries)} of the ${count(outOf)} entries read most before`
  const lines = [`warmed at the start: ${share}, ${bytes(warmed.bytes)}, in ${duration(tookMs)}`]
  return [...(outOf > 0 ? lines : []), ...warmedResults(warmed.results)]
}

/** Null: there were none; undefined: the engine is older than this. */
function warmedResults(results: WarmedResultFigures | null | undefined): string[] {
  if (results === null || results === undefined) return []
  const { entries, outOf, tookMs } = results
  const share = `${count(entries)} of the ${count(outOf)} results read most before`
  return [`fetched since the start: ${share}, ${bytes(results.bytes)}, in ${duration(tookMs)}`]
}

function room(figures: object): string[] {
  const entries = numberOf(figures, 'entries')
  const used = numberOf(figures, 'bytes')
  const limit = numberOf(figures, 'maxBytes')
  return [
    shown(entries, count),
    shown(used, bytes),
    shown(limit, bytes),
    used === undefined || limit === undefined ? '-' : share(used, limit),
    shown(numberOf(figures, 'evictions'), count),
    shown(numberOf(figures, 'expirations'), count),
  ]
}

const POOL_COUNTS = ['inUse', 'idle', 'size', 'waiting', 'queries', 'errors', 'timeouts']

function pools(stats: EngineStats): string[] {
  const names = Object.keys(stats.pools)
  if (names.length === 0) return ['no Postgres database is configured']
  const rows = names.map(name => {
    const figures = stats.pools[name]!
    return [
      name,
      ...POOL_COUNTS.map(figure => shown(numberOf(figures, figure), count)),
      ...['acquireP50Ms', 'acquireP99Ms'].map(figure => shown(numberOf(figures, figure), duration)),
      String(figures['down'] ?? ''),
    ]
  })
  const columns = [...right([...POOL_COUNTS, 'wait p50', 'wait p99']), { title: 'down' }]
  const hasDown = rows.some(row => row.at(-1) !== '')
  return ruled([{ title: 'pool' }, ...(hasDown ? columns : columns.slice(0, -1))], rows)
}

/** Of databases with replicas: every server, and below them what is wrong and what is to be done about it. */
function servers(stats: EngineStats): string[] {
  const words: string[] = []
  const rows = Object.entries(stats.pools).flatMap(([database, figures]) => {
    const found = (figures['servers'] ?? []) as Record<string, unknown>[]
    return found.map(server => {
      const told = [server['reason'], server['advice']].filter(Boolean)
      if (told.length > 0) words.push(`${server['name']}: ${told.join('; ')}`)
      return [
        database,
        String(server['name']),
        String(server['role']),
        String(server['state']),
        ...['lagMs', 'latencyMs'].map(figure => shown(numberOf(server, figure), duration)),
        ...['open', 'inUse', 'queries', 'errors'].map(name => shown(numberOf(server, name), count)),
      ]
    })
  })
  if (rows.length === 0) return []
  const columns = ['database', 'server', 'role', 'state'].map(title => ({ title }))
  const rights = ['lag', 'latency', 'open', 'in use', 'queries', 'errors']
  return [...ruled([...columns, ...right(rights)], rows), ...words]
}

/** Nothing before the first query that asks for it. Hits in place are among the memory tier's alone. */
function cachedQueries({ queryCache }: EngineStats): string[] {
  const { memoryHits, sqliteHits, misses, shared, stored, refused, invalidations } = queryCache
  if (memoryHits + sqliteHits + misses === 0) return []
  const counts = [memoryHits, sqliteHits, misses, shared, stored, refused, invalidations]
  const rights = ['memory', 'SQLite', 'missed', 'shared', 'kept', 'not kept', 'writes seen']
  return ruled([{ title: 'cached queries' }, ...right(rights)], [['', ...counts.map(count)]])
}

/** Nothing without registered services, or of an engine older than they are. */
function services(stats: EngineStats): string[] {
  const rows = Object.entries(stats.services ?? {}).map(([name, service]) => {
    const { url, up, calls, failedCalls, latencyMs, breaker } = service
    const state = up === null ? '-' : up ? 'up' : 'down'
    return [
      name,
      url,
      state,
      breaker.state,
      ...[calls, failedCalls].map(count),
      shown(latencyMs ?? undefined, duration),
    ]
  })
  const columns = ['service', 'url', 'state', 'breaker'].map(title => ({ title }))
  const rights = ['calls', 'failed', 'health check']
  return rows.length === 0 ? [] : ruled([...columns, ...right(rights)], rows)
}

/** Nothing while nothing is limited, or of an engine that is older than this. */
function limits({ limits }: Partial<EngineStats>): string[] {
  if (limits === undefined) return []
  const { perClient, global, cachePerClient, limited, checks, subjects, maxSubjects } = limits
  const configured = [
    ['limits.per_client', perClient, count(limited.client)],
    ['limits.global', global, count(limited.global)],
    ['limits.cache_per_client', cachePerClient, count(limited.cache)],
  ].filter(([, text]) => text !== 'unlimited')
  const named = `${count(subjects)} of ${count(maxSubjects)} subjects`
  const rows = checks === 0 ? [] : [['limits.check', named, count(limited.subject)]]
  if (configured.length + rows.length === 0) return []
  const columns = [{ title: 'limit' }, { title: 'allows' }, ...right(['refused'])]
  return ruled(columns, [...configured, ...rows])
}

function workers(stats: EngineStats): string[] {
  const rows = stats.workers.map(({ name, state, restarts, inflight, depthBytes }) => {
    return [name, state, count(restarts), count(inflight), bytes(depthBytes)]
  })
  const columns = [{ title: 'worker' }, { title: 'state' }]
  return ruled([...columns, ...right(['restarts', 'in flight', 'in its ring'])], rows)
}

function ruled(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const [titles, ...lines] = tableLines(columns, rows)
  return [styled('bold', titles!), ...lines]
}

function right(titles: readonly string[]): Column[] {
  return titles.map(title => ({ title, align: 'right' }))
}

function numberOf(figures: object, name: string): number | undefined {
  const value = (figures as Record<string, unknown>)[name]
  return typeof value === 'number' ? value : undefined
}

function shown(value: number | undefined, show: (value: number) => string): string {
  return value === undefined ? '-' : show(value)
}
