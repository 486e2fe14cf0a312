/** Session: how a connection is opened and what every session of ours has set.
 *  Owns:   nothing.   Thread: postgres worker.
 *  Holds:  what the user wrote in the URL stands; only what is missing is added. */

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

/** Text formats are fixed, since types.ts reads them; the order of day and month in input stays the database's. */
export function setupStatement(statementTimeoutMs: number): Statement {
  return plain(
    `select set_config('statement_timeout', '${Math.ceil(statementTimeoutMs)}', false),
      set_config('idle_in_transaction_session_timeout', '${IDLE_IN_TRANSACTION_MS_MAX}', false),
      set_config('datestyle', 'ISO', false), set_config('intervalstyle', 'postgres', false),
      set_config('bytea_output', 'hex', false)`,
  )
}

const IDLE_IN_TRANSACTION_MS_MAX = 60_000

function plain(sql: string): Statement {
  return { sql, name: '', isRead: true, isPreparable: false, leavesTraces: false, uses: 1 }
}

export const ROLLBACK = plain('rollback')
export const DISCARD_ALL = plain('discard all')
/** Skips the parser. */
export const PING = plain(';')
