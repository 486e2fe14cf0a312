/** entry_requests: the cache's operations beyond get, set and delete, as the client sends them and reads their answers.
 *  Owns:   nothing.   Not here: the plain ones (requests.ts), many keys at once (many_requests.ts).
 *  Thread: the client's.
 *  Holds:  what is written is what protocol/cache_spec.ts says for the operation. */

import type { HearthError } from '../errors.ts'
import {
  BodyReader,
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeArrayHead,
  writeNil,
  writeText,
  writeTime,
  writeUint,
} from '../protocol/body.ts'
import { TIER } from '../protocol/cache_spec.ts'
import { decodeValue, encodeValue } from '../protocol/payload.ts'
import { DURABILITY, OPS, REPLIES } from '../protocol/spec.ts'
import type { Request } from './inflight.ts'
import { failOpen, KeyRequest, ttlBytesMax, writeTtl } from './requests.ts'
import type { StoreOptions } from './set_options.ts'

const reader = new BodyReader()
/** What is written could be any key: no key is empty. */
const ANY_KEY = ''

/** A request about one key that, with failOpen, can do without an answer. */
export abstract class OpenKeyRequest extends KeyRequest {
  private readonly isFailOpen: boolean
  /** What stands for an answer when the engine is down. */
  protected readonly absent: unknown

  constructor(key: string, isFailOpen: boolean, absent: unknown) {
    super(key)
    this.isFailOpen = isFailOpen
    this.absent = absent
  }

  giveUp(error: HearthError): unknown {
    if (!this.isFailOpen) throw error
    return failOpen(error, this.absent)
  }
}

/** GET with all that is known of the entry. */
export class LookupRequest extends OpenKeyRequest implements Request {
  readonly op = OPS.LOOKUP.code
  readonly isRepeatable = true
  private readonly isStaleToo: boolean

  constructor(key: string, isFailOpen: boolean, isStaleToo: boolean) {
    super(key, isFailOpen, undefined)
    this.isStaleToo = isStaleToo
  }

  override bodyBytesMax(): number {
    return super.bodyBytesMax() + 1
  }

  override write(target: Buffer, at: number): number {
    return writeUint(target, super.write(target, at), this.isStaleToo ? 1 : 0)
  }

  read(op: number, bytes: Buffer, start: number, end: number): unknown {
    if (op === REPLIES.MISS.code) return undefined
    reader.reset(bytes, start, end)
    const tier = reader.uint() === TIER.memory ? 'memory' : 'sqlite'
    const isStale = reader.uint() === 1
    const version = reader.time()
    const expiresAtMs = reader.time()
    return { value: decodeValue(bytes, reader.at, end), tier, version, expiresAtMs, isStale }
  }
}

/** Whether a key is there. */
export class HasRequest extends OpenKeyRequest implements Request {
  readonly op = OPS.INSPECT.code
  readonly isRepeatable = true

  constructor(key: string, isFailOpen: boolean) {
    super(key, isFailOpen, false)
  }

  read(op: number): unknown {
    return op === REPLIES.INSPECTED.code
  }
}

/** How long a key lives yet: milliseconds, Infinity, or undefined when it is not there. */
export class TtlRequest extends OpenKeyRequest implements Request {
  readonly op = OPS.INSPECT.code
  readonly isRepeatable = true
  private readonly nowMs: () => number

  constructor(key: string, isFailOpen: boolean, nowMs: () => number) {
    super(key, isFailOpen, undefined)
    this.nowMs = nowMs
  }

  read(op: number, bytes: Buffer, start: number, end: number): unknown {
    if (op !== REPLIES.INSPECTED.code) return undefined
    // Client and engine stand on one host: they have one clock.
    return Math.max(0, reader.reset(bytes, start, end).time() - this.nowMs())
  }
}

export class TouchRequest extends OpenKeyRequest implements Request {
  readonly op = OPS.TOUCH.code
  readonly isRepeatable = true
  private readonly ttl: number | string | undefined

  constructor(key: string, isFailOpen: boolean, ttl: number | string | undefined) {
    super(key, isFailOpen, false)
    this.ttl = ttl
  }

