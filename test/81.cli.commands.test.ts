/** The commands against a real engine with a real Postgres, in both output modes.
 *  Owns:   one engine and one server for the file.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  results on stdout, complaints on stderr, and the exit code says which. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { connect, type Hearth } from '../engine/client/index.ts'
import { hearth, type Outcome, projectFolder } from './helpers/cli.ts'
import { cleanEnvironment, HEARTH, prepare } from './helpers/engine.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { FULL } from './helpers/random.ts'

const engine = prepare({ after })
let client: Hearth

before(async () => {
  const { url } = await sharedPostgres()
  await engine.start({ HEARTH_POSTGRES_URL: url })
  client = await connect({ socket: engine.socket, failOpen: false })
})
after(() => client?.close())

function run(...args: string[]): Promise<Outcome> {
  return hearth(args, { env: { HEARTH_SOCKET: engine.socket } })
}

/** Runs it with --json: exit code 0, nothing on stderr. */
async function json(...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await run(...args, '--json')
  assert.equal(stderr, '')
  assert.equal(code, 0)
  return JSON.parse(stdout)
}

describe('ping', () => {
  test('answers with the time of a round trip', async () => {
    const { code, stdout } = await run('ping')
    assert.equal(code, 0)
    assert.match(stdout, /^pong in [\d.]+ (µs|ms)\n$/)
    const { roundTripMs } = (await json('ping')) as { roundTripMs: number }
    assert(roundTripMs > 0 && roundTripMs < 1_000)
  })

  test('--wait finds an engine that starts meanwhile', async t => {
    const late = prepare(t)
    const waiting = hearth(['ping', '--wait', '20s', '--socket', late.socket])
    await late.start()
    assert.equal((await waiting).code, 0)
  })
})

describe('set and get', () => {
  const VALUES: [given: string, shown: string, json: string][] = [
    ['42', '42', '42'],
    ['-5', '-5', '-5'],
    ['"42"', '42', '"42"'],
    ['plain words', 'plain words', '"plain words"'],
    ['null', 'null', 'null'],
    ['{"a":[1,"x"]}', '{\n  "a": [\n    1,\n    "x"\n  ]\n}', '{"a":[1,"x"]}'],
    ['', '', '""'],
  ]
  for (const [given, shown, asJson] of FULL ? VALUES : VALUES.slice(-2)) {
    test(`${JSON.stringify(given)} comes back as ${asJson}`, async () => {
      const stored = await run('set', 'cli:value', given)
      assert.deepEqual([stored.code, stored.stdout], [0, 'stored\n'])
      assert.equal((await run('get', 'cli:value')).stdout, `${shown}\n`)
      assert.equal((await run('get', 'cli:value', '--json')).stdout, `${asJson}\n`)
    })
  }

  test('a key that is not there is exit code 1, and null with --json', async () => {
    const plain = await run('get', 'cli:none')
    assert.deepEqual([plain.code, plain.stdout], [1, ''])
    assert.match(plain.stderr, /^hearth: there is no value under "cli:none"/)
    const asJson = await run('get', 'cli:none', '--json')
    assert.deepEqual([asJson.code, asJson.stdout], [1, 'null\n'])
  })

  test('what JSON does not know is shown as Node shows it, and tagged or as text with --json', async () => {
    const value = {
      at: new Date('2016-01-11T17:30:00Z'),
      big: 2n ** 60n,
      bytes: Buffer.from([1, 2, 3]),
      byName: new Map([['a', 1]]),
      byNumber: new Map([[1, 'a']]),
      some: new Set([1, 2]),
      odd: Number.NaN,
    }
    await client.cache.set('cli:rich', value)
    const { stdout } = await run('get', 'cli:rich')
    assert.match(stdout, /2016-01-11T17:30:00\.000Z/)
    assert.match(stdout, /1152921504606846976n/)
    assert.match(stdout, /Map\(1\) \{ 'a' => 1 \}/)
    assert.deepEqual(await json('get', 'cli:rich'), {
      at: '2016-01-11T17:30:00.000Z',
      big: '1152921504606846976',
      bytes: { base64: 'AQID' },
      byName: { a: 1 },
      byNumber: [[1, 'a']],
      some: [1, 2],
      odd: 'NaN',
    })
  })

  test('bytes go into a pipe as they are', async () => {
    const bytes = Buffer.from([0, 255, 10, 13, 128])
    await client.cache.set('cli:bytes', bytes)
    assert.deepEqual((await run('get', 'cli:bytes')).bytes, bytes)
    assert.deepEqual(await json('get', 'cli:bytes'), { base64: bytes.toString('base64') })
  })

  test('--ttl and --policy decide how long it lives', async () => {
    assert.deepEqual(await json('set', 'cli:short', '1', '--ttl', '1ms'), { stored: true })
    assert.equal((await run('get', 'cli:short')).code, 1)
    assert.equal((await run('set', 'cli:policy', '1', '--policy', 'session')).code, 0)
    const unknown = await run('set', 'cli:policy', '1', '--policy', 'nope')
    assert.equal(unknown.code, 1)
    assert.match(unknown.stderr, /^hearth: BAD_REQUEST: /)
  })
})

test('del says how many were there, and none is no failure', async () => {
  await client.cache.set('cli:del', 1)
  assert.equal((await run('del', 'cli:del', 'cli:none')).stdout, 'deleted 1 of 2\n')
  assert.deepEqual(await json('del', 'cli:del'), { deleted: 0 })
})

