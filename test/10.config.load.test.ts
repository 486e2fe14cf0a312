/** Loading the configuration: sources and their order, every key by every source, and what is said
 *  of mistakes. */

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { ALERT_NAMES } from '../engine/alert_names.ts'
import type { Config } from '../engine/config/config.ts'
import { keyLines, pathId } from '../engine/config/key_lines.ts'
import { codePath, environmentName } from '../engine/config/keys.ts'
import { type LoadedConfig, type LoadOptions, loadConfig } from '../engine/config/load.ts'
import { ROWS, type Row } from '../engine/config/schema.ts'
import { clientSocketPath } from '../engine/config/socket_path.ts'
import { VALUE_TYPES, type Value } from '../engine/config/value_types.ts'
import { HearthError } from '../engine/errors.ts'
import { SEED } from './helpers/random.ts'

const directory = mkdtempSync(join(tmpdir(), 'hearth-config-'))
const FILE = join(directory, 'test.toml')
const ENV = { HOME: '/home/resident' }
const URL = 'postgres://resident:hunter2@localhost/home'

after(() => rmSync(directory, { recursive: true }))

function load(toml: string | Uint8Array, options: LoadOptions = {}): LoadedConfig {
  writeFileSync(FILE, toml)
  return loadConfig({ file: FILE, env: ENV, cwd: directory, ...options })
}

function refusal(toml: string | Uint8Array, options: LoadOptions = {}): string {
  try {
    load(toml, options)
  } catch (error) {
    assert(error instanceof HearthError, String(error))
    assert.equal(error.code, 'BAD_REQUEST')
    return error.message
  }
  return assert.fail('the configuration was accepted')
}

function valueAt(config: Config, ...names: string[]): unknown {
  return names.reduce<unknown>((node, name) => (node as Record<string, unknown>)[name], config)
}

test('the defaults are the figures of the documentation', () => {
  const none = 'unlimited'
  const { config, warnings, origins } = load(`postgres.main.url = '${URL}'`)
  const KiB = 1024
  assert.deepEqual(
    JSON.parse(
      JSON.stringify({
        ...config,
        migrate: undefined, // 81.migrate.files has them
        alerts: undefined,
        memory: { ...config.memory, maxEntries: 'all' },
        sqlite: { ...config.sqlite, compressFromBytes: 'off' },
      }),
    ),
    {
      engine: {
        socket: '/home/resident/.local/state/hearth/hearth.sock',
        socketMode: 0o660,
        stateDir: '/home/resident/.local/state/hearth',
        workers: 'shared',
        logLevel: 'info',
      },
      memory: { maxBytes: 4096 * KiB, maxEntries: 'all', maxValueBytes: 64 * KiB },
      sqlite: {
        maxBytes: 16_384 * KiB,
        busyTimeoutMs: 30_000,
        synchronous: 'NORMAL',
        cacheBytes: 2048 * KiB,
        flushIntervalMs: 1_000,
        compressFromBytes: 'off',
      },
      cache: {
        maxKeyBytes: KiB,
        maxValueBytes: 8192 * KiB,
        defaultTtlMs: 3_600_000,
        hitRateTarget: 0.8,
        warm: true,
        warmIntervalMs: 60_000,
      },
      ttl: {
        session: 1_800_000,
        auth: 3_600_000,
        decision: 300_000,
        rule: 3_600_000,
        static: 86_400_000,
        api: 600_000,
        compliance: 900_000,
        synthesis: 1_200_000,
      },
      postgres: {
        main: {
          url: URL,
          pool: {
            size: 10,
            overflow: 5,
            min: 2,
            acquireTimeoutMs: 30_000,
            idleTimeoutMs: 300_000,
            recycleMs: 3_600_000,
            prePing: true,
            statementTimeoutMs: 30_000,
            idleInTransactionTimeoutMs: 60_000,
          },
          minReplicas: 2,
          replicasDown: 'primary',
          readYourWrites: true,
          maxLagMs: 5_000,
          warnLagMs: 2_000,
          failover: 'follow',
        },
      },
      health: { intervalMs: 10_000, timeoutMs: 2_000, retries: 3 },
      http: { listen: 'off', allowRemote: false },
      breaker: {
        failures: 5,
        failureRate: 0.5,
        minCalls: 20,
        windowMs: 60_000,
        openMs: 30_000,
        successes: 2,
        retries: 3,
        backoffMs: 1_000,
      },
      insight: { ...config.insight, slowThresholdMs: 100, showParameters: false },
      services: {},
      log: { slowStatementMs: 1_000 },
      limits: { perClient: none, global: none, cachePerClient: none, maxSubjects: 4_096 },
      access: {},
    },
  )
  assert.deepEqual([config.alerts.dailyCap, config.alerts.repeatMs], [50, 4 * 3_600_000])
  assert.equal(config.memory.maxEntries, Number.POSITIVE_INFINITY)
  assert.deepEqual(warnings, [])
  assert.deepEqual(origins['memory.max_bytes'], { from: 'default', where: 'default' })
  assert.deepEqual(origins['postgres.main.url'], { from: 'file', where: `${FILE}:1` })
})

