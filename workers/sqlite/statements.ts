/** statements: the schema of tier 2 and every statement on it, prepared once a connection.
 *  Owns:   SCHEMA and the SQL texts.   Not here: when they run (ops.ts, room.ts, upkeep.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) one row of `entries` a key.  (2) a value is either in its row or in `parts`, never in both: `large_bytes` is
 *          null exactly when `value` is not.  (3) ids grow, so the lowest is the key that came first.
 *          (4) `expires_at` is when a row may go, its grace included.  (5) `tagged` has a row for each tag in an entry's meta,
 *          and `tags.entries` counts those of the tag's present version; tags.ts keeps both, in the entry's transaction.
 *          (6) `sum` is of the bytes beside it (checksum.ts); null where a release that had none wrote them.
 *
 *  The shape is measured (bench/micro/sqlite_schema.bench.ts): WITHOUT ROWID spills values past 1 KB to pages of their own,
 *  three times the disk and half the speed; `replace` and a version as rowid write twice as many pages as an upsert;
 *  blobs as keys gain nothing. There is no index on expires_at: each write would pay for it, and a walk needs none. */

import type Database from 'better-sqlite3'

export const APPLICATION_ID = 0x48727468 // 'Hrth'
export const SCHEMA_VERSION = 3
/** 8192 was slower to write at every group size; see the benchmark. */
export const PAGE_BYTES = 4_096
/** Pieces of a value too large for its row. Part of the schema. */
export const CHUNK_BYTES = 256 * 1024

const ADDED_IN_2 = `
  create table tags (
    id integer primary key autoincrement, -- never used again, so that nothing old can carry it
    name text not null unique,
    version integer not null, -- grows with each invalidation
    entries integer not null -- rows that carry this version
  ) strict;
  create table tagged (
    tag integer not null,
    version integer not null,
    entry integer not null,
    primary key (tag, version, entry)
  ) without rowid, strict;
  create table counters (name text primary key, value integer not null) without rowid, strict;`

/** From each older version to the next. */
export const MIGRATIONS: Readonly<Record<number, string>> = {
  1: `alter table entries add column meta text; ${ADDED_IN_2} pragma user_version = 2`,
  2: `alter table entries add column sum integer; alter table parts add column sum integer; pragma user_version = 3`,
}

export const SCHEMA = `
  create table entries (
    id integer primary key,
    key text not null unique,
    expires_at real not null, -- milliseconds since 1970; Infinity: never
    version integer not null, -- given by main, never twice, another with each write of the key
    large_bytes integer,
    meta text, -- JSON of what few entries have (meta.ts): tags, grace, compression
    sum integer, -- of value (checksum.ts); null in pieces, or written by a release that had none
    value blob
  ) strict;
  create table parts (
    entry integer not null references entries (id) on delete cascade,
    number integer not null,
    sum integer,
    bytes blob not null,
    primary key (entry, number)
  ) without rowid, strict;
  create table probe (id integer primary key, at real not null) strict;
  ${ADDED_IN_2}
  pragma application_id = ${APPLICATION_ID};
  pragma user_version = ${SCHEMA_VERSION};
`

/** What a statement offers; rows come as arrays. */
export interface Statement<Arguments extends unknown[], Row> {
  get(...args: Arguments): Row | undefined
  all(...args: Arguments): Row[]
  iterate(...args: Arguments): IterableIterator<Row>
}
export interface Command<Arguments extends unknown[]> {
  run(...args: Arguments): { changes: number; lastInsertRowid: number | bigint }
}

type KeyRow = [key: string, expiresAtMs: number, version: number, meta: string | null]
type TagRow = [id: number, name: string, version: number, entries: number]

/** An entry as it is found: when its row may go, version, meta, value (null: in pieces), and the checksum of it as a row has it. */
export type Row = [
  goneAtMs: number,
  version: number,
  meta: string | null,
  value: Buffer | null,
  sum?: number | null,
]

export type Connection = Database.Database
export type Statements = ReturnType<typeof prepareStatements>

