/** triggers: what `hearth watch` puts into a database, so that writes made elsewhere are told of: its names and its SQL.
 *  Owns:   the schema `hearth`, two functions, a trigger a table, two event triggers.   Not here: the steps of an install
 *          (cli/watch_install.ts), who listens (workers/postgres/outside_writes.ts).
 *  Thread: any.
 *  Holds:  (1) a payload is the table's oid and those of all its ancestors, or EVERYTHING; equal payloads of one transaction are
 *          sent once, with its commit, and nothing of what is rolled back.  (2) a trigger never fails because of how the writer's
 *          session is set up: every name in it is qualified.  (3) no statement waits for a lock longer than its session allows.
 *
 *      any session ─ insert, update, delete, truncate, copy, merge, cascades ─▶ hearth_watch_write ─▶ pg_notify(CHANNEL, '16412')
 *                  ─ create, alter, drop, refresh … ─▶ hearth_watch_ddl, hearth_watch_drop ─▶ new tables get the trigger, '*'
 *
 *  A statement's trigger fires for the table that the statement names: partitions and heirs have one each, and an insert into the
 *  whole tells of the whole alone. A logical slot would see rows instead, but needs wal_level = logical and replication rights, and
 *  keeps WAL for as long as nobody reads it: on a small host a forgotten slot fills the disk. */

/** What the worker listens to. */
export const WRITES_CHANNEL = 'hearth_writes'
/** A payload: any table may have changed, or what its name means. */
export const EVERYTHING = '*'

const SCHEMA = 'hearth'
const TRIGGER = 'hearth_watch_write'
const TABLE_FUNCTION = `${SCHEMA}.notify_write()`
const DDL_FUNCTION = `${SCHEMA}.follow_ddl()`

/** What is notified when something was installed or removed: what was cached before may be stale, and the worker looks anew. */
export const NOTIFY_EVERYTHING = `select pg_catalog.pg_notify('${WRITES_CHANNEL}', '${EVERYTHING}')`

/** Only tables that have a parent pay for the search of their ancestors. */
const TABLE_BODY = `
declare
  tables pg_catalog.text := tg_relid::pg_catalog.text;
begin
  if exists (select from pg_catalog.pg_inherits i where i.inhrelid operator(pg_catalog.=) tg_relid) then
    with recursive family(id) as (
      select tg_relid
      union
      select i.inhparent from pg_catalog.pg_inherits i join family f on i.inhrelid operator(pg_catalog.=) f.id
    )
    select pg_catalog.string_agg(id::pg_catalog.text, ' ') into tables from family;
  end if;
  if pg_catalog.length(tables) operator(pg_catalog.>) 4000 then tables := '${EVERYTHING}'; end if;
  perform pg_catalog.pg_notify('${WRITES_CHANNEL}', tables);
  return null;
end`

/** Its trouble is a warning: nobody's DDL fails because of a cache. */
const DDL_BODY = `
declare
  found record;
begin
  if tg_event = 'sql_drop' then
    if exists (select from pg_event_trigger_dropped_objects() where not is_temporary) then
      perform pg_notify('${WRITES_CHANNEL}', '${EVERYTHING}');
    end if;
    return;
  end if;
  if not exists (select from pg_event_trigger_ddl_commands() where schema_name is distinct from 'pg_temp') then
    return;
  end if;
  perform pg_notify('${WRITES_CHANNEL}', '${EVERYTHING}');
  for found in
    select distinct n.nspname as schema, c.relname as name from pg_event_trigger_ddl_commands() d
      join pg_class c on d.classid = 'pg_class'::regclass and c.oid = d.objid
      join pg_namespace n on n.oid = c.relnamespace
    where d.command_tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO') and not d.in_extension
      and c.relkind in ('r', 'p') and c.relpersistence <> 't' and n.nspname <> '${SCHEMA}'
  loop
    execute format('${createTrigger('%1$I.%2$I')}', found.schema, found.name);
    execute format('${alwaysTrigger('%1$I.%2$I')}', found.schema, found.name);
  end loop;
exception when others then
  raise warning 'hearth watch: %', sqlerrm;
end`