test('the types follow the schema', () => {
  const { config } = load(`postgres.main.url = '${URL}'`)
  const acquireTimeoutMs: number | undefined = config.postgres['main']?.pool.acquireTimeoutMs
  const sessionMs: number = config.ttl.session
  const workers: 'shared' | 'separate' = config.engine.workers
  const libpq: string | undefined = config.engine.libpq
  assert.deepEqual(
    [acquireTimeoutMs, sessionMs, workers, libpq],
    [30_000, 1_800_000, 'shared', undefined],
  )
  // @ts-expect-error a key that the schema does not have
  assert.equal(config.memory.maxByte, undefined)
  assert(Object.isFrozen(config) && Object.isFrozen(config.postgres['main']?.pool))
  assert.equal(config.ttl['constructor'], undefined)
})

/** For every row another value than its default: TOML, environment, and what code reads. */
function sampleOf(row: Row): { toml: string; text: string; value: Value } {
  if (row.type === 'enum') {
    const word = row.values!.find(value => value !== row.default)!
    return { toml: `"${word}"`, text: word.toLowerCase(), value: word }
  }
  const endpoint = `${row.values?.[0]}//h/a`
  const samples = {
    duration: { toml: '"7s"', text: '7s', value: 7_000 },
    size: { toml: '"3MiB"', text: '3MiB', value: 3 * 1024 ** 2 },
    integer: { toml: '7', text: '7', value: 7 },
    fraction: { toml: '0.5', text: '.5', value: 0.5 },
    rate: { toml: '"7/2m"', text: '7/120s', value: '7/2m' },
    number: { toml: '2.5', text: '2.5', value: 2.5 },
    endpoint: { toml: `"${endpoint}"`, text: endpoint, value: endpoint },
    secret: { toml: '"s3cret"', text: 's3cret', value: 's3cret' },
    mode: { toml: '0o600', text: '0600', value: 0o600 },
    boolean: { toml: 'false', text: 'off', value: false },
    string: { toml: '"text"', text: 'text', value: 'text' },
    path: { toml: '"/a/b"', text: '/a/b', value: '/a/b' },
    url: { toml: '"postgres://h/a"', text: 'postgres://h/a', value: 'postgres://h/a' },
    http_url: { toml: '"http://h/a"', text: 'http://h/a', value: 'http://h/a' },
    list: { toml: '["memory", "sqlite"]', text: 'memory,sqlite', value: ['memory', 'sqlite'] },
    listen: { toml: '"127.0.0.1:1234"', text: '127.0.0.1:1234', value: '127.0.0.1:1234' },
    servers: {
      toml: '["postgres://h/b"]',
      text: 'postgres://h/b',
      value: [{ name: '1', url: 'postgres://h/b', weight: 1 }],
    },
  }
  const sample = samples[row.type]
  // A key has 16 bits of length, and a value fits eight times into tier 1.
  if (row.max === 65_535) return { toml: '2000', text: '2000', value: 2_000 }
  return row.type === 'size' && row.min === 1
    ? { toml: '"5KiB"', text: '5K', value: 5_120 }
    : sample
}

