/** advice: what an operator is to run, word for word, where the engine may not or cannot mend a server itself.
 *  Owns:   the words.   Thread: any.
 *  Holds:  no password: connection strings are made of host and port alone. */

import { type Address, addressOf } from './conninfo.ts'
import type { Server } from './server.ts'

/** For an old primary: it may have written what nobody else has. */
export function rewindAdvice(old: Server, primary: Server): string {
  const source = textOf(addressOf(primary.spec.url))
  return (
    `on the host of ${textOf(addressOf(old.spec.url))}: pg_ctl stop -D "$PGDATA" -m fast && ` +
    `pg_rewind --target-pgdata="$PGDATA" --source-server="${source} user=postgres dbname=postgres" ` +
    '--write-recovery-conf && pg_ctl start -D "$PGDATA" ' +
    '(pg_rewind needs wal_log_hints or checksums; without them copy it anew with pg_basebackup)'
  )
}

/** For a replica that the primary has no more WAL for, or that left its history. */
export function copyAdvice(replica: Server, primary: Server): string {
  const source = textOf(addressOf(primary.spec.url))
  return (
    `on the host of ${textOf(addressOf(replica.spec.url))}: pg_ctl stop -D "$PGDATA" -m fast && ` +
    `rm -r "$PGDATA"/* && pg_basebackup -d "${source} user=postgres" -D "$PGDATA" -X stream -R -P && ` +
    'pg_ctl start -D "$PGDATA"'
  )
}

/** For a replica that is to follow another server, where the engine's role may not tell it so. */
export function followAdvice(replica: Server, primary: Server): string {
  const source = textOf(addressOf(primary.spec.url))
  return (
    `as a superuser of ${textOf(addressOf(replica.spec.url))}: ` +
    `alter system set primary_conninfo = '${source} user=<replication role>'; select pg_reload_conf();`
  )
}

/** For a replica that is to become the primary, where the engine's role may not make it so. */
export function promoteAdvice(replica: Server): string {
  return `as a superuser of ${textOf(addressOf(replica.spec.url))}: select pg_promote();`
}

function textOf({ host, port }: Address): string {
  return `${host === '' ? '' : `host=${host} `}port=${port}`
}
