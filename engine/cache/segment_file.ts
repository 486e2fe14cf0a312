/** segment_file: where tier 1's memory comes from: a file in RAM that other processes can map, or plain memory.
 *  Owns:   the file's name and life.   Thread: main.
 *  Holds:  a file is created anew for each engine, under a name of its own, so that one that starts and is refused takes nothing
 *          from the one that serves; what a killed engine of this socket left is closed and unlinked first, so RAM is not lost.
 *          Clients that still map an old one keep it alive, and see that it is closed or that its engine is gone. */

import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  rmSync,
  statfsSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { nameHash } from '../hash.ts'
import { log } from '../log.ts'
import { readerPagesFolder } from './reader_pages.ts'
import { HEADER, STATE } from './segment.ts'

export interface SegmentMemory {
  readonly memory: ArrayBuffer
  /** The file to map, or undefined when the memory is this process's alone. */
  readonly path: string | undefined
  /** Index of the word that tells readers that this engine lives; 0 when nobody else reads. */
  readonly guardWord: number
  release(): void
}

/** What of the native binding it takes. */
export interface MapNative {
  mapFile(path: string, bytes: number, options: { mode: number }): ArrayBuffer
  holdGuard(path: string, at: number): { readonly wordAt: number; release(): void }
}

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
  native: MapNative | undefined,
): SegmentMemory {
  const place = segmentPlace(socketPath)
  if (native !== undefined && place !== undefined) {
    const path = `${place}.${process.pid}-${++segmentCount}${SUFFIX}`
    try {
      unlinkLeftovers(place)
      return shared(path, bytes, mode, native)
    } catch (error) {
      log('warn', 'tier 1 is not shared: its file could not be mapped', {
        path,
        error: (error as Error).message,
      })
    }
  }
  return {
    memory: new ArrayBuffer(bytes),
    path: undefined,
    guardWord: 0,
    release: () => undefined,
  }
}

function shared(path: string, bytes: number, mode: number, native: MapNative): SegmentMemory {
  const memory = native.mapFile(path, bytes, { mode })
  try {
    const guard = native.holdGuard(path, HEADER.guardAt)
    const release = () => {
      guard.release()
      unlinkQuietly(path)
    }
    return { memory, path, guardWord: guard.wordAt >> 2, release }
  } catch (error) {
    unlinkQuietly(path)
    throw error
  }
}

/** Closes and unlinks the segments of this socket whose engine is gone. */
function unlinkLeftovers(place: string): void {
  const prefix = `${basename(place)}.`
  for (const found of readdirSync(dirname(place))) {
    // Either may be left without the other.
    const name = found.replace(/\.pages$/, '')
    if (!name.startsWith(prefix) || !name.endsWith(SUFFIX)) continue
    const [pid, count] = name.slice(prefix.length, -SUFFIX.length).split('-').map(Number)
    const isOurs = pid === process.pid && count! < segmentCount
    if (isOurs || (pid !== process.pid && isAlive(pid!))) continue
    const path = join(dirname(place), name)
    markClosed(path)
    unlinkQuietly(path)
    rmSync(readerPagesFolder(path), { recursive: true, force: true })
  }
}

/** Tells whoever still maps the segment of an engine that is gone. Its guard has told so already: this is for good measure. */
function markClosed(path: string): void {
  let fd = -1
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const stat = fstatSync(fd)
    if (!stat.isFile() || stat.uid !== process.geteuid?.() || stat.size < HEADER.bytes) return
    const state = Buffer.from(Int32Array.of(STATE.closed).buffer)
    writeSync(fd, state, 0, state.length, HEADER.state * 4)
  } catch {
    // It is somebody else's, or gone.
  } finally {
    if (fd >= 0) closeSync(fd)
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