const BASES = new Map(Object.entries({ postgres: URL, services: 'http://h/' }))

/** A name that may stand for the `*`. */
const nameIn = (pattern: string): string =>
  pattern.startsWith('alerts') ? ALERT_NAMES[0] : pattern.startsWith('ttl') ? 'brief' : 'main'

for (const [pattern, row] of ROWS) {
  const key = pattern.replace('*', nameIn(pattern))
  const sample = sampleOf(row)
  const url = key.endsWith('.url') ? undefined : BASES.get(key.split('.')[0]!)
  const base = url === undefined ? '' : `${key.split('.')[0]}.main.url = '${url}'\n`

  test(`${pattern} can be set by file, by environment and by option`, () => {
    const byFile = load(`${base}${key} = ${sample.toml}`)
    const byEnvironment = load(base, { env: { ...ENV, [environmentName(key)]: sample.text } })
    assert.equal(byFile.origins[key]?.where, `${FILE}:${base === '' ? 1 : 2}`)
    assert.equal(byEnvironment.origins[key]?.where, `$${environmentName(key)}`)
    assert.deepEqual(byEnvironment.config, byFile.config)
    assert.deepEqual(byEnvironment.warnings, [])

    const names = codeNames(byFile.config, key)
    assert.deepEqual(valueAt(byFile.config, ...names), sample.value)
    const overrides = names.reduceRight<unknown>((inner, name) => ({ [name]: inner }), sample.value)
    const byOption = load(base, { overrides: overrides as LoadOptions['overrides'] & object })
    assert.deepEqual(byOption.config, byFile.config)
    assert.equal(byOption.origins[key]?.from, 'override')
  })

  test(`${pattern} refuses a value of another type and tells the line`, () => {
    const message = refusal(`\n${base}\n${key} = [1.5, {}]`)
    assert.match(
      message,
      new RegExp(`test\\.toml:${base === '' ? 3 : 4}: ${key}: found .*, expected `),
    )
  })

  test(`${pattern} keeps to the form of the table`, () => {
    if (row.type === 'size') assert.match(key, /_bytes$/)
    assert(row.type in VALUE_TYPES)
    assert(row.doc.length > 10)
    const mayHoldSecret = ['url', 'servers', 'endpoint', 'secret'].includes(row.type)
    assert.equal(row.secret === true, mayHoldSecret, 'a url may hold a password')
  })
}

/** `cache.default_ttl` → cache, defaultTtlMs: found by name in the config itself, not by the code
 *  under test. */
function codeNames(config: Config, key: string): string[] {
  const names: string[] = []
  let node: object = config
  for (const part of key.split('.')) {
    const flat = part.replaceAll('_', '').toLowerCase()
    const name = Object.keys(node).find(own =>
      [part, flat, `${flat}ms`].includes(own.toLowerCase()),
    )
    assert(name !== undefined, `${key} has no name in code`)
    names.push(name)
    node = (node as Record<string, object>)[name]!
  }
  return names
}

test('an option wins over the environment, that over the file, that over the default', () => {
  const file = '[memory]\nmax_bytes = "2MiB"\nmax_entries = 100\nmax_value_bytes = "8KiB"'
  const env = { ...ENV, HEARTH_MEMORY_MAX_BYTES: '3MiB', HEARTH_MEMORY_MAX_ENTRIES: '200' }
  const { config, origins } = load(file, {
    env,
    overrides: { memory: { maxBytes: 5 * 1024 ** 2 } },
  })
  assert.deepEqual(config.memory, { maxBytes: 5 * 1024 ** 2, maxEntries: 200, maxValueBytes: 8192 })
  assert.deepEqual(
    ['max_bytes', 'max_entries', 'max_value_bytes'].map(key => origins[`memory.${key}`]?.where),
    ['option', '$HEARTH_MEMORY_MAX_ENTRIES', `${FILE}:4`],
  )
})

