/** Reads: what a client counts of its reads by namespace, and tells the engine once in a while.
 *  Owns:   the counts that the engine has not been told.   Thread: the client's.
 *  Holds:  a report is in the engine's figures before an answer to what is sent after it. What a process has not reported when it
 *          ends, REPORT_MS at most, is lost. */

import type { ReadFigures } from '../figures.ts'
import { SCALAR_BYTES_MAX, textBytesMax, writeText, writeUint } from '../protocol/body.ts'
import { OPS } from '../protocol/spec.ts'
import type { Connection } from './connection.ts'
import type { Request } from './inflight.ts'

const REPORT_MS = 1_000

export class Reads {
  private readonly connection: Connection
  private readonly counts = new Map<string, ReadFigures>()
  private timer: NodeJS.Timeout | undefined

  constructor(connection: Connection) {
    this.connection = connection
  }

  /** The counts of a namespace, to be added to. */
  of(namespace: string): ReadFigures {
    let counts = this.counts.get(namespace)
    if (counts === undefined) {
      counts = { memoryHits: 0, sqliteHits: 0, misses: 0 }
      this.counts.set(namespace, counts)
    }
    this.timer ??= setTimeout(() => this.report(), REPORT_MS).unref()
    return counts
  }

  /** Tells the engine what it has not been told. */
  report(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    if (this.connection.state !== 'open') return
    for (const [namespace, counts] of this.counts) {
      this.connection.request(new CountReadsRequest(namespace, counts)).catch(() => undefined)
    }
    this.counts.clear()
  }

  stop(): void {
    clearTimeout(this.timer)
  }
}

class CountReadsRequest implements Request {
  readonly op = OPS.COUNT_READS.code
  readonly isRepeatable = false
  private readonly namespace: string
  private readonly counts: ReadFigures

  constructor(namespace: string, counts: ReadFigures) {
    this.namespace = namespace
    this.counts = counts
  }

  bodyBytesMax(): number {
    return textBytesMax(this.namespace) + SCALAR_BYTES_MAX * 3
  }

  write(target: Buffer, at: number): number {
    const { memoryHits, sqliteHits, misses } = this.counts
    let end = writeText(target, at, this.namespace)
    for (const count of [memoryHits, sqliteHits, misses]) end = writeUint(target, end, count)
    return end
  }

  read(): unknown {
    return undefined
  }
}