  get written(): string {
    return this.key
  }

  override bodyBytesMax(): number {
    return super.bodyBytesMax() + ttlBytesMax(this.ttl)
  }

  override write(target: Buffer, at: number): number {
    return writeTtl(target, super.write(target, at), this.ttl)
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end) === 1
  }
}

export class IncrementRequest extends OpenKeyRequest implements Request {
  readonly op = OPS.INCREMENT.code
  readonly isRepeatable = false
  private readonly by: number
  private readonly ttl: number | string | undefined

  constructor(key: string, isFailOpen: boolean, by: number, ttl: number | string | undefined) {
    super(key, isFailOpen, undefined)
    this.by = by
    this.ttl = ttl
  }

  get written(): string {
    return this.key
  }

  override bodyBytesMax(): number {
    return super.bodyBytesMax() + SCALAR_BYTES_MAX + ttlBytesMax(this.ttl)
  }

  override write(target: Buffer, at: number): number {
    return writeTtl(target, writeTime(target, super.write(target, at), this.by), this.ttl)
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }
}

/** SET with everything. */
export class StoreRequest extends OpenKeyRequest implements Request {
  readonly op: number = OPS.STORE.code
  readonly isRepeatable: boolean
  private readonly options: StoreOptions
  private readonly value: Buffer

  constructor(key: string, isFailOpen: boolean, value: unknown, options: StoreOptions) {
    super(key, isFailOpen, false)
    this.options = options
    this.value = encodeValue(value)
    // A condition that was met the first time is not met by the same request again.
    this.isRepeatable = options.ifVersion === undefined
  }

  get written(): string {
    return this.key
  }

  override bodyBytesMax(): number {
    const { ttl, tags } = this.options
    const tagBytes = tags.reduce((sum, tag) => sum + textBytesMax(tag), 5)
    const scalars = SCALAR_BYTES_MAX * 6
    return super.bodyBytesMax() + ttlBytesMax(ttl) + scalars + tagBytes + this.value.length
  }

  override write(target: Buffer, at: number): number {
    const { options } = this
    let end = writeTtl(target, super.write(target, at), options.ttl)
    end = writeUint(target, end, DURABILITY[options.durability])
    if (options.ifVersion === undefined) end = writeNil(target, end)
    else end = writeUint(target, end, options.ifVersion)
    end = writeUint(target, end, options.graceMs)
    end = writeUint(target, end, options.jitterMs)
    end = writeUint(target, end, options.adaptiveMinMs)
    end = writeUint(target, end, options.adaptiveMaxMs)
    end = writeTexts(target, end, options.tags)
    this.value.copy(target, end)
    return end + this.value.length
  }

  /** True: stored. */
  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end) === 1
  }
}

/** An operation whose arguments are texts, answered with one value: how many went, or what is known. */
abstract class TextRequest implements Request {
  abstract readonly op: number
  readonly isRepeatable = true
  protected readonly text: string

  constructor(text: string) {
    this.text = text
  }

  bodyBytesMax(): number {
    return textBytesMax(this.text)
  }

  write(target: Buffer, at: number): number {
    return writeText(target, at, this.text)
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }
}

export class InvalidatePatternRequest extends TextRequest {
  readonly op = OPS.INVALIDATE_PATTERN.code
  readonly written = ANY_KEY
}

export class ExplainRequest extends TextRequest {
  readonly op = OPS.EXPLAIN.code
}

export class InvalidateTagsRequest implements Request {
  readonly op = OPS.INVALIDATE_TAGS.code
  readonly written = ANY_KEY
  readonly isRepeatable = true
  private readonly tags: readonly string[]

  constructor(tags: readonly string[]) {
    this.tags = tags
  }

  bodyBytesMax(): number {
    return this.tags.reduce((sum, tag) => sum + textBytesMax(tag), 5)
  }

  write(target: Buffer, at: number): number {
    return writeTexts(target, at, this.tags)
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }
}

export function writeTexts(target: Buffer, at: number, texts: readonly string[]): number {
  let end = writeArrayHead(target, at, texts.length)
  for (const text of texts) end = writeText(target, end, text)
  return end
}