test('the file is looked for at --config, $HEARTH_CONFIG, then ./hearth.toml', () => {
  const cwd = join(directory, 'places')
  mkdirSync(cwd)
  const socketOf = (options: LoadOptions) =>
    loadConfig({ cwd, env: ENV, ...options }).config.engine.socket
  writeFileSync(join(cwd, 'hearth.toml'), 'engine.socket = "/here"')
  writeFileSync(join(cwd, 'a.toml'), 'engine.socket = "/asked"')
  writeFileSync(join(cwd, 'b.toml'), 'engine.socket = "/environment"')
  const env = { ...ENV, HEARTH_CONFIG: 'b.toml' }
  assert.equal(socketOf({}), '/here')
  assert.equal(socketOf({ env }), '/environment')
  assert.equal(socketOf({ env, file: 'a.toml' }), '/asked')
  assert.equal(socketOf({ env: { ...ENV, HEARTH_CONFIG: '' } }), '/here')
})

test('a file that was asked for must exist and be readable; the usual places may be empty', () => {
  const missing = join(directory, 'none.toml')
  const thrown = (options: LoadOptions) => ({
    ...options,
    env: { ...ENV, ...options.env },
    cwd: directory,
  })
  assert.throws(
    () => loadConfig(thrown({ file: missing })),
    /none\.toml: no such file, named by --config/,
  )
  const env = { HEARTH_CONFIG: missing }
  assert.throws(
    () => loadConfig(thrown({ env })),
    /none\.toml: no such file, named by \$HEARTH_CONFIG/,
  )
  assert.throws(() => loadConfig(thrown({ file: directory })), /cannot be read \(EISDIR\)/)
  assert.doesNotThrow(() => loadConfig({ cwd: directory, env: ENV }))
  assert.throws(() => loadConfig(thrown({ file: '/dev/zero' })), /larger than 1MiB/)
})

test('the socket follows the runtime directory, the session, then the state directory', () => {
  const socketOf = (env: Record<string, string>, toml = '') =>
    load(toml, { env }).config.engine.socket
  const all = {
    RUNTIME_DIRECTORY: '/run/hearth:/run/other',
    XDG_RUNTIME_DIR: '/run/user/7',
    STATE_DIRECTORY: '/var/lib/hearth',
    XDG_STATE_HOME: '/home/resident/state',
    HOME: '/home/resident',
  }
  const { RUNTIME_DIRECTORY: _, ...session } = all
  const { XDG_RUNTIME_DIR: __, ...service } = session
  const { STATE_DIRECTORY: ___, ...home } = service
  assert.equal(socketOf(all), '/run/hearth/hearth.sock')
  assert.equal(socketOf(session), '/run/user/7/hearth/hearth.sock')
  assert.equal(socketOf(service), '/var/lib/hearth/hearth.sock')
  assert.equal(socketOf(home), '/home/resident/state/hearth/hearth.sock')
  assert.equal(socketOf(home, 'engine.state_dir = "/data"'), '/data/hearth.sock')
  assert.equal(
    socketOf({ ...home, XDG_STATE_HOME: 'relative' }),
    '/home/resident/.local/state/hearth/hearth.sock',
  )
  for (const env of [all, session, service, home])
    assert.equal(clientSocketPath(env), socketOf(env))
})

test('HEARTH_SOCKET overrides the socket on both sides', () => {
  const env = { ...ENV, HEARTH_SOCKET: '/run/mine.sock', HEARTH_ENGINE_SOCKET: '/run/other.sock' }
  const { config, origins } = load('engine.socket = "/run/file.sock"', { env })
  assert.equal(config.engine.socket, '/run/mine.sock')
  assert.equal(origins['engine.socket']?.where, '$HEARTH_SOCKET')
  assert.equal(clientSocketPath(env), '/run/mine.sock')
})

