/** PubSub: messages from those who publish to those who subscribe, at once and by glob; nothing is kept.
 *  Owns:   every subscription of every connection.   Not here: what changes of keys are (key_changes.ts), LISTEN (subscription.ts).
 *  Thread: main.
 *  Holds:  (1) a message is handed on as the bytes it came in.  (2) a subscriber that does not keep up costs what its socket
 *          holds and no more: what comes meanwhile is counted, and told by one GAP before the next message.  (3) subscriptions
 *          end with their connection.
 *
 *  A pattern without magic is found by name, however many there are; the others are tried one by one. */

import { HearthError } from '../errors.ts'
import { Glob } from '../glob.ts'
import type { Access } from '../guard/access.ts'
import {
  CHANNEL_BYTES_MAX,
  MESSAGE_BYTES_MAX,
  PATTERN_COUNT_MAX,
  PATTERNS_OF_ONE_MAX,
} from '../limits.ts'
import { BodyReader } from '../protocol/body.ts'
import { encodeValue } from '../protocol/payload.ts'
import { SPACE } from '../protocol/pub_sub_spec.ts'
import { REPLIES } from '../protocol/spec.ts'
import type { ReplyWriter } from './reply.ts'

export class PubSub {
  readonly messages = new Space()
  readonly keys = new Space()
  readonly services = new Space()
  private readonly request = new BodyReader()

  /** PUBLISH: answered with how many subscriptions it was sent to; those that did not keep up are none of them. */
  publish(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): void {
    const request = this.request.reset(bytes, start, end)
    const channel = nameIn(request, 'channel')
    const messageBytes = end - request.raw()
    if (messageBytes > MESSAGE_BYTES_MAX) {
      const text = `the message has ${messageBytes} bytes; ${MESSAGE_BYTES_MAX} are allowed`
      throw new HearthError('VALUE_TOO_LARGE', text)
    }
    replies.count(id, this.messages.send(channel, bytes, start, end))
  }

  /** SUBSCRIBE: confirmed by LISTENING. BUSY when the connection, or the engine, has too many. */
  subscribe(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): void {
    const request = this.request.reset(bytes, start, end)
    const number = request.uint()
    const pattern = nameIn(request, 'glob')
    request.done()
    if (number > SPACE.services)
      throw new HearthError('BAD_REQUEST', `nothing can be subscribed to in space ${number}`)
    if (replies.subscribers?.has(id))
      throw new HearthError('PROTOCOL', `the request ${id} is a subscription already`)
    this.checkRoom(replies)
    const space = [this.messages, this.keys, this.services][number]!
    const subscriber = new Subscriber(replies, id, space, pattern)
    replies.subscribers ??= new Map()
    replies.subscribers.set(id, subscriber)
    space.add(subscriber)
    replies.empty(REPLIES.LISTENING.code, id)
  }

  /** CANCEL: false when the id is no subscription of the connection's. */
  cancel(replies: ReplyWriter, id: number): boolean {
    const subscriber = replies.subscribers?.get(id)
    if (subscriber === undefined) return false
    replies.subscribers!.delete(id)
    subscriber.space.remove(subscriber)
    replies.ok(id)
    return true
  }

  /** A connection is gone, and its subscriptions with it. */
  sessionEnded(replies: ReplyWriter): void {
    for (const subscriber of replies.subscribers?.values() ?? [])
      subscriber.space.remove(subscriber)
    replies.subscribers = undefined
  }

  private checkRoom(replies: ReplyWriter): void {
    replies.account?.checkSubscriptions(replies.access)
    const isMany = (replies.subscribers?.size ?? 0) >= PATTERNS_OF_ONE_MAX
    if (!isMany && this.messages.count + this.keys.count + this.services.count < PATTERN_COUNT_MAX)
      return
    const whose = isMany ? `this connection has ${PATTERNS_OF_ONE_MAX}` : 'there are too many'
    throw new HearthError('BUSY', `${whose} subscriptions already; close some`)
  }
}

