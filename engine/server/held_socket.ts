/** HeldSocket: the listening socket that a service manager has opened for this process (sd_listen_fds(3)).
 *  Owns:   nothing: the manager's copy of the socket, and its file, outlive the engine.   Thread: main.
 *  Holds:  (1) only what was meant for this very process is taken.  (2) what cannot be served on is refused with words: the engine
 *          never falls back to a socket of its own, which would take the file from under the manager's. */

import { statSync } from 'node:fs'
import { HearthError } from '../errors.ts'
import { log } from '../log.ts'
import type { Native } from '../native.ts'

interface Listening {
  readonly engine: { readonly socket: string; readonly socketMode: number }
}

export interface HeldSocket {
  readonly fd: number
  readonly path: string
  /** Permission bits of the socket's file. */
  readonly mode: number
}

/** The first descriptor that systemd hands over. */
const FIRST_FD = 3

/** Takes LISTEN_FDS and LISTEN_PID out of `env`; undefined when they are missing or another process's. Throws BAD_REQUEST for a
 *  descriptor that is no listening Unix stream socket with a path. */
export function takeHeldSocket(
  env: NodeJS.ProcessEnv,
  native: Native | undefined,
): HeldSocket | undefined {
  const { LISTEN_PID: pid, LISTEN_FDS: fds } = env
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name]
  const count = Number(fds ?? 0)
  if (pid !== String(process.pid) || !Number.isInteger(count) || count < 1) return undefined
  if (count > 1) log('warn', 'of several sockets handed over the first one serves', { count })
  const path = pathOf(native)
  return { fd: FIRST_FD, path, mode: statSync(path).mode & 0o777 }
}

function pathOf(native: Native | undefined): string {
  let why = 'the native binding is missing'
  try {
    const path = native?.listeningPath(FIRST_FD)
    if (path?.startsWith('/')) return path
    if (path !== undefined) why = 'its address is not a path'
  } catch (error) {
    why = (error as Error).message
  }
  throw new HearthError(
    'BAD_REQUEST',
    `LISTEN_FDS is set, and descriptor ${FIRST_FD} cannot be served on (${why}); the socket unit needs ` +
      'ListenStream= with a path',
  )
}

/** The held socket's path and mode are what counts: the segment lies beside it, and is for whom it lets in. */
export function onHeldSocket<C extends Listening>(config: C, { path, mode }: HeldSocket): C {
  const { socket } = config.engine
  if (socket !== path)
    log('warn', 'engine.socket is not used: the service manager holds another', { socket, path })
  return { ...config, engine: { ...config.engine, socket: path, socketMode: mode } }
}
