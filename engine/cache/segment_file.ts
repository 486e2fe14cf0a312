/** segment_file: where tier 1's memory comes from: a file in RAM that other processes can map, or plain memory.
 *  Owns:   the file's name and life.   Thread: main.
 *  Holds:  a file is created anew for each engine; one that a killed engine left is unlinked first, so RAM is not lost.
 *          Clients that still map an old one keep it alive, and see that it is closed or that its engine is gone. */

import { statfsSync, unlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { log } from '../log.ts'
import { hashKey } from './segment.ts'

export interface SegmentMemory {
  readonly memory: ArrayBuffer
  /** The file to map, or undefined when the memory is this process's alone. */
  readonly path: string | undefined
  release(): void
}

export type MapFile = (path: string, bytes: number, options: { mode: number }) => ArrayBuffer

const TMPFS_MAGIC = 0x0102_1994
const SHARED_MEMORY_DIR = '/dev/shm'

/** Memory for a segment. Without the native binding, or where no tmpfs is writable, it is not shared: gets then use the socket. */
export function segmentMemory(
  bytes: number,
  socketPath: string,
  mode: number,
  mapFile: MapFile | undefined,
): SegmentMemory {
  const path = segmentPath(socketPath)
  if (mapFile !== undefined && path !== undefined) {
    try {
      unlinkQuietly(path)
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

/** Beside the socket when that is in RAM, else in /dev/shm under a name that belongs to this socket. */
function segmentPath(socketPath: string): string | undefined {
  const beside = dirname(socketPath)
  if (isTmpfs(beside)) return join(beside, `${basename(socketPath)}.segment`)
  if (!isTmpfs(SHARED_MEMORY_DIR)) return undefined
  // A name, not a secret: the file itself is created exclusively, with its owner's permissions.
  const owner = Buffer.from(`${process.geteuid?.()}:${socketPath}`)
  const hex = (seed: number) => (hashKey(seed, owner, 0, owner.length) >>> 0).toString(16).padStart(8, '0')
  const name = hex(1) + hex(2)
  return join(SHARED_MEMORY_DIR, `hearth-${name}.segment`)
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
