/** LimitFile: what the limits have counted, kept over a restart.
 *  Owns:   the file `limits` in the state folder.   Not here: what is counted (rate_limit.ts).
 *  Thread: main; now and then by the thread pool's writes, at a clean stop at once.
 *  Holds:  (1) a file is whole or is the one before: written beside, then renamed.  (2) within one boot of the machine times are those
 *          of its monotonic clock, so a changed wall clock does nothing; after another boot nothing counts longer than one window
 *          from now on.  (3) a file that cannot be read, or written, is told of and stops nothing.
 *
 *      JSON head, newline, then for each log:  scope 1, subject's bytes 2, runs 4, windowMs 8, subject, runs × (untilMs 8, count 4) */

import { readFileSync, rename, renameSync, writeFile, writeFileSync } from 'node:fs'
import { bootMs, wallMs } from '../clock.ts'
import { log } from '../log.ts'
import type { LimitTable } from './limit_table.ts'
import type { RateLimits } from './rate_limit.ts'
import type { SlidingLog } from './sliding_log.ts'

/** After `kill -9` at most what was counted since the last save is forgotten. */
export const SAVE_MS = 30_000
const BOOT_ID_FILE = '/proc/sys/kernel/random/boot_id'
const SCOPES = ['clients', 'cacheClients', 'global', 'subjects'] as const
const HEAD_BYTES = 15
const RUN_BYTES = 12
const SHARED = 0xffff
const MODE = 0o600

interface Head {
  readonly version: 1
  readonly bootId: string
  readonly bootMs: number
  readonly wallMs: number
}

/** What is to be told of now: the tests' clocks, or the machine's. */
export interface Clocks {
  readonly bootId: string
  bootMs(): number
  wallMs(): number
}

export class LimitFile {
  private readonly path: string
  private readonly limits: RateLimits
  private readonly clocks: Clocks
  private savedMs: number
  private isWriting = false
  private hasFailed = false

  constructor(path: string, limits: RateLimits, clocks: Clocks = machineClocks()) {
    this.path = path
    this.limits = limits
    this.clocks = clocks
    this.savedMs = clocks.bootMs()
  }

