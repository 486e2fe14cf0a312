/** Client: one connection for one command.
 *  Owns:   which engine the CLI talks to.   Thread: main.
 *  Holds:  (1) an engine that is down is an error here, never a miss.  (2) `./.hearth/hearth.sock`, where `hearth dev` serves, is
 *          used only when it is this user's own: standing in somebody else's folder must not choose whom one talks to. */

import { lstatSync } from 'node:fs'
import { connect, type Hearth } from '../client/index.ts'
import type { Input } from './input.ts'

/** Relative on purpose: in a deep folder the whole path is too long for a socket address. */
export const DEV_SOCKET = '.hearth/hearth.sock'

/** Connects, hands the client to `use`, and closes it whatever happens. Rejects with UNAVAILABLE when no engine answers. */
export async function withEngine<T>(input: Input, use: (hearth: Hearth) => Promise<T>): Promise<T> {
  const hearth = await openEngine(input)
  try {
    return await use(hearth)
  } finally {
    await hearth.close()
  }
}

export function openEngine(input: Input, timeoutMs?: number): Promise<Hearth> {
  const socket = input.options['socket'] ?? (process.env['HEARTH_SOCKET'] || devSocket())
  return connect({
    name: 'hearth command',
    failOpen: false,
    ...(socket === undefined ? {} : { socket }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  })
}

function devSocket(): string | undefined {
  const stat = lstatSync(DEV_SOCKET, { throwIfNoEntry: false })
  return stat !== undefined && stat.uid === process.getuid?.() ? DEV_SOCKET : undefined
}
