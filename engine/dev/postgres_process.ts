/** The server as a process: its pid file, its children, its user, and the watchdog that ends it after us.
 *  Owns:   a stale postmaster.pid, which it removes; the watchdog's shell.
 *  Thread: main, or a test.
 *  Holds:  a process is signalled only when postmaster.pid and /proc agree that it is the server. */

import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, readlinkSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { HearthError } from '../errors.ts'
import type { ServerUser } from './postgres_binaries.ts'

/** A dead server leaves postmaster.pid behind, and its number may belong to another process by now. */
export function clearStalePid(dataDir: string): void {
  const pid = Number(readPid(dataDir)[0])
  if (!(pid > 0)) return
  if (servesFrom(pid, dataDir)) {
    throw new HearthError(
      'BUSY',
      `a Postgres server (pid ${pid}) already runs on ${dataDir}: stop it with \`kill -INT ${pid}\`, ` +
        'or choose another folder',
    )
  }
  unlinkSync(join(dataDir, 'postmaster.pid'))
}

export function readPid(dataDir: string): string[] {
  try {
    return readFileSync(join(dataDir, 'postmaster.pid'), 'utf8').split('\n')
  } catch {
    return []
  }
}

/** A postmaster works in its data folder. */
function servesFrom(pid: number, dataDir: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === dataDir
  } catch {
    return false
  }
}

export function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return text === '' ? [] : text.split(' ').map(Number)
  } catch {
    return []
  }
}

/** A zombie holds nothing any more; who inherited it may take a second to bury it. */
export function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

export function runAs(user: ServerUser | undefined): {
  uid?: number
  gid?: number
  env: NodeJS.ProcessEnv
} {
  // Nothing of our environment: PGDATA, PGPORT, LD_PRELOAD and the like are not meant for this server.
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: process.env['TZ'] }
  return user === undefined ? { env } : { uid: user.uid, gid: user.gid, env }
}

/** A shell that waits for our end of its pipe to close, which happens however we die; dismiss() sends it home. */
export function watch(dataDir: string, removeOnDeath: string | undefined): ChildProcess {
  const watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'sh', dataDir, removeOnDeath ?? ''], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  watchdog.on('error', () => {}) // without a shell there is no watchdog; the server still runs
  watchdog.stdin!.on('error', () => {})
  watchdog.unref()
  ;(watchdog.stdin as unknown as { unref(): void }).unref()
  return watchdog
}

export function dismiss(watchdog: ChildProcess | undefined): void {
  watchdog?.stdin?.end('done\n')
}

// The server is whoever postmaster.pid names, if it works in the data folder: the number alone may be another's by now.
const WATCHDOG = `
read -r word
[ "$word" = done ] && exit 0
is_running() {
  read -r pid < "$1/postmaster.pid" && [ "$(readlink "/proc/$pid/cwd")" = "$1" ]
}
tries=0
while is_running "$1" && [ $tries -lt 100 ]; do
  [ $tries -eq 0 ] && kill -INT "$pid"
  [ $tries -eq 90 ] && kill -QUIT "$pid"
  sleep 0.1
  tries=$((tries + 1))
done
[ -n "$2" ] && { sleep 0.1; rm -rf "$2"; }
`
