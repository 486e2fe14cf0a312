/** sql_requests: the operations on databases as the client sends them and reads their answers.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  (1) what is written is what protocol/spec.ts says for the operation.  (2) none but REFRESH is sent twice: each may
 *          have had its effect. */

import { readUtf8 } from '../bytes.ts'
import { BodyReader } from '../protocol/body.ts'
import { decodeValue, encodeValue } from '../protocol/payload.ts'
import { readRows } from '../protocol/rows.ts'
import { BEGIN_FLAGS, OPS, REPLIES } from '../protocol/spec.ts'
import type { Request } from './inflight.ts'

/** A body that is encoded when the request is made: what cannot be encoded throws there. */
abstract class SqlRequest implements Request {
  abstract readonly op: number
  readonly isRepeatable: boolean = false
  readonly isCancelable: boolean = true
  private readonly body: Buffer

  constructor(args: readonly unknown[]) {
    this.body = args.length === 1 ? encodeValue(args[0]) : Buffer.concat(args.map(encodeValue))
  }

  bodyBytesMax(): number {
    return this.body.length
  }

  write(target: Buffer, at: number): number {
    return at + this.body.copy(target, at)
  }

  abstract read(op: number, bytes: Buffer, start: number, end: number): unknown
}

/** Rows, as the body of a ROWS reply. */
function readResult(_op: number, bytes: Buffer, start: number, end: number): unknown {
  return readRows(bytes, start, end)
}

export class ExplainCacheRequest extends SqlRequest {
  readonly op = OPS.EXPLAIN_CACHE.code

  constructor(database: string, correlationId: string, sql: string) {
    super([database, correlationId, sql])
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }
}

export class RefreshRequest extends SqlRequest {
  readonly op = OPS.REFRESH.code
  override readonly isRepeatable = true

  constructor(database: string, correlationId: string) {
    super([database, correlationId])
  }

  read(): void {}
}

const ADMIN: ReadonlySet<string> = new Set(['proof', 'reset'])

export class InsightRequest extends SqlRequest {
  readonly op: number

  constructor(what: string, options: object) {
    super([what, options])
    this.op = (ADMIN.has(what) ? OPS.INSIGHT_ADMIN : OPS.INSIGHT).code
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }
}

export class CountInPlaceRequest extends SqlRequest {
  readonly op = OPS.COUNT_IN_PLACE.code

  constructor(database: string, sql: string, count: number) {
    super([database, sql, count])
  }

  read(): unknown {
    return undefined
  }
}

/** What limits a thing that stays open: of the whole (0: unlimited), of a pause (0: as configured). */
export interface OpenLimits {
  readonly timeoutMs: number
  readonly idleTimeoutMs: number
}

abstract class OpenRequest extends SqlRequest {
  /** The handle. */
  read(_op: number, bytes: Buffer, start: number, end: number): number {
    return new BodyReader().reset(bytes, start, end).uint()
  }
}

export class BeginRequest extends OpenRequest {
  readonly op = OPS.BEGIN.code

  constructor(
    database: string,
    { timeoutMs, idleTimeoutMs }: OpenLimits,
    correlationId: string,
    isolation: string,
    isReadOnly: boolean,
    isDeferrable: boolean,
  ) {
    const readOnly = isReadOnly ? BEGIN_FLAGS.readOnly : 0
    const flags = readOnly | (isDeferrable ? BEGIN_FLAGS.deferrable : 0)
    super([database, timeoutMs, idleTimeoutMs, correlationId, isolation, flags])
  }
}

export class StreamRequest extends OpenRequest {
  readonly op = OPS.STREAM.code
  readonly epoch: number | undefined

  /** `transaction` 0: one of its own. */
  constructor(
    transaction: number,
    epoch: number | undefined,
    database: string,
    { timeoutMs, idleTimeoutMs }: OpenLimits,
    correlationId: string,
    sql: string,
    params: readonly unknown[],
  ) {
    super([transaction, database, timeoutMs, idleTimeoutMs, correlationId, sql, params])
    this.epoch = epoch
  }
}

