/** Collector: keeps a thread's heap near what is alive in it.
 *  Owns:   when this thread collects by itself.   Thread: any; one a thread.
 *  Holds:  (1) without --expose-gc (an embedding process, a test) it does nothing.  (2) under load a collection comes at most
 *          once for each YOUNG_BYTES of garbage, of the old generation only for garbage of its own; idle(), once for each pause.
 *
 *  V8 lets a small heap double and more before it collects the old generation, which in a budget of 20 MB is most of it.
 *  Collecting 5 MB takes about 6 ms, the young part of it 0.15. With 1.5 MiB of old garbage the peak of a minute's mixed load was 21.1
 *  MiB above a bare Node. A collection of the old generation whenever 640 KiB had gathered, young or old, brought that to 17.7, but
 *  the p99.9 of tier 2's hits to 6.3 ms from 1.9. With 192 KiB young and 320 old a select among a thousand in flight took 15.9
 *  microseconds of processor instead of 7.9: what was in flight was collected again and again. As it is now the peak of a minute's
 *  mixed load is 18.6 MiB, that of selects by the thousand 19.9 (bench/macro/footprint.ts, gate.ts, peers.ts). */

import { getHeapStatistics } from 'node:v8'
import { monotonicMs } from './clock.ts'

/** What may gather after any collection: of its two halves of 1 MiB the young generation then touches but the first pages. */
const YOUNG_BYTES = 384 * 1024
/** What may gather, and not be young, above what the last collection of everything left. */
const OLD_BYTES = 480 * 1024
/** Collections of the young generation for one of the old, at least: with a thousand requests in flight each of them leaves so much
 *  that is no more garbage a moment later. */
const YOUNG_FOR_OLD = 4
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
  /** Collections of the young generation since the last of everything. */
  private youngCount = 0

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
      this.youngCount++
      if (this.usedBytes > this.aliveBytes + OLD_BYTES && this.youngCount >= YOUNG_FOR_OLD)
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
    if (options.type === 'major') {
      this.aliveBytes = heapUsed
      this.youngCount = 0
    }
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
