/** sqlite_schema: which table shape, page size and write statement tier 2 should have; prints one row a combination.
 *  Owns:   a temporary folder a combination.   Not here: the handler over it (workers/sqlite/ops.ts).
 *  Thread: main of a benchmark process.
 *  Holds:  every combination gets the same keys, values and group sizes, from the same seed.
 *
 *  node bench/micro/sqlite_schema.bench.ts [keys=10000] [valueBytes=100] [pageBytes=4096,8192] [shapes=…]
 *  Writes: `keys` random puts in groups, on a filled table. Bytes: the main file after a checkpoint. */

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monotonicMs } from '../../engine/clock.ts'

const Database = createRequire(import.meta.url)('better-sqlite3') as typeof import('better-sqlite3')
const settings = new Map(process.argv.slice(2).map(word => word.split('=') as [string, string]))
const KEYS = Number(settings.get('keys') ?? 10_000)
const VALUE_BYTES = Number(settings.get('valueBytes') ?? 100)
const PAGES = (settings.get('pageBytes') ?? '4096,8192').split(',').map(Number)
const GROUPS = (settings.get('groups') ?? '1,50,500').split(',').map(Number)

const UPSERT = `insert into entries (key, expires_at, version, value) values (?, ?, ?, ?) on conflict (key) do
  update set expires_at = excluded.expires_at, version = excluded.version, value = excluded.value`
const REPLACE =
  'insert or replace into entries (key, expires_at, version, value) values (?, ?, ?, ?)'
const UNROWED =
  'key any primary key, expires_at real, version integer, value blob) without rowid, strict'
const ROWED = 'key any unique, expires_at real, version integer, value blob) strict'
const VERSIONED = 'version integer primary key, key any unique, expires_at real, value blob) strict'

interface Shape {
  columns: string
  put: string
  blobKeys?: boolean
}
const SHAPES: Record<string, Shape> = {
  'without rowid, upsert': { columns: UNROWED, put: UPSERT },
  'without rowid, replace': { columns: UNROWED, put: REPLACE },
  'without rowid, blob keys': { columns: UNROWED, put: REPLACE, blobKeys: true },
  'rowid + index, upsert': { columns: ROWED, put: UPSERT },
  'rowid + index, replace': { columns: ROWED, put: REPLACE },
  'version is rowid, replace': { columns: VERSIONED, put: REPLACE },
  'version is rowid, upsert': { columns: VERSIONED, put: UPSERT },
}

console.log(`${KEYS} keys, values of ${VALUE_BYTES} bytes; thousands a second`)
const wanted = settings.get('shapes')?.split(',')
for (const pageBytes of PAGES) {
  for (const [name, shape] of Object.entries(SHAPES)) {
    if (wanted === undefined || wanted.some(part => name.includes(part)))
      measure(name, shape, pageBytes)
  }
}

function measure(name: string, shape: Shape, pageBytes: number): void {
  const folder = mkdtempSync(join(tmpdir(), 'sqlite-schema-'))
  const file = join(folder, 'cache.sqlite')
  const database = new Database(file)
  for (const pragma of [
    `page_size=${pageBytes}`,
    'auto_vacuum=2',
    'journal_mode=wal',
    'synchronous=1',
    'cache_size=-2048',
    'temp_store=2',
    'wal_autocheckpoint=0',
  ])
    database.pragma(pragma)
  database.exec(`create table entries (${shape.columns}`)
  const begin = database.prepare('begin immediate')
  const commit = database.prepare('commit')
  const put = database.prepare(shape.put)
  const get = database.prepare('select expires_at, value from entries where key = ?').raw()
  const random = seeded(1)
  const value = Buffer.alloc(VALUE_BYTES, 7)
  const keyOf = (i: number) =>
    shape.blobKeys ? Buffer.from(`device:${i}:state`) : `device:${i}:state`
  let version = 1
  let checkpointed = 1
  function write(count: number, group: number, pick: (i: number) => number): number {
    const startedMs = monotonicMs()
    for (let i = 0; i < count; i++) {
      if (i % group === 0) begin.run()
      put.run(keyOf(pick(i)), 2e12 + version, version++, value)
      if (i % group === group - 1 || i === count - 1) {
        commit.run()
        if (version - checkpointed >= 2_000) {
          database.pragma('wal_checkpoint(passive)')
          checkpointed = version
        }
      }
    }
    return count / (monotonicMs() - startedMs)
  }
  const filled = write(KEYS, 500, i => (i * 7919) % KEYS)
  const rates = GROUPS.map(group =>
    write(Math.min(group === 1 ? 20_000 : 60_000, Math.max(KEYS, 60_000)), group, () =>
      Math.floor(random() * KEYS),
    ),
  )
  const gets = Math.min(200_000, KEYS * 10)
  const startedMs = monotonicMs()
  let found = 0
  for (let i = 0; i < gets; i++)
    if (get.get(keyOf(Math.floor(random() * KEYS))) !== undefined) found++
  const rate = gets / (monotonicMs() - startedMs)
  database.pragma('wal_checkpoint(truncate)')
  database.close()
  console.log(
    [
      name.padEnd(28),
      String(pageBytes).padStart(6),
      `fill ${filled.toFixed(0)}`,
      ...GROUPS.map((group, i) => `by ${group}: ${rates[i]!.toFixed(0)}`),
      `get ${rate.toFixed(0)}`,
      `${(statSync(file).size / 1024 / 1024).toFixed(1)} MiB`,
      found === gets ? '' : 'LOST',
    ].join('  '),
  )
  rmSync(folder, { recursive: true })
}

function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