/** All subscriptions of one kind, and the channels that they are to. */
export class Space {
  count = 0
  private readonly byName = new Map<string, Set<Subscriber>>()
  private readonly byGlob = new Set<Subscriber>()

  add(subscriber: Subscriber): void {
    this.count++
    const { name } = subscriber
    if (name === undefined) {
      this.byGlob.add(subscriber)
      return
    }
    const named = this.byName.get(name)
    if (named === undefined) this.byName.set(name, new Set([subscriber]))
    else named.add(subscriber)
  }

  remove(subscriber: Subscriber): void {
    this.count--
    const { name } = subscriber
    if (name === undefined) {
      this.byGlob.delete(subscriber)
      return
    }
    const named = this.byName.get(name)!
    named.delete(subscriber)
    if (named.size === 0) this.byName.delete(name)
  }

  /** Whether somebody would get what is sent to a channel. */
  hasAny(channel: string): boolean {
    if (this.byName.has(channel)) return true
    for (const subscriber of this.byGlob) if (subscriber.glob.matches(channel)) return true
    return false
  }

  /** Sends a body of MESSAGE to all who subscribe to its channel; how many took it. */
  send(channel: string, bytes: Buffer, start: number, end: number): number {
    let count = 0
    for (const subscriber of this.byName.get(channel) ?? NOBODY)
      if (subscriber.take(bytes, start, end)) count++
    for (const subscriber of this.byGlob)
      if (subscriber.glob.matches(channel) && subscriber.take(bytes, start, end)) count++
    return count
  }

  /** Sends each subscriber the body of MESSAGE that is for it, if there is one. */
  sendWhere(bodyFor: (subscriber: Subscriber) => Buffer | undefined): void {
    const take = (subscriber: Subscriber): void => {
      const body = bodyFor(subscriber)
      if (body !== undefined) subscriber.take(body, 0, body.length)
    }
    for (const named of this.byName.values()) named.forEach(take)
    this.byGlob.forEach(take)
  }
}

/** One SUBSCRIBE of one connection. */
export class Subscriber {
  readonly space: Space
  readonly glob: Glob
  readonly pattern: string
  /** The only channel it is to; undefined when its pattern has magic. */
  readonly name: string | undefined
  private readonly replies: ReplyWriter
  private readonly id: number
  private lost = 0

  constructor(replies: ReplyWriter, id: number, space: Space, pattern: string) {
    this.replies = replies
    this.id = id
    this.space = space
    this.pattern = pattern
    this.glob = new Glob(pattern)
    this.name = MAGIC.test(pattern) ? undefined : pattern
  }

  /** What its client may know of. */
  get access(): Access {
    return this.replies.access
  }

  /** Takes a body of MESSAGE; false when it was lost. */
  take(bytes: Buffer, start: number, end: number): boolean {
    if (this.lost > 0 || this.replies.isCongested()) {
      if (this.lost++ === 0) this.replies.onceSent(this.tellLost)
      return false
    }
    this.replies.frame(REPLIES.MESSAGE.code, this.id, bytes, start, end)
    return true
  }

  private readonly tellLost = (): void => {
    const { lost, replies, id } = this
    this.lost = 0
    if (replies.isEnded || replies.subscribers?.get(id) !== this) return
    const why = 'this connection did not take what it was sent before'
    const body = Buffer.concat([encodeValue(lost), encodeValue(why)])
    replies.frame(REPLIES.GAP.code, id, body, 0, body.length)
    replies.flush() // It comes from a socket's drain, which ends no turn.
  }
}

const MAGIC = /[*?[\\]/
const NOBODY: readonly Subscriber[] = []

/** Reads the name of a channel, or a glob. */
function nameIn(request: BodyReader, what: string): string {
  const name = request.text()
  const bytes = request.textEnd - request.textStart
  if (bytes === 0 || bytes > CHANNEL_BYTES_MAX)
    throw new HearthError('BAD_REQUEST', `a ${what} has 1 to ${CHANNEL_BYTES_MAX} bytes`)
  return name
}
