/** Schema: the one table of the configuration. Types, defaults, errors, the example file and README
 *  derive from it.
 *  Owns:   every key, its type, default, bounds and meaning.   Not here: relations between keys
 *          (checks.ts).
 *  Thread: any; plain data.
 *  Holds:  (1) `*` in a key stands for a name of the user's.  (2) A default lies within its row's
 *          bounds.
 *          (3) A size's key ends in `_bytes`; a duration's gets `Ms` in code.  (4) `reloadable` is
 *          a promise that SIGHUP applies the key: set it together with the code that does. */

import { defaultSocketPath, defaultStateDir, type Environment } from './socket_path.ts'
import type { ValueSpec } from './value_types.ts'

export interface Row extends ValueSpec {
  /** As written in the file. Without one the key is absent until set. */
  readonly default?: string | number | boolean
  /** A default that the environment decides; `socket` also needs the state directory in force. */
  readonly computed?: (env: Environment, stateDir?: string) => string
  /** For a `*` at the end of the key: the names that exist without being configured. */
  readonly named?: Readonly<Record<string, string>>
  /** Names of a section of the user's that mean something: the environment knows `READ_ONLY` for `read-only` by them. */
  readonly known?: readonly string[]
  /** Something else in this named section is set, so this must be. */
  readonly required?: true
  /** Stands in the example where there is no default to show. */
  readonly example?: string
  /** A short environment variable that wins over the regular one. */
  readonly envAlias?: string
  readonly reloadable: boolean
  readonly secret?: true
  readonly doc: string
}

/** setTimeout turns anything above 2^31 - 1 ms (24.8 days) into 1 ms. */
const TIMER_MAX = '24d'
const TTL_MAX = '3650d'

