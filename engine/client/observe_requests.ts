/** observe_requests: what a client asks of the engine's measurements, beyond what has no arguments.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  what is written is what protocol/observe_spec.ts says. */

import { SCALAR_BYTES_MAX, textBytesMax, writeText, writeTime } from '../protocol/body.ts'
import { decodeValue } from '../protocol/payload.ts'
import { OPS } from '../protocol/spec.ts'
import type { Request } from './inflight.ts'

export class SeriesRequest implements Request {
  readonly op = OPS.SERIES.code
  readonly isRepeatable = true
  private readonly sinceMs: number

  constructor(sinceMs: number) {
    this.sinceMs = sinceMs
  }

  bodyBytesMax(): number {
    return SCALAR_BYTES_MAX
  }

  write(target: Buffer, at: number): number {
    return writeTime(target, at, this.sinceMs)
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }
}

/** A channel may take ten seconds to answer, and its process a few to start. */
export const ALERT_TEST_MS_MAX = 30_000

export class AlertTestRequest implements Request {
  readonly op = OPS.ALERT_TEST.code
  readonly isRepeatable = false
  private readonly channel: string

  constructor(channel: string) {
    this.channel = channel
  }

  bodyBytesMax(): number {
    return textBytesMax(this.channel)
  }

  write(target: Buffer, at: number): number {
    return writeText(target, at, this.channel)
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }
}
