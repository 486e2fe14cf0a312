/** native-bindings: what Hearth does in C, typed. Shared memory, peers of Unix sockets, systemd, malloc, libpq.
 *  Owns:   nothing; mappings belong to the ArrayBuffers, the one libpq to the process.
 *  Thread: any; each thread loads the addon for itself (Node-API, context-aware).
 *  Holds:  system failures are Errors with Node's own fields: code 'ENOENT', errno, syscall, path. */
import { getSystemErrorName } from 'node:util'
import { HearthError } from '../engine/errors.ts'
import search from './libpq_search.cjs'
import load from './load.cjs'

/** Undefined in a CommonJS bundle, where load.cjs has __dirname. */
const HERE: string | undefined = import.meta.dirname
const native = load.loadNative(HERE)

/** Who is at the other end of a Unix socket, as the kernel noted it when the connection was made. */
export interface Credentials {
  pid: number
  uid: number
  gid: number
  /** Supplementary groups, as of then too. */
  groups: number[]
}

export interface MapFileOptions {
  /** Permission bits of the new file, exactly (the umask does not apply). */
  mode?: number
  /** Allocate the blocks at once: a full file system is ENOSPC here instead of a SIGBUS at some later write. */
  reserve?: boolean
}

export interface Guard {
  /** Where the word is, in bytes from the start of the file. */
  readonly wordAt: number
  /** The word becomes 0. In the thread that holds it; safe to call twice. */
  release(): void
}

export interface AllocatorOptions {
  /** malloc arenas; 1 keeps a process with several threads small. */
  arenasMax?: number
  /** Free memory at the top of the heap beyond which it goes back to the system. */
  trimThresholdBytes?: number
  /** Asked from the system beyond what is needed, each time. */
  topPadBytes?: number
}

export interface LibpqInfo {
  /** The file it was loaded from. */
  path: string
  /** Like 170004 for 17.4. */
  version: number
  /** OpenSSL major that this libpq was built with: 1 (1.1), 3; 0 without TLS; -1 unknown. */
  opensslMajor: number
  /** Loaded with RTLD_DEEPBIND, because its OpenSSL is not node's. */
  deepBind: boolean
  /** Candidates that came first and could not be loaded, with reasons; '' when the first one was taken. */
  skipped: string
  features: {
    /** Pipeline mode: libpq 14. */
    pipeline: boolean
    /** PQsendPipelineSync, one send for many statements: libpq 17. */
    pipelineSend: boolean
    /** PQcancelStart and PQcancelPoll, cancelling without blocking: libpq 17. */
    asyncCancel: boolean
    /** False where TLS would crash (two OpenSSLs and a preloaded malloc): connections then go with sslmode=disable. */
    tls: boolean
  }
}

/** Creates the file `path` with `bytes` zero bytes and maps it, shared and writable. The path must be free (EEXIST):
 *  whether an old file may be unlinked is the caller's to know. On an error no file is left behind. The memory lives
 *  until unmapFile() or until the buffer is collected; the file stays until somebody unlinks it. The buffer cannot be
 *  transferred to another thread: map the file there with mapFileReadOnly(). */
export function mapFile(path: string, bytes: number, options: MapFileOptions = {}): ArrayBuffer {
  const { mode = 0o600, reserve = true } = options
  if (typeof path !== 'string') throw new TypeError('path must be a string')
  if (!Number.isSafeInteger(bytes) || bytes <= 0)
    throw new RangeError('bytes must be a positive whole number')
  const mapped = native.mapFile(path, bytes, mode, reserve)
  if (typeof mapped === 'number') throw systemError(mapped, 'map', path)
  return mapped
}

/** Maps an existing file, shared and read-only, as long as it is now. Writing through the buffer is a SIGSEGV, and
 *  reading behind the end of a file that was truncated meanwhile a SIGBUS. Symbolic links are refused (ELOOP), also
 *  empty files and anything but regular ones (EINVAL), and one of another owner than the uid given (EPERM). */
export function mapFileReadOnly(path: string, ownerUid?: number): ArrayBuffer {
  return mapExisting(path, false, ownerUid)
}

/** The same, writable. */
export function mapFileWritable(path: string, ownerUid?: number): ArrayBuffer {
  return mapExisting(path, true, ownerUid)
}

function mapExisting(path: string, isWritable: boolean, ownerUid = -1): ArrayBuffer {
  if (typeof path !== 'string') throw new TypeError('path must be a string')
  const mapped = native.mapExistingFile(path, isWritable, ownerUid)
  if (typeof mapped === 'number') throw systemError(mapped, 'map', path)
  return mapped
}

