/** The package as others get it: packed, installed into an empty project, imported from there. `HEARTH_TEST_FULL=1` runs
 *  it; without, what is packed is looked at, and its install is run.
 *  Owns:   two temporary folders: the tarball's, and a project with nothing but Hearth.
 *  Thread: main of a test process.   Runs: alone.
 *  Holds:  (1) no development dependency and none of the repository's files is in reach of the project.
 *          (2) npm may use its cache, and asks the registry only for what is not there. */

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { projectFolder } from './helpers/cli.ts'
import { cleanEnvironment, ensureBuilt, PROJECT } from './helpers/engine.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { FULL } from './helpers/random.ts'

/** A quarter of it is the SQL parser of `hearth migrate`. */
const TARBALL_BYTES_MAX = 1536 * 1024
/** What goes along, and nothing else. */
const CONTENT = [
  /^(LICENSE|README\.md|package\.json)$/,
  /^dist\/(index|client|cli|keyv)\.mjs$/,
  /^dist\/(daemon|worker)(\.\w+)?\.cjs$|^dist\/worker\.js$|^dist\/alert_sender\.cjs$/,
  /^dist\/libpg-query\.wasm$/,
  /^dist\/(package\.json|LICENSES\.txt)$/,
  /^dist\/page\/(index\.html|page\.(css|js)|icon\.svg)$/,
  /^dist\/types\/(engine|native-bindings)\/.*\.d\.ts$/,
  /^engine\/(build(_page|_parts)?\.mjs|cli\/hearth\.cjs|dev\/home-readings\.(csv|README\.md))$/,
  /^engine\/deploy\/(grafana\/\w+\.json|prometheus\/[\w.-]+\.yml)$/,
  /^native-bindings\/(build\.mjs|src\/\w+\.[ch]|prebuilds\/linux-\w+\/hearth\.node)$/,
]
const BUNDLED = [
  'hyperid',
  'libpg-query',
  'msgpackr',
  'nodemailer',
  'pg-native',
  'pg-types',
  'piscina',
  'smol-toml',
  'uplot',
]

const SCRIPT = `
  import { readFileSync } from 'node:fs'
  import { createEngine } from 'hearth'
  import { connect } from 'hearth/client'
  import { KeyvHearth } from 'hearth/keyv'

  const [stateDir, url] = process.argv.slice(2)
  const engine = await createEngine({ engine: { stateDir, socket: stateDir + '/s' }, postgres: { main: { url } } })
  const inside = engine.client()
  await inside.cache.set('device:42', { room: 'kitchen', at: new Date(0) })
  const outside = await connect({ socket: engine.socketPath, name: 'package' })
  const cached = await outside.cache.get('device:42')
  const { rows } = await outside.db.query('select $1::int + 1 as n', [41])
  if (await new KeyvHearth(outside).get('none') !== undefined) throw new Error('found nothing')
  const binding = /\\S+hearth\\.node/.exec(readFileSync('/proc/self/maps', 'utf8'))[0]
  await outside.close()
  await engine.close()
  console.log(JSON.stringify({ cached, rows, binding, node: process.version }))
`

const TYPED = `
  import { createEngine, type EmbeddedEngine } from 'hearth'
  import { connect, type Hearth, HearthError } from 'hearth/client'
  import { KeyvHearth } from 'hearth/keyv'

  export const engine: EmbeddedEngine = await createEngine({ memory: { maxBytes: 1 } })
  const hearth: Hearth = await connect({ name: 'typed' })
  hearth.on('state', state => state satisfies 'open' | 'down' | 'closed')
  for await (const key of hearth.cache.keys('*')) key satisfies string
  await new KeyvHearth(hearth).get<number>('a') satisfies number | undefined
  // @ts-expect-error: a key is a string
  await hearth.cache.get(1).catch(error => error instanceof HearthError)
`

const skip = !FULL && 'packs and installs for half a minute; HEARTH_TEST_FULL=1 runs it'

test('what is packed lacks nothing that its own install runs', t => {
  ensureBuilt()
  const folder = projectFolder(t, 'hearth-packed-')
  const [{ files }] = JSON.parse(npm(PROJECT, 'pack', '--json', '--dry-run', '--ignore-scripts'))
  const paths: string[] = files.map(({ path }: { path: string }) => path)
  for (const path of paths) {
    mkdirSync(join(folder, dirname(path)), { recursive: true })
    copyFileSync(join(PROJECT, path), join(folder, path))
  }
  const strange = paths.filter(path => !CONTENT.some(pattern => pattern.test(path)))
  assert.deepEqual(strange, [])
  const outcome = spawnSync(process.execPath, ['engine/build.mjs'], {
    cwd: folder,
    encoding: 'utf8',
  })
  assert.equal(outcome.stderr, '')
  assert.ok(existsSync(join(folder, 'dist/bare_node.json')))
})

