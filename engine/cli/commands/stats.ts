/** stats: the engine's figures, at one look.
 *  Owns:   their layout.   Thread: main.
 *  Holds:  a figure that the engine does not give is shown as `-`; --json gives all there are. */

import type { EngineStats } from '../../figures.ts'
import { withEngine } from '../client.ts'
import type { Input } from '../input.ts'
import { print, printJson, styled } from '../output.ts'
import { headline } from '../stats_headline.ts'
import { bytes, type Column, count, duration, share, tableLines } from '../table.ts'

export async function run(input: Input): Promise<number> {
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

function sectionsOf(stats: EngineStats): string[][] {
  return [[headline(stats)], tiers(stats), pools(stats), workers(stats)]
}

function tiers({ memory, sqlite }: EngineStats): string[] {
  const gets = memory.hits + sqlite.hits + sqlite.misses
  const rows = [
    ['memory', count(memory.hits), share(memory.hits, gets), ...room(memory)],
    ['SQLite', count(sqlite.hits), share(sqlite.hits, gets), ...room(sqlite)],
    ['missed', count(sqlite.misses), share(sqlite.misses, gets)],
  ]
  const rights = ['gets', 'share', 'entries', 'bytes', 'limit', 'full', 'evicted', 'expired']
  return ruled([{ title: 'tier' }, ...right(rights)], rows)
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