/** Detaches a mapped buffer: it and its views have length 0 from now on, and the memory is unmapped within a turn of
 *  the event loop. */
export function unmapFile(buffer: ArrayBuffer): void {
  native.unmapFile(buffer)
}

/** Holds a guard in 64 zero bytes of an existing file, at a multiple of 64: a 32-bit word in it is this thread's id until the
 *  guard is released (0), or this thread dies in whatever way (0x40000000 is set). The kernel sets that before it closes the dead
 *  process's descriptors, so whoever has taken over one of its locks or sockets finds it set. Any process that maps the
 *  file sees it without a system call. ENOTSUP where the C library or the kernel has no robust locks. */
export function holdGuard(path: string, at: number): Guard {
  if (typeof path !== 'string') throw new TypeError('path must be a string')
  const held = native.holdGuard(path, at)
  if (typeof held === 'number') throw systemError(held, 'guard', path)
  return { wordAt: held.wordAt, release: () => native.releaseGuard(held.handle) }
}

/** SO_PEERCRED of a connected Unix socket's descriptor (`socket._handle.fd` in Node). ENOTCONN without such a peer. */
export function peerCredentials(fd: number): Credentials {
  const peer = native.peerCredentials(fd)
  if (typeof peer === 'number') throw systemError(peer, 'getsockopt')
  return peer
}

/** sd_notify(3): tells systemd `READY=1`, `STATUS=…`, `WATCHDOG=1`. False when no NOTIFY_SOCKET is set, that is when
 *  the process is not a service of Type=notify. Never blocks. Throws when the socket is set and cannot be reached. */
export function notifySystemd(state: string, address = process.env['NOTIFY_SOCKET']): boolean {
  if (!address) return false
  const status = native.sendDatagram(address, state)
  if (status < 0) throw systemError(status, 'sendto', address)
  return true
}

/** The path that a listening Unix stream socket is bound to ('@' first: an abstract name), such as systemd hands over. ENOTSOCK,
 *  EPROTOTYPE for another kind of socket, EINVAL for one that does not listen or has no name. */
export function listeningPath(fd: number): string {
  const path = native.listeningPath(fd)
  if (typeof path === 'number') throw systemError(path, 'getsockname')
  return path
}

/** malloc_trim(0): gives free heap pages back to the system. True when there were some. Takes about a millisecond for
 *  each few megabytes: for idle moments. */
export function trimMemory(): boolean {
  return native.trimMemory()
}

/** mallopt(3), for the start of the process, before other threads allocate. False when a setting was not taken. */
export function tuneAllocator(options: AllocatorOptions): boolean {
  const { arenasMax = -1, trimThresholdBytes = -1, topPadBytes = -1 } = options
  return native.tuneAllocator(arenasMax, trimThresholdBytes, topPadBytes)
}

/** Names up to 8 libpq files to try before the system's and the embedded one, for the whole process. Returns false, and
 *  changes nothing, once a libpq is loaded: call it before the first connection, in any thread. */
export function configureLibpq(paths: readonly string[]): boolean {
  return native.libpqConfigure(paths)
}

/** A libpq of release 17 or later that comes with the embedded Postgres, where the system's own is older; else undefined. Its
 *  OpenSSL is older than the system's: for connections within the host. */
export function newerLibpq(): string | undefined {
  return search.newerLibpq(HERE)
}

/** The process's libpq, loading it if need be; undefined when none can be loaded, and libpqProblem() says why. */
export function libpqInfo(): LibpqInfo | undefined {
  const found = search.findLibpq(HERE)
  return typeof found === 'string' ? undefined : found
}

/** Why libpqInfo() is undefined, with what to install; undefined when there is a libpq. */
export function libpqProblem(): string | undefined {
  const found = search.findLibpq(HERE)
  return typeof found === 'string' ? found : undefined
}

/** libpqInfo() for whoever cannot go on without: NOT_CONFIGURED, saying what to install. */
export function requireLibpq(): LibpqInfo {
  const found = search.findLibpq(HERE)
  if (typeof found === 'string') throw new HearthError('NOT_CONFIGURED', found)
  return found
}

function systemError(status: number, syscall: string, path?: string): NodeJS.ErrnoException {
  const code = getSystemErrorName(status)
  const where = path === undefined ? '' : ` '${path}'`
  const error: NodeJS.ErrnoException = new Error(`${code}: ${syscall}${where}`)
  error.code = code
  error.errno = status
  error.syscall = syscall
  if (path !== undefined) error.path = path
  return error
}
