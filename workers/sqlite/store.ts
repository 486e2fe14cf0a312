/** SqliteStore: the file of tier 2, opened, checked, set aside when damaged, and opened again when it could not be.
 *  Owns:   the connection (sole importer of better-sqlite3), the files, what health says of them.
 *  Thread: the sqlite worker.
 *  Holds:  (1) no state of the file keeps the worker from starting: what cannot be used is set aside, what cannot be set
 *          aside leaves the store closed, to be tried again.  (2) `statements` is undefined exactly while it is closed.
 *
 *            open()                         failed(corrupt)
 *   closed ─────────▶ open ◀── new file ◀── set aside ──▶ closed (that failed too; tried again every REOPEN_MS) */

import { mkdirSync, statfsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import Database from 'better-sqlite3'
import { monotonicMs, wallMs } from '../../engine/clock.ts'
import { HearthError } from '../../engine/errors.ts'
import { log } from '../../engine/log.ts'
import { removeDatabase, setAside } from './quarantine.ts'
import {
  APPLICATION_ID,
  type Connection,
  MIGRATIONS,
  PAGE_BYTES,
  prepareStatements,
  SCHEMA,
  SCHEMA_VERSION,
  type Statements,
} from './statements.ts'
import { walBytesOf } from './wal_share.ts'

export interface StoreOptions {
  readonly file: string
  /** The bound on main file, WAL and shared memory together; room.ts divides it. */
  readonly maxBytes: number
  readonly busyTimeoutMs: number
  readonly synchronous: 'OFF' | 'NORMAL' | 'FULL' | 'EXTRA'
  /** SQLite's page cache, in this process's own memory. */
  readonly cacheBytes: number
  /** How long a write of durability memory may be kept back, in milliseconds; 0 or left out: not at all. */
  readonly flushIntervalMs?: number
  /** Values from this length on are compressed; Infinity or left out: none. */
  readonly compressFromBytes?: number
}

export interface StoreHealth {
  readonly state: 'ok' | 'degraded'
  readonly reason?: string
  /** When it came into this state, in milliseconds since 1970. */
  readonly sinceMs: number
}

/** What went wrong last with each, until it goes right again. */
type Area = 'open' | 'read' | 'write' | 'checkpoint'

/** A closed store is tried again this often. */
export const REOPEN_MS = 500
/** quick_check reads every page, about 1 ms a MiB here; a larger file is left to the checks on opening and to the walk
 *  of upkeep, which touches every row and meets damage as an error. */
const CHECK_BYTES_MAX = 32 * 1024 * 1024
/** A WAL that fills the disk cannot be checkpointed: the file it is to go into has no room to grow. */
const DISK_SHARE = 0.9
/** Codes after which the file is not worth keeping; while opening, also those that say it cannot be used as it is. */
const DAMAGED = /^SQLITE_(CORRUPT|NOTADB|IOERR_(SHORT_READ|DATA|CORRUPTFS))/
const UNUSABLE =
  /^SQLITE_(ERROR|CORRUPT|NOTADB|CANTOPEN|READONLY|PERM|IOERR_(READ|SHORT_READ|DATA|CORRUPTFS))/

export class SqliteStore {
  statements: Statements | undefined
  /** Where the last damaged file went. */
  setAsideAs: string | undefined
  /** Grows with each new connection: what was learnt about an older file is void. */
  epoch = 0

  readonly options: StoreOptions
  /** The bound in force: the one given, or what the disk can hold if that is less. */
  readonly maxBytes: number
  private connection: Connection | undefined
  private readonly troubles = new Map<Area, string>()
  private sinceMs = wallMs()
  private reopenAtMs = 0

  constructor(options: StoreOptions) {
    this.options = options
    this.maxBytes = Math.min(options.maxBytes, diskBytes(options.file) * DISK_SHARE)
    this.open()
  }

  /** Whether there is a connection; one that failed to open is tried again when its pause is over. */
  available(): boolean {
    if (this.statements !== undefined) return true
    if (monotonicMs() >= this.reopenAtMs) this.open()
    return this.statements !== undefined
  }

  health(): StoreHealth {
    if (this.troubles.size === 0) return { state: 'ok', sinceMs: this.sinceMs }
    const reason = [...this.troubles].map(([area, text]) => `${area}: ${text}`).join('; ')
    return { state: 'degraded', reason, sinceMs: this.sinceMs }
  }

  get degraded(): boolean {
    return this.troubles.size > 0
  }

  hasTrouble(area: Area): boolean {
    return this.troubles.size > 0 && this.troubles.has(area)
  }

  /** Notes an error from SQLite. A damaged file is set aside at once and a new one begun: transactions are gone then. */
  failed(area: Area, error: unknown): void {
    this.note(area, textOf(error))
    if (!DAMAGED.test(codeOf(error)) || this.connection === undefined) return
    this.disconnect()
    this.open(textOf(error))
  }

  succeeded(area: Area): void {
    if (this.troubles.size === 0 || !this.troubles.delete(area)) return
    if (this.troubles.size === 0) this.sinceMs = wallMs()
  }

  /** Throws the whole content away. */
  beginAnew(): void {
    this.disconnect()
    removeDatabase(this.options.file)
    this.open()
  }

  incrementalVacuum(pages: number): void {
    // One page a step, and only exec() takes all the steps.
    this.connection?.exec(`pragma incremental_vacuum(${pages})`)
  }

  /** Whether a transaction is open: SQLite ends one by itself after some errors. */
  get inTransaction(): boolean {
    return this.connection?.inTransaction ?? false
  }

  close(): void {
    this.disconnect()
    this.reopenAtMs = Infinity
  }

  /** `damage`: known already, so the file is set aside unread. */
  private open(damage?: string): void {
    this.reopenAtMs = monotonicMs() + REOPEN_MS
    try {
      const reason = damage ?? this.attempt()
      if (reason !== undefined) {
        this.setAsideAs = setAside(this.options.file, wallMs())
        const again = this.attempt()
        if (again !== undefined) throw new HearthError('UNAVAILABLE', again)
      }
      this.epoch++
      this.troubles.clear()
      this.sinceMs = wallMs()
    } catch (error) {
      this.disconnect()
      this.note('open', textOf(error))
    }
  }

  /** Connects. Returns why the file is of no use, throws when a new one would not be better off. */
  private attempt(): string | undefined {
    const { file, busyTimeoutMs } = this.options
    mkdirSync(dirname(file), { recursive: true })
    const bytes = bytesOf(file)
    try {
      this.connection = new Database(file, { timeout: busyTimeoutMs })
      const problem = this.prepare(this.connection, bytes)
      if (problem === undefined) return undefined
      this.disconnect()
      return problem
    } catch (error) {
      this.disconnect()
      if (!UNUSABLE.test(codeOf(error)) || bytesOf(file) < 0) throw error
      return textOf(error)
    }
  }

  private prepare(connection: Connection, bytes: number): string | undefined {
    const { cacheBytes, synchronous } = this.options
    const isNew = value(connection, 'page_count') === 0
    if (isNew) {
      connection.pragma(`page_size = ${PAGE_BYTES}`)
      connection.pragma('auto_vacuum = incremental')
    } else {
      const problem = strangeness(connection)
      if (problem !== undefined) return problem
      migrate(connection, this.options.file)
    }
    if (value(connection, 'journal_mode = wal') !== 'wal') {
      throw new HearthError('UNAVAILABLE', 'the file system under the cache cannot hold a WAL')
    }
    connection.pragma(`synchronous = ${synchronous}`)
    connection.pragma(`cache_size = -${Math.ceil(cacheBytes / 1024)}`)
    connection.pragma('foreign_keys = on')
    connection.pragma('temp_store = memory')
    connection.pragma('mmap_size = 0')
    connection.pragma('wal_autocheckpoint = 0') // upkeep.ts says when
    connection.pragma(`journal_size_limit = ${walBytesOf(this.maxBytes)}`)
    if (isNew) connection.transaction(() => connection.exec(SCHEMA))()
    else if (bytes <= CHECK_BYTES_MAX) {
      const verdict = value(connection, 'quick_check(1)')
      if (verdict !== 'ok') return `damaged: ${verdict}`
    }
    this.statements = prepareStatements(connection)
    return undefined
  }

  private disconnect(): void {
    const { connection } = this
    this.connection = undefined
    this.statements = undefined
    try {
      connection?.close()
    } catch {
      // A connection that cannot close cleanly has lost its file; nothing is left to save.
    }
  }

  private note(area: Area, text: string): void {
    if (this.troubles.size === 0) this.sinceMs = wallMs()
    this.troubles.set(area, text)
  }
}

/** An error of SQLite or the file system, in words that say what to do. */
export function textOf(error: unknown): string {
  const code = codeOf(error)
  const message = error instanceof Error ? error.message : String(error)
  const known = Object.entries(ADVICE).find(([prefix]) => code.startsWith(prefix))
  if (known === undefined) return code === '' ? message : `${message} (${code})`
  return `${known[1]} (${code}: ${message})`
}

const ADVICE = {
  SQLITE_FULL: 'the disk under the cache is full: free some space on it',
  ENOSPC: 'the disk under the cache is full: free some space on it',
  SQLITE_READONLY: 'the cache file cannot be written: check its owner, mode and mount',
  SQLITE_CANTOPEN: 'the cache file cannot be opened: check owner and mode of its folder',
  EACCES: 'the cache file cannot be replaced: check owner and mode of its folder',
  EROFS: 'the cache file is on a read-only file system: remount it writable',
  SQLITE_BUSY: 'another process holds the cache file: close it there',
  SQLITE_CORRUPT: 'the cache file is damaged',
  SQLITE_NOTADB: 'the cache file is no SQLite database',
  SQLITE_IOERR: 'the disk under the cache answers with errors: check the system log',
} as const

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | undefined)?.code ?? '')
}

