/** Stats headline: the engine's life and memory in one line, as `stats` and `dev` show it.
 *  Owns:   that line.   Thread: main.   Holds: a figure that this system does not give is left out. */

import type { EngineStats } from '../figures.ts'
import { bytes, count, uptime } from './table.ts'

/** `up 3m 12s, 2 clients, own memory 21.4 MiB, 12.9 MiB above a bare Node` */
export function headline(stats: EngineStats): string {
  const { uptimeMs, clients, privateBytes, privateOverNodeBytes } = stats
  const parts = [`up ${uptime(uptimeMs)}`, clients === 1 ? '1 client' : `${count(clients)} clients`]
  if (privateBytes !== null) parts.push(`own memory ${bytes(privateBytes)}`)
  if (privateOverNodeBytes !== null) {
    parts.push(`${bytes(Math.max(0, privateOverNodeBytes))} above a bare Node`)
  }
  return parts.join(', ')
}
