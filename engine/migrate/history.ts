/** history: what was done to a database, kept in it: hearth.migrations, hearth.migration_runs, hearth.migration_catalog.
 *  Owns:   these tables.   Not here: when a row is written, and in which transaction (apply.ts).
 *  Thread: main of a command.
 *  Holds:  (1) one row of `migrations` for each that is applied, or was begun without a transaction and not ended.  (2)
 *          `migration_runs` only grows.  (3) of the catalog only the newest state is kept whole, and of each migration its hash.
 *
 *      (none) ─ in a transaction ─▶ applied ─ in a transaction ─▶ (none)
 *      (none) ─ without one ─▶ applying ─ the last statement ─▶ applied       ─ an error ─▶ failed
 *                     applied ─ down without one ─▶ reverting ─▶ (none)       ─ an error ─▶ failed */

import { hostname, userInfo } from 'node:os'
import { type CatalogObject, hashOf } from './catalog.ts'
import type { DirectConnection } from './direct_connection.ts'

export type State = 'applied' | 'applying' | 'reverting' | 'failed'

export interface Applied {
  readonly version: string
  readonly name: string
  readonly checksum: string
  readonly state: State
  /** Without a transaction: how many statements of the run are known to be done. */
  readonly statementsDone: number
  readonly isReverting: boolean
  /** ISO 8601. */
  readonly appliedAt: string
  readonly durationMs: number | undefined
  readonly by: string
  readonly catalogHash: string | undefined
}

export interface Run {
  readonly version: string
  readonly name: string
  readonly direction: 'up' | 'down'
  readonly outcome: 'done' | 'failed' | 'resolved'
  readonly durationMs: number
  readonly error?: string | undefined
}

const TABLES = `
create table hearth.migrations (
  version bigint primary key,
  name text not null,
  checksum text not null,
  state text not null check (state in ('applied', 'applying', 'reverting', 'failed')),
  is_reverting boolean not null default false,
  statements_done int not null default 0,
  applied_at timestamptz not null default clock_timestamp(),
  duration_ms bigint,
  role text not null default current_user,
  os_user text,
  host text,
  catalog_hash text,
  sequence bigint generated always as identity
);
comment on table hearth.migrations is 'hearth migrate: what is applied';
create table hearth.migration_runs (
  id bigint generated always as identity primary key,
  version bigint not null,
  name text not null,
  direction text not null,
  outcome text not null,
  ended_at timestamptz not null default clock_timestamp(),
  duration_ms bigint not null,
  role text not null default current_user,
  os_user text,
  host text,
  error text
);
comment on table hearth.migration_runs is 'hearth migrate: every run there was';
create table hearth.migration_catalog (
  is_only boolean primary key default true check (is_only),
  hash text not null,
  objects jsonb not null,
  taken_at timestamptz not null default clock_timestamp()
);
comment on table hearth.migration_catalog is 'hearth migrate: the catalog as the last migration left it'`

export async function hasHistory(connection: DirectConnection): Promise<boolean> {
  return (await connection.value(`select to_regclass('hearth.migrations') is not null`)) === 't'
}

/** Makes the tables, in a transaction of its own or the one that is open. The schema may be there, of `hearth watch`. */
export async function createHistory(connection: DirectConnection): Promise<void> {
  const hasSchema = await connection.value(`select to_regnamespace('hearth') is not null`)
  const schema =
    hasSchema === 't'
      ? ''
      : `create schema hearth; comment on schema hearth is 'of Hearth, the data engine';`
  await connection.run(`${schema}${TABLES}`)
}

/** In the order in which they were applied. */
export async function readApplied(connection: DirectConnection): Promise<Applied[]> {
  if (!(await hasHistory(connection))) return []
  const { rows } =
    await connection.ask(`select version, name, checksum, state, statements_done, is_reverting,
    to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), duration_ms,
    concat(role, ' (', os_user, '@', host, ')'), catalog_hash from hearth.migrations order by sequence`)
  return rows.map(([version, name, checksum, state, done, isReverting, at, ms, by, hash]) => ({
    version: version!,
    name: name!,
    checksum: checksum!,
    state: state as State,
    statementsDone: Number(done),
    isReverting: isReverting === 't',
    appliedAt: at!,
    durationMs: ms === null ? undefined : Number(ms),
    by: by!,
    catalogHash: hash ?? undefined,
  }))
}

