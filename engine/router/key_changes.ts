/** KeyChanges: tells those who watch keys what requests have done to them.
 *  Owns:   of each connection, what its unanswered requests will have changed.   Not here: who watches (pub_sub.ts).
 *  Thread: main.
 *  Holds:  (1) a change is told with the reply that acknowledges it, never before a reader could see it; one that a worker failed
 *          is told too, since what was there may be gone.  (2) a refused request, a condition that was not met and a key that was
 *          not there are no change.  (3) while nobody watches, a request costs one look at a counter.
 *
 *  Entries that expire or are evicted are not told: no request did that. What a tag or a pattern ended is told as such, once,
 *  since no tier has a list of the keys. */

import { Glob } from '../glob.ts'
import type { Access } from '../guard/access.ts'
import { BodyReader, SCALAR_BYTES_MAX, textBytesMax, writeText } from '../protocol/body.ts'
import { encodeValue } from '../protocol/payload.ts'
import { HAS_MORE, REPLIES } from '../protocol/spec.ts'
import { effectOf } from './key_effects.ts'
import type { PubSub, Subscriber } from './pub_sub.ts'
import { flushReplies, type ReplyWriter } from './reply.ts'

/** What a request will have changed once it is answered: keys, or what is told to whom. */
type Change =
  | { readonly word: 'set' | 'deleted'; readonly keys: readonly string[] }
  | {
      readonly told: unknown
      /** Whose keys may be meant. */
      readonly isMeant: (subscriber: Subscriber) => boolean
      /** Of those, who may know the names in it; the others are told that any of their keys may have gone. */
      readonly mayKnow: (access: Access) => boolean
    }

export class KeyChanges {
  private readonly pubSub: PubSub
  private readonly request = new BodyReader()
  private body = Buffer.allocUnsafeSlow(256)
  private isFlushDue = false

  constructor(pubSub: PubSub) {
    this.pubSub = pubSub
  }

  get isWatched(): boolean {
    return this.pubSub.keys.count > 0
  }

  /** Notes what a request will have changed. Its body is bytes[start, end). */
  expect(
    replies: ReplyWriter,
    op: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    const change = this.changeOf(op, this.request.reset(bytes, start, end))
    if (change === undefined) return
    replies.changes ??= new PendingChanges(this)
    replies.changes.add(id, change)
  }

  /** A connection is gone: what it asked for happens nevertheless. */
  sessionEnded(replies: ReplyWriter): void {
    replies.changes?.tellAll()
  }

  tell(change: Change): void {
    const { keys } = this.pubSub
    if ('told' in change) {
      const { isMeant, mayKnow } = change
      const body = bodyOf(change.told)
      keys.sendWhere(subscriber => {
        if (!isMeant(subscriber)) return undefined
        return mayKnow(subscriber.access) ? body : bodyOf({ pattern: subscriber.pattern })
      })
    } else {
      for (const key of change.keys) {
        const bytesMax = textBytesMax(key) + SCALAR_BYTES_MAX
        if (bytesMax > this.body.length) this.body = Buffer.allocUnsafeSlow(bytesMax)
        const end = writeText(this.body, writeText(this.body, 0, key), change.word)
        keys.send(key, this.body, 0, end)
      }
    }
    this.flushSoon()
  }

  private changeOf(op: number, request: BodyReader): Change | undefined {
    const effect = effectOf(op, request)
    switch (effect?.word) {
      case 'set':
      case 'deleted':
        return this.watched(effect.word, effect.keys)
      case 'tags':
        return {
          told: { tags: effect.tags },
          isMeant: () => true,
          mayKnow: access => effect.tags.every(tag => access.covers(tag)),
        }
      case 'pattern':
        return patternChange(effect.pattern)
      default:
        return undefined
    }
  }

  private watched(word: 'set' | 'deleted', keys: readonly string[]): Change | undefined {
    const watched = keys.filter(key => this.pubSub.keys.hasAny(key))
    return watched.length === 0 ? undefined : { word, keys: watched }
  }

  /** Some replies end no turn: a pattern's, and those to a connection that is gone. */
  private flushSoon(): void {
    if (this.isFlushDue) return
    this.isFlushDue = true
    setImmediate(() => {
      this.isFlushDue = false
      flushReplies()
    })
  }
}

/** Of one connection, by the request's id. */
export class PendingChanges {
  private readonly all: KeyChanges
  private readonly byId = new Map<number, Change>()

  constructor(all: KeyChanges) {
    this.all = all
  }

  add(id: number, change: Change): void {
    this.byId.set(id, change)
  }

  /** The request was refused: nothing has happened. */
  drop(id: number): void {
    this.byId.delete(id)
  }

  /** A reply has been written, whose body ends at `end`. */
  answered(op: number, id: number, bytes: Buffer, end: number): void {
    const change = HAS_MORE[op] === 0 ? this.byId.get(id) : undefined
    if (change === undefined) return
    this.byId.delete(id)
    // Where keys are counted it is one key: the count is 0 or 1.
    const isNone = 'keys' in change && op === REPLIES.COUNT.code && bytes[end - 1] === 0
    if (!isNone) this.all.tell(change)
  }

  tellAll(): void {
    for (const change of this.byId.values()) this.all.tell(change)
    this.byId.clear()
  }
}

/** What a pattern ends, told to whoever watches a key that it may match. */
function patternChange(pattern: string): Change {
  const ended = new Glob(pattern)
  const isMeant = ({ name, glob }: Subscriber): boolean => {
    if (name !== undefined) return ended.matches(name)
    return glob.prefix.startsWith(ended.prefix) || ended.prefix.startsWith(glob.prefix)
  }
  return { told: { pattern }, isMeant, mayKnow: access => access.covers(ended.prefix) }
}

function bodyOf(told: unknown): Buffer {
  return Buffer.concat([NO_KEY, encodeValue(told)])
}

const NO_KEY = encodeValue('')
