/** segment_file: where tier 1's memory comes from: a file in RAM that other processes can map, or plain memory.
 *  Owns:   the file's name and life.   Thread: main.
 *  Holds:  a file is created anew for each engine, under a name of its own, so that one that starts and is refused takes nothing
 *          from the one that serves; what a killed engine of this socket left is unlinked first, so RAM is not lost.
 *          Clients that still map an old one keep it alive, and see that it is closed or that its engine is gone. */

import { readdirSync, statfsSync, unlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { nameHash } from '../hash.ts'
import { log } from '../log.ts'

export interface SegmentMemory {
  readonly memory: ArrayBuffer
  /** The file to map, or undefined when the memory is this process's alone. */
  readonly path: string | undefined
  release(): void
}

export type MapFile = (path: string, bytes: number, options: { mode: number }) => ArrayBuffer

const TMPFS_MAGIC = 0x0102_1994
const SHARED_MEMORY_DIR = '/dev/shm'
const SUFFIX = '.segment'
/** Segments this process has made: of two engines in one process neither takes the other's for a leftover. */
let segmentCount = 0

/** Memory for a segment. Without the native binding, or where no tmpfs is writable, it is not shared: gets then use the socket. */
export function segmentMemory(
  bytes: number,
  socketPath: string,
  mode: number,
  mapFile: MapFile | undefined,
): SegmentMemory {
  const place = segmentPlace(socketPath)
  if (mapFile !== undefined && place !== undefined) {
    const path = `${place}.${process.pid}-${++segmentCount}${SUFFIX}`
    try {
      unlinkLeftovers(place)
      const memory = mapFile(path, bytes, { mode })
      return { memory, path, release: () => unlinkQuietly(path) }
    } catch (error) {
      log('warn', 'tier 1 is not shared: its file could not be mapped', {
        path,
        error: (error as Error).message,
      })
    }
  }
  return { memory: new ArrayBuffer(bytes), path: undefined, release: () => undefined }
}

/** Unlinks the segments of this socket whose engine is gone. */
function unlinkLeftovers(place: string): void {
  const prefix = `${basename(place)}.`
  for (const name of readdirSync(dirname(place))) {
    if (!name.startsWith(prefix) || !name.endsWith(SUFFIX)) continue
    const [pid, count] = name.slice(prefix.length, -SUFFIX.length).split('-').map(Number)
    const isOurs = pid === process.pid && count! < segmentCount
    if (!isOurs && (pid === process.pid || !isAlive(pid!)))
      unlinkQuietly(join(dirname(place), name))
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Beside the socket when that is in RAM, else in /dev/shm under a name that belongs to this socket: how the path begins. */
function segmentPlace(socketPath: string): string | undefined {
  const beside = dirname(socketPath)
  if (isTmpfs(beside)) return join(beside, basename(socketPath))
  if (!isTmpfs(SHARED_MEMORY_DIR)) return undefined
  // A name, not a secret: the file itself is created exclusively, with its owner's permissions.
  const name = nameHash(`${process.geteuid?.()}:${socketPath}`)
  return join(SHARED_MEMORY_DIR, `hearth-${name}`)
}

function isTmpfs(directory: string): boolean {
  try {
    return statfsSync(directory).type === TMPFS_MAGIC
  } catch {
    return false
  }
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // It was not there.
  }
}