test('an unknown HEARTH_ variable warns with the nearest name and is otherwise ignored', () => {
  const env = {
    ...ENV,
    HEARTH_MEMORY_MAX_BYTE: 'hunter2',
    HEARTH_TEST_FULL: '1',
    HEARTH_DEV_PORT: '1',
    HEARTH_CACHE_DEFAULT_TTL: '',
    OTHER: 'x',
  }
  assert.deepEqual(load('', { env }).warnings, [
    '$HEARTH_MEMORY_MAX_BYTE is unknown and ignored; the nearest name is $HEARTH_MEMORY_MAX_BYTES',
  ])
})

test('a policy of one’s own is accepted, and one letter from a built-in one is warned of', () => {
  const { config, warnings } = load('[ttl]\nfrost-alarm = "90s"\nsesion = "1m"')
  assert.equal(config.ttl['frost-alarm'], 90_000)
  assert.equal(config.ttl.session, 1_800_000)
  assert.deepEqual(warnings, [
    `${FILE}:3: ttl.sesion is a policy of its own; was ttl.session meant?`,
  ])
})

test('relative paths start at the file, or at the working directory for other sources', () => {
  const cwd = '/srv/home'
  const file = load('engine.state_dir = "state"\nengine.libpq = "libpq.so.5"', { cwd }).config
    .engine
  assert.equal(file.stateDir, join(directory, 'state'))
  assert.equal(file.libpq, 'libpq.so.5', 'a bare name is the loader’s to find')
  assert.equal(
    load('', { cwd, overrides: { engine: { socket: 'a.sock' } } }).config.engine.socket,
    '/srv/home/a.sock',
  )
})