/** Why a file with content is not one of ours, undefined when it is. */
function strangeness(connection: Connection): string | undefined {
  const application = value(connection, 'application_id')
  if (application !== APPLICATION_ID) return `not a Hearth cache: application id ${application}`
  const version = value(connection, 'user_version') as number
  if (version !== SCHEMA_VERSION && MIGRATIONS[version] === undefined)
    return `schema version ${version}, not ${SCHEMA_VERSION}`
  if (value(connection, 'auto_vacuum') !== 2) return 'not built for incremental vacuum'
  return undefined
}

/** Brings a file of an older version of Hearth up to this one, in one transaction a step. */
function migrate(connection: Connection, file: string): void {
  for (let version = value(connection, 'user_version') as number; version < SCHEMA_VERSION; ) {
    connection.transaction(() => connection.exec(MIGRATIONS[version]!))()
    log('info', 'cache file migrated', { file, from: version, to: ++version })
  }
}

function value(connection: Connection, pragma: string): unknown {
  return connection.pragma(pragma, { simple: true })
}

/** The size of the disk under the file's folder, or under the nearest folder above it that exists. */
function diskBytes(file: string): number {
  try {
    const { blocks, bsize } = statfsSync(dirname(file))
    return blocks > 0 ? blocks * bsize : Infinity // 0: a memory disk without a limit
  } catch {
    return dirname(file) === file ? Infinity : diskBytes(dirname(file))
  }
}

/** -1 when there is no such file. */
function bytesOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? -1
}
