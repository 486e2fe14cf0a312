/** Collector: keeps a thread's heap near what is alive in it.
 *  Owns:   when this thread collects by itself.   Thread: any; one a thread.
 *  Holds:  (1) without --expose-gc (an embedding process, a test) it does nothing.  (2) under load a collection comes at most
 *          once for each GROWTH_BYTES of garbage; idle(), once for each pause.  (3) the old generation is collected only for
 *          garbage of its own.
 *
 *  V8 lets a small heap double and more before it collects the old generation, which in a budget of 20 MB is most of it.
 *  Collecting 5 MB takes about 6 ms, the young part of it 0.15. With 1.5 MiB of growth the peak of a minute's mixed load was 21.1 MiB
 *  above a bare Node, with 640 KiB it was 17.7 (bench/macro/footprint.ts); but what is young fills 640 KiB in no time, and when the old
 *  generation was collected for that too, the p99.9 of tier 2's hits was 6.3 ms instead of 1.9. */

import { monotonicMs } from './clock.ts'

/** Garbage that may gather above what the last collection left. */
const GROWTH_BYTES = 640 * 1024
/** How often the heap's size is looked at; a look takes some 10 microseconds. */
const LOOK_MS = 25

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
  /** What the last collection left. */
  private aliveBytes = 0
  private bufferBytes = 0

  /** After a turn of work. */
  turn(): void {
    if (this.collect === undefined) return
    const nowMs = monotonicMs()
    if (nowMs < this.nextLookMs) return
    this.nextLookMs = nowMs + LOOK_MS
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    if (this.aliveBytes === 0 || heapUsed < this.aliveBytes) this.aliveBytes = heapUsed
    if (arrayBuffers < this.bufferBytes) this.bufferBytes = arrayBuffers
    if (heapUsed > this.aliveBytes + GROWTH_BYTES) {
      this.run({ type: 'minor', execution: 'sync' })
      if (process.memoryUsage().heapUsed > this.aliveBytes + GROWTH_BYTES)
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
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    if (options.type === 'major') this.aliveBytes = heapUsed
    this.bufferBytes = arrayBuffers
  }
}