const MISTAKES: Record<string, [toml: string, line: number, text: RegExp]> = {
  'a misspelt key': [
    '[memory]\n\nmax_byte = 1',
    3,
    /memory\.max_byte: unknown key, .* memory\.max_bytes$/,
  ],
  'swapped letters': ['memory.max_ybtes = 1', 1, /nearest valid one is memory\.max_bytes$/],
  'a key of another section': ['[memory]\nbusy_timeout = "1s"', 2, /sqlite\.busy_timeout$/],
  'a key without its section': ['socket = "/x"', 1, /engine\.socket$/],
  'a key without its database': ['[postgres]\nurl = "x"', 2, /postgres\.main\.url$/],
  'a pool setting beside the url': [
    `[postgres.a]\nurl="${URL}"\nsize = 3`,
    3,
    /postgres\.a\.pool\.size$/,
  ],
  'a misspelt section': [
    '\n[memroy]\nmax_bytes = 1',
    2,
    /\[memroy\]: unknown section, .* \[memory\]$/,
  ],
  'a section that does not exist': [
    '[healing]\ninterval = "1s"',
    1,
    /\[healing\]: unknown section/,
  ],
  'a value where a table belongs': [
    'memory = 5',
    1,
    /memory: found 5, expected a table, \[memory\]$/,
  ],
  'a table where a value belongs': ['[memory.max_bytes]', 1, /found a table, expected a size/],
  'an array of tables': [
    '[[memory]]\nmax_bytes = 1',
    1,
    /memory: found an array, expected a table/,
  ],
  'a bad name': ['[ttl]\n"my policy" = "1s"', 2, /ttl\.my policy: the name in it is not valid/],
  'a prototype as name': ['ttl.__proto__ = "1s"', 1, /the name in it is not valid/],
  'a prototype as section': ['[__proto__]\na = 1', 1, /unknown section/],
  'a number without its unit': [
    'cache.default_ttl = 30',
    1,
    /found 30, expected a duration with its unit/,
  ],
  'text for a number': [
    'postgres.main = { pool.size = "3", url = "postgres://h/a" }',
    1,
    /found "3", expected a whole/,
  ],
  'a number out of bounds': [
    'sqlite.max_bytes = "1023KiB"',
    1,
    /found "1023KiB", .* from 1MiB up to 1TiB$/,
  ],
  'a value no frame can carry': ['cache.max_value_bytes = "16MiB"', 1, /up to 15MiB$/],
  'a key of 64 KiB': ['cache.max_key_bytes = "64KiB"', 1, /up to 65535$/],
  'more subjects than the heap has room for': ['limits.max_subjects = 65537', 1, /up to 65536$/],
  'decimal permissions': [
    'engine.socket_mode = 660',
    1,
    /found 660, expected file permissions in octal/,
  ],
  'an unknown word': [
    'sqlite.synchronous = "EXTRA"',
    1,
    /found "EXTRA", expected one of OFF, NORMAL, FULL$/,
  ],
  'a date': ['cache.default_ttl = 2020-01-01', 1, /found a date, expected a duration/],
  'a long socket path': [
    `engine.socket = "/${'x'.repeat(107)}"`,
    1,
    /found a path of 108 bytes, expected at most 107/,
  ],
  'a value larger than an eighth of tier 1': [
    '[memory]\nmax_bytes = "1MiB"\nmax_value_bytes = "129KiB"',
    3,
    /found 129KiB, expected at most 128KiB, an eighth of memory\.max_bytes \(1MiB, .*test\.toml:2\)/,
  ],
  'a value larger than half of tier 2': [
    'sqlite.max_bytes = "2MiB"\ncache.max_value_bytes = "2MiB"',
    2,
    /at most 1MiB, half of sqlite\.max_bytes/,
  ],
  'a pool that keeps more than it has': [
    `[postgres.main]\nurl = "${URL}"\npool.size = 3\npool.min = 4`,
    4,
    /postgres\.main\.pool\.min: found 4, expected at most 3, all of postgres\.main\.pool\.size/,
  ],
  'a database without its url': [
    '\n[postgres.history.pool]\nsize = 3',
    2,
    /history\.url: missing, expected a url/,
  ],
  'a port that is none': [
    'postgres.main.url = "postgres://h:70000/d"',
    1,
    /expected a host with a port up to 65535/,
  ],
  'a syntax error': ['[memory]\nmax_bytes = ', 2, /not valid TOML: /],
  'a key given twice': [
    'memory.max_bytes = 1\nmemory.max_bytes = 2',
    2,
    /not valid TOML: .*already defined/,
  ],
}

for (const [name, [toml, line, text]] of Object.entries(MISTAKES)) {
  test(`${name} stops the start, with file and line`, () => {
    const message = refusal(toml)
    assert.match(message, text)
    assert(message.startsWith(`${FILE}:${line}: `), message)
  })
}

test('text that is not UTF-8 is refused with its line', () => {
  const bytes = Buffer.concat([
    Buffer.from('# one\n# two '),
    Uint8Array.of(0xff, 0xfe),
    Buffer.from('\n'),
  ])
  assert.match(refusal(bytes), /test\.toml:2: not UTF-8/)
})

test('all problems are told at once', () => {
  const message = refusal('[memory]\nmax_byte = 1\nmax_entries = -1\n[cache]\ndefault_ttl = true', {
    env: { ...ENV, HEARTH_SQLITE_BUSY_TIMEOUT: 'long' },
    overrides: { memory: { maxValueByte: 3 } } as object,
  })
  const lines = message.split('\n')
  assert.equal(lines[0], '5 problems in the configuration:')
  assert.match(lines[1]!, /test\.toml:2: memory\.max_byte: /)
  assert.match(lines[2]!, /test\.toml:3: memory\.max_entries: found -1, .* or "unlimited"/)
  assert.match(lines[3]!, /test\.toml:5: cache\.default_ttl: found true/)
  assert.match(lines[4]!, /\$HEARTH_SQLITE_BUSY_TIMEOUT: sqlite\.busy_timeout: found "long"/)
  assert.match(lines[5]!, /option: memory\.maxValueByte: unknown key, .* memory\.maxValueBytes/)
  const many = Array.from({ length: 500 }, (_, index) => `key${index} = 1`).join('\n')
  assert.equal(refusal(many).split('\n').length, 52)
})

