/** service_requests: SERVICE, REPORT_CALLS and TRY_SERVICE as the client sends them.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  what is written is what protocol/service_spec.ts says. With the engine known to be down none of them waits. */

import type { HearthError } from '../errors.ts'
import {
  ARRAY_HEAD_BYTES_MAX,
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeArrayHead,
  writeText,
  writeUint,
} from '../protocol/body.ts'
import { decodeValue } from '../protocol/payload.ts'
import { OPS } from '../protocol/spec.ts'
import type { Request } from './inflight.ts'

class NameRequest {
  readonly name: string

  constructor(name: string) {
    this.name = name
  }

  bodyBytesMax(): number {
    return textBytesMax(this.name)
  }

  write(target: Buffer, at: number): number {
    return writeText(target, at, this.name)
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }

  giveUp(error: HearthError): never {
    throw error
  }
}

/** Its ServiceFacts. */
export class ServiceRequest extends NameRequest implements Request {
  readonly op = OPS.SERVICE.code
  readonly isRepeatable = true
}

/** The pass of a trial; 0: none is needed. */
export class TryServiceRequest extends NameRequest implements Request {
  readonly op = OPS.TRY_SERVICE.code
  readonly isRepeatable = false
}

export class ReportCallsRequest extends NameRequest implements Request {
  readonly op = OPS.REPORT_CALLS.code
  readonly isRepeatable = false
  private readonly outcomes: readonly number[]

  /** Four numbers a call, or a run of them: see protocol/service_spec.ts. */
  constructor(name: string, outcomes: readonly number[]) {
    super(name)
    this.outcomes = outcomes
  }

  override bodyBytesMax(): number {
    return super.bodyBytesMax() + ARRAY_HEAD_BYTES_MAX + SCALAR_BYTES_MAX * this.outcomes.length
  }

  override write(target: Buffer, at: number): number {
    let end = writeArrayHead(target, super.write(target, at), this.outcomes.length)
    for (const number of this.outcomes) end = writeUint(target, end, number)
    return end
  }

  override read(): unknown {
    return undefined
  }
}