  /** Takes over what an earlier engine counted. */
  load(): void {
    let bytes: Buffer
    try {
      bytes = readFileSync(this.path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.failed('read', error as Error)
      return
    }
    try {
      decodeInto(this.limits, bytes, this.clocks)
    } catch (error) {
      this.failed('read', error as Error)
    }
  }

  /** Saves when it is time to, and anything was counted. Called every second or so. */
  look(): void {
    const nowMs = this.clocks.bootMs()
    if (nowMs - this.savedMs < SAVE_MS) return
    this.savedMs = nowMs
    this.limits.sweep(nowMs)
    if (!this.limits.isChanged || this.isWriting) return
    this.limits.isChanged = false
    this.isWriting = true
    const beside = `${this.path}.new`
    const done = (error: Error | null) => {
      this.isWriting = false
      if (error !== null) this.failed('written', error)
    }
    writeFile(beside, encode(this.limits, this.clocks), { mode: MODE }, error => {
      if (error !== null) done(error)
      else rename(beside, this.path, done)
    })
  }

  /** Saves at once: the engine stops. */
  stop(): void {
    if (!this.limits.isChanged && !this.isWriting) return
    try {
      // Not the name that a write on its way has.
      const beside = `${this.path}.last`
      writeFileSync(beside, encode(this.limits, this.clocks), { mode: MODE })
      renameSync(beside, this.path)
    } catch (error) {
      this.failed('written', error as Error)
    }
  }

  /** Once: a full disk is told of by others, again and again. */
  private failed(what: string, { message }: Error): void {
    if (this.hasFailed) return
    this.hasFailed = true
    log('warn', `the file of the rate limits could not be ${what}: they go on without it`, {
      file: this.path,
      error: message,
    })
  }
}

function machineClocks(): Clocks {
  return { bootId: bootId(), bootMs, wallMs }
}

/** Another with each start of the machine; empty where the system does not tell, and then no two starts are the same one. */
function bootId(): string {
  try {
    return readFileSync(BOOT_ID_FILE, 'utf8').trim()
  } catch {
    return ''
  }
}

function encode(limits: RateLimits, { bootId, bootMs, wallMs }: Clocks): Buffer {
  const head: Head = { version: 1, bootId, bootMs: bootMs(), wallMs: wallMs() }
  const first = Buffer.from(`${JSON.stringify(head)}\n`)
  const found: { scope: number; subject: Buffer | undefined; log: SlidingLog }[] = []
  let size = first.length
  for (const [scope, name] of SCOPES.entries()) {
    limits[name].each((subject, each) => {
      if (each.isOver(head.bootMs)) return
      const bytes = subject === undefined ? undefined : Buffer.from(subject)
      size += HEAD_BYTES + (bytes?.length ?? 0) + each.runCount * RUN_BYTES
      found.push({ scope, subject: bytes, log: each })
    })
  }
  const target = Buffer.allocUnsafeSlow(size)
  let at = first.copy(target)
  for (const { scope, subject, log: each } of found) {
    at = target.writeUInt8(scope, at)
    at = target.writeUInt16LE(subject?.length ?? SHARED, at)
    at = target.writeUInt32LE(each.runCount, at)
    at = target.writeDoubleLE(each.windowMs, at)
    if (subject !== undefined) at += subject.copy(target, at)
    each.each((untilMs, count) => {
      at = target.writeDoubleLE(untilMs, at)
      at = target.writeUInt32LE(Math.min(count, 0xffff_ffff), at)
    })
  }
  return target
}

function decodeInto(limits: RateLimits, bytes: Buffer, clocks: Clocks): void {
  const headEnd = bytes.indexOf('\n')
  const head = JSON.parse(bytes.toString('utf8', 0, Math.max(headEnd, 0))) as Head
  if (head.version !== 1) throw new Error(`it has version ${head.version}, which is not known here`)
  const nowMs = clocks.bootMs()
  const isSameBoot = head.bootId !== '' && head.bootId === clocks.bootId
  // Of another boot nobody knows but the wall clock how long ago that was. One set back says too little: at most a window, then.
  const goneMs = Math.max(0, clocks.wallMs() - head.wallMs)
  const shiftMs = isSameBoot ? 0 : nowMs - head.bootMs - goneMs
  let at = headEnd + 1
  while (at < bytes.length) {
    const scope = SCOPES[bytes.readUInt8(at)]
    const subjectBytes = bytes.readUInt16LE(at + 1)
    const runs = bytes.readUInt32LE(at + 3)
    const windowMs = bytes.readDoubleLE(at + 7)
    at += HEAD_BYTES
    const isShared = subjectBytes === SHARED
    const runsAt = at + (isShared ? 0 : subjectBytes)
    const end = runsAt + runs * RUN_BYTES
    if (scope === undefined || !(windowMs > 0) || end > bytes.length)
      throw new Error(`it is damaged at byte ${at}`)
    const subject = isShared ? undefined : bytes.toString('utf8', at, runsAt)
    restore(limits[scope], subject, windowMs, bytes.subarray(runsAt, end), shiftMs, nowMs)
    at = end
  }
}

function restore(
  table: LimitTable,
  subject: string | undefined,
  windowMs: number,
  runs: Buffer,
  shiftMs: number,
  nowMs: number,
): void {
  let target: SlidingLog | undefined
  for (let at = 0; at < runs.length; at += RUN_BYTES) {
    const untilMs = Math.min(runs.readDoubleLE(at) + shiftMs, nowMs + windowMs)
    if (!(untilMs > nowMs)) continue
    target ??= table.restored(subject, windowMs)
    target?.restore(untilMs, runs.readUInt32LE(at + 8), table.grow)
  }
}
