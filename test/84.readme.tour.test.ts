/** The README's tour: each command and each piece of code in it is run as it stands, against `hearth dev`.
 *  Owns:   a folder with everything embedded.   Thread: main of a test process.
 *  Holds:  what a newcomer is told to type works, in that order.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { loadConfig } from '../engine/config/load.ts'
import { projectFolder, start } from './helpers/cli.ts'
import { freePort } from './helpers/free_port.ts'

const ROOT = join(import.meta.dirname, '..')
const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
/** It is stopped before, unless the tests die. */
const DEV_SECONDS = '60'

/** What the README says of a command's end, where it is not 0. */
const FAILS: Record<string, RegExp> = {
  'hearth get nothing-here': /no such key|nothing-here/,
  "hearth query 'select * from nowhere'": /DATABASE.*42P01|42P01/s,
}

let folder = ''
let dev: ReturnType<typeof start>
const cleanups: (() => void)[] = []

before(async () => {
  folder = projectFolder({ after: (cleanup: () => void) => void cleanups.push(cleanup) } as never)
  const env = { HEARTH_HTTP_LISTEN: `127.0.0.1:${await freePort()}` }
  dev = start(['dev', '--seconds', DEV_SECONDS], { cwd: folder, env })
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(ROOT, join(folder, 'node_modules', 'hearth'))
  await dev.untilSaid('A pretend home service is asking')
})

after(async () => {
  dev.child.kill('SIGINT')
  await dev.ended
  for (const cleanup of cleanups) cleanup()
})

test('every command of the tour does what is said, and the two that are to fail exit with 1', () => {
  const commands = blocks('sh')
    .flatMap(block => block.split('\n'))
    .filter(line => line.startsWith('npx hearth'))
  assert(commands.length >= 10, 'the tour has its commands')
  for (const line of commands) {
    const command = line.replace(/\s+#.*$/, '').replace(/^npx /, '')
    const script = command.replace(
      /^hearth/,
      `'${process.execPath}' '${join(ROOT, 'engine/cli/hearth.cjs')}'`,
    )
    const { status, stdout, stderr } = spawnSync('bash', ['-c', script], {
      cwd: folder,
      encoding: 'utf8',
    })
    const failure = FAILS[command]
    assert.equal(status, failure === undefined ? 0 : 1, `${command}\n${stdout}${stderr}`)
    if (failure !== undefined) assert.match(stderr, failure)
  }
})

test('the service example runs, on the package by its name', () => {
  const code = blocks('ts').find(block => block.includes("from 'hearth/client'"))!
  assert.match(run(code + "\nconsole.log('rows', rows.length)"), /rows 3/)
})

test('the embedding example runs, on the package by its name', () => {
  const code = blocks('ts').find(block => block.includes("from 'hearth'"))!
  const tail =
    "\nawait hearth.cache.set('a', 1)\nconsole.log('got', await hearth.cache.get('a'))\nawait engine.close()"
  const inFolder = code.replace(
    "'./state'",
    `'${join(folder, 'embedded')}', socket: '${join(folder, 'e.sock')}'`,
  )
  assert.match(run(inFolder + tail), /got 1/)
})

test('the configuration examples load', () => {
  const configs = blocks('toml').map(text => {
    const file = join(folder, 'readme.toml')
    writeFileSync(file, text)
    const { config, warnings } = loadConfig({ file, env: { HOME: folder } })
    assert.deepEqual(warnings, [])
    return config
  })
  const replicas = configs.map(({ postgres }) => postgres['main']?.replicas).find(Boolean)
  assert.deepEqual(
    replicas!.map(({ name }) => name),
    ['1', 'cellar'],
  )
  const config = configs.find(({ ttl }) => 'weather' in ttl)!
  assert.equal(config.memory.maxBytes, 8 * 1024 * 1024)
  assert.equal(config.ttl['weather'], 15 * 60_000)
})

function blocks(language: string): string[] {
  return [...README.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(
    match => match[1]!,
  )
}

/** Runs code as a module of a project that depends on the package. */
function run(code: string): string {
  const file = join(folder, 'example.mjs')
  writeFileSync(file, code)
  const env = { ...process.env, HEARTH_SOCKET: join(folder, '.hearth', 'hearth.sock') }
  return execFileSync(process.execPath, [file], { cwd: folder, env, encoding: 'utf8' })
}
