/** footprint: the memory that is this process's own, and how much of it a bare Node process would use too.
 *  Owns:   nothing; the bare figure is measured once, when the project is built.   Thread: main.
 *  Holds:  own memory = RssAnon + RssShmem of /proc/self/status: the shared segment counts, the node binary's clean pages, which
 *          every Node process on the host shares, do not. Bytes; null where the system does not tell. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../paths.ts'

export interface Footprint {
  privateBytes: number | null
  privateOverNodeBytes: number | null
}

export function footprint(): Footprint {
  const privateBytes = ownBytes('self')
  const bare = bareNodeBytes()
  return {
    privateBytes,
    privateOverNodeBytes: privateBytes === null || bare === null ? null : privateBytes - bare,
  }
}

/** RssAnon + RssShmem of a process, in bytes. */
export function ownBytes(pid: number | 'self'): number | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1')
    const field = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024
    return field('RssAnon') + field('RssShmem')
  } catch {
    return null
  }
}

let bareBytes: number | null | undefined

/** What a Node of this version uses by itself, as the build measured it on this machine. */
function bareNodeBytes(): number | null {
  if (bareBytes !== undefined) return bareBytes
  try {
    const measured = JSON.parse(readFileSync(join(PACKAGE_ROOT, 'dist', 'bare_node.json'), 'utf8'))
    bareBytes = measured.version === process.version ? (measured.privateBytes as number) : null
  } catch {
    bareBytes = null
  }
  return bareBytes
}
