/** statements: the schema of tier 2 and every statement on it, prepared once a connection.
 *  Owns:   SCHEMA and the SQL texts.   Not here: when they run (ops.ts, room.ts, upkeep.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) one row of `entries` a key.  (2) a value is either in its row or in `parts`, never in both: `large_bytes` is
 *          null exactly when `value` is not.  (3) ids grow, so the lowest is the key that came first.
 *
 *  The shape is measured (bench/micro/sqlite_schema.bench.ts): WITHOUT ROWID spills values past 1 KB to pages of their own,
 *  three times the disk and half the speed; `replace` and a version as rowid write twice as many pages as an upsert;
 *  blobs as keys gain nothing. There is no index on expires_at: each write would pay for it, and a walk needs none. */

import type { Connection } from './store.ts'

export const APPLICATION_ID = 0x48727468 // 'Hrth'
export const SCHEMA_VERSION = 1
/** 8192 was slower to write at every group size; see the benchmark. */
export const PAGE_BYTES = 4_096
/** Pieces of a value too large for its row. Part of the schema. */
export const CHUNK_BYTES = 256 * 1024

export const SCHEMA = `
  create table entries (
    id integer primary key,
    key text not null unique,
    expires_at real not null, -- milliseconds since 1970; Infinity: never
    version integer not null, -- changes with each write of the key
    large_bytes integer,
    value blob
  ) strict;
  create table parts (
    entry integer not null references entries (id) on delete cascade,
    number integer not null,
    bytes blob not null,
    primary key (entry, number)
  ) without rowid, strict;
  create table probe (id integer primary key, at real not null) strict;
  pragma application_id = ${APPLICATION_ID};
  pragma user_version = ${SCHEMA_VERSION};
`

/** What a statement offers; rows come as arrays. */
export interface Statement<Arguments extends unknown[], Row> {
  get(...args: Arguments): Row | undefined
  all(...args: Arguments): Row[]
}
export interface Command<Arguments extends unknown[]> {
  run(...args: Arguments): { changes: number; lastInsertRowid: number | bigint }
}

export type Statements = ReturnType<typeof prepareStatements>

export function prepareStatements(connection: Connection) {
  const rows = <Arguments extends unknown[], Row>(sql: string) =>
    connection.prepare(sql).raw() as unknown as Statement<Arguments, Row>
  const command = <Arguments extends unknown[]>(sql: string) =>
    connection.prepare(sql) as unknown as Command<Arguments>
  return {
    begin: command<[]>('begin'),
    beginWrite: command<[]>('begin immediate'),
    commit: command<[]>('commit'),
    rollback: command<[]>('rollback'),

    get: rows<[string], [expiresAtMs: number, value: Buffer | null]>(
      'select expires_at, value from entries where key = ?',
    ),
    getLarge: rows<[string], [id: number, version: number, bytes: number | null]>(
      'select id, version, large_bytes from entries where key = ?',
    ),
    put: command<[string, number, number, number | null, Buffer | null]>(`
      insert into entries (key, expires_at, version, large_bytes, value) values (?, ?, ?, ?, ?)
      on conflict (key) do update set expires_at = excluded.expires_at, version = excluded.version,
        large_bytes = excluded.large_bytes, value = excluded.value`),
    /** Deletes a key whether it has expired or not; a row comes back with its expiry. */
    del: rows<[string], [expiresAtMs: number]>(
      'delete from entries where key = ? returning expires_at',
    ),
    getPart: rows<[number, number], [bytes: Buffer]>(
      'select bytes from parts where entry = ? and number = ?',
    ),
    putPart: command<[number, number, Buffer]>(
      'insert into parts (entry, number, bytes) values (?, ?, ?)',
    ),
    dropParts: command<[string]>(
      'delete from parts where entry = (select id from entries where key = ?)',
    ),
    hasParts: rows<[], [count: number]>('select exists (select 1 from parts)'),
    keysAfter: rows<[string, number], [key: string, expiresAtMs: number]>(
      'select key, expires_at from entries where key > ? order by key limit ?',
    ),
    keysFrom: rows<[string, number], [key: string, expiresAtMs: number]>(
      'select key, expires_at from entries where key >= ? order by key limit ?',
    ),

    count: rows<[], [count: number]>('select count(*) from entries'),
    /** Both ends are one step down the tree, so this costs nothing however large the table is. */
    idSpan: rows<[], [lowest: number | null, highest: number | null]>(
      'select (select min(id) from entries), (select max(id) from entries)',
    ),
    lastVersion: rows<[], [version: number]>(
      'select version from entries order by id desc limit 1',
    ),
    /** A window of the walk over ids: where it ends, its rows, the expired ones and their bytes, the next expiry. */
    window: rows<
      [{ hand: number; rows: number; now: number }],
      [end: number | null, rows: number, expired: number, bytes: number, soonestMs: number | null]
    >(`
      select max(id), count(*), total(expires_at <= :now),
        total(iif(expires_at <= :now, bytes, 0)), min(iif(expires_at > :now, expires_at, null))
      from (select id, expires_at, coalesce(large_bytes, length(value)) as bytes
        from entries where id > :hand order by id limit :rows)`),
    expire: command<[number, number, number]>(
      'delete from entries where id > ? and id <= ? and expires_at <= ?',
    ),
    evict: command<[number]>(
      'delete from entries where id in (select id from entries order by id limit ?)',
    ),
    probe: command<[number]>('insert or replace into probe (id, at) values (1, ?)'),

    pageCount: rows<[], [count: number]>('pragma page_count'),
    freeCount: rows<[], [count: number]>('pragma freelist_count'),
    /** What a checkpoint would find: pages in the WAL, and how many of them are in the file already. */
    walPages: rows<[], [busy: number, log: number, done: number]>('pragma wal_checkpoint(noop)'),
    checkpoint: rows<[], [busy: number, log: number, done: number]>(
      'pragma wal_checkpoint(passive)',
    ),
    truncate: rows<[], [busy: number, log: number, done: number]>(
      'pragma wal_checkpoint(truncate)',
    ),
  }
}