test('a default is lowered to fit what was set, and never stands in its way', () => {
  const { config } = load(`memory.max_bytes = "64KiB"\nsqlite.max_bytes = "1MiB"
    [postgres.main]\nurl = "${URL}"\npool.size = 1`)
  assert.equal(config.memory.maxValueBytes, 8192)
  assert.equal(config.cache.maxValueBytes, 512 * 1024)
  assert.equal(config.postgres['main']?.pool.min, 1)
})

test('the line of a key is found whatever stands around it', () => {
  const text = [
    '\uFEFF# [memory] in a comment', // 1
    "[ postgres . 'main' ] # header", // 2
    'url = """ of 5" pipe', // 3
    '[cache]', // 4
    'max_key_bytes = 1 \\""" 5" """', // 5
    'pool = { size = 3, "m\\u0069n" = 2,', // 6
    '  overflow = 1 }', // 7
    "list = [ '''", // 8
    "]'''', { size = [ 1, # ]", // 9
    '2 ] } ]', // 10
    '[[ memory ]]', // 11
    'max_bytes.deep."a.b" = 2020-01-01 00:00:00', // 12
    "last = ''", // 13
    '"" = 1e3', // 14
    '[cache]', // 15
    'max_key_bytes=1', // 16
  ].join('\r\n')
  const lines = keyLines(text)
  const lineOf = (...path: string[]) => lines.get(pathId(path))
  assert.equal(lineOf('postgres'), 2)
  assert.equal(lineOf('postgres', 'main', 'url'), 3)
  assert.equal(lineOf('postgres', 'main', 'pool', 'min'), 6)
  assert.equal(lineOf('postgres', 'main', 'pool', 'overflow'), 7)
  assert.equal(lineOf('postgres', 'main', 'list'), 8)
  assert.equal(lineOf('memory'), 11)
  assert.equal(lineOf('memory', 'max_bytes', 'deep', 'a.b'), 12)
  assert.equal(lineOf('memory', 'last'), 13)
  assert.equal(lineOf('memory', ''), 14)
  assert.equal(lineOf('cache'), 15)
  assert.equal(lineOf('cache', 'max_key_bytes'), 16)
  assert.equal(lineOf('size'), undefined)
})

test('no password appears in any message, wherever it was written', () => {
  const url = 'postgres://resident:hunter2@db/home'
  const attempts: [string, LoadOptions?][] = [
    ['postgres.main.url = "postgres://resident:hunter2@db:70000/home"'],
    ['postgres.main.url = "postgres://resident:hun/hunter2@db/home"'],
    ['postgres.main.url = "postgres://resident:hun@hunter2@db/home"'],
    ['postgres.main.url = "mysql://resident:hunter2@db/home"'],
    ['postgres.main.url = "host=db password=hunter2"'],
    ['postgres.main.url = ["hunter2"]'],
    ['postgres.main.url = { password = "hunter2" }'],
    [`postgres.main.ulr = "${url}"`],
    ['postgres.main.password = "hunter2"'],
    [`postgres.main = "${url}"`],
    [`memory = "${url}"`],
    [`engine.log_level = "${url}"`],
    ['memory.max_bytes = "password=hunter2"'],
    [`"${url}" = 1`],
    [`["${url}"]\na = 1`],
    [`ttl."${url}" = "1s"`],
    [`[postgres.main]\nurl = "${url}`],
    [`[postgres.main]\nurl = "${url}" x`],
    [`postgres.main.url = ${url}`],
    ['x = 1', { env: { ...ENV, HEARTH_POSTGRES_URL: `${url} `, HEARTH_POSTGRES_URI: url } }],
    ['', { overrides: { postgres: { main: { url: 'hunter2', pool: { size: url } } } } as object }],
  ]
  for (const [toml, options] of attempts) {
    const message = refusal(toml, options)
    assert.doesNotMatch(message, /hunter2/, toml)
    assert.doesNotMatch(message, /resident:/, toml)
  }
})

