/** kernel: what the system allows and how it is set, as far as it changes what Hearth can do.
 *  Owns:   the checks `open files`, `shared memory`, `overcommit`, `huge pages` and `clock`.   Thread: main.
 *  Holds:  a setting that this system does not show is no finding. */

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { bytes } from '../table.ts'
import { type Check, fail, ok, warn } from './finding.ts'

/** Beside connections: files, pipes, workers. */
const OWN_FILES = 64
const CLIENTS_FEW = 64
const CLIENTS_MANY = 1_024
const TMPFS = 0x01021994
const OVERCOMMIT_NEVER = '2'

export const openFiles: Check = {
  name: 'open files',
  run({ loaded, root }) {
    const limits = contentOf(join(root, 'proc/self/limits'))
    const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1]
    if (soft === undefined) return []
    const most = soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft)
    const pools = Object.values(loaded?.config.postgres ?? {})
    const connections = pools.reduce((sum, { pool, replicas = [] }) => {
      return sum + (pool.size + pool.overflow) * (1 + replicas.length)
    }, 0)
    const clients = most - OWN_FILES - connections
    const found = `${soft} open files, enough for ${clients} clients beside ${connections} connections to Postgres`
    const mend = 'LimitNOFILE=8192 in the unit, or ulimit -n 8192 before hearth serve'
    if (clients < CLIENTS_FEW) return [fail(found, mend)]
    return [clients < CLIENTS_MANY - OWN_FILES - connections ? warn(found, mend) : ok(found)]
  },
}

export const sharedMemory: Check = {
  name: 'shared memory',
  needsConfig: true,
  run({ loaded, root }) {
    const folder = join(root, 'dev/shm')
    const wanted = loaded.config.memory.maxBytes
    const instead = 'clients then read tier 1 over the socket'
    if (!existsSync(folder))
      return [warn(`there is no /dev/shm; ${instead}`, 'mount a tmpfs there')]
    const { type, bavail, bsize } = statfsSync(folder)
    if (type !== TMPFS)
      return [
        warn(`/dev/shm is no tmpfs; ${instead}`, 'mount a tmpfs there, so that it stays in memory'),
      ]
    const room = `${bytes(bavail * bsize)} free in /dev/shm, for tier 1's ${bytes(wanted)}`
    if (bavail * bsize >= wanted * 1.1) return [ok(room)]
    return [
      fail(room, 'mount it larger (in a container: --shm-size), or set memory.max_bytes lower'),
    ]
  },
}

export const overcommit: Check = {
  name: 'overcommit',
  run({ root }) {
    const mode = contentOf(join(root, 'proc/sys/vm/overcommit_memory')).trim()
    if (mode === '') return []
    if (mode !== OVERCOMMIT_NEVER) return [ok(`vm.overcommit_memory is ${mode}`)]
    const found =
      'vm.overcommit_memory is 2: Node reserves far more addresses than it uses, and may be refused them'
    return [warn(found, 'sysctl vm.overcommit_memory=0, or a larger vm.overcommit_ratio')]
  },
}

export const hugePages: Check = {
  name: 'huge pages',
  run({ root }) {
    const text = contentOf(join(root, 'sys/kernel/mm/transparent_hugepage/enabled'))
    const chosen = /\[(\w+)\]/.exec(text)?.[1]
    if (chosen === undefined) return []
    if (chosen !== 'always') return [ok(`transparent huge pages: ${chosen}`)]
    const found = 'transparent huge pages are always given: small heaps then take 2 MiB at a time'
    const mend = 'echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, if memory is short'
    return [warn(found, mend)]
  },
}

export const clock: Check = {
  name: 'clock',
  run({ root }) {
    if (existsSync(join(root, 'run/systemd/timesync/synchronized'))) return [ok('synchronized')]
    if (root !== '/') return []
    let said: string
    try {
      const args = ['show', '-p', 'NTPSynchronized', '--value']
      const stdio = ['ignore', 'pipe', 'ignore'] as const
      said = execFileSync('timedatectl', args, {
        encoding: 'utf8',
        timeout: 2_000,
        stdio: [...stdio],
      })
    } catch {
      return [] // No systemd, or a container: the host sees to it.
    }
    if (said.trim() === 'yes') return [ok('synchronized')]
    const found =
      "the clock is not synchronized: entries expire by it, and a replica's lag is told by it"
    return [warn(found, 'timedatectl set-ntp true, or run chrony')]
  },
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
