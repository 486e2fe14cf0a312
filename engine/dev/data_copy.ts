/** Data copy: a server's data directory copied as the beginning of a replica, from one that is stopped or from one at work.
 *  Owns:   the folder it makes.   Not here: when (dev_servers.ts), the servers (embedded_postgres.ts).
 *  Thread: main.
 *  Holds:  (1) of a server at work the copy is between pg_backup_start and pg_backup_stop of one session, as Postgres asks of base
 *          backups; the npm package of Postgres has neither pg_basebackup nor pg_rewind.  (2) what a copy must not have is left out. */

import { chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { copyFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { SUPERUSER } from './embedded_postgres.ts'
import type { ServerUser } from './postgres_binaries.ts'
import { makePrivate } from './postgres_places.ts'

/** Statements of one session, which is to end without a trace of them. */
export type Session = (sql: string) => Promise<Record<string, unknown>[]>

/** These begin empty: they are the server's own, or of the moment. The log's segments come from the primary. */
const BEGINS_EMPTY = new Set([
  ...['pg_replslot', 'pg_dynshmem', 'pg_notify', 'pg_serial', 'pg_snapshots', 'pg_stat_tmp'],
  'pg_subtrans',
])
const LEFT_OUT = new Set([
  ...['postmaster.pid', 'postmaster.opts', 'standby.signal', 'recovery.signal', 'backup_label'],
  'tablespace_map',
])

/** Of a server that is stopped: its log comes along. */
export async function copyStopped(
  from: string,
  to: string,
  user: ServerUser | undefined,
): Promise<void> {
  makePrivate(to, user)
  await copyFolder(from, to, user, LEFT_OUT, BEGINS_EMPTY)
  own(join(to, 'standby.signal'), user, '')
}

/** Of a server at work, by a session at that server. */
export async function copyRunning(
  session: Session,
  from: string,
  to: string,
  user: ServerUser | undefined,
): Promise<void> {
  await session(`select pg_backup_start('hearth dev', true)`)
  const stop = () => session('select labelfile from pg_backup_stop(false)')
  try {
    makePrivate(to, user)
    await copyFolder(from, to, user, LEFT_OUT, new Set([...BEGINS_EMPTY, 'pg_wal']))
  } catch (error) {
    await stop() // else the session would never begin another
    throw error
  }
  const [row] = await stop()
  mkdirOwn(join(to, 'pg_wal', 'archive_status'), user)
  own(join(to, 'backup_label'), user, String(row!['labelfile']))
  own(join(to, 'standby.signal'), user, '')
}

/** Whom a replica receives from, from its next start on. */
export function pointTo(
  dataDir: string,
  primary: { readonly socketDir: string; readonly port: number },
  name: string,
  user: ServerUser | undefined,
): void {
  const file = join(dataDir, 'postgresql.auto.conf')
  const others = readFileSync(file, 'utf8')
    .split('\n')
    .filter(line => !/^\s*primary_(conninfo|slot_name)\s*=/.test(line))
  const host = `'${primary.socketDir.replace(/[\\']/g, '\\$&')}'`
  const conninfo = `host=${host} port=${primary.port} user=${SUPERUSER} application_name=${name}`
  const quoted = `'${conninfo.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
  own(file, user, `${others.join('\n').trimEnd()}\nprimary_conninfo = ${quoted}\n`)
}

/** Files come and go while a server works: one that has gone is in its log. */
async function copyFolder(
  from: string,
  to: string,
  user: ServerUser | undefined,
  leftOut: ReadonlySet<string>,
  beginsEmpty: ReadonlySet<string>,
): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const { name } = entry
    const [source, target] = [join(from, name), join(to, name)]
    if (leftOut.has(name) || name.startsWith('pgsql_tmp')) continue
    if (entry.isDirectory()) {
      mkdirOwn(target, user)
      if (!beginsEmpty.has(name)) await copyFolder(source, target, user, NONE, NONE)
    } else if (entry.isFile()) await copyOne(source, target, user)
  }
}

const NONE: ReadonlySet<string> = new Set()

async function copyOne(from: string, to: string, user: ServerUser | undefined): Promise<void> {
  try {
    await copyFile(from, to)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if (user !== undefined) chownSync(to, user.uid, user.gid)
}

function mkdirOwn(path: string, user: ServerUser | undefined): void {
  mkdirSync(path, { mode: 0o700 })
  if (user !== undefined) chownSync(path, user.uid, user.gid)
}

function own(path: string, user: ServerUser | undefined, text: string): void {
  writeFileSync(path, text, { mode: 0o600 })
  if (user !== undefined) chownSync(path, user.uid, user.gid)
}
