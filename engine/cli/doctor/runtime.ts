/** runtime: what Hearth runs on: Node, its own binding, libpq, SQLite.
 *  Owns:   the checks `node`, `native binding`, `libpq` and `sqlite`.   Thread: main.
 *  Holds:  SQLite's binding is loaded in a process of its own: one that does not fit this Node ends it. */

import { execFileSync } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../../paths.ts'
import { type Check, fail, ok, warn } from './finding.ts'

const NODE_MAJOR_MIN = 22
const LIBPQ_MIN = 140_000
/** Its name, for the process that tries it. */
const SQLITE = 'better-sqlite3'
const TRY_MS_MAX = 10_000
const REINSTALL = `npm ci in ${PACKAGE_ROOT}, with the same Node that runs the engine`

export const node: Check = {
  name: 'node',
  run() {
    const { version, execPath } = process
    if (Number(version.slice(1).split('.')[0]) < NODE_MAJOR_MIN)
      return [
        fail(
          `Node ${version}`,
          `use Node ${NODE_MAJOR_MIN} or newer; npm ci brings the pinned one`,
        ),
      ]
    const pinned = pinnedNode()
    if (pinned !== undefined && realpathSync(execPath) === pinned)
      return [ok(`Node ${version}, the one that is pinned`)]
    const found = `Node ${version} (${execPath}), not the one that was measured and tested`
    return [warn(found, `npm ci without --omit=optional in ${PACKAGE_ROOT} brings it`)]
  },
}

export const nativeBinding: Check = {
  name: 'native binding',
  async run() {
    try {
      await import('../../../native-bindings/index.ts')
      return [ok('loaded')]
    } catch (error) {
      const found = `not loaded, so there is no SQL, no shared memory and no roles: ${wordsOf(error)}`
      return [fail(found, `npm run build in ${PACKAGE_ROOT}; a compiler and make are needed`)]
    }
  },
}

export const libpq: Check = {
  name: 'libpq',
  async run({ loaded }) {
    const isNeeded = Object.keys(loaded?.config.postgres ?? {}).length > 0
    let native: typeof import('../../../native-bindings/index.ts')
    try {
      native = await import('../../../native-bindings/index.ts')
    } catch {
      return [] // told by the check before
    }
    const wanted = loaded?.config.engine.libpq
    if (wanted !== undefined) native.configureLibpq([wanted])
    const info = native.libpqInfo()
    if (info === undefined) {
      const found = native.libpqProblem() ?? 'none was found'
      const mend = 'install libpq5 (Debian), libpq (Fedora), or name one in engine.libpq'
      return [isNeeded ? fail(found, mend) : warn(`${found}; no database is configured`, mend)]
    }
    const { path, version, features } = info
    const known = `libpq ${Math.floor(version / 10_000)}.${version % 10_000} from ${path}`
    if (wanted !== undefined && path !== wanted)
      return [
        warn(`engine.libpq (${wanted}) is not used: ${info.skipped}; ${known} is`, 'mend the path'),
      ]
    if (version < LIBPQ_MIN || !features.pipeline)
      return [
        warn(
          `${known} has no pipelines, so each statement has a connection`,
          'install libpq 14 or newer',
        ),
      ]
    if (!features.tls)
      return [
        warn(
          `${known} cannot use TLS beside this Node`,
          'name another in engine.libpq, if a server wants TLS',
        ),
      ]
    return [ok(known)]
  },
}

export const sqlite: Check = {
  name: 'sqlite',
  run() {
    const script = `const Database = require(process.argv[1])
      const file = new Database(':memory:')
      process.stdout.write(file.prepare('select sqlite_version() as v').get().v)`
    try {
      const version = execFileSync(process.execPath, ['-e', script, SQLITE], {
        cwd: PACKAGE_ROOT,
        timeout: TRY_MS_MAX,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      return [ok(`SQLite ${version}`)]
    } catch (error) {
      const { stderr = '', signal } = error as { stderr?: string; signal?: string }
      const line = /^\w*Error: .*$/m.exec(stderr)?.[0] ?? signal ?? wordsOf(error)
      return [fail(`better-sqlite3 does not load, so there is no tier 2: ${line}`, REINSTALL)]
    }
  },
}

function pinnedNode(): string | undefined {
  try {
    const find = createRequire(join(PACKAGE_ROOT, 'package.json'))
    const path = find.resolve(`node-linux-${process.arch}/bin/node`)
    return existsSync(path) ? realpathSync(path) : undefined
  } catch {
    return undefined
  }
}

function wordsOf(error: unknown): string {
  return (error as Error).message.split('\n')[0]!
}
