/** rivals: what Hearth is measured against, each in its usual best setting, each optional.
 *  Owns:   the rival's server process, if it has one.   Thread: main of the bench: rivals live in the client's own process,
 *          as they do in a service.
 *  Holds:  a rival that is not installed is undefined, and its rows say so; nothing is ever compared with an old figure. */

import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { pause, rival, VALUE } from './stand.ts'

/** Keys and values over a connection. */
export interface KeyValue {
  readonly name: string
  get(key: string): Promise<unknown>
  set(key: string): Promise<unknown>
  close(): Promise<void>
}

/** Statements with parameters over a pool of ten. */
export interface Sql {
  readonly name: string
  query(sql: string, params: unknown[]): Promise<unknown>
  close(): Promise<void>
}

const JSON_VALUE = JSON.stringify(VALUE)

/** A redis-server of its own on a Unix socket, appendfsync everysec; undefined where Debian's package is not installed. */
export async function startRedis(
  folder: string,
): Promise<{ socket: string; stop(): void } | undefined> {
  if (spawnSync('redis-server', ['--version']).status !== 0) return undefined
  const socket = join(folder, 'redis.sock')
  const options = ['--port', '0', '--unixsocket', socket, '--save', '', '--appendonly', 'yes']
  const child = spawn('redis-server', [...options, '--appendfsync', 'everysec', '--dir', folder], {
    stdio: 'ignore',
  })
  await pause(500)
  return { socket, stop: () => void child.kill() }
}

interface IoRedis {
  get(key: string): Promise<string | null>
  set(key: string, value: string): Promise<unknown>
  quit(): Promise<unknown>
}

export function ioredis(socket: string): KeyValue | undefined {
  const module = rival<{ default?: new (options: { path: string }) => IoRedis }>('ioredis')
  const Redis = module?.default ?? (module as unknown as new (options: { path: string }) => IoRedis)
  if (module === undefined) return undefined
  const client = new Redis({ path: socket })
  return {
    name: 'ioredis → Redis',
    get: async key => JSON.parse((await client.get(key))!),
    set: key => client.set(key, JSON_VALUE),
    close: async () => void (await client.quit()),
  }
}

interface NodeRedis {
  connect(): Promise<unknown>
  get(key: string): Promise<string | null>
  set(key: string, value: string): Promise<unknown>
  close(): Promise<void>
}

export async function nodeRedis(socket: string): Promise<KeyValue | undefined> {
  const module = rival<{ createClient(options: object): NodeRedis }>('redis')
  if (module === undefined) return undefined
  const client = module.createClient({ socket: { path: socket } })
  await client.connect()
  return {
    name: 'node-redis → Redis',
    get: async key => JSON.parse((await client.get(key))!),
    set: key => client.set(key, JSON_VALUE),
    close: () => client.close(),
  }
}

interface PgPool {
  query(config: { name: string; text: string; values: unknown[] }): Promise<unknown>
  end(): Promise<void>
}

export function pgPool(url: string): Sql | undefined {
  const module = rival<{ Pool: new (options: object) => PgPool }>('pg')
  if (module === undefined) return undefined
  const pool = new module.Pool({ connectionString: url, max: 10 })
  return {
    name: 'pg Pool(10)',
    // Named: prepared once a connection, as the engine does too.
    query: (text, values) => pool.query({ name: text, text, values }),
    close: () => pool.end(),
  }
}

interface PostgresJs {
  unsafe(sql: string, params: unknown[], options: { prepare: boolean }): Promise<unknown>
  end(): Promise<void>
}

export function postgresJs(url: string): Sql | undefined {
  const module = rival<(options: object) => PostgresJs>('postgres')
  if (module === undefined) return undefined
  // WHATWG URLs know no user without a host; libpq's do.
  const parsed = new URL(url.replace('@/', '@localhost/'))
  const host = parsed.searchParams.get('host') ?? parsed.hostname
  const sql = module({
    host: `${decodeURIComponent(host)}/.s.PGSQL.${parsed.port || '5432'}`,
    path: `${decodeURIComponent(host)}/.s.PGSQL.${parsed.port || '5432'}`,
    database: parsed.pathname.slice(1) || 'postgres',
    username: decodeURIComponent(parsed.username) || 'postgres',
    max: 10,
  })
  return {
    name: 'postgres.js, 10',
    query: (text, params) => sql.unsafe(text, params, { prepare: true }),
    close: () => sql.end(),
  }
}

/** better-sqlite3 called directly: the engine's own schema, in the client's own process, without a hop. */
export function sqliteDirect(folder: string, keys: number): KeyValue {
  const database = new Database(join(folder, 'direct.sqlite'))
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = NORMAL')
  database.exec(
    'create table entries (id integer primary key, key text not null unique, value blob not null)',
  )
  const upsert = database.prepare(
    'insert into entries (key, value) values (?, ?) on conflict (key) do update set value = excluded.value',
  )
  const select = database.prepare<[string], { value: Buffer }>(
    'select value from entries where key = ?',
  )
  const bytes = Buffer.from(JSON_VALUE)
  database.transaction(() => {
    for (let i = 0; i < keys; i++) upsert.run(`device:${i}`, bytes)
  })()
  return {
    name: 'better-sqlite3 direct',
    get: async key => JSON.parse(select.get(key)!.value.toString()),
    set: async key => upsert.run(key, bytes),
    close: async () => void database.close(),
  }
}
