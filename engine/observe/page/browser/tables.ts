/** tables: every table of the page, and the cells of its rows.
 *  Owns:   their words.   Not here: the rows' figures (../../view/overview.ts), the elements (live_table.ts).
 *  Thread: a browser's.
 *  Holds:  each says plainly what it means that there is nothing in it. */

import { bytes, clockTime, count, duration, share, shown, UNKNOWN } from '../../view/units.ts'
import { byId } from './dom.ts'
import type { Look } from './feed.ts'
import { type Column, LiveTable, type TableWords } from './live_table.ts'

interface Table extends TableWords {
  readonly id: string
  /** Undefined: the engine has none of this. */
  rows(look: Look): string[][] | undefined
  /** What is said then. */
  readonly missing?: string
}

const number = (title: string): Column => ({ title, kind: 'number' })
const state = (title: string): Column => ({ title, kind: 'state' })
const ms = (value: number | null) => shown(value, 'ms')
const amount = (value: number | null) => shown(value, 'count')
const timeOf = (atMs: number | null) => (atMs === null ? UNKNOWN : clockTime(atMs))

const TABLES: readonly Table[] = [
  {
    id: 'troubles',
    caption: 'What is not as it should be',
    empty: 'Every part is well.',
    columns: [{ title: 'Part' }, state('State'), { title: 'Why' }],
    rows: ({ overview }) =>
      overview.troubles.map(({ part, status, words }) => [part, status, words]),
  },
  {
    id: 'alerts',
    caption: 'Alerts, those that go on first',
    empty: 'No alert of late.',
    missing: 'This engine has no alerts.',
    columns: [
      { title: 'Alert' },
      { title: 'Severity' },
      { title: 'Since' },
      { title: 'Until' },
      { title: 'Words' },
    ],
    rows: ({ alerts }) =>
      alerts?.map(({ name, severity, sinceMs, endedMs, words }) => [
        name,
        severity,
        timeOf(sinceMs),
        endedMs === null ? 'goes on' : clockTime(endedMs),
        words,
      ]),
  },
  {
    id: 'tiers',
    caption: 'Reads by tier since the start, and what each tier holds',
    empty: 'Waiting for the engine.',
    columns: [
      { title: 'Tier' },
      number('Hits'),
      number('Share of reads'),
      number('Entries'),
      number('Size'),
      number('Limit'),
      number('Evicted'),
      number('Expired'),
    ],
    rows: ({ overview: { tiers, misses, hitsInPlace } }) => {
      const reads = tiers.reduce((sum, { hits }) => sum + hits, misses)
      const rows = tiers.map(tier => [
        tier.title,
        count(tier.hits),
        share(tier.hits, reads),
        amount(tier.entries),
        shown(tier.bytes, 'bytes'),
        shown(tier.maxBytes, 'bytes'),
        amount(tier.evicted),
        amount(tier.expired),
      ])
      rows.splice(1, 0, ['of these, in place', count(hitsInPlace), share(hitsInPlace, reads)])
      return [...rows, ['missed', count(misses), share(misses, reads)]]
    },
  },
  {
    id: 'ops',
    caption: 'Requests over the socket since the start',
    empty: 'No request has come yet.',
    columns: [
      { title: 'Operation' },
      number('Requests'),
      number('Failed'),
      number('Median'),
      number('99th percentile'),
    ],
    rows: ({ overview: { ops } }) =>
      ops
        .slice(0, 12)
        .map(({ op, count: requests, failed, p50Ms, p99Ms }) => [
          op,
          count(requests),
          count(failed),
          ms(p50Ms),
          ms(p99Ms),
        ]),
  },
  {
    id: 'pools',
    caption: 'Connections now; 99th percentiles since the start',
    empty: 'No Postgres database is configured.',
    columns: [
      { title: 'Pool' },
      number('In use'),
      number('Idle'),
      number('Connecting'),
      number('Waiting'),
      number('Wait p99'),
      number('Reads p99'),
      number('Writes p99'),
    ],
    rows: ({ overview: { pools } }) =>
      pools.map(pool => [
        pool.name,
        ...[pool.inUse, pool.idle, pool.connecting, pool.waiting].map(count),
        ...[pool.acquireP99Ms, pool.readP99Ms, pool.writeP99Ms].map(ms),
      ]),
  },
  {
    id: 'servers',
    caption: 'Servers of databases with replicas',
    empty: 'No replica is configured.',
    columns: [
      { title: 'Server' },
      { title: 'Database' },
      { title: 'Role' },
      { title: 'State' },
      number('Lag'),
      { title: 'What is wrong, and what to do' },
    ],
    rows: ({ overview: { servers } }) =>
      servers.map(server => [
        server.name,
        server.database,
        server.role,
        server.state,
        server.lagMs === null ? UNKNOWN : duration(server.lagMs),
        server.words || 'nothing',
      ]),
  },
  {
    id: 'slow',
    caption: 'Statements that took long, the newest first',
    empty: 'No statement has taken long.',
    missing: 'This engine keeps no slow queries.',
    columns: [
      { title: 'At' },
      number('Took'),
      { title: 'Database' },
      { title: 'Caller' },
      { title: 'Statement', kind: 'code' },
    ],
    rows: ({ slow }) =>
      slow?.map(({ atMs, tookMs, database, caller, text }) => [
        timeOf(atMs),
        duration(tookMs),
        database,
        caller,
        text,
      ]),
  },
  {
    id: 'service-rows',
    caption: 'Registered services',
    empty: 'No service is registered.',
    columns: [{ title: 'Service' }, state('State'), { title: 'Why' }],
    rows: ({ overview: { services } }) =>
      services.map(({ name, status, words }) => [name, status, words]),
  },
  {
    id: 'breakers',
    caption: 'One for each side of a pool and each service; an open one lets no call through',
    empty: 'Nothing has a breaker: neither a database nor a service is configured.',
    columns: [{ title: 'Breaker' }, state('State'), number('Times opened')],
    rows: ({ overview: { breakers } }) =>
      breakers.map(({ name, state, opened }) => [name, state, count(opened)]),
  },
  {
    id: 'workers',
    caption: 'Worker threads, and what is on its way to and from them',
    empty: 'Waiting for the engine.',
    columns: [
      { title: 'Worker' },
      number('Restarts'),
      number('Requests in its ring'),
      number('Replies in its ring'),
    ],
    rows: ({ overview: { workers } }) =>
      workers.map(({ name, restarts, requestBytes, replyBytes }) => [
        name,
        count(restarts),
        bytes(requestBytes),
        bytes(replyBytes),
      ]),
  },
]

export class Tables {
  private readonly tables = TABLES.map(table => ({
    table,
    live: new LiveTable(byId(table.id), { ...table, empty: 'Waiting for the engine.' }),
  }))

  show(look: Look): void {
    for (const { table, live } of this.tables) {
      const rows = table.rows(look)
      live.show(rows ?? [], rows === undefined ? table.missing : table.empty)
    }
  }
}
