/** Session: how a connection is opened and what every session of ours has set.
 *  Owns:   nothing.   Thread: postgres worker.
 *  Holds:  what the user wrote in the URL stands; only what is missing is added. */

import type { PoolSpec } from './database.ts'
import { setRoleText } from './role_databases.ts'
import type { Statement } from './statement.ts'

/** The conninfo with what a pool wants: both forms of libpq take a later value for an earlier one. */
export function withDefaults(url: string, connectTimeoutMs: number): string {
  const defaults = {
    fallback_application_name: 'hearth',
    connect_timeout: String(Math.ceil(connectTimeoutMs / 1_000)),
    // A host that vanished without a word is noticed in a minute, and by a pending send in ten seconds.
    keepalives_idle: '30',
    keepalives_interval: '10',
    keepalives_count: '3',
    tcp_user_timeout: '10000',
  }
  const missing = Object.entries(defaults).filter(
    ([name]) => !new RegExp(`\\b${name}\\s*=`).test(url),
  )
  const pairs = [...missing, ['client_encoding', 'UTF8']].map(([name, value]) => `${name}=${value}`)
  if (!/^postgres(ql)?:\/\//.test(url)) return `${url} ${pairs.join(' ')}`
  return `${url}${url.includes('?') ? '&' : '?'}${pairs.join('&')}`
}

/** Of a connection that asks after the server's health, so that pg_stat_activity shows which it is; a name in the url stands. */
export function withName(url: string): string {
  if (/\b(fallback_)?application_name\s*=/.test(url)) return url
  const pair = 'fallback_application_name=hearth-health'
  if (!/^postgres(ql)?:\/\//.test(url)) return `${url} ${pair}`
  return `${url}${url.includes('?') ? '&' : '?'}${pair}`
}

/** What a session of ours is held to by its server, should this worker be asleep. */
export interface SessionLimits {
  readonly statementTimeoutMs: number
  readonly idleInTransactionTimeoutMs: number
}

/** Text formats are fixed, since the encoder of results reads them; the order of day and month in input stays the database's. */
export function setupStatement(limits: SessionLimits & Pick<PoolSpec, 'held'>): Statement {
  const { statementTimeoutMs, idleInTransactionTimeoutMs } = limits
  return plain(
    `select set_config('statement_timeout', '${Math.ceil(statementTimeoutMs)}', false),
      set_config('idle_in_transaction_session_timeout', '${serverIdleMs(idleInTransactionTimeoutMs)}', false),
      set_config('datestyle', 'ISO', false), set_config('intervalstyle', 'postgres', false),
      set_config('bytea_output', 'hex', false), ${NOTICES_DEATH}${setRoleText(limits)}`,
  )
}

/** The server looks once a second whether we are still there, and ends what runs for a worker or an engine that was killed. From
 *  release 14 on; the other systems than Linux refuse it. */
const NOTICES_DEATH = `case when version() like '%linux%'
        and current_setting('client_connection_check_interval', true) is not null
      then set_config('client_connection_check_interval', '1000', false) end`

/** The worker's own limit comes first: it rolls back and keeps the connection, where the server would end it. */
export function serverIdleMs(idleTimeoutMs: number): number {
  return Math.ceil(idleTimeoutMs) + IDLE_MARGIN_MS
}

const IDLE_MARGIN_MS = 5_000

/** A statement of our own. */
export function plain(sql: string): Statement {
  return {
    sql,
    name: '',
    isRead: true,
    isPreparable: false,
    leavesTraces: false,
    word: '',
    aloneRefusal: undefined,
    insideRefusal: undefined,
    uses: 1,
    expectedMs: 0,
    isShort: false,
    mark: undefined,
  }
}

export const ROLLBACK = plain('rollback')
export const DISCARD_ALL = plain('discard all')
export const COMMIT = plain('commit')
/** Skips the parser. */
export const PING = plain(';')
