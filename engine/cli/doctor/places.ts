/** places: the socket and the state folder: whether they can be used, by whom, on what kind of disk, and with how much room.
 *  Owns:   the checks `socket`, `group`, `state folder`, `file system` and `disk space`.
 *  Thread: main.
 *  Holds:  what is tried is undone: a file that is written to see whether it can be is removed. */

import {
  accessSync,
  constants,
  existsSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { formatSize } from '../../config/units.ts'
import { Roles } from '../../guard/roles.ts'
import { bytes } from '../table.ts'
import { type Check, type Finding, fail, ok, type ReadPatient, warn } from './finding.ts'

/** A socket's address has so many bytes, its closing zero left out. */
const SOCKET_PATH_BYTES_MAX = 107
/** statfs(2): kinds on which SQLite's shared memory, or a file that outlives a restart, is not to be had. */
const REMOTE: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
  [0x517b, 'SMB'],
  [0x01021997, '9p'],
  [0x00c36400, 'Ceph'],
])
const TMPFS = 0x01021994
const FUSE = 0x65735546
const OVERLAY = 0x794c7630

export const socket: Check = {
  name: 'socket',
  needsConfig: true,
  run({ loaded: { config } }) {
    const { socket: path, socketMode } = config.engine
    const length = Buffer.byteLength(path)
    if (length > SOCKET_PATH_BYTES_MAX) {
      const found = `${path} has ${length} bytes, and a socket's path ${SOCKET_PATH_BYTES_MAX} at most`
      return [fail(found, 'set engine.socket to a shorter path')]
    }
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat === undefined) {
      const refusal = whyNotWritable(dirname(path))
      return refusal === undefined
        ? [ok(`${path} can be made`)]
        : [fail(`${path} cannot be made: ${refusal}`, mendFolder(dirname(path)))]
    }
    if (!stat.isSocket())
      return [fail(`${path} is there and is no socket`, `remove it, or set engine.socket`)]
    const mode = stat.mode & 0o777
    if (mode === socketMode) return [ok(`${path}, mode 0${mode.toString(8)}`)]
    const found = `${path} has mode 0${mode.toString(8)}, and engine.socket_mode is 0${socketMode.toString(8)}`
    return [warn(found, 'restart the engine: the mode is set when it starts to listen')]
  },
}

export const group: Check = {
  name: 'group',
  needsConfig: true,
  run({ loaded: { config } }) {
    const path = config.engine.socket
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat === undefined || process.getuid?.() === 0) return []
    const [uid, gid, groups] = [process.getuid!(), process.getgid!(), process.getgroups!()]
    const isMember = groups.includes(stat.gid)
    const bits = stat.uid === uid ? 0o600 : isMember ? 0o060 : 0o006
    if ((stat.mode & bits) === bits) {
      const roles = new Roles(config.access, { ownUid: stat.uid, socketGid: stat.gid })
      const { role, isNobody } = roles.of({ uid, gid, groups })
      if (!isNobody) return [ok(`this user has the role "${role}"`)]
      const none = `this user may connect, and has the role "${role}", which may do nothing`
      return [fail(none, "name it in access.service.members, or add it to the socket's group")]
    }
    const found = isMember
      ? `${path} is not open to its group`
      : `this user is not in the group that may use ${path} (gid ${stat.gid})`
    const name = groupName(stat.gid)
    return [fail(found, `sudo usermod -aG ${name} "$USER", and log in again`)]
  },
}

export const stateFolder: Check = {
  name: 'state folder',
  needsConfig: true,
  run({ loaded: { config } }) {
    const { stateDir } = config.engine
    const refusal = whyNotWritable(stateDir)
    if (refusal !== undefined)
      return [fail(`${stateDir} cannot be written: ${refusal}`, mendFolder(stateDir))]
    const stat = statSync(stateDir, { throwIfNoEntry: false })
    if (stat === undefined) return [ok(`${stateDir} can be made`)]
    if ((stat.mode & 0o002) === 0) return [ok(`${stateDir} can be written`)]
    return [warn(`${stateDir} can be written by every user`, `chmod o-w ${stateDir}`)]
  },
}

export const fileSystem: Check = {
  name: 'file system',
  needsConfig: true,
  run: patient => [judgeFileSystem(statfsSync(nearest(patient)).type, stateDirOf(patient))],
}

/** By the number that statfs(2) gives for it. */
export function judgeFileSystem(type: number, folder: string): Finding {
  const remote = REMOTE.get(type >>> 0)
  const local = 'set engine.state_dir to a folder on a local disk'
  if (remote !== undefined)
    return fail(`${folder} is on ${remote}, where SQLite's log and its locks do not work`, local)
  if (type >>> 0 === FUSE)
    return warn(`${folder} is on a FUSE file system, whose locks may not work`, local)
  if (type >>> 0 === TMPFS) {
    const found = `${folder} is on tmpfs: it takes memory, and is gone when the machine starts anew`
    return warn(found, `${local}, unless that is meant`)
  }
  if (type >>> 0 === OVERLAY) {
    const found = `${folder} is in a container's own layer, and goes with the container`
    return warn(found, 'mount a volume there, unless that is meant')
  }
  return ok('a local disk')
}

export const diskSpace: Check = {
  name: 'disk space',
  needsConfig: true,
  run(patient) {
    const { maxBytes } = patient.loaded.config.sqlite
    const { bavail, bsize } = statfsSync(nearest(patient))
    const freeBytes = bavail * bsize
    const usedBytes = ['cache.sqlite', 'cache.sqlite-wal', 'cache.sqlite-shm']
      .map(name => statSync(join(stateDirOf(patient), name), { throwIfNoEntry: false })?.size ?? 0)
      .reduce((sum, size) => sum + size, 0)
    const wantedBytes = Math.max(0, maxBytes - usedBytes)
    const room = `${bytes(freeBytes)} free, of which tier 2 may take ${bytes(wantedBytes)} more`
    const mend = `free some, or set sqlite.max_bytes (${formatSize(maxBytes)}) lower`
    if (freeBytes < wantedBytes) return [fail(room, mend)]
    return [freeBytes < wantedBytes * 2 ? warn(room, mend) : ok(room)]
  },
}

function stateDirOf({ loaded }: ReadPatient): string {
  return loaded.config.engine.stateDir
}

/** The folder, or the first above it that is there. */
function nearest(patient: ReadPatient): string {
  let folder = stateDirOf(patient)
  while (!existsSync(folder) && folder !== dirname(folder)) folder = dirname(folder)
  return folder
}

/** Why nothing can be written into a folder, or it cannot be made; undefined: it can. As root too, whom modes do not stop. */
function whyNotWritable(folder: string): string | undefined {
  try {
    if (existsSync(folder)) {
      if (!statSync(folder).isDirectory()) return 'it is no folder'
      const probe = join(folder, `.hearth-doctor-${process.pid}`)
      writeFileSync(probe, '')
      unlinkSync(probe)
      return undefined
    }
    let above = dirname(folder)
    while (!existsSync(above)) above = dirname(above)
    if (!statSync(above).isDirectory()) return `${above} is no folder`
    accessSync(above, constants.W_OK | constants.X_OK)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

function mendFolder(folder: string): string {
  return `sudo install -d -m 750 -o "$USER" ${folder}, or name another folder in the configuration`
}

function groupName(gid: number): string {
  return gid === 0 ? 'root' : `"$(getent group ${gid} | cut -d: -f1)"`
}
