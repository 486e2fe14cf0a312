/** advice: what an operator is to run, word for word, where the engine may not or cannot mend a server itself.
 *  Owns:   the words.   Thread: any.
 *  Holds:  (1) no password is in them.  (2) what follows the first ": " is one line of shell that runs as it stands, where the engine's
 *          role may see the server's settings; else PGDATA must be set.  (3) each step needs the one before it, and the old data
 *          directory stays until the new one is whole. */

import { type Address, addressOf, withAddress, without } from './conninfo.ts'
import type { Server } from './server.ts'

/** What a replica's own settings say, as far as the engine's role may see them. */
export interface ReplicaSettings {
  /** '' when it may not be seen. */
  readonly dataDir: string
  readonly conninfo: string
  readonly slot: string
  /** The primary has that slot, and can use it. */
  readonly hasSlot: boolean
  /** The primary has that slot, but no longer what it stood for. */
  readonly isSlotLost: boolean
}

export const NOTHING_KNOWN: ReplicaSettings = {
  dataDir: '',
  conninfo: '',
  slot: '',
  hasSlot: false,
  isSlotLost: false,
}

/** For an old primary: it may have written what nobody else has. */
export function rewindAdvice(old: Server, primary: Server): string {
  const source = `${textOf(addressOf(primary.spec.url))} user=postgres dbname=postgres`
  const needs = ' (pg_rewind needs wal_log_hints or checksums; without them use pg_basebackup)'
  return `${onHostOf(old)}${needs}: ${chain([
    place(''),
    'pg_ctl stop -D "$D" -m fast',
    'mkdir -p "$D.settings"',
    keepSettings('$D', '$D.settings'),
    `pg_rewind --target-pgdata="$D" --source-server=${quoted(source)} --write-recovery-conf`,
    keepSettings('$D.settings', '$D'),
    'rm -r "$D.settings"',
    START,
  ])}`
}

/** For a replica that the primary has no more WAL for, or that left its history. */
export function copyAdvice(replica: Server, primary: Server, known: ReplicaSettings): string {
  const { slot, hasSlot, isSlotLost } = known
  const source = sourceOf(replica, primary, known.conninfo)
  const drop = `select pg_drop_replication_slot('${slot.replaceAll("'", "''")}')`
  const slotOptions = slot === '' ? '' : ` ${hasSlot ? '' : '-C '}-S ${quoted(slot)}`
  return `${onHostOf(replica)}: ${chain([
    place(known.dataDir),
    'pg_ctl stop -D "$D" -m fast',
    ...(isSlotLost ? [`psql -d ${quoted(`${source} dbname=postgres`)} -c ${quoted(drop)}`] : []),
    'rm -rf "$D.new" "$D.old"',
    `pg_basebackup -d ${quoted(source)} -D "$D.new" -X stream -c fast -R${slotOptions}`,
    keepSettings('$D', '$D.new'),
    'mv "$D" "$D.old"',
    'mv "$D.new" "$D"',
    START,
    'rm -r "$D.old"',
  ])}`
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

const START = 'pg_ctl start -D "$D" -l "$D.log"'

function onHostOf(server: Server): string {
  return `on the host of ${textOf(addressOf(server.spec.url))}, as the user that owns its data directory`
}

function place(dataDir: string): string {
  return dataDir === '' ? 'D="$PGDATA" && [ -n "$D" ]' : `D=${quoted(dataDir)}`
}

/** As the replica itself called its sender, with the primary's address and without secrets. */
function sourceOf(replica: Server, primary: Server, conninfo: string): string {
  const isUri = /^postgres(ql)?:/.test(conninfo)
  const own = isUri
    ? ''
    : without(conninfo, ['password', 'dbname', 'replication', 'fallback_application_name'])
  const rest = own === '' ? `user=postgres application_name=${replica.name}` : own
  return withAddress(rest, addressOf(primary.spec.url))
}

/** A copy brings the primary's files of settings; those of this host are to stay, where they lie in the data directory. */
function keepSettings(from: string, to: string): string {
  return (
    'for f in postgresql.conf pg_hba.conf pg_ident.conf; do ' +
    `if [ -f "${from}/$f" ]; then cp -p "${from}/$f" "${to}"/; fi; done`
  )
}

function chain(steps: readonly string[]): string {
  return steps.join(' && ')
}

/** For a shell. */
function quoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

function textOf({ host, port }: Address): string {
  return `${host === '' ? '' : `host=${host} `}port=${port}`
}