export const SETUP = {
  /** One row: what is there, and what this role may do. */
  look: `
select current_setting('server_version_num')::int as release, current_setting('max_prepared_transactions')::int as "twoPhase",
  (select rolsuper from pg_catalog.pg_roles where rolname = current_user) as "isSuperuser",
  pg_catalog.to_regnamespace('${SCHEMA}') is not null as "hasSchema",
  exists (select from pg_catalog.pg_proc where oid = pg_catalog.to_regprocedure('${TABLE_FUNCTION}') and prosrc = $1) as "hasFunction",
  (select pg_catalog.count(*) from pg_catalog.pg_event_trigger
    where evtname in ('hearth_watch_ddl', 'hearth_watch_drop') and evtenabled in ('O', 'A')) = 2 as "hasEventTriggers"`,
  lookParams: [TABLE_BODY],
  /** Two installs at a time would create the same thing. */
  lock: `select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('hearth watch'))`,
  schema: [
    `create schema ${SCHEMA}`,
    `comment on schema ${SCHEMA} is 'of Hearth, the data engine'`,
  ],
  /** Whoever creates a table puts the trigger on it. */
  functions: [
    `grant usage on schema ${SCHEMA} to public`,
    `create or replace function ${TABLE_FUNCTION} returns trigger language plpgsql as $hearth$${TABLE_BODY}$hearth$`,
    `grant execute on function ${TABLE_FUNCTION} to public`,
  ],
  /** Only a superuser may. What Postgres then attaches to everybody's tables belongs to it, lest another role change what runs in
   *  their sessions. It runs with the rights of whoever creates a table, which suffice. */
  eventTriggers: [
    `alter schema ${SCHEMA} owner to current_user`,
    `alter function ${TABLE_FUNCTION} owner to current_user`,
    `create or replace function ${DDL_FUNCTION} returns event_trigger language plpgsql
      set search_path = pg_catalog, pg_temp as $hearth$${DDL_BODY}$hearth$`,
    `alter function ${DDL_FUNCTION} owner to current_user`,
    'drop event trigger if exists hearth_watch_ddl',
    'drop event trigger if exists hearth_watch_drop',
    `create event trigger hearth_watch_ddl on ddl_command_end execute function ${DDL_FUNCTION}`,
    `create event trigger hearth_watch_drop on sql_drop execute function ${DDL_FUNCTION}`,
  ],
} as const

export const REMOVAL = {
  eventTriggers: [
    'drop event trigger if exists hearth_watch_ddl',
    'drop event trigger if exists hearth_watch_drop',
  ],
  functions: [
    `drop function if exists ${DDL_FUNCTION}`,
    `drop function if exists ${TABLE_FUNCTION}`,
  ],
  /** Refused (2BP01) when somebody else has something in it. */
  schema: `drop schema if exists ${SCHEMA}`,
} as const

export interface WatchableTable {
  readonly id: number
  readonly schema: string
  readonly name: string
  /** As it stands in SQL. */
  readonly quoted: string
  /** Its bare name means it. */
  readonly isVisible: boolean
  readonly isWatched: boolean
  readonly parents: readonly number[]
}

/** Ordinary and partitioned tables, partitions too: those that can be written to and have triggers. */
const WATCHABLE = `c.relkind in ('r', 'p') and c.relpersistence <> 't' and n.nspname !~ '^pg_'
  and n.nspname not in ('information_schema', '${SCHEMA}')`

const IS_WATCHED = `exists (select from pg_catalog.pg_trigger t where t.tgrelid = c.oid and t.tgname = '${TRIGGER}'
  and t.tgfoid = pg_catalog.to_regprocedure('${TABLE_FUNCTION}') and t.tgenabled in ('O', 'A'))`

/** Rows of WatchableTable. */
export const TABLES = `
select c.oid::int8 as id, n.nspname as schema, c.relname as name, pg_catalog.format('%I.%I', n.nspname, c.relname) as quoted,
  pg_catalog.pg_table_is_visible(c.oid) as "isVisible", ${IS_WATCHED} as "isWatched",
  array(select i.inhparent::int8 from pg_catalog.pg_inherits i where i.inhrelid = c.oid) as parents
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where ${WATCHABLE} order by n.nspname, c.relname`

/** One row: how many tables could be watched, and how many are not. */
export const COUNTS = `
select pg_catalog.count(*)::int as tables, (pg_catalog.count(*) filter (where not ${IS_WATCHED}))::int as unwatched
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where ${WATCHABLE}`

/** Rows of { id, quoted }: every table that has the trigger, in whatever state. */
export const TRIGGERED = `
select c.oid::int8 as id, pg_catalog.format('%I.%I', n.nspname, c.relname) as quoted
from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where t.tgname = '${TRIGGER}' and t.tgfoid = pg_catalog.to_regprocedure('${TABLE_FUNCTION}') order by 2`

/** ShareRowExclusive: waits for writers, and makes those that come later wait. */
export function addTrigger(table: string): string[] {
  return [createTrigger(table), alwaysTrigger(table)]
}

/** AccessExclusive: waits for readers too. */
export function dropTrigger(table: string): string {
  return `drop trigger if exists ${TRIGGER} on ${table}`
}

/** For the present transaction. */
export function lockTimeout(ms: number): string {
  return `select pg_catalog.set_config('lock_timeout', '${ms}', true)`
}

function createTrigger(table: string): string {
  return (
    `create or replace trigger ${TRIGGER} after insert or update or delete or truncate on ${table} ` +
    `for each statement execute function ${TABLE_FUNCTION}`
  )
}

/** With session_replication_role = replica too, as loading tools set it. ONLY: its partitions may have no such trigger. */
function alwaysTrigger(table: string): string {
  return `alter table only ${table} enable always trigger ${TRIGGER}`
}
