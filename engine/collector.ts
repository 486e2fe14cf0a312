/** Collector: keeps a thread's heap near what is alive in it.
 *  Owns:   when this thread collects by itself.   Thread: any; one a thread.
 *  Holds:  (1) without --expose-gc (an embedding process, a test) it does nothing.  (2) under load a collection comes at most
 *          once for each YOUNG_BYTES of garbage, of the old generation only for garbage of its own; idle(), once for each pause.
 *
 *  V8 lets a small heap double and more before it collects the old generation, which in a budget of 20 MB is most of it.
 *  Collecting 5 MB takes about 6 ms, the young part of it 0.15. With 1.5 MiB of old garbage the peak of a minute's mixed load was 21.1
 *  MiB above a bare Node. A collection of the old generation whenever 640 KiB had gathered, young or old, brought that to 17.7, but
 *  the p99.9 of tier 2's hits to 6.3 ms from 1.9; as it is now both are had (bench/macro/footprint.ts, gate.ts). */

import { getHeapStatistics } from 'node:v8'
import { monotonicMs } from './clock.ts'

/** What may gather after any collection: of its two halves of 1 MiB the young generation then touches but the first pages. */
const YOUNG_BYTES = 192 * 1024
/** What may gather, and not be young, above what the last collection of everything left. */
const OLD_BYTES = 320 * 1024
/** How often the heap's size is looked at; a look takes some 10 microseconds. */
const LOOK_MS = 5

/** Bytes of dropped buffers that may gather: they lie outside V8's heap, which does not hurry for them. */
const BUFFER_GROWTH_BYTES = 512 * 1024

interface CollectOptions {
  readonly type: 'minor' | 'major'
  readonly execution: 'sync'
  readonly flavor?: 'regular' | 'last-resort'
}
type Collect = (options: CollectOptions) => void

export class Collector {
  private readonly collect = (globalThis as { gc?: Collect }).gc
  private nextLookMs = 0
  /** What the last collection of everything left. */
  private aliveBytes = 0
  /** What the last collection of any kind left. */
  private usedBytes = 0
  private bufferBytes = 0

  /** After a turn of work. */
  turn(): void {
    if (this.collect === undefined) return
    const nowMs = monotonicMs()
    if (nowMs < this.nextLookMs) return
    this.nextLookMs = nowMs + LOOK_MS
    const { heapUsed, arrayBuffers } = memoryUsage()
    if (this.aliveBytes === 0 || heapUsed < this.aliveBytes) this.aliveBytes = heapUsed
    if (arrayBuffers < this.bufferBytes) this.bufferBytes = arrayBuffers
    if (heapUsed < this.usedBytes) this.usedBytes = heapUsed
    if (heapUsed > this.usedBytes + YOUNG_BYTES) {
      this.run({ type: 'minor', execution: 'sync' })
      if (this.usedBytes > this.aliveBytes + OLD_BYTES)
        this.run({ type: 'major', execution: 'sync', flavor: 'regular' })
    } else if (arrayBuffers > this.bufferBytes + BUFFER_GROWTH_BYTES)
      this.run({ type: 'minor', execution: 'sync' })
  }

  /** Nothing has come for a while: everything goes that can, compiled code that is not used included. */
  idle(): boolean {
    if (this.collect === undefined) return false
    this.run({ type: 'major', execution: 'sync', flavor: 'last-resort' })
    return true
  }

  private run(options: CollectOptions): void {
    this.collect?.(options)
    const { heapUsed, arrayBuffers } = memoryUsage()
    if (options.type === 'major') this.aliveBytes = heapUsed
    this.usedBytes = heapUsed
    this.bufferBytes = arrayBuffers
  }
}

/** Node's own figures; the nearest that need no file where no descriptor is left for the one it reads, and it throws. */
function memoryUsage(): { heapUsed: number; arrayBuffers: number } {
  try {
    return process.memoryUsage()
  } catch {
    const { used_heap_size: heapUsed, external_memory: arrayBuffers } = getHeapStatistics()
    return { heapUsed, arrayBuffers }
  }
}
