/** lock: one migration at a time in one database, whichever process or host runs it.
 *  Owns:   the number of the advisory lock.   Thread: main of a command.
 *  Holds:  (1) the lock is the session's: it goes with it, by whatever death.  (2) who waits polls: a session that waits within a
 *          statement has a snapshot, for which CREATE INDEX CONCURRENTLY of the holder would wait in turn.  (3) a pooler in between,
 *          which would give the lock to one session and the statements to another, is noticed. */

import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import type { DirectConnection } from './direct_connection.ts'

/** "hearthmg" in ASCII; pg_locks shows the halves. */
const HIGH = 0x68656172
const LOW = 0x74686d67
const KEY = ((BigInt(HIGH) << 32n) | BigInt(LOW)).toString()
const POLL_MS = 100

/** Waits for the lock for `waitMs`. Rejects with BUSY, naming who holds it. `waiting` is called once, should it have to wait. */
export async function takeLock(
  connection: DirectConnection,
  waitMs: number,
  waiting: (holder: string) => void,
): Promise<void> {
  const untilMs = monotonicMs() + waitMs
  for (let tries = 0; ; tries++) {
    if ((await connection.value(`select pg_try_advisory_lock(${KEY})`)) === 't') return
    const holder = (await holderOf(connection)) ?? 'somebody who has just ended'
    if (monotonicMs() >= untilMs) throw heldError(holder, waitMs)
    if (tries === 0) waiting(holder)
    await sleep(Math.min(POLL_MS, Math.max(1, untilMs - monotonicMs())))
  }
}

/** At once: the server takes a while to notice that a session has ended. */
export async function releaseLock(connection: DirectConnection): Promise<void> {
  if (connection.isIdle) await connection.run(`select pg_advisory_unlock(${KEY})`).catch(() => {})
}

/** Rejects with UNAVAILABLE unless this very session has the lock. */
export async function checkLock(connection: DirectConnection): Promise<void> {
  const held =
    await connection.value(`select count(*) from pg_locks where locktype = 'advisory' and granted
    and pid = pg_backend_pid() and classid = ${HIGH} and objid = ${LOW} and objsubid = 1`)
  if (held !== '0') return
  const text =
    'another session answers than the one that took the lock: a pooler stands between (PgBouncer in transaction mode?); ' +
    'set postgres.<name>.migrate_url to the server itself'
  throw new HearthError('UNAVAILABLE', text)
}

/** Who holds it, in words; undefined: nobody. */
export async function holderOf(connection: DirectConnection): Promise<string | undefined> {
  const { rows } =
    await connection.ask(`select a.pid, a.usename, a.application_name, host(a.client_addr),
      round(extract(epoch from clock_timestamp() - a.backend_start)) from pg_locks l left join pg_stat_activity a using (pid)
    where l.locktype = 'advisory' and l.granted and l.classid = ${HIGH} and l.objid = ${LOW} and l.objsubid = 1
      and l.database = (select oid from pg_database where datname = current_database())`)
  const [pid, user, application, address, seconds] = rows[0] ?? []
  if (!pid) return undefined
  const place = address ? ` from ${address}` : ''
  return `${application || user}${place}, for ${seconds} s (server process ${pid})`
}

function heldError(holder: string, waitMs: number): HearthError {
  const text =
    `another migration of this database is under way: ${holder}; it was waited for ${Math.round(waitMs)} ms. ` +
    'Run this again when it is over, or wait longer with --wait 5m'
  return new HearthError('BUSY', text)
}