// biome-ignore format: a table is read by its columns.
export const SCHEMA = {
  'engine.socket': { type: 'path', computed: defaultSocketPath, reloadable: false, envAlias: 'HEARTH_SOCKET', example: '/run/hearth/hearth.sock', doc: 'Unix socket the engine listens on; by default in $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/hearth, else the state directory' },
  'engine.socket_mode': { type: 'mode', default: '0660', max: '0777', reloadable: false, doc: 'permissions of the socket: who may connect' },
  'engine.state_dir': { type: 'path', computed: defaultStateDir, reloadable: false, example: '/var/lib/hearth', doc: 'directory of the SQLite file; by default $STATE_DIRECTORY, else $XDG_STATE_HOME/hearth, else ~/.local/state/hearth' },
  'engine.workers': { type: 'enum', values: ['shared', 'separate'], default: 'shared', reloadable: false, doc: 'shared: SQLite and Postgres in one worker thread; separate: a thread for each, for about 6 MB more' },
  'engine.libpq': { type: 'path', bareName: true, reloadable: false, example: '/usr/lib/x86_64-linux-gnu/libpq.so.5', doc: 'the libpq to load; by default the system\'s, else the embedded one' },
  'engine.log_level': { type: 'enum', values: ['error', 'warn', 'info', 'debug'], default: 'info', reloadable: true, doc: 'the least important lines that are still logged' },

  'memory.max_bytes': { type: 'size', default: '4MiB', min: '64KiB', max: '1GiB', reloadable: false, doc: 'size of tier 1, the shared-memory segment' },
  'memory.max_entries': { type: 'integer', default: 'unlimited', unbounded: 'unlimited', min: 1, reloadable: false, doc: 'most entries in tier 1, within its size' },
  'memory.max_value_bytes': { type: 'size', default: '64KiB', min: 1, reloadable: true, doc: 'larger values live in tier 2 alone; at most an eighth of memory.max_bytes' },

  'sqlite.max_bytes': { type: 'size', default: '16MiB', min: '1MiB', max: '1TiB', reloadable: false, doc: 'size of tier 2 on disk, its write-ahead log included' },
  'sqlite.busy_timeout': { type: 'duration', default: '30s', max: TIMER_MAX, reloadable: false, doc: 'how long SQLite waits for a lock' },
  'sqlite.synchronous': { type: 'enum', values: ['OFF', 'NORMAL', 'FULL'], default: 'NORMAL', reloadable: false, doc: 'when SQLite waits for the disk; NORMAL survives a crash of the engine, FULL a power cut too' },
  'sqlite.cache_bytes': { type: 'size', default: '2MiB', min: '64KiB', max: '1GiB', reloadable: false, doc: 'SQLite\'s page cache' },
  'sqlite.flush_interval': { type: 'duration', default: '1s', max: '60s', reloadable: false, doc: 'how long a set with durability memory may be kept off the disk, so that one written over soon is never written; 0: not at all' },
  'sqlite.compress_from_bytes': { type: 'size', default: 'off', unbounded: 'off', min: 64, reloadable: false, doc: 'values from this size on are compressed on disk (zstd); off: none' },

  'cache.max_key_bytes': { type: 'size', default: '1KiB', min: 1, max: 65_535, reloadable: false, doc: 'longest key; a key\'s length has 16 bits' },
  'cache.max_value_bytes': { type: 'size', default: '8MiB', min: 1, max: '15MiB', reloadable: false, doc: 'largest value; a frame\'s length has 24 bits' },
  'cache.default_ttl': { type: 'duration', default: '1h', min: '1ms', max: TTL_MAX, reloadable: true, doc: 'time to live of an entry that is set without one' },
  'cache.hit_rate_target': { type: 'fraction', default: 0.8, reloadable: true, doc: 'a warning is logged and shown in health when fewer of the gets are answered from either tier; 0: never' },
  'cache.warm': { type: 'boolean', default: true, reloadable: false, doc: 'the entries read most are back in tier 1 after a restart, before clients are let in, and results of statements that were read most and seldom change are fetched soon after; false: they come as they are asked for' },
  'cache.warm_interval': { type: 'duration', default: '1m', max: '24h', reloadable: false, doc: 'how often it is noted which those are, if it has changed by an eighth; 0: at a clean stop only' },

  'ttl.*': { type: 'duration', min: '1ms', max: TTL_MAX, named: { session: '30m', auth: '1h', decision: '5m', rule: '1h', static: '24h', api: '10m', compliance: '15m', synthesis: '20m' }, reloadable: true, doc: 'times to live by name, for { policy: \'session\' }; add your own' },

  'postgres.*.url': { type: 'url', required: true, reloadable: false, secret: true, example: 'postgres://user:password@localhost:5432/home', envAlias: 'HEARTH_POSTGRES_URL', doc: 'where the database is; the one named main is the default database' },
  'postgres.*.replicas': { type: 'servers', reloadable: false, secret: true, example: 'postgres://user:password@replica:5432/home', doc: 'streaming replicas, for reads: urls, or tables { url, name, weight }; roles are discovered, so any of them may become the primary' },
  'postgres.*.min_replicas': { type: 'integer', default: 2, min: 0, max: 64, reloadable: false, doc: 'fewer replicas that serve reads are a warning; at most as many as are configured' },
  'postgres.*.replicas_down': { type: 'enum', values: ['primary', 'least_bad', 'refuse'], default: 'primary', reloadable: false, doc: 'where reads go when no replica is fit: to the primary, to the replica that is the least behind, or nowhere' },
  'postgres.*.read_your_writes': { type: 'boolean', default: true, reloadable: false, doc: 'a client finds in its reads what it wrote before: until a replica has it they go to the primary' },
  'postgres.*.max_lag': { type: 'duration', default: '5s', min: '10ms', max: TIMER_MAX, reloadable: false, doc: 'a replica further behind serves no reads' },
  'postgres.*.warn_lag': { type: 'duration', default: '2s', min: '10ms', max: TIMER_MAX, reloadable: false, doc: 'a replica further behind is a warning' },
  'postgres.*.failover': { type: 'enum', values: ['follow', 'promote'], default: 'follow', reloadable: false, doc: 'follow: a promotion done by somebody else is noticed; promote: when the primary is gone for good, the most advanced replica is made the primary' },
  'postgres.*.migrate_url': { type: 'url', reloadable: false, secret: true, example: 'postgres://owner@localhost:5432/home', doc: 'where `hearth migrate` connects instead: as the owner of the tables, or past a pooler such as PgBouncer' },
  'postgres.*.pool.size': { type: 'integer', default: 10, min: 1, max: 1_000, reloadable: false, doc: 'connections kept' },
  'postgres.*.pool.overflow': { type: 'integer', default: 5, min: 0, max: 1_000, reloadable: false, doc: 'connections beyond size under load, closed when it is over' },
  'postgres.*.pool.min': { type: 'integer', default: 2, min: 0, max: 1_000, reloadable: false, doc: 'connections kept however idle; at most size' },
  'postgres.*.pool.acquire_timeout': { type: 'duration', default: '30s', min: '1ms', max: TIMER_MAX, reloadable: false, doc: 'how long a request waits for a connection' },
  'postgres.*.pool.idle_timeout': { type: 'duration', default: '300s', min: '1s', max: TIMER_MAX, reloadable: false, doc: 'an idle connection above min is closed after this' },
  'postgres.*.pool.recycle': { type: 'duration', default: '3600s', min: '1s', max: TIMER_MAX, reloadable: false, doc: 'a connection is replaced after this, give or take a little' },
  'postgres.*.pool.pre_ping': { type: 'boolean', default: true, reloadable: false, doc: 'try a connection that has been idle before lending it' },
  'postgres.*.pool.statement_timeout': { type: 'duration', default: '30s', min: '1ms', max: TIMER_MAX, reloadable: false, doc: 'a statement is cancelled at the server after this' },
  'postgres.*.pool.idle_in_transaction_timeout': { type: 'duration', default: '60s', min: '10ms', max: TIMER_MAX, reloadable: false, doc: 'a transaction or stream that nothing is asked of for this long is rolled back' },

  'health.interval': { type: 'duration', default: '10s', min: '100ms', max: TIMER_MAX, reloadable: false, doc: 'how often each server of a database is looked at, at the least; a lost connection is a reason to look at once' },
  'health.timeout': { type: 'duration', default: '2s', min: '10ms', max: TIMER_MAX, reloadable: false, doc: 'a look that is not answered by then has failed' },
  'health.retries': { type: 'integer', default: 3, min: 1, max: 100, reloadable: false, doc: 'failed looks in a row that make a server down; one takes it out of use' },
  'breaker.failures': { type: 'integer', default: 5, min: 1, max: 1_000_000, reloadable: false, doc: 'a breaker opens after so many failures in a row; one guards the reads and one the writes of each server' },
  'breaker.failure_rate': { type: 'fraction', default: 0.5, reloadable: false, doc: 'or when this share of the calls in its window failed' },
  'breaker.min_calls': { type: 'integer', default: 20, min: 1, max: 1_000_000, reloadable: false, doc: 'but not before there were so many calls in the window' },
  'breaker.window': { type: 'duration', default: '60s', min: '100ms', max: '1h', reloadable: false, doc: 'how far back calls count' },
  'breaker.open': { type: 'duration', default: '30s', min: '10ms', max: '1h', reloadable: false, doc: 'how long an open breaker refuses calls (CIRCUIT_OPEN) before it lets single ones try' },
  'breaker.successes': { type: 'integer', default: 2, min: 1, max: 1_000, reloadable: false, doc: 'successful tries that close it again' },
  'breaker.retries': { type: 'integer', default: 3, min: 0, max: 10, reloadable: false, doc: 'how often a statement that was not sent, or only reads, is asked again within its deadline; 0: never' },
  'breaker.backoff': { type: 'duration', default: '1s', min: '1ms', max: '60s', reloadable: false, doc: 'the pause before the first retry, give or take a quarter; each next one is twice as long' },

  'insight.enabled': { type: 'boolean', default: true, reloadable: false, doc: 'statements are counted by fingerprint: calls, times, rows, callers' },
  'insight.slow_threshold': { type: 'duration', default: '100ms', min: '1ms', max: '1h', reloadable: false, doc: 'a statement that takes the server so long is in the slow log' },
  'insight.explain': { type: 'enum', values: ['analyze', 'plan', 'off'], default: 'analyze', reloadable: false, doc: 'what is asked for of slow reads, now and then: the plan with real numbers, for which the read runs once more, the plan alone, or nothing; never of a write' },
  'insight.explain_interval': { type: 'duration', default: '10m', min: '1s', max: '24h', reloadable: false, doc: 'how often at most the plan of one fingerprint is asked for' },
  'insight.show_parameters': { type: 'boolean', default: false, reloadable: false, doc: 'slow log and plans show parameters and literals; false: their types alone' },
  'insight.max_statements': { type: 'integer', default: 500, min: 1, max: 5_000, reloadable: false, doc: 'fingerprints that are kept; past it those called least go' },

  'log.slow_statement': { type: 'duration', default: '1s', unbounded: 'off', max: TIMER_MAX, reloadable: false, doc: 'a statement that takes as long, its wait for a connection included, is logged as a warning; off: none is' },

  'limits.per_client': { type: 'rate', default: 'unlimited', reloadable: true, example: '100/1m', doc: 'SQL statements of one client within a window that slides; a client is a user of the system, whatever connections it has; admins have no limit' },
  'limits.global': { type: 'rate', default: 'unlimited', reloadable: true, example: '10000/1m', doc: 'SQL statements of all clients together, admins left out' },
  'limits.cache_per_client': { type: 'rate', default: 'unlimited', reloadable: true, example: '100000/1m', doc: 'requests of one client to the cache; values read in place make none' },
  // More would outgrow the daemon's heap of 64 MB (cli/hearth.cjs), and end it.
  'limits.max_subjects': { type: 'integer', default: 4_096, min: 1, max: 65_536, reloadable: true, doc: 'subjects of limits.check() that are counted each by itself at a time, for up to 600 bytes each; those beyond share what one may' },

  'migrate.dir': { type: 'path', reloadable: false, example: './migrations', doc: 'folder of the migrations; by default `migrations` beside this file' },
  'migrate.lock_timeout': { type: 'duration', default: '5s', min: 0, max: TIMER_MAX, reloadable: false, doc: 'how long a statement of a migration waits for a lock, and others behind it; 0: for ever' },
  'migrate.lock_retries': { type: 'integer', default: 3, min: 0, max: 100, reloadable: false, doc: 'how often a migration that did not get its lock is rolled back and tried again' },
  'migrate.lock_retry_pause': { type: 'duration', default: '5s', min: '1ms', max: '1h', reloadable: false, doc: 'the pause before that' },
  'migrate.statement_timeout': { type: 'duration', default: '1h', min: 0, max: TIMER_MAX, reloadable: false, doc: 'a statement of a migration is cancelled after this; 0: never' },
  'migrate.wait': { type: 'duration', default: '30s', min: 0, max: TIMER_MAX, reloadable: false, doc: 'how long a migration waits for another one of the same database to end' },
  'migrate.lint': { type: 'enum', values: ['refuse', 'warn', 'off'], default: 'refuse', reloadable: false, doc: 'what becomes of a migration that would stop those who use a big table' },
  'migrate.big_table_rows': { type: 'integer', default: 100_000, min: 1, max: 1_000_000_000_000, reloadable: false, doc: 'a table of so many rows is big' },

  'http.listen': { type: 'listen', default: 'off', reloadable: false, doc: 'where metrics, health and the page are served over HTTP; off: nowhere. hearth dev has them on 127.0.0.1:9464' },
  'http.allow_remote': { type: 'boolean', default: false, reloadable: false, doc: 'http.listen may be an address that other machines reach; whoever reaches it reads the figures, without a password' },
  'http.allowed_hosts': { type: 'list', reloadable: false, example: 'hearth.example.net', doc: 'names that a request may have as its Host, besides addresses and localhost' },

  'services.*.url': { type: 'http_url', required: true, reloadable: false, example: 'http://127.0.0.1:8001', doc: 'where an HTTP service is that clients call by name; its path, if any, stands before each call\'s' },
  'services.*.timeout': { type: 'duration', default: '5s', min: '1ms', max: TIMER_MAX, reloadable: false, doc: 'how long one attempt may take, to the end of its answer' },
  'services.*.retries': { type: 'integer', default: 3, min: 0, max: 10, reloadable: false, doc: 'how often a call that may be repeated is, within its deadline' },
  'services.*.backoff': { type: 'duration', default: '200ms', min: '1ms', max: '60s', reloadable: false, doc: 'the longest pause before the first retry, of which half is random; each next one is twice as long' },
  'services.*.hedge_after': { type: 'duration', default: 'off', unbounded: 'off', max: '60s', reloadable: false, doc: 'a GET or HEAD without an answer for so long is sent a second time, and the first answer is taken; 0: after the 95th percentile of its latest answers; one call in ten at most' },
  'services.*.max_body_bytes': { type: 'size', default: '8MiB', min: 1, max: '1GiB', reloadable: false, doc: 'the longest answer that is taken, as it is after decompression' },
  'services.*.health_path': { type: 'string', default: '/health', reloadable: false, doc: 'what is asked for to know whether it is up: any 2xx' },
  'services.*.health_interval': { type: 'duration', default: '30s', unbounded: 'off', min: '100ms', max: TIMER_MAX, reloadable: false, doc: 'how often its health is asked for, give or take a tenth; off: never' },
  'services.*.health_tries': { type: 'integer', default: 3, min: 1, max: 100, reloadable: false, doc: 'tries without a 2xx that make it down' },
  'services.*.depends_on': { type: 'list', reloadable: false, example: 'postgres.main', doc: 'other services, or parts of the engine, without which it is degraded' },

  'alerts.enabled': { type: 'boolean', reloadable: false, example: 'true', doc: 'the engine watches itself and says when something is wrong; by default when one of the channels below is configured' },
  'alerts.host': { type: 'string', reloadable: false, example: 'home', doc: 'what messages call this host; by default its name' },
  'alerts.daily_cap': { type: 'integer', default: 50, min: 1, max: 10_000, reloadable: false, doc: 'most alerts that are sent within 24 hours; the last says that it is the last' },
  'alerts.repeat': { type: 'duration', default: '4h', max: TIMER_MAX, reloadable: false, doc: 'an alert that lasts is sent again after this; 0: never' },
  'alerts.rules.*.enabled': { type: 'boolean', reloadable: false, example: 'true', doc: 'false: this alert is not looked at; README lists their names' },
  'alerts.rules.*.threshold': { type: 'number', reloadable: false, example: '20', doc: 'when it begins, in seconds, bytes, or a share from 0 to 1' },
  'alerts.rules.*.clear': { type: 'number', reloadable: false, example: '5', doc: 'when it is over; by default as far from the threshold as in the alert\'s own row' },
  'alerts.rules.*.for': { type: 'duration', max: '24h', reloadable: false, example: '1m', doc: 'how long it must be so before it is told' },
  'alerts.email.server': { type: 'endpoint', values: ['smtp:', 'smtps:'], default: 'smtp://localhost:25', reloadable: false, secret: true, doc: 'the mail server: smtps://user:password@host (port 465), or smtp (port 587, with STARTTLS where the server has it; a password is sent in no other way)' },
  'alerts.email.from': { type: 'string', reloadable: false, example: 'hearth@example.net', doc: 'the sender; by default hearth at this host' },
  'alerts.email.to': { type: 'list', reloadable: false, example: 'alice@example.net', doc: 'who gets mails' },
  'alerts.slack.url': { type: 'endpoint', values: ['https:', 'http:'], reloadable: false, secret: true, example: 'https://hooks.slack.com/services/T0/B0/secret', doc: 'an incoming webhook of Slack' },
  'alerts.pagerduty.key': { type: 'secret', reloadable: false, secret: true, example: '0123456789abcdef0123456789abcdef', doc: 'the integration key of a PagerDuty service (Events API v2)' },
  'alerts.pagerduty.url': { type: 'endpoint', values: ['https:', 'http:'], default: 'https://events.pagerduty.com/v2/enqueue', reloadable: false, secret: true, doc: 'where PagerDuty takes events; in the EU https://events.eu.pagerduty.com/v2/enqueue' },
  'alerts.ntfy.url': { type: 'endpoint', values: ['https:', 'http:'], reloadable: false, secret: true, example: 'https://ntfy.sh/a-topic-nobody-guesses', doc: 'a topic of ntfy' },
  'alerts.ntfy.token': { type: 'secret', reloadable: false, secret: true, example: 'tk_secret', doc: 'an access token, if the topic needs one' },
  'alerts.webhook.url': { type: 'endpoint', values: ['https:', 'http:'], reloadable: false, secret: true, example: 'https://example.net/hooks/hearth', doc: 'anything that takes a POST of JSON' },
  'alerts.webhook.token': { type: 'secret', reloadable: false, secret: true, example: 'secret', doc: 'sent as Authorization: Bearer' },

  'access.*.members': { type: 'list', known: ['read-only'], reloadable: true, example: 'alice, uid:1001, group:video', doc: 'who has the role (admin, service, read-only, none, or one of your own): users by name or uid:, groups as group: or gid:' },
  'access.*.like': { type: 'enum', known: ['read-only'], values: ['admin', 'service', 'read-only', 'none'], reloadable: true, example: 'service', doc: 'for a role of your own, which of the four it is like: it has that one\'s rights, within its own limits' },
  'access.*.namespaces': { type: 'list', known: ['read-only'], reloadable: true, example: 'weather, sensors', doc: 'keys, tags, patterns and channels of the role begin with one of these and a colon; not set: any' },
  'access.*.databases': { type: 'list', known: ['read-only'], reloadable: true, example: 'main as reader, history', doc: 'databases of the role, each with the Postgres role that statements run as, if any; not set: all' },
  'access.*.memory_bytes': { type: 'size', known: ['read-only'], default: 'unlimited', unbounded: 'unlimited', reloadable: true, doc: 'most bytes of its namespaces in tier 1' },
  'access.*.sqlite_bytes': { type: 'size', known: ['read-only'], default: 'unlimited', unbounded: 'unlimited', reloadable: true, doc: 'most bytes of its namespaces in tier 2' },
  'access.*.inflight': { type: 'integer', known: ['read-only'], default: 'unlimited', unbounded: 'unlimited', min: 1, reloadable: true, doc: 'most unanswered requests of one user of the role, over all its connections; what comes beyond waits' },
  'access.*.subscriptions': { type: 'integer', known: ['read-only'], default: 'unlimited', unbounded: 'unlimited', min: 0, reloadable: true, doc: 'most subscriptions and LISTENs of one user of the role' },
} as const satisfies Record<string, Row>

export type Schema = typeof SCHEMA

/** The rows with the interface's type, for code that treats them all alike. */
export const ROWS: ReadonlyMap<string, Row> = new Map(Object.entries(SCHEMA))

/** The database that HEARTH_POSTGRES_URL and an unnamed query mean. */
export const MAIN_DATABASE = 'main'