export class CopyRequest extends OpenRequest {
  readonly op: number

  constructor(
    direction: 'in' | 'out',
    database: string,
    { timeoutMs, idleTimeoutMs }: OpenLimits,
    correlationId: string,
    sql: string,
  ) {
    super([database, timeoutMs, idleTimeoutMs, correlationId, sql])
    this.op = direction === 'in' ? OPS.COPY_IN.code : OPS.COPY_OUT.code
  }
}

/** What is open at the engine, and the connection that it was opened on. */
export interface Handle {
  readonly number: number
  readonly epoch: number
}

abstract class HandleRequest extends SqlRequest {
  readonly epoch: number

  constructor(handle: Handle, args: readonly unknown[] = []) {
    super([handle.number, ...args])
    this.epoch = handle.epoch
  }
}

export class ExecuteRequest extends HandleRequest {
  readonly op = OPS.EXECUTE.code
  read = readResult

  constructor(
    handle: Handle,
    timeoutMs: number,
    correlationId: string,
    sql: string,
    params: readonly unknown[],
  ) {
    super(handle, [timeoutMs, correlationId, sql, params])
  }
}

export class FetchRequest extends HandleRequest {
  readonly op = OPS.FETCH.code
  read = readResult

  constructor(handle: Handle) {
    super(handle, [0])
  }
}

/** COMMIT, CLOSE: nothing comes back, and nothing stops them. */
export class EndRequest extends HandleRequest {
  readonly op: number
  override readonly isCancelable = false

  constructor(op: number, handle: Handle) {
    super(handle)
    this.op = op
  }

  read(): unknown {
    return undefined
  }
}

export class CopyReadRequest extends HandleRequest {
  readonly op = OPS.COPY_READ.code

  constructor(handle: Handle) {
    super(handle)
  }

  /** Bytes of their own; none: the end. */
  read(_op: number, bytes: Buffer, start: number, end: number): Buffer {
    return Buffer.from(bytes.subarray(start, end))
  }
}

export class CopyWriteRequest extends HandleRequest {
  readonly op = OPS.COPY_WRITE.code
  private readonly chunk: Buffer

  /** The chunk is read when it is sent, in the same tick as a rule. */
  constructor(handle: Handle, chunk: Buffer) {
    super(handle)
    this.chunk = chunk
  }

  override bodyBytesMax(): number {
    return super.bodyBytesMax() + this.chunk.length
  }

  override write(target: Buffer, at: number): number {
    const end = super.write(target, at)
    return end + this.chunk.copy(target, end)
  }

  read(): unknown {
    return undefined
  }
}

export class CopyEndRequest extends HandleRequest {
  readonly op = OPS.COPY_END.code
  override readonly isCancelable = false

  constructor(handle: Handle) {
    super(handle)
  }

  /** How many rows were copied. */
  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }
}

export interface ListenEvents {
  listening(): void
  notified(payload: string): void
  /** `lost` 0: nobody knows how many. */
  gap(lost: number, why: string): void
}

/** Answered when it is over; what comes in between goes to the events. */
export class ListenRequest extends SqlRequest {
  readonly op = OPS.LISTEN.code
  private readonly events: ListenEvents

  constructor(database: string, correlationId: string, channel: string, events: ListenEvents) {
    super([database, correlationId, channel])
    this.events = events
  }

  push(op: number, bytes: Buffer, start: number, end: number): void {
    if (op === REPLIES.LISTENING.code) return this.events.listening()
    const body = new BodyReader().reset(bytes, start, end)
    if (op === REPLIES.NOTIFICATION.code) {
      body.textRange()
      return this.events.notified(readUtf8(bytes, body.textStart, body.textEnd))
    }
    if (op === REPLIES.GAP.code) this.events.gap(body.uint(), body.text())
  }

  read(): unknown {
    return undefined
  }
}
