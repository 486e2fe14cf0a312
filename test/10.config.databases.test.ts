/** Databases and their replicas, in the file and in the environment, and what is said of a wrong list.
 *  Owns:   a temporary folder.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { explainText } from '../engine/config/explain.ts'
import { type LoadedConfig, loadConfig } from '../engine/config/load.ts'

const folder = mkdtempSync(join(tmpdir(), 'hearth-config-'))
after(() => rmSync(folder, { recursive: true, force: true }))

function load(toml: string, env: Record<string, string> = {}): LoadedConfig {
  const file = join(folder, 'test.toml')
  writeFileSync(file, toml)
  return loadConfig({ file, env: { HOME: folder, ...env }, cwd: folder })
}

const MAIN = `postgres.main.url = 'postgres://h/a'\n`

test('HEARTH_POSTGRES_URL is the url of main, and other databases are named in the variable', () => {
  const env = {
    HEARTH_POSTGRES_URL: 'postgres://h/main',
    HEARTH_POSTGRES_MAIN_POOL_SIZE: '20',
    HEARTH_POSTGRES_LONG_TERM_URL: 'postgres://h/other',
    HEARTH_POSTGRES_LONG_TERM_POOL_IDLE_TIMEOUT: '9s',
  }
  const { config } = load('[postgres.long-term.pool]\nsize = 3', env)
  assert.deepEqual(Object.keys(config.postgres).sort(), ['long-term', 'main'])
  assert.equal(config.postgres['main']?.pool.size, 20)
  assert.equal(config.postgres['long-term']?.url, 'postgres://h/other')
  assert.equal(config.postgres['long-term']?.pool.idleTimeoutMs, 9_000)
})

test('replicas are urls, or tables with a name and a weight', () => {
  const loaded = load(`${MAIN}
[[postgres.main.replicas]]
url = "postgres://h/b"
name = "cellar"
weight = 2.5
[[postgres.main.replicas]]
url = "postgres://u:hunter2@h/c"`)
  assert.deepEqual(loaded.config.postgres['main']?.replicas, [
    { name: 'cellar', url: 'postgres://h/b', weight: 2.5 },
    { name: '2', url: 'postgres://u:hunter2@h/c', weight: 1 },
  ])
  const shown = explainText(loaded)
  assert.match(shown, /postgres:\/\/h\/b, postgres:\/\/u:\*\*\*\*@h\/c/)
  assert.doesNotMatch(shown, /hunter2/)
})

test('in the environment they are urls with commas between them, also of several hosts each', () => {
  const { config } = load(MAIN, {
    HEARTH_POSTGRES_MAIN_REPLICAS: 'postgres://h,i/b, postgres://h/c',
    HEARTH_POSTGRES_MAIN_MIN_REPLICAS: '1',
  })
  const { replicas = [], minReplicas } = config.postgres['main']!
  assert.deepEqual(
    replicas.map(({ name, url }) => [name, url]),
    [
      ['1', 'postgres://h,i/b'],
      ['2', 'postgres://h/c'],
    ],
  )
  assert.equal(minReplicas, 1)
})

const WRONG = {
  'something else than a url': '["postgres://h/b", 3]',
  'an unknown member': '[{ url = "postgres://h/b", wait = 1 }]',
  'no url': '[{ name = "b" }]',
  'a weight of nothing': '[{ url = "postgres://h/b", weight = 0 }]',
  'a name twice':
    '[{ url = "postgres://h/b", name = "b" }, { url = "postgres://h/c", name = "b" }]',
  'the name that the url has': '[{ url = "postgres://h/b", name = "url" }]',
}

for (const [what, list] of Object.entries(WRONG))
  test(`${what} stops the start, with file and line`, () => {
    const words = /test\.toml:2: postgres\.main\.replicas: found .*, expected urls such as/
    assert.throws(() => load(`${MAIN}postgres.main.replicas = ${list}`), words)
  })