describe('keys', () => {
  test('lists in order what matches, one a line or as a JSON list', async () => {
    for (const name of ['b', 'a', 'c\nd']) await client.cache.set(`list:${name}`, 1)
    assert.equal((await run('keys', 'list:*')).stdout, 'list:a\nlist:b\nlist:c\\nd\n')
    assert.deepEqual(await json('keys', 'list:*'), ['list:a', 'list:b', 'list:c\nd'])
    assert.deepEqual(await json('keys', 'none:*'), [])
    assert(((await json('keys')) as string[]).includes('list:a'))
  })

  test('a reader that leaves after one line is no crash', async () => {
    await client.cache.setMany(
      Array.from({ length: 20_000 }, (_, at) => ({
        key: `many:${at}:${'x'.repeat(60)}`,
        value: at,
        durability: 'memory' as const,
      })),
    )
    const line = `"${process.execPath}" "${HEARTH}" keys 'many:*' | head -1`
    const shell = spawn('/bin/bash', ['-o', 'pipefail', '-c', line], {
      env: { ...cleanEnvironment(), HEARTH_SOCKET: engine.socket },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [shell.stdout, shell.stderr]) {
      stream.on('data', chunk => {
        output += chunk
      })
    }
    const code = await new Promise(resolve => shell.on('close', resolve))
    assert.match(output, /^many:0:x+\n$/)
    assert.equal(code, 0)
  })
})

describe('query', () => {
  test('prints an aligned table, numbers to the right, nulls told from empty text', async () => {
    const { code, stdout } = await run(
      'query',
      `select n, t, n is null as missing from (values (1.5, 'a'), (22.25, ''), (null, null)) as v(n, t)`,
    )
    assert.equal(code, 0)
    assert.equal(
      stdout.replace(/in .*/, ''),
      [
        '    n  t     missing',
        '─────  ────  ───────',
        '  1.5  a     false',
        '22.25        false',
        ' NULL  NULL  true',
        'SELECT, 3 rows ',
        '',
      ].join('\n'),
    )
  })

  test('keeps a row on its line, and times as they stand in the table', async () => {
    const sql = `select E'a\\nb\\x1b[31m' as t, timestamp '2016-01-11 17:30:00' as at, '{"a":1}'::jsonb as j`
    const line = (await run('query', sql)).stdout.split('\n')[2]
    assert.equal(line, 'a\\nb\\x1b[31m  2016-01-11 17:30:00  {"a":1}')
  })

  test('takes parameters, negative numbers too', async () => {
    const sql = 'select $1::int + $2::int as sum, $3 as text'
    const result = (await json('query', sql, '-5', '2', '$x')) as { rows: unknown[] }
    assert.deepEqual(result.rows, [{ sum: -3, text: '$x' }])
  })

  test('of a statement without rows says what was done', async () => {
    assert.match((await run('query', 'create table cli_t (x int)')).stdout, /^CREATE in /)
    const inserted = await run('query', 'insert into cli_t values (1), (2)')
    assert.match(inserted.stdout, /^INSERT, 2 rows in .* from primary\n$/)
  })

  test('that Postgres refuses is exit code 1 with its SQLSTATE and place', async () => {
    const plain = await run('query', 'select nope')
    assert.equal(plain.code, 1)
    assert.match(plain.stderr, /^hearth: DATABASE: column "nope" does not exist\n/)
    assert.match(plain.stderr, /at character 8[\s\S]*SQLSTATE 42703/)
    const asJson = await run('query', 'select nope', '--json')
    const { error } = JSON.parse(asJson.stderr)
    assert.deepEqual([error.code, error.sqlState, error.position], ['DATABASE', '42703', 8])
  })

  test('of a database that is not configured says so', async () => {
    const { code, stderr } = await run('query', 'select 1', '--db', 'attic')
    assert.equal(code, 1)
    assert.match(stderr, /^hearth: NOT_CONFIGURED: .*attic/)
  })
})

describe('stats and health', () => {
  test('stats shows tiers, pools and workers', async () => {
    const { code, stdout } = await run('stats')
    assert.equal(code, 0)
    for (const word of ['memory', 'SQLite', 'missed', 'main', 'sqlite', 'own memory']) {
      assert(stdout.includes(word), `${word}\n${stdout}`)
    }
    const stats = (await json('stats')) as { memory: { maxBytes: number } }
    assert.equal(stats.memory.maxBytes, 4 * 1024 * 1024)
  })

  test('health is exit code 0 while all is ok', async () => {
    const { code, stdout } = await run('health')
    assert.match(stdout, /^the engine is ok\n/)
    assert.equal(code, 0)
    assert.equal(((await json('health')) as { status: string }).status, 'ok')
  })
})

test('no colours in a pipe', async () => {
  for (const args of [['stats'], ['health'], ['query', 'select null as x'], ['get', 'cli:rich']]) {
    assert(!(await run(...args)).stdout.includes('\x1b'), args.join(' '))
  }
})

test('commands in the folder of `hearth dev` find its socket by themselves', async t => {
  const folder = projectFolder(t)
  mkdirSync(join(folder, '.hearth'))
  symlinkSync(engine.socket, join(folder, '.hearth', 'hearth.sock'))
  assert.equal((await hearth(['ping'], { cwd: folder })).code, 0)
})
