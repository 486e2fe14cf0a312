/** postgres: every server of every database: whether it answers, what it is, and whether the pools fit into it.
 *  Owns:   the check `postgres`.   Thread: main.
 *  Holds:  (1) nothing is changed at a server.  (2) no password is shown.  (3) a server that does not answer costs
 *          CONNECT_SECONDS, not more. */

import type { Config, DatabaseConfig } from '../../config/config.ts'
import { maskUrl } from '../../config/secrets.ts'
import { type Check, type Finding, fail, ok, warn } from './finding.ts'

const CONNECT_SECONDS = 5
/** The oldest release that is still cared for upstream. */
const RELEASE_MIN = 140_000
const FACTS = `select current_setting('server_version'), current_setting('server_version_num'),
  current_setting('wal_level'), current_setting('max_connections'),
  current_setting('superuser_reserved_connections'), pg_is_in_recovery()::text,
  (select count(*)::text from pg_stat_activity
     where backend_type = 'client backend' and application_name not like 'hearth%'),
  coalesce(extract(epoch from now() - pg_last_xact_replay_timestamp())::int::text, '')`

interface Facts {
  readonly version: string
  readonly release: number
  readonly walLevel: string
  readonly room: number
  readonly others: number
  readonly isStandby: boolean
  readonly replayedSecondsAgo: number
}

export const postgres: Check = {
  name: 'postgres',
  needsConfig: true,
  async run({ loaded: { config } }) {
    const names = Object.keys(config.postgres)
    if (names.length === 0)
      return [ok('no database is configured; HEARTH_POSTGRES_URL or [postgres.main] url names one')]
    const findings: Finding[] = []
    for (const name of names) findings.push(...(await databaseFindings(name, config)))
    return findings
  },
}

async function databaseFindings(name: string, config: Config): Promise<Finding[]> {
  const database = config.postgres[name]!
  const replicas = database.replicas ?? []
  const servers = [{ name: 'url', url: database.url }, ...replicas]
  const findings: Finding[] = []
  const seen: Facts[] = []
  for (const { name: server, url } of servers) {
    const place = `database "${name}", ${server === 'url' ? '' : `replica ${server}, `}${maskUrl(url)}`
    const facts = await factsOf(url)
    if (typeof facts === 'string') {
      // With replicas one server may be down; the database is not.
      const isFatal = replicas.length === 0
      findings.push((isFatal ? fail : warn)(`${place}: ${facts}`, mendConnection(facts, name)))
      continue
    }
    seen.push(facts)
    findings.push(...serverFindings(place, facts, database, replicas.length > 0, config, url))
  }
  const primaries = seen.filter(({ isStandby }) => !isStandby).length
  if (seen.length > 0 && primaries === 0)
    findings.push(
      fail(`database "${name}": no server takes writes`, 'name the primary too, or promote one'),
    )
  if (primaries > 1) {
    const found = `database "${name}": ${primaries} servers take writes, so they are not of one cluster`
    findings.push(fail(found, `take those that are no replicas out of postgres.${name}.replicas`))
  }
  return findings
}

function serverFindings(
  place: string,
  facts: Facts,
  { pool }: DatabaseConfig,
  hasReplicas: boolean,
  config: Config,
  url: string,
): Finding[] {
  const { version, release, walLevel, room, others, isStandby } = facts
  const findings: Finding[] = []
  const wanted = connectionsAt(url, config)
  const kind = isStandby ? 'a standby' : 'a primary'
  const summary = `${place}: PostgreSQL ${version}, ${kind}, wal_level ${walLevel}, ${wanted} of ${room} connections`
  if (release < RELEASE_MIN) {
    const found = `${summary}; releases before 14 do not notice when a client is gone`
    findings.push(warn(found, 'upgrade the server'))
  }
  if (wanted > room) {
    const mend = `lower pool.size and pool.overflow (now ${pool.size} and ${pool.overflow}), or raise max_connections`
    findings.push(fail(`${summary}: the pools may ask for more than there are`, mend))
  } else if (wanted + others > room) {
    const found = `${summary}, and others have ${others}: together more than there are`
    findings.push(warn(found, 'lower the pools, or let the others go through the engine too'))
  }
  if (hasReplicas && walLevel === 'minimal')
    findings.push(fail(`${summary}: replicas need more`, 'set wal_level = replica, and restart it'))
  if (isStandby && facts.replayedSecondsAgo > 3_600) {
    const found = `${place}: it has replayed nothing for ${facts.replayedSecondsAgo} s`
    findings.push(warn(found, 'look at pg_stat_wal_receiver there, unless nothing is written'))
  }
  return findings.length > 0 ? findings : [ok(summary)]
}

/** What all pools together may open at the server of a url. */
function connectionsAt(url: string, config: Config): number {
  const place = placeOf(url)
  let count = 0
  for (const { url: own, replicas = [], pool } of Object.values(config.postgres)) {
    const servers = [own, ...replicas.map(replica => replica.url)]
    count += servers.filter(each => placeOf(each) === place).length * (pool.size + pool.overflow)
  }
  return count
}

/** Host and port, as written: the database apart. */
function placeOf(url: string): string {
  const [, host = '', query = ''] = /^[^:]+:\/\/(?:[^@/]*@)?([^/?]*)[^?]*(\?.*)?$/.exec(url) ?? []
  const named = [...query.matchAll(/[?&](host|port)=([^&]*)/g)].map(
    ([, name, value]) => name! + value,
  )
  return [host, ...named.sort()].join(' ')
}

/** What a server says of itself; or why it says nothing, in libpq's words. */
async function factsOf(url: string): Promise<Facts | string> {
  const { default: PQ } = await import('../../../native-bindings/libpq/index.cjs')
  let connection: InstanceType<typeof PQ>
  try {
    connection = new PQ()
  } catch (error) {
    return (error as Error).message
  }
  try {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const options = `connect_timeout=${CONNECT_SECONDS}&application_name=hearth-doctor`
    connection.connect(`${url}${url.includes('?') ? '&' : '?'}${options}`, error =>
      error ? reject(error) : resolve(),
    )
    await promise
    connection.exec(FACTS)
    if (connection.ntuples() !== 1) return connection.resultErrorMessage().trim()
    const value = (column: number): string => connection.getvalue(0, column)
    return {
      version: value(0).split(' ')[0]!,
      release: Number(value(1)),
      walLevel: value(2),
      room: Number(value(3)) - Number(value(4)),
      isStandby: value(5) === 'true',
      others: Number(value(6)),
      replayedSecondsAgo: Number(value(7) || 0),
    }
  } catch (error) {
    return (error as Error).message.trim().replaceAll(/\s*\n\s*/g, '; ')
  } finally {
    connection.finish()
  }
}

function mendConnection(words: string, name: string): string {
  if (/password|authentication|role ".*" does not exist/.test(words))
    return `mend user and password in postgres.${name}.url, or pg_hba.conf at the server`
  if (/database ".*" does not exist/.test(words)) return `createdb, or mend postgres.${name}.url`
  if (/too many|remaining connection slots/.test(words))
    return 'raise max_connections at the server, or lower the pools of those who use it'
  if (/libpq/.test(words)) return 'see the finding on libpq'
  return `is the server running, and does postgres.${name}.url name its host and port?`
}
