/** Commands: the one table of the CLI. Dispatch, `--help` and usage errors derive from it.
 *  Owns:   each command's name, operands, options and words.   Not here: what a command does (commands/).
 *  Thread: main.
 *  Holds:  (1) a command's file is loaded only when it runs.  (2) `[X]` is optional, `X…` may be repeated, and only the
 *          last operand may be either. */

import type { CommandSpec } from './command_spec.ts'

const JSON_OPTION = { json: { doc: 'machine-readable output, errors too' } } as const
const SOCKET_OPTION = {
  socket: {
    value: 'PATH',
    doc: "the engine's socket; else $HEARTH_SOCKET, ./.hearth/hearth.sock, the system's",
  },
} as const
const CONFIG_OPTION = {
  config: {
    value: 'FILE',
    doc: 'else $HEARTH_CONFIG, ./hearth.toml, /etc/hearth/hearth.toml',
  },
} as const

export const COMMANDS: Readonly<Record<string, CommandSpec>> = {
  serve: {
    operands: [],
    summary: 'run the engine in the foreground, as systemd wants it (Type=notify)',
    details: `SIGTERM finishes what is in flight and ends; SIGHUP reads the configuration again.
What it does is logged to stderr, one JSON line each.`,
    options: { ...CONFIG_OPTION, ...JSON_OPTION },
  },
  dev: {
    operands: [],
    summary: 'run everything embedded, with sample data and a pretend home service',
    details: `Keeps its state in ./.hearth: the engine, a Postgres of its own and the readings of a real
house, about 90 MB; remove that folder to start afresh. A small service then asks the questions of
a home dashboard, and a table shows which tier answered and how fast. In this folder the other
commands find this engine by themselves. Ctrl-C stops everything.

With --replicas the Postgres gets streaming replicas, which the engine reads from. They are kept
too, about 70 MB each. One that ends is started again, one that can never catch up is copied anew,
and both are told.`,
    options: {
      replicas: {
        value: 'N',
        doc: 'streaming replicas of the embedded Postgres, 0 to 3; else none',
      },
      seconds: { value: 'N', doc: 'stop after so many seconds of questions' },
      ...JSON_OPTION,
    },
    load: () => import('./commands/dev.ts'),
  },
  ping: {
    operands: [],
    summary: 'one round trip to the engine',
    options: {
      wait: { value: 'MS', doc: 'try until the engine answers or the time is over: 500 or 5s' },
      ...SOCKET_OPTION,
      ...JSON_OPTION,
    },
    load: () => import('./commands/ping.ts'),
  },
  get: {
    operands: ['KEY'],
    summary: 'the value of a key; exits with 1 when there is none',
    details: `Plain data is shown as JSON, text and (in a pipe) bytes as they are, anything that JSON does not
know as Node shows it. With --json: dates are ISO text, a bigint is text, bytes are
{ "base64": … }, a Map is an object or a list of pairs.`,
    options: { ...SOCKET_OPTION, ...JSON_OPTION },
    load: () => import('./commands/get.ts'),
  },
  set: {
    operands: ['KEY', 'VALUE'],
    summary: 'store a value: JSON if it parses, else text',
    options: {
      ttl: { value: 'TIME', doc: 'how long it lives: 250ms, 30s, 5m, 1h; 0: until evicted' },
      policy: { value: 'NAME', doc: 'a TTL by name, such as session or api, instead of --ttl' },
      tag: { value: 'TAG', repeats: true, doc: 'a tag to invalidate it by; once for each' },
      grace: {
        value: 'TIME',
        doc: 'how long it is kept after that, for when nothing fresh can be had',
      },
      ...SOCKET_OPTION,
      ...JSON_OPTION,
    },
    load: () => import('./commands/set.ts'),
  },
  del: {
    operands: ['KEY…'],
    summary: 'delete keys; says how many were there',
    options: { ...SOCKET_OPTION, ...JSON_OPTION },
    load: () => import('./commands/del.ts'),
  },
  keys: {
    operands: ['[GLOB]'],
    summary: "keys in order, one a line; 'hourly:*' for some of them",
    details:
      'A glob knows * ? [ab] [^a], and \\ before one of them. Quote it, or the shell will read it.',
    options: { ...SOCKET_OPTION, ...JSON_OPTION },
    load: () => import('./commands/keys.ts'),
  },
  invalidate: {
    operands: [],
    summary: 'end every entry with a tag, or every key that matches a pattern; says how many',
    details: `By tag it is one step, however many entries carry it. A pattern is a glob, as in keys.
No restart brings back what was invalidated.`,
    options: {
      tag: { value: 'TAG', repeats: true, doc: 'a tag; once for each' },
      pattern: { value: 'GLOB', doc: "a glob, such as 'device:*'; quote it" },
      ...SOCKET_OPTION,
      ...JSON_OPTION,
    },
    load: () => import('./commands/invalidate.ts'),
  },
  query: {
    operands: ['SQL', '[PARAM…]'],
    summary: 'one SQL statement, with $1 … from the parameters',
    details: `Parameters are sent as text, and Postgres gives them the type that the statement asks for;
for NULL write null into the statement.`,
    options: {
      db: { value: 'NAME', doc: 'another configured database than main' },
      cache: {
        value: 'TIME',
        doc: 'from the cache, or kept there so long, unless a table is written',
      },
      ...SOCKET_OPTION,
      ...JSON_OPTION,
    },
    load: () => import('./commands/query.ts'),
  },
  watch: {
    operands: ['WHAT', '[TABLE…]'],
    summary: 'have writes made past the engine end cached results of Postgres',
    details: `WHAT is install, remove or status.
install puts a trigger on each table, or on those named with their partitions; it tells the
engine, by NOTIFY, which tables a transaction wrote to. For a superuser new tables get it by
themselves. A busy table is not waited for long: it is named, and the rest is done.
remove takes out what install put in, all of it when no table is named. status says which
tables are watched, and exits with 1 unless all are.`,
    options: {
      schema: { value: 'NAME', doc: 'the tables of this schema instead of all' },
      db: { value: 'NAME', doc: 'another configured database than main' },
      ...SOCKET_OPTION,
      ...JSON_OPTION,
    },
    load: () => import('./commands/watch.ts'),
  },
  migrate: {
    operands: ['WHAT', '[NAME|N…]'],
    summary: 'schema migrations: plain SQL files, up and down, checked and undone by themselves',
    details: `WHAT is new NAME, up [N], down [N], status or verify. It connects to the database itself:
no engine need run, and one that does is told.
new makes an empty 0001_name.up.sql. up applies what is due, each in a transaction, and writes
the way back beside it where there is none. down undoes the last one, or the last N. status says
what is applied, by whom, when, and how long it took. verify compares files, history and the
live catalog, and exits with 1 when they differ.`,
    options: {
      'dry-run': {
        doc: 'up: show what would be done; run it in a transaction, and roll that back',
      },
      'allow-out-of-order': { doc: 'up: apply one whose number is below that of the last applied' },
      resume: { doc: 'up, down: go on with one without a transaction that was interrupted' },
      timestamp: { doc: 'new: number it by the time, as 20261231235959' },
      wait: { value: 'TIME', doc: 'how long to wait for another migration; else migrate.wait' },
      dir: {
        value: 'FOLDER',
        doc: 'of the files; else migrate.dir, or beside the configuration',
      },
      db: { value: 'NAME', doc: 'another configured database than main' },
      ...CONFIG_OPTION,
      socket: {
        value: 'PATH',
        doc: 'of the engine that is told; else found as for other commands',
      },
      ...JSON_OPTION,
    },
    load: () => import('./commands/migrate.ts'),
  },
  insight: {
    operands: ['WHAT'],
    summary: 'which statements take the time, who asks too often, what would help',
    details: `WHAT is one of
  statements   by fingerprint: calls, times, rows, who asks
  slow         the slow log: statements from insight.slow_threshold on
  n+1          who asks the same again and again with other parameters
  indexes      indexes that are missing, and those that are too many
  plans        plans of slow reads, as they ran
  cache        reads that would gain by the cache
indexes makes and changes nothing. With --prove it tries each index on a copy of the table, in a
transaction that is rolled back; where hypopg is installed it needs no copy.`,
    options: {
      db: { value: 'NAME', doc: 'of this configured database alone; indexes: else main' },
      limit: { value: 'N', doc: 'so many lines at most; else 20' },
      prove: { doc: 'indexes: try them on a copy' },
      'max-copy': { value: 'SIZE', doc: 'indexes: how much of a table a copy has; else 64MiB' },
      ...SOCKET_OPTION,
      ...JSON_OPTION,
    },
    load: () => import('./commands/insight.ts'),
  },
  stats: {
    operands: [],
    summary: 'one look: hits by tier, sizes against limits, pools, workers, memory',
    options: {
      key: {
        value: 'KEY',
        doc: 'what is known of one key instead: tiers, tags, why it lives so long',
      },
      ...SOCKET_OPTION,
      ...JSON_OPTION,
    },
    load: () => import('./commands/stats.ts'),
  },
  top: {
    operands: [],
    summary: 'the same live, with the last minutes, latencies, breakers and services',
    details: `Keys: q quits, p pauses, the arrows scroll, Tab goes to the next part. Where the output is no
terminal, and with --once or --json, it looks once.`,
    options: {
      once: { doc: 'print it once and end' },
      ...SOCKET_OPTION,
      ...JSON_OPTION,
    },
    load: () => import('./commands/top.ts'),
  },
  health: {
    operands: [],
    summary: 'health, overall and by part; exits with 1 unless all is ok',
    options: { ...SOCKET_OPTION, ...JSON_OPTION },
    load: () => import('./commands/health.ts'),
  },
  alert: {
    operands: ['WHAT'],
    summary: 'alerts that fire and that are over; a test message to every channel',
    details: `WHAT is list or test.
list shows what fires now and what is over, and exits with 1 when anything fires.
test has the engine send a message through each configured channel, and says what each answered;
it exits with 1 unless all of them took it.`,
    options: {
      channel: {
        value: 'NAME',
        doc: 'test: only this one: email, slack, pagerduty, ntfy, webhook',
      },
      ...SOCKET_OPTION,
      ...JSON_OPTION,
    },
    load: () => import('./commands/alert.ts'),
  },
  config: {
    operands: [],
    summary: 'the configuration in force and where each value is from; secrets masked',
    options: {
      ...CONFIG_OPTION,
      example: { doc: 'print a hearth.toml with every key, its default and its meaning instead' },
      ...JSON_OPTION,
    },
    load: () => import('./commands/config.ts'),
  },
  doctor: {
    operands: [],
    summary: 'check everything Hearth needs, and say how to mend what is wrong; exits with 1 then',
    details: `Looks at the configuration, the runtime and its native parts, folders, permissions, disk,
kernel settings, every Postgres server, the systemd unit, and the engine if one runs. Run it as
the user that the engine runs as, with the same environment. It changes nothing.`,
    options: { ...CONFIG_OPTION, ...JSON_OPTION },
    load: () => import('./commands/doctor.ts'),
  },
  'install-service': {
    operands: [],
    summary: 'write the systemd units for this install, and say what to do next',
    details: `Writes hearth.service, hearth.socket and the file that makes their user. Starts nothing. A file
that was changed by hand is left alone; changes belong in drop-ins (systemctl edit).`,
    options: {
      print: { doc: 'print them instead' },
      user: { value: 'NAME', doc: 'whom the engine runs as; else hearth' },
      group: { value: 'NAME', doc: 'who may connect; else as the user' },
      config: { value: 'FILE', doc: 'for the service; else /etc/hearth/hearth.toml, if there' },
      root: { value: 'DIR', doc: 'write below it, for a package or an image; else /' },
      force: { doc: 'also over changed files, which are kept as FILE.old' },
      ...JSON_OPTION,
    },
    load: () => import('./commands/install_service.ts'),
  },
}
