/** requests: each operation as the client sends it and reads its answer. A class each, so that a request is one small object.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  what is written is what protocol/spec.ts says for the operation. */

import type { ErrorCode, HearthError } from '../errors.ts'
import { SCALAR_BYTES_MAX, textBytesMax, writeNil, writeText, writeUint } from '../protocol/body.ts'
import { decodeValue, encodeValue } from '../protocol/payload.ts'
import { DURABILITY, type Durability, OPS, REPLIES } from '../protocol/spec.ts'
import type { Request } from './inflight.ts'

/** Errors that mean "the engine cannot answer now", as against "the request is wrong". */
const DOWN: ReadonlySet<ErrorCode> = new Set(['UNAVAILABLE', 'TIMEOUT', 'BUSY'])

/** What stands for an answer when the engine is down; any other error is thrown. */
export function failOpen<T>(error: HearthError, value: T): T {
  if (DOWN.has(error.code)) return value
  throw error
}

/** A request about one key. */
export abstract class KeyRequest {
  readonly key: string

  constructor(key: string) {
    this.key = key
  }

  bodyBytesMax(): number {
    return textBytesMax(this.key)
  }

  write(target: Buffer, at: number): number {
    return writeText(target, at, this.key)
  }
}

/** What a ttl takes at most: undefined for the default, milliseconds, or a policy's name. */
export function ttlBytesMax(ttl: number | string | undefined): number {
  return typeof ttl === 'string' ? textBytesMax(ttl) : SCALAR_BYTES_MAX
}

export function writeTtl(target: Buffer, at: number, ttl: number | string | undefined): number {
  if (ttl === undefined) return writeNil(target, at)
  return typeof ttl === 'string' ? writeText(target, at, ttl) : writeUint(target, at, ttl)
}

export class GetRequest extends KeyRequest implements Request {
  readonly op = OPS.GET.code
  readonly isRepeatable = true

  read(op: number, bytes: Buffer, start: number, end: number): unknown {
    return op === REPLIES.MISS.code ? undefined : decodeValue(bytes, start, end)
  }
}

export class OpenGetRequest extends GetRequest {
  giveUp(error: HearthError): unknown {
    return failOpen(error, undefined)
  }
}

export class DelRequest extends KeyRequest implements Request {
  readonly op = OPS.DEL.code
  readonly isRepeatable = true

  /** What a client must not read in place while this is unanswered. */
  get written(): string {
    return this.key
  }

  /** 1 if the key was there, else 0. */
  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }
}

export class SetRequest extends KeyRequest implements Request {
  readonly op = OPS.SET.code
  readonly isRepeatable = true
  private readonly ttl: number | string | undefined
  private readonly durability: Durability
  private readonly value: Buffer

  constructor(
    key: string,
    value: unknown,
    ttl: number | string | undefined,
    durability: Durability,
  ) {
    super(key)
    this.ttl = ttl
    this.durability = durability
    this.value = encodeValue(value)
  }

  get written(): string {
    return this.key
  }

  override bodyBytesMax(): number {
    return textBytesMax(this.key) + ttlBytesMax(this.ttl) + 1 + this.value.length
  }

  override write(target: Buffer, at: number): number {
    let end = writeTtl(target, writeText(target, at, this.key), this.ttl)
    end = writeUint(target, end, DURABILITY[this.durability])
    this.value.copy(target, end)
    return end + this.value.length
  }

  /** True: stored. */
  read(): unknown {
    return true
  }
}

export class OpenSetRequest extends SetRequest {
  giveUp(error: HearthError): unknown {
    return failOpen(error, false)
  }
}

export class KeysRequest implements Request {
  readonly op = OPS.KEYS.code
  readonly isRepeatable = true
  private readonly glob: string
  private readonly after: string
  private readonly limit: number

  constructor(glob: string, after: string, limit: number) {
    this.glob = glob
    this.after = after
    this.limit = limit
  }

  bodyBytesMax(): number {
    return textBytesMax(this.glob) + textBytesMax(this.after) + SCALAR_BYTES_MAX
  }

  write(target: Buffer, at: number): number {
    return writeUint(
      target,
      writeText(target, writeText(target, at, this.glob), this.after),
      this.limit,
    )
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }
}

/** An operation without arguments: PING, STATS, HEALTH. */
export class PlainRequest implements Request {
  readonly op: number
  readonly isRepeatable = true

  constructor(op: number) {
    this.op = op
  }

  bodyBytesMax(): number {
    return 0
  }

  write(_target: Buffer, at: number): number {
    return at
  }

  read(op: number, bytes: Buffer, start: number, end: number): unknown {
    return op === REPLIES.RESULT.code ? decodeValue(bytes, start, end) : undefined
  }
}