export interface RunRow extends Run {
  readonly endedAt: string
  readonly by: string
}

/** The newest first. */
export async function readRuns(connection: DirectConnection, limit: number): Promise<RunRow[]> {
  if (!(await hasHistory(connection))) return []
  const { rows } =
    await connection.ask(`select version, name, direction, outcome, duration_ms, error,
      to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), concat(role, ' (', os_user, '@', host, ')')
    from hearth.migration_runs order by id desc limit ${limit}`)
  return rows.map(([version, name, direction, outcome, ms, error, at, by]) => ({
    version: version!,
    name: name!,
    direction: direction as Run['direction'],
    outcome: outcome as Run['outcome'],
    durationMs: Number(ms),
    error: error ?? undefined,
    endedAt: at!,
    by: by!,
  }))
}

export async function addRun(connection: DirectConnection, run: Run): Promise<void> {
  const { version, name, direction, outcome, durationMs, error } = run
  await connection.ask(
    `insert into hearth.migration_runs (version, name, direction, outcome, duration_ms, os_user, host, error)
     values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [version, name, direction, outcome, String(Math.round(durationMs)), ...whoAmI(), error ?? null],
  )
}

export interface NewRow {
  readonly version: string
  readonly name: string
  readonly checksum: string
  readonly state: State
  readonly durationMs?: number
  readonly catalogHash?: string
}

/** A row for one that is applied, or begun. */
export async function addApplied(connection: DirectConnection, row: NewRow): Promise<void> {
  const { version, name, checksum, state, durationMs, catalogHash } = row
  await connection.ask(
    `insert into hearth.migrations (version, name, checksum, state, duration_ms, os_user, host, catalog_hash)
     values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      version,
      name,
      checksum,
      state,
      durationMs === undefined ? null : String(Math.round(durationMs)),
      ...whoAmI(),
      catalogHash ?? null,
    ],
  )
}

/** `done`: how many statements are; left out, as it stands. */
export async function setState(
  connection: DirectConnection,
  version: string,
  state: State,
  isReverting: boolean,
  done?: number,
): Promise<void> {
  await connection.ask(
    `update hearth.migrations set state = $2, is_reverting = $3, statements_done = coalesce($4::int, statements_done)
     where version = $1`,
    [version, state, String(isReverting), done === undefined ? null : String(done)],
  )
}

export async function finishApplied(
  connection: DirectConnection,
  version: string,
  checksum: string,
  durationMs: number,
  catalogHash: string,
): Promise<void> {
  await connection.ask(
    `update hearth.migrations set state = 'applied', checksum = $2, applied_at = clock_timestamp(), duration_ms = $3,
       catalog_hash = $4 where version = $1`,
    [version, checksum, String(Math.round(durationMs)), catalogHash],
  )
}

export async function removeApplied(connection: DirectConnection, version: string): Promise<void> {
  await connection.ask('delete from hearth.migrations where version = $1', [version])
}

/** The catalog as the last migration left it; undefined before the first. */
export async function readCatalog(
  connection: DirectConnection,
): Promise<CatalogObject[] | undefined> {
  if (!(await hasHistory(connection))) return undefined
  const text = await connection.value('select objects from hearth.migration_catalog')
  if (text === null) return undefined
  return (JSON.parse(text) as [string, string, string][]).map(([kind, name, definition]) => ({
    kind,
    name,
    definition,
  }))
}

export async function keepCatalog(
  connection: DirectConnection,
  objects: readonly CatalogObject[],
): Promise<void> {
  const plain = objects.map(({ kind, name, definition }) => [kind, name, definition])
  await connection.ask(
    `insert into hearth.migration_catalog (hash, objects) values ($1, $2)
     on conflict (is_only) do update set hash = excluded.hash, objects = excluded.objects, taken_at = clock_timestamp()`,
    [hashOf(objects), JSON.stringify(plain)],
  )
}

function whoAmI(): [string, string] {
  let user: string
  try {
    user = userInfo().username
  } catch {
    user = `uid ${process.getuid?.()}` // it has no entry in passwd
  }
  return [user, hostname()]
}

/** For application_name, so that others are told who holds the lock. */
export function applicationName(): string {
  const [user, host] = whoAmI()
  return `hearth migrate of ${user}@${host}, pid ${process.pid}`
}
