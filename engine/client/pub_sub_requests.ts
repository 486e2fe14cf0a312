/** pub_sub_requests: PUBLISH and SUBSCRIBE as the client sends them, and what comes on a subscription.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  what is written is what protocol/pub_sub_spec.ts says. A message that is not msgpack ends nothing: it is told as lost. */

import { HearthError } from '../errors.ts'
import { CHANNEL_BYTES_MAX, MESSAGE_BYTES_MAX } from '../limits.ts'
import {
  BodyReader,
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeText,
  writeUint,
} from '../protocol/body.ts'
import { decodeValue, encodeValue } from '../protocol/payload.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { Request } from './inflight.ts'

export class PublishRequest implements Request {
  readonly op = OPS.PUBLISH.code
  /** Sent again it would be a second message. */
  readonly isRepeatable = false
  private readonly channel: string
  private readonly message: Buffer

  constructor(channel: string, message: unknown) {
    this.channel = channel
    this.message = encodeValue(message)
    if (this.message.length > MESSAGE_BYTES_MAX) {
      const text = `the message has ${this.message.length} bytes; ${MESSAGE_BYTES_MAX} are allowed: set what is larger in the cache, and publish its key`
      throw new HearthError('VALUE_TOO_LARGE', text)
    }
  }

  bodyBytesMax(): number {
    return textBytesMax(this.channel) + this.message.length
  }

  write(target: Buffer, at: number): number {
    const end = writeText(target, at, this.channel)
    return end + this.message.copy(target, end)
  }

  /** How many subscriptions it was sent to. */
  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end)
  }

  /** While the engine is known to be down it does not wait: those who subscribe have to be found anew first. */
  giveUp(error: HearthError): never {
    throw error
  }
}

export interface SubscribeEvents {
  listening(): void
  message(channel: string, message: unknown): void
  /** `lost` 0: nobody knows how many. */
  gap(lost: number, reason: string): void
}

export class SubscribeRequest implements Request {
  readonly op = OPS.SUBSCRIBE.code
  readonly isRepeatable = false
  readonly isCancelable = true
  private readonly space: number
  private readonly glob: string
  private readonly events: SubscribeEvents

  constructor(space: number, glob: string, events: SubscribeEvents) {
    this.space = space
    this.glob = glob
    this.events = events
  }

  bodyBytesMax(): number {
    return SCALAR_BYTES_MAX + textBytesMax(this.glob)
  }

  write(target: Buffer, at: number): number {
    return writeText(target, writeUint(target, at, this.space), this.glob)
  }

  push(op: number, bytes: Buffer, start: number, end: number): void {
    if (op === REPLIES.LISTENING.code) return this.events.listening()
    const body = new BodyReader().reset(bytes, start, end)
    if (op === REPLIES.GAP.code) return this.events.gap(body.uint(), body.text())
    if (op !== REPLIES.MESSAGE.code) return
    const channel = body.text()
    let message: unknown
    try {
      message = decodeValue(bytes, body.at, end)
    } catch {
      return this.events.gap(1, `a message on ${channel} is no value`)
    }
    this.events.message(channel, message)
  }

  read(): unknown {
    return undefined
  }
}

/** A channel's name, or a glob, that may be sent. */
export function checkChannel(what: string, name: unknown): void {
  if (typeof name !== 'string') throw new TypeError(`${what} must be a string`)
  const bytes = Buffer.byteLength(name)
  if (bytes === 0 || bytes > CHANNEL_BYTES_MAX)
    throw new HearthError('BAD_REQUEST', `${what} must have 1 to ${CHANNEL_BYTES_MAX} bytes`)
}
