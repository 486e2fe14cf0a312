/** Where an embedded server keeps its data and its socket, and who may reach them.
 *  Owns:   creating those folders with owner and mode.   Not here: what runs in them (embedded_postgres.ts).
 *  Thread: main, or a test.
 *  Holds:  (1) only root and the server's user can reach the socket, since local connections are trusted.
 *          (2) the socket's path fits into sockaddr_un.  (3) a folder that somebody else owns is never used. */

import { createHash } from 'node:crypto'
import { chmodSync, chownSync, lstatSync, mkdirSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { HearthError } from '../errors.ts'
import { isTraversable, type ServerUser } from './postgres_binaries.ts'

/** sockaddr_un.sun_path is 108 bytes with its terminating zero. */
export const SOCKET_PATH_BYTES_MAX = 107

export interface Places {
  readonly dataDir: string
  readonly socketDir: string
  readonly logFile: string
}

/** The places for one server; the socket folder exists afterwards, the data folder's parent too. */
export function choosePlaces(
  wanted: { dataDir: string; socketDir?: string | undefined; port: number },
  user: ServerUser | undefined,
): Places {
  const dataDir = dataPlace(resolve(wanted.dataDir), user)
  const socketDir = wanted.socketDir ? resolve(wanted.socketDir) : socketPlace(dataDir, wanted.port)
  if (!fits(socketDir, wanted.port)) {
    throw new HearthError(
      'BAD_REQUEST',
      `the socket folder ${socketDir} is too long: with the file's name it must stay within ` +
        `${SOCKET_PATH_BYTES_MAX} bytes; choose a shorter one or leave it out`,
    )
  }
  makePrivate(socketDir, user)
  return { dataDir, socketDir, logFile: `${dataDir}.log` }
}

/** Makes `folder` (0700, owned by the server's user), or checks that it is one. */
export function makePrivate(folder: string, user: ServerUser | undefined): void {
  mkdirSync(dirname(folder), { recursive: true })
  try {
    mkdirSync(folder, { mode: 0o700 })
    if (user !== undefined) chownSync(folder, user.uid, user.gid)
    return
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const stat = lstatSync(folder) // lstat: in a shared /tmp somebody could have planted a link
  const owner = user?.uid ?? process.getuid!()
  if (!stat.isDirectory()) {
    throw new HearthError('UNAVAILABLE', `${folder} is in the way: it is not a folder; remove it`)
  }
  if (stat.uid !== owner && stat.uid !== process.getuid!()) {
    throw new HearthError('FORBIDDEN', `${folder} belongs to uid ${stat.uid}, not to us; remove it`)
  }
  chmodSync(folder, 0o700)
  if (stat.uid !== owner) chownSync(folder, user!.uid, user!.gid)
}

/** As asked; as root, where the server's user cannot get there (below /root), in /var/lib instead. */
export function dataPlace(wanted: string, user: ServerUser | undefined): string {
  mkdirSync(dirname(wanted), { recursive: true })
  if (user === undefined || isTraversable(dirname(wanted), user)) return wanted
  const base = '/var/lib/hearth-dev'
  mkdirSync(base, { recursive: true })
  chmodSync(base, 0o711)
  return join(base, `${basename(wanted)}-${shortHash(wanted)}`)
}

/** Beside the data if the path is short enough, else a short one that stays the same from run to run. */
export function socketPlace(dataDir: string, port: number): string {
  const beside = `${dataDir}.socket`
  if (fits(beside, port)) return beside
  const root = process.getuid!() === 0
  return root ? `/run/hearth-${shortHash(dataDir)}` : `/tmp/hearth-${shortHash(dataDir)}`
}

function fits(socketDir: string, port: number): boolean {
  return Buffer.byteLength(join(socketDir, `.s.PGSQL.${port}.lock`)) <= SOCKET_PATH_BYTES_MAX
}

function shortHash(text: string): string {
  return createHash('sha256').update(`${process.getuid!()} ${text}`).digest('hex').slice(0, 12)
}
