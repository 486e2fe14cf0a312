/** Socket path: where the engine listens and where a client looks when nobody says otherwise.
 *  Owns:   the default socket and state directory, from the environment of systemd and of XDG.
 *  Thread: any.
 *  Holds:  both sides ask the same function, so that an engine and a client of one environment
 *          meet. */

import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'

export type Environment = Readonly<Record<string, string | undefined>>

export const SOCKET_NAME = 'hearth.sock'

/** The client's socket: `$HEARTH_SOCKET`, else the default of this environment. */
export function clientSocketPath(env: Environment): string {
  return env['HEARTH_SOCKET'] || defaultSocketPath(env)
}

/** `$RUNTIME_DIRECTORY/hearth.sock`, else `$XDG_RUNTIME_DIR/hearth/hearth.sock`, else
 *  `<state>/hearth.sock`. */
export function defaultSocketPath(env: Environment, stateDir = defaultStateDir(env)): string {
  const runtime = firstDirectory(env['RUNTIME_DIRECTORY'])
  if (runtime !== undefined) return join(runtime, SOCKET_NAME)
  const session = absolute(env['XDG_RUNTIME_DIR'])
  if (session !== undefined) return join(session, 'hearth', SOCKET_NAME)
  return join(stateDir, SOCKET_NAME)
}

/** `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/hearth`, else `~/.local/state/hearth`. */
export function defaultStateDir(env: Environment): string {
  const service = firstDirectory(env['STATE_DIRECTORY'])
  if (service !== undefined) return service
  const state = absolute(env['XDG_STATE_HOME'])
  if (state !== undefined) return join(state, 'hearth')
  return join(absolute(env['HOME']) ?? homedir(), '.local/state/hearth')
}

/** systemd joins several directories of one unit with colons; the first is the unit's own. */
function firstDirectory(value: string | undefined): string | undefined {
  return absolute(value?.split(':')[0])
}

/** XDG asks programs to ignore a relative path, which would depend on where one happens to
 *  stand. */
function absolute(value: string | undefined): string | undefined {
  return value !== undefined && isAbsolute(value) ? value : undefined
}