test(`random and mutated files are read or refused, and never crash (SEED=${SEED})`, () => {
  const random = randomFrom(SEED)
  const sound = `# all kinds of values\n[engine]\nsocket_mode = 0o660\nworkers = 'shared'\n
[memory]\nmax_bytes = "4MiB"\nmax_entries = 1_000\n[ttl]\n"session" = """5m"""\nown = '''3s'''\n
[postgres]\nmain = { url = "${URL}", pool = { size = 3, min = 1, pre_ping = true } }\n
[postgres.history]\nurl = 'postgres://h/d'\n[postgres.history.pool]\nacquire_timeout = "1s"\n`
  const pieces = [
    '[',
    ']',
    '{',
    '}',
    '"',
    "'",
    '"""',
    "'''",
    '\\',
    '=',
    '.',
    ',',
    '#',
    '\n',
    '\r\n',
    '\0',
    '__proto__',
  ]
  let refused = 0
  for (let round = 0; round < 1_500; round++) {
    let text = sound
    for (let edit = random(6); edit >= 0; edit--) {
      const at = random(text.length)
      const insert = random(3) === 0 ? '' : pieces[random(pieces.length)]!
      text = text.slice(0, at) + insert + text.slice(at + random(4))
    }
    const bytes = Uint8Array.from({ length: random(300) }, () => random(256))
    for (const toml of [text, bytes]) {
      try {
        load(toml)
      } catch (error) {
        assert(error instanceof HearthError, `round ${round}: ${(error as Error).stack}\n${text}`)
        assert.equal(error.code, 'BAD_REQUEST')
        assert.match(error.message, /test\.toml(:\d+)?: /)
        refused++
      }
    }
  }
  assert(refused > 1_500, `only ${refused} were refused`)
})

test(`every line that an unknown key stands on is the line that is told (SEED=${SEED})`, () => {
  const random = randomFrom(SEED)
  const fillers = [
    '',
    '# x = 1',
    '  ',
    'max_bytes = "4MiB"',
    'max_value_bytes = """\n1KiB"""',
    'max_entries = 3',
  ]
  for (let round = 0; round < 300; round++) {
    const body = fillers.filter(() => random(2) === 0)
    const at = random(body.length + 1)
    const before = ['[memory]', ...body.slice(0, at)].join('\n')
    const toml = `${before}\nunkown = 1\n${body.slice(at).join('\n')}`
    const line = before.split('\n').length + 1
    assert(refusal(toml).includes(`${FILE}:${line}: memory.unkown`), toml)
  }
})

test('any value of any kind for any key is taken or refused, and never crashes', () => {
  const cyclic: Record<string, unknown> = {}
  cyclic['self'] = cyclic
  const numbers = [Number.NaN, -1, 1.5, 2 ** 60, 10n]
  const strange = [null, ...numbers, Symbol('x'), () => 1, new Date(), cyclic]
  const raws = [
    ...strange,
    [],
    [[]],
    new Map(),
    '',
    ' ',
    '\0',
    'x'.repeat(1e5),
    Object.create(null),
  ]
  for (const [pattern, { type }] of ROWS) {
    const path = pattern.replace('*', nameIn(pattern)).split('.')
    for (const raw of raws) {
      if (type === 'list' && Array.isArray(raw) && raw.length === 0) continue // a list of none
      if (type === 'number' && raw === 1.5) continue
      const overrides = codePath(path).reduceRight<unknown>(
        (inner, name) => ({ [name]: inner }),
        raw,
      )
      const env = { HEARTH_POSTGRES_URL: URL, HEARTH_SERVICES_MAIN_URL: 'http://h', ...ENV }
      assert.match(refusal('', { overrides: overrides as object, env }), /^option: .* expected /)
    }
  }
})

function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
