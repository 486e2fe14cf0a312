/** The configuration: whatever a file or the environment says, it is loaded whole or refused in words, and soon.
 *  Owns:   one file.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { loadConfig } from '../engine/config/load.ts'
import { ROWS } from '../engine/config/schema.ts'
import { HearthError } from '../engine/errors.ts'
import { fuzz } from './helpers/fuzz.ts'
import { FULL, randomTest } from './helpers/random.ts'

const FUZZ_MS = FULL ? 120_000 : 1_500
const LOAD_MS_MAX = 2_000
const SOURCES = /\/engine\/config\/|smol-toml/

const folder = mkdtempSync(join(tmpdir(), 'hearth-fuzz-'))
after(() => rmSync(folder, { recursive: true }))

const EXAMPLES = [
  '',
  '[engine]\nlog_level = "debug"\nsocket_mode = "0600"\n',
  '[memory]\nmax_bytes = "8MiB"\nmax_entries = 100\n[sqlite]\nmax_bytes = "1GiB"\n',
  '[ttl]\nsession = "30m"\n"my own" = "1h"\n',
  '[postgres.main]\nurl = "postgres://u:p@localhost:5432/home?sslmode=require"\nreplicas = ["postgres://r/home", { url = "postgres://s/home", name = "s", weight = 2 }]\n[postgres.main.pool]\nsize = 20\nmin = 5\n',
  'cache.hit_rate_target = 0.5\ncache.default_ttl = "1h"\n',
  '[[a]]\nb = 1979-05-27T07:32:00Z\nc = [1, 2.5, inf, nan, 0xff, true]\nd = """\nlong\n"""\n',
]

const WORDS = [
  ...[...ROWS.keys()].flatMap(key => [key, ...key.split('.')]),
  ...[
    '"',
    "'",
    '"""',
    '[',
    ']',
    '[[',
    '{',
    '}',
    '=',
    ' = ',
    '\n',
    '#',
    '.',
    ',',
    '\\u0000',
    '\\',
    '*',
  ],
  ...[
    '"1h"',
    '"4MiB"',
    '-1',
    '1e400',
    '"unlimited"',
    '"off"',
    'true',
    '0o777',
    '"0999"',
    '__proto__',
    'constructor',
    '\u{1f525}',
  ],
]

randomTest('no file makes the loader do anything but load or refuse', {}, async (random, t) => {
  const file = join(folder, 'hearth.toml')
  const report = await fuzz(
    {
      name: 'config',
      sources: SOURCES,
      examples: EXAMPLES.map(text => Buffer.from(text)),
      words: WORDS.map(text => Buffer.from(text)),
      inputBytesMax: 2_048,
      run: input => {
        writeFileSync(file, input)
        loadOrRefuse({ file, env: { HOME: folder } })
      },
    },
    random,
    FUZZ_MS,
  )
  t.diagnostic(JSON.stringify(report))
  assert.ok(report.inputs > 100)
})

randomTest('nor do variables of the environment', {}, async (random, t) => {
  const report = await fuzz(
    {
      name: 'environment',
      sources: SOURCES,
      examples: [
        'HEARTH_MEMORY_MAX_BYTES=8MiB',
        'HEARTH_POSTGRES_URL=postgres://u:p@h/d\nHEARTH_POSTGRES_MAIN_POOL_SIZE=3',
        'HEARTH_SOCKET=/tmp/x\nHEARTH_TTL_SESSION=1h',
        'HEARTH_POSTGRES_MAIN_REPLICAS=postgres://a/b,postgres://c/d',
      ].map(text => Buffer.from(text)),
      words: [...WORDS, 'HEARTH_', ...[...ROWS.keys()].map(nameOf)].map(text => Buffer.from(text)),
      inputBytesMax: 1_024,
      run: input => {
        const pairs = input
          .toString()
          .split('\n')
          .map(line => line.split('=', 2) as [string, string?])
        const env = Object.fromEntries(pairs.map(([name, value = '']) => [name, value]))
        loadOrRefuse({ env: { HOME: folder, ...env, HEARTH_CONFIG: undefined }, cwd: folder })
      },
    },
    random,
    FUZZ_MS / 2,
  )
  t.diagnostic(JSON.stringify(report))
  assert.ok(report.inputs > 100)
})

function loadOrRefuse(options: Parameters<typeof loadConfig>[0]): void {
  const startMs = performance.now()
  try {
    const { config } = loadConfig(options)
    assert.ok(config.memory.maxBytes >= 64 * 1024)
    assert.ok(Number.isFinite(config.cache.defaultTtlMs))
  } catch (error) {
    if (!(error instanceof HearthError)) throw error
    assert.equal(error.code, 'BAD_REQUEST')
    assert.ok(error.message.length > 10, 'the refusal says why')
  }
  assert.ok(performance.now() - startMs < LOAD_MS_MAX, 'and soon')
  assert.equal(({} as Record<string, unknown>)['url'], undefined, 'no prototype was written to')
}

function nameOf(key: string): string {
  return `HEARTH_${key.replaceAll('.', '_').replace('*', 'MAIN').toUpperCase()}`
}
