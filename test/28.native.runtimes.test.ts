/** 28: one native binary for every release of Node: each one found here loads the very file that this process has.
 *  Owns: one server, child processes.   Thread: main of a test process.
 *  Holds: `HEARTH_TEST_NODES` names further runtimes, separated by colons; those of node_modules and of $PATH are found.
 *  Runs: beside others, since no figure of it is near its bound. */
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { before, test } from 'node:test'
import { libpqInfo } from '../native-bindings/index.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'

const ROOT = join(import.meta.dirname, '..')
const MAJORS = [22, 24, 26]
/** From here on Node runs the smoke's TypeScript without being asked to. */
const TYPES_FROM: Record<number, number> = { 22: 18 }

interface Runtime {
  readonly path: string
  readonly version: string
  readonly major: number
  readonly minor: number
}

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
  assert.ok(libpqInfo() !== undefined, 'the binding is loaded here')
})

const runtimes = findRuntimes()

for (const major of MAJORS) {
  const runtime = runtimes.find(
    each => each.major === major && each.minor >= (TYPES_FROM[major] ?? 0),
  )
  const skip =
    runtime === undefined
      ? `no Node ${major} is here: install one, and name it in HEARTH_TEST_NODES`
      : false
  test(`Node ${major} (${runtime?.version ?? 'none'}) loads the same binary and queries through it`, {
    skip,
  }, async () => {
    const smoke = join(import.meta.dirname, 'helpers/native_smoke.ts')
    const stdout = await run(runtime!.path, [smoke, postgres.url])
    const { version, binding, hash, main, thread } = JSON.parse(stdout)
    assert.equal(version, runtime!.version)
    assert.equal(hash, ownHash(), `${binding} is another file than ours`)
    // The sum of i + 1000 for 0 … 99, and the text as it was sent; the same in a worker thread.
    assert.deepEqual(main, [104_950, 'grüße'])
    assert.deepEqual(thread, main)
  })
}

function ownHash(): string {
  const path = /\/\S+\/hearth\.node$/m.exec(readFileSync('/proc/self/maps', 'utf8'))![0]
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}

/** This one, those named, those that npm installed, those on the path: one of each version. */
function findRuntimes(): Runtime[] {
  const modules = join(ROOT, 'node_modules')
  const installed = readdirSync(modules)
    .filter(name => /^node(-?\d+|-linux-.*)?$/.test(name))
    .map(name => join(modules, name, 'bin', 'node'))
  const named = (process.env['HEARTH_TEST_NODES'] ?? '').split(delimiter)
  const onPath = (process.env['PATH'] ?? '').split(delimiter).map(folder => join(folder, 'node'))
  const found = new Map<string, Runtime>()
  for (const path of [process.execPath, ...named, ...installed, ...onPath]) {
    if (path === '' || !existsSync(path)) continue
    const version = execFileSync(realpathSync(path), ['--version'], { encoding: 'utf8' }).trim()
    const [major = 0, minor = 0] = version.slice(1).split('.').map(Number)
    if (!found.has(version)) found.set(version, { path, version, major, minor })
  }
  return [...found.values()]
}

function run(node: string, args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(node, args, { cwd: ROOT, timeout: 60_000 }, (error, stdout, stderr) =>
      error === null ? resolve(stdout) : reject(new Error(`${error.message}\n${stderr}`)),
    )
  })
}
