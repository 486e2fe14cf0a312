/** Facts: what the units must know of this install: which runtime, which package, which configuration, whose.
 *  Owns:   nothing; it reads files.   Not here: the units' text (units.ts).
 *  Thread: main.
 *  Holds:  (1) the configuration is the one that the service will read: its environment and folder, not those of whoever runs
 *          this.  (2) what would keep the service from starting is said as a warning, with what to do. */

import { existsSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { loadConfig } from '../../config/load.ts'
import { PACKAGE_ROOT } from '../../paths.ts'
import { isWithin, RUNTIME_DIRECTORY, STATE_DIRECTORY, type UnitFacts } from './units.ts'

export interface Wanted {
  readonly user: string
  readonly group: string
  /** `--config` of the service. */
  readonly configFile?: string | undefined
  /** Where the units go: the root of the system they are for. */
  readonly root: string
}

export interface Found {
  readonly facts: UnitFacts
  /** Whether the runtime is the one that the package pins. */
  readonly isPinned: boolean
  /** Whether user and group are there already. */
  readonly hasUser: boolean
  readonly warnings: readonly string[]
}

/** Hidden from the service, unless it is bound into what it sees. */
const HOMES = ['/home', '/root', '/run/user']

/** Throws BAD_REQUEST when the configuration cannot be read or is wrong. */
export function findFacts(wanted: Wanted): Found {
  const { user, group, root } = wanted
  const configFile = wanted.configFile === undefined ? undefined : resolve(wanted.configFile)
  const { config } = loadConfig({
    file: configFile,
    env: { RUNTIME_DIRECTORY, STATE_DIRECTORY },
    cwd: '/',
  })
  const { socket, socketMode, stateDir } = config.engine
  const { node, isPinned } = runtime()
  const bin = join(PACKAGE_ROOT, 'engine', 'cli', 'hearth.cjs')
  const isHome = (path: string) => HOMES.some(home => isWithin(path, home))
  const read = [PACKAGE_ROOT, modulesFolder(PACKAGE_ROOT), dirname(dirname(node)), configFile]
  const facts: UnitFacts = {
    version: version(),
    node,
    bin,
    readme: join(PACKAGE_ROOT, 'README.md'),
    configFile,
    user,
    group,
    socket,
    socketMode,
    stateDir,
    memoryBytes: config.memory.maxBytes,
    busyTimeoutMs: config.sqlite.busyTimeoutMs,
    kill: ['/bin/kill', '/usr/bin/kill'].find(existsSync),
    readInHome: outermost(read.filter(path => path !== undefined).filter(isHome)),
    writeInHome: outermost([stateDir, dirname(socket)].filter(isHome)),
  }
  const hasUser = isListed(root, 'passwd', user) && isListed(root, 'group', group)
  const warnings = [
    ...(isPinned
      ? []
      : [
          `the pinned runtime is not installed; the service would run ${node}, Node ${process.version}. ` +
            'Install without --omit=optional',
        ]),
    ...inTemporary([node, bin, configFile]),
    ...unreachable([node, bin, configFile], user, root),
  ]
  return { facts, isPinned, hasUser, warnings }
}

/** Where npm has put the pinned runtime: beside the package or within it. */
function runtime(): { node: string; isPinned: boolean } {
  try {
    const find = createRequire(join(PACKAGE_ROOT, 'package.json')).resolve
    return { node: find(`node-linux-${process.arch}/bin/node`), isPinned: true }
  } catch {
    return { node: process.execPath, isPinned: false }
  }
}

/** The node_modules that an installed package's dependencies are hoisted into. */
function modulesFolder(path: string): string | undefined {
  const at = path.lastIndexOf('/node_modules/')
  return at < 0 ? undefined : path.slice(0, at + '/node_modules'.length)
}

function version(): string {
  return JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')).version
}

function outermost(paths: readonly string[]): string[] {
  return [...new Set(paths)].filter(
    path => !paths.some(other => other !== path && isWithin(path, other)),
  )
}

function isListed(root: string, file: 'passwd' | 'group', name: string): boolean {
  return idOf(root, file, name) !== undefined
}

/** The numeric id of a user or group of that system; undefined when there is none. */
function idOf(root: string, file: 'passwd' | 'group', name: string): number | undefined {
  try {
    const lines = readFileSync(join(root, 'etc', file), 'utf8').split('\n')
    const found = lines.find(line => line.startsWith(`${name}:`))?.split(':')[2]
    return found === undefined ? undefined : Number(found)
  } catch {
    return undefined
  }
}

/** PrivateTmp= gives the service folders of its own there. */
function inTemporary(paths: readonly (string | undefined)[]): string[] {
  const path = paths.find(each => each && (isWithin(each, '/tmp') || isWithin(each, '/var/tmp')))
  return path === undefined
    ? []
    : [`the service has a /tmp of its own and would not find ${path}: install it elsewhere`]
}

/** Files that the service's user cannot get to, by the permissions of what lies on the way. */
function unreachable(paths: readonly (string | undefined)[], user: string, root: string): string[] {
  const uid = idOf(root, 'passwd', user)
  if (uid === 0) return []
  const blocks = new Map<string, string>()
  for (const path of paths) {
    const block = path === undefined ? undefined : blockOf(path, uid)
    if (block !== undefined && !blocks.has(block)) blocks.set(block, path!)
  }
  return [...blocks].map(
    ([block, path]) =>
      `user ${user} may not pass ${block}, and so not read ${path}: install the package where everybody ` +
      'can read it (npm install --global), or change its permissions',
  )
}

/** The first of a path's parents, or itself, that others may not go through or read. */
function blockOf(path: string, uid: number | undefined): string | undefined {
  const parts = path.split('/').slice(1)
  for (let i = 0; i <= parts.length; i++) {
    const part = `/${parts.slice(0, i).join('/')}`
    const stat = statSync(part, { throwIfNoEntry: false })
    if (stat === undefined) return undefined
    const bit = stat.isDirectory() ? 0o1 : 0o4
    const isOwn = uid !== undefined && stat.uid === uid
    if ((stat.mode & (isOwn ? bit << 6 : bit)) === 0) return part
  }
  return undefined
}