export function prepareStatements(connection: Connection) {
  const rows = <Arguments extends unknown[], Row>(sql: string) =>
    connection.prepare(sql).raw() as unknown as Statement<Arguments, Row>
  const command = <Arguments extends unknown[]>(sql: string) =>
    connection.prepare(sql) as unknown as Command<Arguments>
  type BytesRow = [last: string | null, rows: number, bytes: number]
  let bytesIn: Statement<[string, string, number], BytesRow> | undefined
  return {
    begin: command<[]>('begin'),
    beginWrite: command<[]>('begin immediate'),
    commit: command<[]>('commit'),
    rollback: command<[]>('rollback'),

    get: rows<[string], Row>(
      'select expires_at, version, meta, value, sum from entries where key = ?',
    ),
    getLarge: rows<
      [string],
      [id: number, version: number, bytes: number | null, meta: string | null]
    >('select id, version, large_bytes, meta from entries where key = ?'),
    /** Many at once, by a JSON array of keys: what is there, with its place in the array. */
    getMany: rows<[string], [index: number, ...Row]>(`
      select keys.key, expires_at, version, meta, entries.value, sum
      from json_each(?) as keys join entries on entries.key = keys.value`),
    /** All but the value. */
    head: rows<[string], [id: number, expiresAtMs: number, version: number, meta: string | null]>(
      'select id, expires_at, version, meta from entries where key = ?',
    ),
    /** By id, as the list of those read most has them; without a value that is too long for tier 1. */
    hotRow: rows<[number, number], [key: string, ...Row]>(`
      select key, expires_at, version, meta, case when length(value) <= ? then value end, sum
      from entries where id = ?`),
    /** The ids of many keys, by a JSON array of them. */
    ids: rows<[string], [index: number, id: number]>(`
      select keys.key, entries.id from json_each(?) as keys join entries on entries.key = keys.value`),
    hot: hotStatements(connection),
    /** A row that has a meta is left alone, and shows by no change: its tags must be taken out first. */
    put: command<[string, number, number, number, Buffer]>(`
      insert into entries (key, expires_at, version, sum, value) values (?, ?, ?, ?, ?)
      on conflict (key) do update set expires_at = excluded.expires_at, version = excluded.version,
        large_bytes = null, sum = excluded.sum, value = excluded.value where entries.meta is null`),
    /** Many at once, as put: all values in one blob, and a JSON array of [key, version, offset from 1, bytes, sum]. */
    putMany: command<[number, Buffer, string]>(`
      insert into entries (key, expires_at, version, sum, value)
      select value ->> 0, ?, value ->> 1, value ->> 4, substr(?, value ->> 2, value ->> 3)
      from json_each(?) where true
      on conflict (key) do update set expires_at = excluded.expires_at, version = excluded.version,
        large_bytes = null, sum = excluded.sum, value = excluded.value where entries.meta is null`),
    putWithMeta: rows<
      [string, number, number, number | null, string | null, number | null, Buffer | null],
      [id: number]
    >(`
      insert into entries (key, expires_at, version, large_bytes, meta, sum, value)
      values (?, ?, ?, ?, ?, ?, ?)
      on conflict (key) do update set expires_at = excluded.expires_at, version = excluded.version,
        large_bytes = excluded.large_bytes, meta = excluded.meta, sum = excluded.sum, value = excluded.value
      returning id`),
    retime: command<[number, number]>('update entries set expires_at = ? where id = ?'),
    /** Deletes a key whether it has expired or not; a row comes back with what is to be told or taken out. */
    del: rows<[string], [id: number, expiresAtMs: number, meta: string | null]>(
      'delete from entries where key = ? returning id, expires_at, meta',
    ),
    delById: command<[number]>('delete from entries where id = ?'),
    getPart: rows<[number, number], [bytes: Buffer, sum: number | null]>(
      'select bytes, sum from parts where entry = ? and number = ?',
    ),
    putPart: command<[number, number, number, Buffer]>(
      'insert into parts (entry, number, sum, bytes) values (?, ?, ?, ?)',
    ),
    dropParts: command<[string]>(
      'delete from parts where entry = (select id from entries where key = ?)',
    ),
    hasParts: rows<[], [count: number]>('select exists (select 1 from parts)'),
    keysAfter: rows<[string, number], KeyRow>(
      'select key, expires_at, version, meta from entries where key > ? order by key limit ?',
    ),
    keysFrom: rows<[string, number], KeyRow>(
      'select key, expires_at, version, meta from entries where key >= ? order by key limit ?',
    ),

    tagByName: rows<[string], TagRow>('select id, name, version, entries from tags where name = ?'),
    tagById: rows<[number], TagRow>('select id, name, version, entries from tags where id = ?'),
    addTag: rows<[string], TagRow>(
      'insert into tags (name, version, entries) values (?, 1, 0) returning id, name, version, entries',
    ),
    updateTag: command<[number, number, number]>(
      'update tags set version = ?, entries = ? where id = ?',
    ),
    /** Some tags in the order of their ids: whether any row carries them, and whether one carries an old version. */
    tagsAfter: rows<
      [number, number],
      [id: number, version: number, isUsed: number, isStale: number]
    >(`
      select id, version, exists (select 1 from tagged where tag = tags.id),
        exists (select 1 from tagged where tag = tags.id and version < tags.version)
      from tags where id > ? order by id limit ?`),
    forgetTag: command<[number]>('delete from tags where id = ?'),
    link: command<[number, number, number]>(
      'insert or ignore into tagged (tag, version, entry) values (?, ?, ?)',
    ),
    unlink: command<[number, number, number]>(
      'delete from tagged where tag = ? and version = ? and entry = ?',
    ),
    hasTagged: rows<[], [count: number]>('select exists (select 1 from tagged)'),
    /** Entries that carry a tag in a version from one to another. */
    carriers: rows<
      [tag: number, from: number, to: number, limit: number],
      [id: number, expiresAtMs: number, meta: string | null]
    >(`
      select entries.id, expires_at, meta from tagged join entries on entries.id = tagged.entry
      where tagged.tag = ? and tagged.version between ? and ? limit ?`),
    taggedExpired: rows<[number, number, number], [id: number, meta: string | null]>(
      'select id, meta from entries where id > ? and id <= ? and expires_at <= ? and meta is not null',
    ),
    taggedOldest: rows<[number], [id: number, meta: string | null]>(`
      select id, meta from entries where id in (select id from entries order by id limit ?)
        and meta is not null`),

    counter: rows<[string], [value: number]>('select value from counters where name = ?'),
    setCounter: command<[string, number]>(
      'insert or replace into counters (name, value) values (?, ?)',
    ),

    count: rows<[], [count: number]>('select count(*) from entries'),
    /** Of some keys of a range, in order. Prepared at its first use: only quotas ask for it. */
    bytesIn: () =>
      (bytesIn ??= rows(`
        select max(key), count(*), total(octet_length(key) + bytes) from (
          select key, coalesce(large_bytes, length(value)) as bytes
          from entries where key >= ? and key < ? order by key limit ?)`)),
    /** Both ends are one step down the tree, so this costs nothing however large the table is. */
    idSpan: rows<[], [lowest: number | null, highest: number | null]>(
      'select (select min(id) from entries), (select max(id) from entries)',
    ),
    highestVersion: rows<[], [version: number | null]>('select max(version) from entries'),
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

/** The lists of those read most, entries and results: a row each. Not part of the schema: the table is made when there is something
 *  to write, and a file whose table is missing or another one is as good as any other. So nothing here is prepared ahead. */
function hotStatements(connection: Connection) {
  /** What has the name. */
  const known = connection.prepare("select type, sql from sqlite_schema where name = 'hot'").raw()
  const isOurs = (sql: unknown): boolean => String(sql).endsWith(HOT_COLUMNS)
  return {
    read: (id: number): Buffer | undefined => {
      const [, sql] = (known.get() as unknown[] | undefined) ?? []
      if (!isOurs(sql)) return undefined
      const row = connection.prepare('select list from hot where id = ?').raw().get(id)
      return (row as [Buffer] | undefined)?.[0]
    },
    write: (id: number, list: Buffer): void => {
      const [type, sql] = (known.get() as unknown[] | undefined) ?? []
      if (type !== undefined && !isOurs(sql)) connection.exec(`drop ${type} hot`)
      connection.exec(`create table if not exists hot ${HOT_COLUMNS}`)
      connection.prepare('insert or replace into hot (id, list) values (?, ?)').run(id, list)
    },
  }
}

const HOT_COLUMNS = '(id integer primary key, list blob not null) strict'
