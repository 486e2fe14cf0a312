/** catalog: the tables, columns, indexes and foreign keys of a database, with their statistics.
 *  Owns:   the questions to Postgres' catalogs.   Not here: what follows from the answers.
 *  Thread: the client's.
 *  Holds:  of the user's own schemas alone; a partition is not listed, nor is the table above it. */

import type { Database } from '../database.ts'

export interface Column {
  readonly name: string
  readonly type: string
  readonly isNotNull: boolean
  /** Of texts: any index of it serves LIKE. */
  readonly isOrderedByBytes: boolean
  /** Distinct values; below 0: as a share of the rows, as in pg_stats. Null: never analysed. */
  readonly distinct: number | null
  readonly nullShare: number | null
}

export interface Index {
  readonly id: number
  readonly name: string
  readonly method: string
  /** The text of each key: a column's name or an expression; with DESC where it is so. */
  readonly keys: readonly string[]
  readonly classes: readonly string[]
  readonly includes: number
  readonly predicate: string | null
  readonly definition: string
  readonly isUnique: boolean
  readonly isPrimary: boolean
  readonly isValid: boolean
  /** A constraint, a foreign key or replication rests on it. */
  readonly isNeeded: boolean
  readonly bytes: number
  readonly scans: number
}

export interface ForeignKey {
  readonly name: string
  readonly columns: readonly string[]
  readonly parent: string
  /** Deletes from the table that it refers to, each of which looks for rows here. */
  readonly parentDeletes: number
}

export interface Table {
  readonly id: number
  readonly schema: string
  readonly name: string
  /** As SQL wants it. */
  readonly quoted: string
  readonly isVisible: boolean
  readonly rows: number
  readonly bytes: number
  /** Since the statistics were reset. */
  readonly writes: number
  readonly scans: number
  readonly columns: ReadonlyMap<string, Column>
  readonly indexes: readonly Index[]
  readonly foreignKeys: readonly ForeignKey[]
}

export interface Catalog {
  readonly tables: readonly Table[]
  readonly hasHypopg: boolean
  /** Since when the server counts. */
  readonly countedSince: string | null
}

type Row = Record<string, unknown>

export async function readCatalog(db: Database): Promise<Catalog> {
  const [tables, columns, indexes, keys, facts] = await Promise.all(
    [TABLES, COLUMNS, INDEXES, FOREIGN_KEYS, FACTS].map(sql => db.query<Row>(sql)),
  )
  const of = (rows: Row[], id: unknown) => rows.filter(row => row['table'] === id)
  const found = tables!.rows.map(row => ({
    ...(row as unknown as Table),
    columns: new Map(
      of(columns!.rows, row['id']).map(column => [
        String(column['name']),
        column as unknown as Column,
      ]),
    ),
    indexes: of(indexes!.rows, row['id']) as unknown as Index[],
    foreignKeys: of(keys!.rows, row['id']) as unknown as ForeignKey[],
  }))
  return { ...(facts!.rows[0] as unknown as Catalog), tables: found }
}

const OWN = `n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'`

const TABLES = `select c.oid::int8 as id, n.nspname::text as schema, c.relname::text as name,
    format('%I.%I', n.nspname, c.relname) as quoted, pg_catalog.pg_table_is_visible(c.oid) as "isVisible",
    greatest(c.reltuples, s.n_live_tup, 0)::float8 as rows, pg_catalog.pg_relation_size(c.oid)::float8 as bytes,
    coalesce(s.n_tup_ins + s.n_tup_upd + s.n_tup_del, 0)::float8 as writes,
    coalesce(s.seq_scan, 0)::float8 + coalesce(s.idx_scan, 0)::float8 as scans
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_stat_user_tables s on s.relid = c.oid
  where c.relkind = 'r' and not c.relispartition and ${OWN} order by 3`

const COLUMNS = `select a.attrelid::int8 as table, a.attname::text as name,
    pg_catalog.format_type(a.atttypid, null) as type, a.attnotnull as "isNotNull",
    coalesce(case when o.collname = 'default' then d.datcollate else o.collname::text end
      ~ '^(C|POSIX|ucs_basic|C\\..*)$', false) as "isOrderedByBytes",
    s.n_distinct::float8 as distinct, s.null_frac::float8 as "nullShare"
  from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_database d on d.datname = current_database()
  left join pg_catalog.pg_collation o on o.oid = a.attcollation
  left join pg_catalog.pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname
    and not s.inherited
  where c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and ${OWN}`

const INDEXES = `select i.indexrelid::int8 as id, i.indrelid::int8 as table, ic.relname::text as name, am.amname::text as method,
    (select array_agg(pg_catalog.pg_get_indexdef(i.indexrelid, k, true)
        || case when i.indoption[k - 1] & 1 = 1 then ' DESC' else '' end order by k)
      from generate_series(1, i.indnkeyatts) k) as keys,
    (select array_agg(o.opcname::text order by u.n) from unnest(i.indclass) with ordinality u(class, n)
      join pg_catalog.pg_opclass o on o.oid = u.class) as classes,
    (i.indnatts - i.indnkeyatts)::int as includes,
    pg_catalog.pg_get_expr(i.indpred, i.indrelid) as predicate, pg_catalog.pg_get_indexdef(i.indexrelid) as definition,
    i.indisunique as "isUnique", i.indisprimary as "isPrimary", i.indisvalid as "isValid",
    (i.indisprimary or i.indisreplident or i.indisexclusion
      or exists (select from pg_catalog.pg_constraint k where k.conindid = i.indexrelid)) as "isNeeded",
    pg_catalog.pg_relation_size(i.indexrelid)::float8 as bytes, coalesce(s.idx_scan, 0)::float8 as scans
  from pg_catalog.pg_index i join pg_catalog.pg_class ic on ic.oid = i.indexrelid
  join pg_catalog.pg_class c on c.oid = i.indrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_am am on am.oid = ic.relam
  left join pg_catalog.pg_stat_user_indexes s on s.indexrelid = i.indexrelid
  where c.relkind = 'r' and ${OWN} order by ic.relname`

const FOREIGN_KEYS = `select k.conrelid::int8 as table, k.conname::text as name, k.confrelid::regclass::text as parent,
    (select array_agg(a.attname::text order by u.n) from unnest(k.conkey) with ordinality u(number, n)
      join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.number) as columns,
    coalesce(s.n_tup_del, 0)::float8 as "parentDeletes"
  from pg_catalog.pg_constraint k join pg_catalog.pg_class c on c.oid = k.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_stat_user_tables s on s.relid = k.confrelid
  where k.contype = 'f' and ${OWN}`

const FACTS = `select exists (select from pg_catalog.pg_extension where extname = 'hypopg') as "hasHypopg",
    (select stats_reset::text from pg_catalog.pg_stat_database where datname = current_database()) as "countedSince"
  from pg_catalog.pg_database where datname = current_database()`