describe('the package', { skip }, () => {
  const cleanups: (() => void)[] = []
  let tarball = ''
  let packed: { path: string }[] = []
  let project = ''

  before(() => {
    const ending = { after: (cleanup: () => void) => void cleanups.push(cleanup) } as never
    const folder = projectFolder(ending, 'hearth-tarball-')
    const [pack] = JSON.parse(npm(PROJECT, 'pack', '--json', '--pack-destination', folder))
    packed = pack.files
    tarball = join(folder, pack.filename)
    project = projectFolder(ending, 'hearth-package-')
    npm(project, 'init', '--yes')
    npm(project, 'install', tarball)
  })

  after(() => {
    for (const cleanup of cleanups) cleanup()
  })

  test('holds what runs and its licences, and nothing else', () => {
    const paths = packed.map(({ path }) => path)
    const strange = paths.filter(path => !CONTENT.some(pattern => pattern.test(path)))
    assert.deepEqual(strange, [])
    for (const pattern of CONTENT)
      assert(
        paths.some(path => pattern.test(path)),
        `${pattern}`,
      )
    assert(statSync(tarball).size < TARBALL_BYTES_MAX)
    const licenses = readFileSync(installed('dist/LICENSES.txt'), 'utf8')
    for (const name of BUNDLED) assert.match(licenses, new RegExp(`^${name} \\d.*: \\w`, 'm'))
  })

  test('runs an engine, a client and a query from an empty project', async () => {
    const { cached, rows, binding, node } = await runScript()
    assert.deepEqual(cached, { room: 'kitchen', at: '1970-01-01T00:00:00.000Z' })
    assert.deepEqual(rows, [{ n: 42 }])
    assert.equal(binding, installed('native-bindings/build/hearth.node'))
    assert.equal(node, process.version, 'the pinned runtime has come along')
  })

  test('brings the command', () => {
    const { version } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8'))
    assert.equal(npm(project, 'exec', '--', 'hearth', '--version'), `hearth ${version}\n`)
  })

  test('brings migrations, with the parser that they need', async () => {
    const { url } = await sharedPostgres()
    mkdirSync(join(project, 'migrations'))
    writeFileSync(join(project, 'migrations/1_a.up.sql'), 'create table packed (id int)')
    const env = { ...cleanEnvironment(), HEARTH_POSTGRES_URL: url }
    const line = [installed('engine/cli/hearth.cjs'), 'migrate', 'up', '--json']
    const output = execFileSync(process.execPath, line, { cwd: project, env, encoding: 'utf8' })
    assert.deepEqual(JSON.parse(output).done[0].wayBack.statements, ['drop table public.packed'])
  })

  test('writes units that run it from where it lies, with the runtime that came along', () => {
    const args = ['exec', '--', 'hearth', 'install-service', '--print', '--json']
    const { files, runtime } = JSON.parse(npm(project, ...args))
    assert(runtime.startsWith(join(project, 'node_modules/')), runtime)
    const start = `ExecStart=${runtime} ${installed('engine/cli/hearth.cjs')} serve\n`
    assert(files[0].text.includes(start), files[0].text)
  })

  test('brings its types', () => {
    mkdirSync(join(project, 'node_modules/@types'), { recursive: true })
    for (const name of ['@types/node', 'undici-types']) {
      symlinkSync(join(PROJECT, 'node_modules', name), join(project, 'node_modules', name))
    }
    writeFileSync(join(project, 'typed.mts'), TYPED)
    const tsc = join(PROJECT, 'node_modules/typescript/bin/tsc')
    const flags = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024']
    const outcome = spawnSync(process.execPath, [tsc, ...flags, 'typed.mts'], {
      cwd: project,
      encoding: 'utf8',
    })
    assert.equal(outcome.stdout, '')
    assert.equal(outcome.status, 0)
  })

  test('goes on with the prebuilt binding where there is no compiler', async () => {
    rmSync(installed('native-bindings/build'), { recursive: true })
    const outcome = spawnSync(process.execPath, [installed('native-bindings/build.mjs')], {
      env: { ...cleanEnvironment(), CC: '/nonexistent' },
      encoding: 'utf8',
    })
    assert.equal(outcome.status, 0)
    assert.match(outcome.stderr, /^hearth: .*; the prebuilt binding is used instead\.\n$/)
    const { rows, binding } = await runScript()
    assert.deepEqual(rows, [{ n: 42 }])
    assert(binding.startsWith(installed('native-bindings/prebuilds')), binding)
  })

  function installed(path: string): string {
    return join(project, 'node_modules/hearth', path)
  }

  async function runScript(): Promise<{
    cached: unknown
    rows: unknown
    binding: string
    node: string
  }> {
    const { url } = await sharedPostgres()
    writeFileSync(join(project, 'script.mjs'), SCRIPT)
    const node = join(project, 'node_modules/.bin/node')
    const output = execFileSync(node, ['script.mjs', join(project, 'state'), url], {
      cwd: project,
      env: cleanEnvironment(),
      encoding: 'utf8',
    })
    return JSON.parse(output.trimEnd().split('\n').at(-1)!)
  }
})

/** npm as somebody types it in that folder, and not as part of the script that runs this test. */
function npm(cwd: string, ...args: string[]): string {
  const env = Object.entries(cleanEnvironment()).filter(
    ([name]) => !/^(npm_(package|lifecycle)_|npm_config_local_prefix$|INIT_CWD$)/.test(name),
  )
  const flags = ['--prefer-offline', '--ignore-scripts=false', '--no-audit', '--loglevel=error']
  return execFileSync('npm', [...flags, ...args], {
    cwd,
    env: Object.fromEntries(env),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}
