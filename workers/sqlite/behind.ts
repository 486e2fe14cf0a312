/** WriteBehind: values that were acknowledged without the disk (durability memory), kept back and written together later.
 *  Owns:   their bytes, in one buffer of fixed size that is there while any are.   Not here: writing them (writes.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) what is kept here is newer than any row of its key.  (2) a value that is written over, deleted or expired while
 *          it is kept never reaches the disk.  (3) keys and bytes are bounded: what does not fit makes its caller write first. */

import { copyBytes } from '../../engine/bytes.ts'
import { monotonicMs } from '../../engine/clock.ts'
import { type Meta, metaText } from './meta.ts'
import type { Row } from './statements.ts'

export interface Kept {
  goneAtMs: number
  version: number
  meta: Meta | undefined
  at: number
  bytes: number
  /** Room at `at`: a shorter value takes a longer one's place. */
  roomBytes: number
}

const LOG_BYTES = 256 * 1024
/** Longer values gain little by waiting, and would push out many short ones. */
const VALUE_BYTES_MAX = 16 * 1024
const KEY_COUNT_MAX = 4_096

export class WriteBehind {
  /** Values that never had to be written. */
  coalesced = 0
  private readonly kept = new Map<string, Kept>()
  private readonly intervalMs: number
  private log: Buffer | undefined
  private end = 0
  private dueMs = Infinity

  /** `intervalMs`: how long a value is kept back at most, about; 0: not at all. */
  constructor(intervalMs: number) {
    this.intervalMs = intervalMs
  }

  get size(): number {
    return this.kept.size
  }

  /** What is to be written now: the first that came has waited long enough. */
  get isDue(): boolean {
    return this.kept.size > 0 && monotonicMs() >= this.dueMs
  }

  /** Milliseconds until it is due; Infinity when nothing is kept. */
  get untilDueMs(): number {
    return this.kept.size > 0 ? Math.max(0, this.dueMs - monotonicMs()) : Infinity
  }

  /** Whether a value of such a length is ever kept. */
  takes(bytes: number): boolean {
    return this.intervalMs > 0 && bytes <= VALUE_BYTES_MAX
  }

  /** Keeps a copy of source[start, end); false when there is no room: then what is kept is to be written first. */
  put(
    key: string,
    goneAtMs: number,
    version: number,
    meta: Meta | undefined,
    source: Buffer,
    start: number,
    end: number,
  ): boolean {
    const bytes = end - start
    if (this.kept.size === 0) this.end = 0
    const old = this.kept.get(key)
    if (old !== undefined && bytes <= old.roomBytes) {
      this.coalesced++
      old.goneAtMs = goneAtMs
      old.version = version
      old.meta = meta
      old.bytes = bytes
      copyBytes(source, start, end, this.log!, old.at)
      return true
    }
    if (this.end + bytes > LOG_BYTES || this.kept.size >= KEY_COUNT_MAX) return false
    if (old !== undefined) this.coalesced++
    this.log ??= Buffer.allocUnsafeSlow(LOG_BYTES)
    if (this.kept.size === 0) this.dueMs = monotonicMs() + this.intervalMs
    copyBytes(source, start, end, this.log, this.end)
    this.kept.set(key, { goneAtMs, version, meta, at: this.end, bytes, roomBytes: bytes })
    this.end += bytes
    return true
  }

  has(key: string): boolean {
    return this.kept.size > 0 && this.kept.has(key)
  }

  /** The entry of a key as its row would be; its value is valid until the next change. */
  get(key: string): Row | undefined {
    if (this.kept.size === 0) return undefined
    const kept = this.kept.get(key)
    if (kept === undefined) return undefined
    const { goneAtMs, version, meta, at, bytes } = kept
    return [
      goneAtMs,
      version,
      meta === undefined ? null : metaText(meta),
      this.log!.subarray(at, at + bytes),
    ]
  }

  /** Takes a key out, to be written by the caller at once. */
  take(key: string): Kept | undefined {
    if (this.kept.size === 0) return undefined
    const kept = this.kept.get(key)
    if (kept !== undefined) this.kept.delete(key)
    return kept
  }

  /** Drops a key, which something newer stands for. */
  drop(key: string): void {
    if (this.kept.size > 0 && this.kept.delete(key)) this.coalesced++
  }

  /** Drops what carries tags of a file that is no more. */
  dropTagged(): void {
    for (const [key, { meta }] of this.kept) if (meta?.t !== undefined) this.kept.delete(key)
  }

  /** All that is kept, in the order its keys came first. Then clear(). */
  all(): Iterable<[string, Kept]> {
    return this.kept
  }

  /** Where the bytes of what is kept are. */
  get bytes(): Buffer {
    return this.log!
  }

  clear(): void {
    this.kept.clear()
    this.log = undefined
    this.end = 0
    this.dueMs = Infinity
  }
}
