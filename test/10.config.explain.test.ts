/** What is shown of a configuration: rows with origins, the example file, and what a reload may
 *  change. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { exampleToml } from '../engine/config/example.ts'
import { explainConfig, explainJson, explainText } from '../engine/config/explain.ts'
import { type LoadedConfig, type LoadOptions, loadConfig } from '../engine/config/load.ts'
import { diffReload } from '../engine/config/reload.ts'
import { ROWS } from '../engine/config/schema.ts'
import { maskUrl } from '../engine/config/secrets.ts'
import { Refused, readValue, showValue } from '../engine/config/value_types.ts'

const directory = mkdtempSync(join(tmpdir(), 'hearth-explain-'))
const FILE = join(directory, 'test.toml')
const URL = 'postgres://resident:hunter2@localhost/home'

after(() => rmSync(directory, { recursive: true }))

function load(toml: string, options: LoadOptions = {}): LoadedConfig {
  writeFileSync(FILE, toml)
  return loadConfig({ file: FILE, env: { HOME: '/home/resident' }, cwd: directory, ...options })
}

test('every key is one row with its value as written, its origin and what it is for', () => {
  const loaded = load(
    `memory.max_bytes = "8MiB"\npostgres.main.url = "${URL}"\naccess.main.like = "service"\nservices.main.url = "http://h"`,
  )
  const rows = new Map(explainConfig(loaded).map(row => [row.key, row]))
  for (const key of ROWS.keys()) {
    if (key.startsWith('alerts.rules.*')) continue // none is configured
    assert(rows.has(key.replace('ttl.*', 'ttl.session').replace('*', 'main')), key)
  }
  assert.deepEqual(rows.get('memory.max_bytes'), {
    key: 'memory.max_bytes',
    value: '8MiB',
    origin: { from: 'file', where: `${FILE}:1` },
    environment: 'HEARTH_MEMORY_MAX_BYTES',
    reloadable: false,
    doc: ROWS.get('memory.max_bytes')!.doc,
  })
  assert.equal(rows.get('engine.socket')?.environment, 'HEARTH_SOCKET')
  assert.equal(rows.get('engine.libpq')?.value, '')
  assert.equal(rows.get('engine.socket_mode')?.value, '0660')
  assert.equal(rows.get('memory.max_entries')?.value, 'unlimited')
  assert.equal(rows.get('ttl.static')?.value, '24h')
  assert.equal(rows.get('postgres.main.url')?.value, 'postgres://resident:****@localhost/home')
})

test('the text has aligned columns and names the file and the warnings', () => {
  const env = { HOME: '/h', HEARTH_SQLITE_MAX_BYTE: '1' }
  const text = explainText(load('cache.default_ttl = "2h"', { env }))
  assert(text.startsWith(`file: ${FILE}\nwarning: $HEARTH_SQLITE_MAX_BYTE is unknown`))
  assert.match(text, /^cache\.default_ttl +\* 2h +\/.*test\.toml:1$/m)
  const defaults = text.split('\n').filter(line => line.endsWith(' default') && line.length < 90)
  assert(defaults.length > 15)
  assert.equal(new Set(defaults.map(line => line.lastIndexOf('default'))).size, 1)
})

test('no password appears in text, JSON or the plan of a reload', () => {
  const urls = [
    URL,
    'postgresql://resident:hunter2@h1:5432,h2/home?sslmode=require',
    'postgres://:hunter2@h/home',
    'postgres://h/home?user=resident&password=hunter2',
    'postgres://h/home?sslpassword=hunter2&application_name=hearth',
    'postgres://resident:hun%40hunter2@h/home',
  ]
  for (const url of urls) {
    const loaded = load(`postgres.main.url = "${url}"`)
    assert.equal(loaded.config.postgres['main']?.url, url)
    const plan = diffReload(loaded.config, load('').config)
    const shown = explainText(loaded) + JSON.stringify([explainJson(loaded), plan, loaded.origins])
    assert.doesNotMatch(shown, /hunter2/, url)
    assert.match(shown, /\*{4}/, url)
  }
})

test('a mask hides too much rather than too little', () => {
  const EXPECTED = {
    'postgres://u:a@b:c/d@h:5/db': 'postgres://u:****@h:5/db',
    'postgres://u/x:secret@h/db': 'postgres://u/x:****@h/db',
    'postgres://u@x:secret@h/db': 'postgres://u@x:****@h/db',
    'postgres://u@h:5432/db': 'postgres://u@h:5432/db',
    'postgres://h/db?password=a&b=c': 'postgres://h/db?password=****&b=c',
    'postgres://u:line\nbreak@h': 'postgres://u:****@h',
  }
  for (const [url, masked] of Object.entries(EXPECTED)) assert.equal(maskUrl(url), masked)
})

test('the JSON form survives JSON', () => {
  const json = explainJson(load(''))
  assert.deepEqual(JSON.parse(JSON.stringify(json)), json)
  assert.equal(json.file, FILE)
})

test('the example changes nothing as it stands, and states the defaults once uncommented', () => {
  const example = exampleToml()
  const plain = load('').config
  assert.deepEqual(load(example).config, plain)

  const uncommented = example.replace(/^#(?=[a-z[])/gm, '')
  const { config, origins } = load(uncommented)
  for (const section of ['memory', 'sqlite', 'cache', 'ttl'] as const) {
    assert.deepEqual(config[section], plain[section])
  }
  assert.deepEqual(
    config.postgres['main']?.pool,
    load(`postgres.main.url = "${URL}"`).config.postgres['main']?.pool,
  )
  for (const [key, { from }] of Object.entries(origins)) assert.equal(from, 'file', key)
})

test('a reload tells what it takes over and what waits for a restart', () => {
  const before = load(
    `cache.default_ttl = "1h"\nttl.frost = "1m"\npostgres.main.url = "${URL}"`,
  ).config
  const after = load(`[cache]\ndefault_ttl = "2h"\n[memory]\nmax_bytes = "8MiB"
    [postgres.main]\nurl = "postgres://resident:other@localhost/home"
    [postgres.history]\nurl = "postgres://h/d"\npool.min = 0`).config
  const { changed, needsRestart } = diffReload(before, after)
  assert.deepEqual(changed, [
    { key: 'cache.default_ttl', from: '1h', to: '2h' },
    { key: 'ttl.frost', from: '1m', to: '' },
  ])
  assert.deepEqual(needsRestart.slice(0, 2), [
    { key: 'memory.max_bytes', from: '4MiB', to: '8MiB' },
    {
      key: 'postgres.main.url',
      from: 'postgres://resident:****@localhost/home',
      to: 'postgres://resident:****@localhost/home',
    },
  ])
  assert(
    needsRestart
      .slice(2)
      .every(({ key, from }) => key.startsWith('postgres.history.') && from === ''),
  )
  assert.deepEqual(diffReload(before, before), { changed: [], needsRestart: [] })
})

test('the types that no key uses yet are read, too', () => {
  const context = { source: 'file', baseDir: '/' } as const
  assert.deepEqual(readValue(['a', 'b'], { type: 'list' }, context), ['a', 'b'])
  assert.deepEqual(readValue('a, b', { type: 'list' }, context), ['a', 'b'])
  assert(readValue(['a', 3], { type: 'list' }, context) instanceof Refused)
  assert(readValue('a,,b', { type: 'list' }, context) instanceof Refused)
  assert.equal(showValue(['a', 'b'], { type: 'list' }), 'a, b')
  assert.equal(readValue('text', { type: 'string' }, context), 'text')
  assert(readValue('\u0007', { type: 'string' }, context) instanceof Refused)
})
