/** The command line: help, versions and mistakes, without any engine.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  0 is done, 1 is failed, 2 is bad usage. */

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { COMMANDS } from '../engine/cli/commands.ts'
import { hearth, projectFolder } from './helpers/cli.ts'
import { PROJECT } from './helpers/engine.ts'

const NO_ENGINE = { env: { HEARTH_SOCKET: '/nonexistent/hearth.sock' } }

describe('help', () => {
  test('lists every command, on stdout, with exit code 0', async () => {
    for (const args of [['--help'], ['-h'], ['help']]) {
      const { code, stdout, stderr } = await hearth(args)
      assert.equal(code, 0)
      assert.equal(stderr, '')
      for (const [name, { summary }] of Object.entries(COMMANDS)) {
        assert.match(stdout, new RegExp(`^  ${name}\\b`, 'm'))
        assert(stdout.includes(summary), summary)
      }
    }
  })

  for (const [name, { options, operands }] of Object.entries(COMMANDS)) {
    test(`of ${name} names its operands and options`, async () => {
      const { code, stdout } = await hearth([name, '--help'])
      assert.equal(code, 0)
      assert(stdout.startsWith(['usage: hearth', name, ...operands].join(' ')), stdout)
      for (const option of Object.keys(options)) assert(stdout.includes(`--${option}`), option)
      assert(
        stdout.split('\n').every(line => line.length <= 100),
        stdout,
      )
    })
  }

  test('without a command goes to stderr, with exit code 2', async () => {
    const { code, stdout, stderr } = await hearth([])
    assert.equal(code, 2)
    assert.equal(stdout, '')
    assert.match(stderr, /usage: hearth COMMAND/)
  })

  test('every command takes --json', () => {
    for (const [name, { options }] of Object.entries(COMMANDS)) assert('json' in options, name)
  })
})

test('--version says the version of the package, in both modes', async () => {
  const { version } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8'))
  assert.equal((await hearth(['--version'])).stdout, `hearth ${version}\n`)
  const asked = await hearth(['--version', '--json'])
  assert.equal(JSON.parse(asked.stdout).version, version)
})

describe('a mistake is exit code 2, and says what is meant:', () => {
  const MISTAKES: [args: string[], says: RegExp][] = [
    [['gte'], /no command 'gte'; did you mean 'get'\?/],
    [['qury', 'select 1'], /did you mean 'query'\?/],
    [['xyzzy'], /hearth --help lists them/],
    [['--json', 'ping'], /options come after it/],
    [['get'], /get needs KEY\nusage: hearth get KEY/],
    [['set', 'a'], /set needs VALUE/],
    [['get', 'a', 'b'], /get does not take "b"/],
    [['stats', 'now'], /stats does not take "now"/],
    [['set', 'a', '1', '--tll', '3s'], /set has no option --tll; did you mean --ttl\?/],
    [['set', 'a', '1', '--ttl'], /--ttl/],
    [['set', 'a', '1', '--ttl', 'soon'], /--ttl: found "soon", expected a time such as 250ms/],
    [['set', 'a', '1', '--ttl', '30'], /--ttl: found "30"/],
    [['set', 'a', '1', '--ttl', '3s', '--policy', 'api'], /exclude each other/],
    [['invalidate'], /needs --tag or --pattern/],
    [['invalidate', 'x'], /does not take/],
    [['query', 'select 1', '--cache', '5'], /--cache: found "5", expected a time/],
    [['watch'], /watch needs WHAT\nusage: hearth watch WHAT/],
    [['watch', 'instal'], /watch does not know 'instal'; did you mean 'install'\?/],
    [['watch', 'install', 'a', '--schema', 'b'], /exclude each other/],
    [['ping', '--wait', 'x'], /--wait: found "x"/],
    [['serve', '--confg', 'x'], /serve has no option --confg; did you mean --config\?/],
    [['serve', 'now'], /serve does not take "now"/],
    [['dev', '--seconds', '-1'], /--seconds: found "-1"/],
  ]
  for (const [args, says] of MISTAKES) {
    test(args.join(' '), async () => {
      const { code, stdout, stderr } = await hearth(args, NO_ENGINE)
      assert.equal(code, 2, stderr)
      assert.match(stderr, says)
      if (!args.includes('--json')) assert.match(stderr, /^hearth: BAD_REQUEST: /)
      assert.equal(stdout, '')
    })
  }

  test('with --json it is one JSON object on stderr', async () => {
    const { code, stderr } = await hearth(['get', '--json'])
    assert.equal(code, 2)
    const { error } = JSON.parse(stderr)
    assert.deepEqual(error, { code: 'BAD_REQUEST', message: 'get needs KEY', retryable: false })
  })
})

describe('without an engine', () => {
  for (const args of [['ping'], ['get', 'a'], ['set', 'a', '1'], ['keys'], ['stats'], ['health']]) {
    test(`${args[0]} is exit code 1 and says how to get one`, async () => {
      const { code, stdout, stderr } = await hearth(args, NO_ENGINE)
      assert.equal(code, 1)
      assert.equal(stdout, '')
      assert.match(stderr, /^hearth: UNAVAILABLE: no engine serves on \/nonexistent\/hearth\.sock/)
    })
  }

  test('ping --wait tries for as long as it was told', async () => {
    const startedMs = performance.now()
    const { code } = await hearth(['ping', '--wait', '700'], NO_ENGINE)
    assert.equal(code, 1)
    assert(performance.now() - startedMs >= 700)
  })

  test('--socket wins over the environment', async () => {
    const { stderr } = await hearth(['ping', '--json', '--socket', '/other.sock'], NO_ENGINE)
    const { error } = JSON.parse(stderr)
    assert.equal(error.code, 'UNAVAILABLE')
    assert.match(error.message, /\/other\.sock/)
  })
})

describe('config', () => {
  const url = 'postgres://resident:hunter2@localhost/home'

  test('shows each value and where it came from, and no password', async () => {
    const env = { HEARTH_POSTGRES_URL: url, HEARTH_MEMORY_MAX_BYTES: '8MiB' }
    const shown = await hearth(['config'], { env })
    assert.equal(shown.code, 0)
    assert.match(shown.stdout, /memory\.max_bytes +8MiB +\$HEARTH_MEMORY_MAX_BYTES/)
    assert.match(shown.stdout, /resident:\*\*\*\*@localhost/)
    const json = await hearth(['config', '--json'], { env })
    assert(Array.isArray(JSON.parse(json.stdout).values))
    for (const { stdout, stderr } of [shown, json]) assert.doesNotMatch(stdout + stderr, /hunter2/)
  })

  test('--example prints a file that the engine reads back', async t => {
    const folder = projectFolder(t)
    const file = join(folder, 'hearth.toml')
    writeFileSync(file, (await hearth(['config', '--example'])).stdout)
    const { code, stdout } = await hearth(['config', '--config', file])
    assert.equal(code, 0)
    assert(stdout.startsWith(`file: ${file}\n`), stdout)
  })

  test('of a wrong file is exit code 1, with the line and the nearest key', async t => {
    const file = join(projectFolder(t), 'wrong.toml')
    writeFileSync(file, '[memory]\nmax_byte = "1MiB"\n')
    const { code, stderr } = await hearth(['config', '--config', file])
    assert.equal(code, 1)
    assert.match(stderr, /^hearth: BAD_REQUEST: /)
    assert.match(stderr, /wrong\.toml:2/)
    assert.match(stderr, /max_bytes/)
  })
})
