/** RoleDatabases: databases once more, for clients whose role is held to a Postgres role or to reading: connections of their own.
 *  Owns:   which there are, by the names that main gives them; each is opened when it is first asked for.
 *  Not here: what they may not be asked (role_guard.ts), who may use them (engine/router/sql_access.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) no connection is ever shared by two roles.  (2) the role is the session's from its start, so no RESET leads out of it,
 *          and is set again whenever a session is made anew.  (3) they share with the database itself what is cached of it: a write
 *          by either ends results of both. */

import type { DatabaseSpec, PoolSpec } from './database.ts'
import { guardFor, type HeldTo } from './role_guard.ts'
import { optionsOf } from './servers/conninfo.ts'

/** As many as there may be: the configuration names them. */
export const ROLE_DATABASE_COUNT_MAX = 64

export interface RoleName extends HeldTo {
  readonly database: string
  /** As statistics show it. */
  readonly shown: string
}

/** `main` + mark + `r` or `w` + the Postgres role; undefined for a name without the mark. */
export function roleNameOf(name: string, mark: string | undefined): RoleName | undefined {
  const at = mark === undefined ? -1 : name.indexOf(mark)
  if (at < 0) return undefined
  const database = name.slice(0, at)
  const rest = name.slice(at + mark!.length)
  const isReadOnly = rest.startsWith('r')
  const role = rest.slice(1)
  const shown = `${database}${role === '' ? '' : ` as ${role}`}${isReadOnly ? ' (read only)' : ''}`
  return { database, role, isReadOnly, shown }
}

/** The database's own configuration with the role in it. Nothing is kept open that nobody uses, and nobody is promoted by it. */
export function specFor(spec: DatabaseSpec, held: HeldTo): DatabaseSpec {
  const { cluster } = spec
  const replicas = (cluster?.replicas ?? []).map(replica => ({
    ...replica,
    url: withSettings(replica.url, held),
  }))
  return {
    ...spec,
    url: withSettings(spec.url, held),
    min: 0,
    health: undefined,
    held,
    guard: guardFor(held),
    cluster: cluster === undefined ? undefined : { ...cluster, replicas, failover: 'follow' },
  }
}

/** The url with settings that the session starts with. Whatever options it had stand before them. */
function withSettings(url: string, { role, isReadOnly }: HeldTo): string {
  const settings = [
    ...(role === '' ? [] : [`-c role=${role.replace(/[\\\s]/g, '\\$&')}`]),
    ...(isReadOnly ? ['-c default_transaction_read_only=on'] : []),
  ]
  const options = [optionsOf(url) ?? '', ...settings].join(' ').trim()
  if (/^postgres(ql)?:\/\//.test(url))
    return `${url}${url.includes('?') ? '&' : '?'}options=${encodeURIComponent(options)}`
  return `${url} options='${options.replace(/[\\']/g, '\\$&')}'`
}

/** What sets the role again where a session was made anew; '' where there is none. */
export function setRoleText({ held }: Pick<PoolSpec, 'held'>): string {
  if (held === undefined || held.role === '') return ''
  return `, set_config('role', '${held.role.replaceAll("'", "''")}', false)`
}
