/** Observation: what one statement tells of a server: role, timeline, how far it is, whom it receives from.
 *  Owns:   the statement.   Not here: when it is asked (health_check.ts), what follows (topology.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) it needs no more rights than any role has; what only some may see is null for the others.  (2) positions are bytes
 *          of WAL as numbers: exact up to 2^53, which is 8 PiB. */

import type { Row } from './probe.ts'

export interface Observation {
  /** monotonicMs when it was asked: what it says was so then or later. */
  readonly askedMs: number
  readonly isStandby: boolean
  /** The same for a primary and all that were ever copied from it. */
  readonly systemId: string
  readonly timeline: number
  /** A primary's: all that was written so far; a standby's: what its queries see. */
  readonly lsn: number
  /** A standby's: what it has, replayed or not. */
  readonly receivedLsn: number
  /** A standby's WAL receiver is connected. */
  readonly isStreaming: boolean
  /** From where, as the standby calls it; '' when it may not be seen. */
  readonly senderHost: string
  readonly senderPort: number
  /** A primary's synchronous_standby_names. */
  readonly syncNames: string
  /** The engine's role may read files of its host. */
  readonly mayReadFiles: boolean
}

/** The end of all that a primary has written. At the start of a page pg_current_wal_insert_lsn() is behind the page's header, where
 *  the next record will be, and no standby ever replays to there before that record is written: the header is taken off. */
export const WRITTEN = `(select (at - '0/0') -
    case when place = 40 then 40 when place % current_setting('wal_block_size')::int = 24 then 24 else 0 end
  from (select at, (pg_walfile_name_offset(at)).file_offset as place
    from (select pg_current_wal_insert_lsn() as at) as now) as found)::float8`

export const OBSERVE = `select pg_is_in_recovery() as standby,
  (pg_control_system()).system_identifier::text as system,
  case when pg_is_in_recovery()
    then coalesce((select received_tli from pg_stat_wal_receiver), greatest((pg_control_checkpoint()).timeline_id,
      (pg_control_recovery()).min_recovery_end_timeline))
    else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end as timeline,
  case when pg_is_in_recovery() then (pg_last_wal_replay_lsn() - '0/0')::float8 else ${WRITTEN} end as lsn,
  (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0')::float8 as received,
  exists (select from pg_stat_wal_receiver where coalesce(status, 'streaming') = 'streaming') as streaming,
  (select sender_host from pg_stat_wal_receiver) as host,
  (select sender_port from pg_stat_wal_receiver) as port,
  current_setting('synchronous_standby_names') as sync,
  pg_has_role('pg_read_server_files', 'usage')
    and has_function_privilege('pg_read_file(text, bigint, bigint, boolean)', 'execute') as files`

/** For a role that may read files: a statement of its own, since one that names the function is refused to all others. */
export const OBSERVE_CPU = `select pg_read_file('/proc/stat', 0, 128, true) as cpu`

export function observationOf(row: Row, askedMs: number): Observation {
  return {
    askedMs,
    isStandby: row['standby'] === true,
    systemId: String(row['system'] ?? ''),
    timeline: Number(row['timeline'] ?? 0),
    lsn: Number(row['lsn'] ?? 0),
    receivedLsn: Number(row['received'] ?? 0),
    isStreaming: row['streaming'] === true,
    senderHost: String(row['host'] ?? ''),
    senderPort: Number(row['port'] ?? 0),
    syncNames: String(row['sync'] ?? ''),
    mayReadFiles: row['files'] === true,
  }
}
