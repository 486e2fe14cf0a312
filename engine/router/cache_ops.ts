/** cache_ops: get, set, del and keys over both tiers.
 *  Owns:   the order in which tier 1 and tier 2 see a change, and which keys have a write on its way.
 *  Thread: main.
 *  Holds:  (1) a write changes tier 1 at once and is acknowledged when SQLite has committed it (durability commit), so a client that
 *          sends a set and then a get on one connection reads what it set.
 *          (2) a tier-2 hit fills tier 1 only if no write of that key is on its way. A read that was sent before the write is
 *          answered before it (the ring keeps order), so nothing old can come back after the acknowledgement.
 *          (3) a write that failed leaves no entry in tier 1; one that had been acknowledged (durability memory) also
 *          hides the older value in tier 2 until a later write of that key succeeds.
 *
 *  Every method returns false when a worker has no room: nothing has happened then, and the same frame is given again later. */

import { copyBytes } from '../bytes.ts'
import type { Memory } from '../cache/memory.ts'
import { expiryOf, type TtlPolicies } from '../cache/policies.ts'
import { wallMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import { PART_BYTES } from '../limits.ts'
import type { Lease, Receiver } from '../pool/lease.ts'
import {
  BodyReader,
  SCALAR_BYTES_MAX,
  textHeaderBytes,
  writeTextHeader,
  writeTime,
} from '../protocol/body.ts'
import { DURABILITY, OPS, REPLIES } from '../protocol/spec.ts'
import type { RingReader } from '../ring/reader.ts'
import { DeferredGets } from './deferred_gets.ts'
import { failReplies, forwardReceiver } from './forward.ts'
import { LargeRead } from './large_read.ts'
import type { ReplyWriter } from './reply.ts'

export interface CacheLimits {
  readonly keyBytesMax: number
  readonly valueBytesMax: number
}

export interface CacheCounters {
  sqliteHits: number
  misses: number
  writes: number
  failedWrites: number
}

/** Hashes that may be hidden from tier 2 at once; past it all of tier 2 is, until the engine is started anew. */
const HIDDEN_COUNT_MAX = 65_536

export class CacheOps {
  readonly counters: CacheCounters = { sqliteHits: 0, misses: 0, writes: 0, failedWrites: 0 }
  private readonly memory: Memory
  private readonly sqlite: () => Lease
  private policies: TtlPolicies
  private readonly limits: CacheLimits
  private readonly request = new BodyReader()
  private readonly found = new BodyReader()
  /** Writes on their way to SQLite, by the hash of their key. */
  private readonly pending = new Map<number, number>()
  private readonly hidden = new Set<number>()

  constructor(memory: Memory, sqlite: () => Lease, policies: TtlPolicies, limits: CacheLimits) {
    this.memory = memory
    this.sqlite = sqlite
    this.policies = policies
    this.limits = limits
  }

  setPolicies(policies: TtlPolicies): void {
    this.policies = policies
  }

  /** The worker of tier 2, as it is now. */
  lease(): Lease {
    return this.sqlite()
  }

  get(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const request = this.request.reset(bytes, start, end)
    const hash = this.key(request)
    request.done()
    const memory = this.memory
    const entry = memory.get(hash, bytes, request.textStart, request.textEnd, wallMs())
    if (entry !== 0) {
      const valueAt = memory.valueStart(entry)
      replies.frame(
        REPLIES.VALUE_MEMORY.code,
        id,
        memory.bytes,
        valueAt,
        valueAt + memory.valueBytes(entry),
      )
      return true
    }
    const lease = this.sqlite()
    if (!lease.isOpen || this.isHidden(hash)) {
      this.counters.misses++
      replies.empty(REPLIES.MISS.code, id)
      return true
    }
    if (!lease.send(OPS.GET.code, this.getReceiver, replies, id, hash, bytes, start, end))
      return false
    replies.inflight++
    return true
  }

  set(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const request = this.request.reset(bytes, start, end)
    const hash = this.key(request)
    const { textStart, textEnd } = request
    const expiresAtMs = expiryOf(this.policies, request.ttl(), wallMs())
    const durability = request.uint()
    if (durability > DURABILITY.memory)
      throw new HearthError('BAD_REQUEST', `no durability has the number ${durability}`)
    const isCommit = durability !== DURABILITY.memory
    const valueAt = request.raw()
    if (end - valueAt > this.limits.valueBytesMax) throw this.tooLarge('value', end - valueAt)
    const lease = this.sqlite()
    if (!lease.isOpen) {
      if (isCommit)
        throw new HearthError(
          'UNAVAILABLE',
          'the sqlite worker is restarting: the value was not stored',
        )
      this.memory.set(hash, bytes, textStart, textEnd, bytes, valueAt, end, expiresAtMs)
      this.hide(hash)
      replies.ok(id)
      return true
    }
    // A value that memory cannot hold is acknowledged by SQLite alone, whatever durability was asked.
    const isAckedNow = !isCommit && end - valueAt <= this.memory.valueBytesMax
    const receiver = isAckedNow ? this.behindReceiver : this.setReceiver
    if (
      !this.put(
        lease,
        receiver,
        replies,
        id,
        hash,
        bytes,
        textStart,
        textEnd,
        valueAt,
        end,
        expiresAtMs,
      )
    )
      return false
    this.counters.writes++
    this.pending.set(hash, (this.pending.get(hash) ?? 0) + 1)
    this.memory.set(hash, bytes, textStart, textEnd, bytes, valueAt, end, expiresAtMs)
    if (isAckedNow) replies.ok(id)
    else replies.inflight++
    return true
  }

  del(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const request = this.request.reset(bytes, start, end)
    const hash = this.key(request)
    request.done()
    const lease = this.sqlite()
    if (!lease.isOpen)
      throw new HearthError(
        'UNAVAILABLE',
        'the sqlite worker is restarting: the key may still be there',
      )
    if (!lease.send(OPS.DEL.code, this.delReceiver, replies, id, hash, bytes, start, end))
      return false
    this.counters.writes++
    this.pending.set(hash, (this.pending.get(hash) ?? 0) + 1)
    this.memory.delete(hash, bytes, request.textStart, request.textEnd)
    replies.inflight++
    return true
  }

  keys(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const request = this.request.reset(bytes, start, end)
    request.textRange()
    request.textRange()
    request.uint()
    request.done()
    const lease = this.sqlite()
    if (!lease.isOpen) throw new HearthError('UNAVAILABLE', 'the sqlite worker is restarting')
    if (!lease.send(OPS.KEYS.code, forwardReceiver, replies, id, 0, bytes, start, end)) return false
    replies.inflight++
    return true
  }

  private key(request: BodyReader): number {
    request.textRange()
    const keyBytes = request.textEnd - request.textStart
    if (keyBytes === 0) throw new HearthError('BAD_REQUEST', 'a key has at least one byte')
    if (keyBytes > this.limits.keyBytesMax) throw this.tooLarge('key', keyBytes)
    return this.memory.hash(request.bytes, request.textStart, request.textEnd)
  }

  /** Sends PUT: in place in the ring, or as a message of its own when it is long. */
  private put(
    lease: Lease,
    receiver: Receiver<never>,
    replies: ReplyWriter,
    id: number,
    hash: number,
    bytes: Buffer,
    keyStart: number,
    keyEnd: number,
    valueStart: number,
    valueEnd: number,
    expiresAtMs: number,
  ): boolean {
    const keyBytes = keyEnd - keyStart
    const bodyBytes =
      textHeaderBytes(keyBytes) + keyBytes + SCALAR_BYTES_MAX + valueEnd - valueStart
    const isInPlace = lease.fitsInPlace(bodyBytes)
    if (!isInPlace && !lease.hasRoomForLong(bodyBytes)) return false
    const at = isInPlace ? lease.reserve(bodyBytes) : 0
    if (at < 0) return false
    const target = isInPlace ? lease.target : Buffer.allocUnsafeSlow(bodyBytes)
    let cursor = writeTextHeader(target, at, keyBytes)
    copyBytes(bytes, keyStart, keyEnd, target, cursor)
    cursor = writeTime(target, cursor + keyBytes, expiresAtMs)
    copyBytes(bytes, valueStart, valueEnd, target, cursor)
    if (!isInPlace)
      return lease.sendLong(OPS.PUT.code, receiver as Receiver, replies, id, hash, target)
    lease.commit(at, OPS.PUT.code, bodyBytes, receiver as Receiver, replies, id, hash)
    return true
  }

  private readonly getReceiver: Receiver<ReplyWriter> = {
    receive: (reply, replies, id, hash) => {
      if (reply.op === REPLIES.FOUND.code) this.takeFound(reply, replies, id, hash)
      else if (reply.op === REPLIES.FOUND_LARGE.code) this.takeLarge(reply, replies, id, hash)
      else this.miss(replies, id)
    },
    fail: failReplies,
  }

  private takeFound(reply: RingReader, replies: ReplyWriter, id: number, hash: number): void {
    const found = this.found.reset(reply.bytes, reply.start, reply.end)
    found.textRange()
    const expiresAtMs = found.time()
    const valueAt = found.raw()
    if (this.isHidden(hash)) return this.miss(replies, id)
    if (replies.isCongested()) {
      replies.deferred ??= new DeferredGets(replies, this)
      replies.deferred.add(id, Buffer.from(reply.bytes.subarray(reply.start, found.textEnd)))
      return
    }
    replies.inflight--
    this.counters.sqliteHits++
    replies.frame(REPLIES.VALUE_SQLITE.code, id, reply.bytes, valueAt, reply.end)
    if (this.pending.has(hash)) return
    this.memory.set(
      hash,
      reply.bytes,
      found.textStart,
      found.textEnd,
      reply.bytes,
      valueAt,
      reply.end,
      expiresAtMs,
    )
  }

  private takeLarge(reply: RingReader, replies: ReplyWriter, id: number, hash: number): void {
    if (this.isHidden(hash)) return this.miss(replies, id)
    const found = this.found.reset(reply.bytes, reply.start, reply.end)
    const key = found.text()
    const version = found.uint()
    const bytes = found.uint()
    this.counters.sqliteHits++
    new LargeRead(this.sqlite(), replies, id, key, version, bytes, PART_BYTES).start()
  }

  private miss(replies: ReplyWriter, id: number): void {
    replies.inflight--
    this.counters.misses++
    replies.empty(REPLIES.MISS.code, id)
  }

  private readonly setReceiver: Receiver<ReplyWriter> = {
    receive: (reply, replies, id, hash) => {
      replies.inflight--
      if (reply.op === REPLIES.OK.code) {
        this.settle(hash, true)
        replies.ok(id)
      } else {
        this.settle(hash, false)
        replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
      }
    },
    fail: (error, replies, id, hash) => {
      this.settle(hash, false)
      failReplies(error, replies, id)
    },
  }

  private readonly behindReceiver: Receiver<ReplyWriter> = {
    receive: (reply, _replies, _id, hash) => {
      const isWritten = reply.op === REPLIES.OK.code
      if (!isWritten) this.hide(hash)
      this.settle(hash, isWritten, true)
    },
    fail: (_error, _replies, _id, hash) => {
      this.hide(hash)
      this.settle(hash, false, true)
    },
  }

  private readonly delReceiver: Receiver<ReplyWriter> = {
    receive: (reply, replies, id, hash) => {
      replies.inflight--
      this.settle(hash, reply.op === REPLIES.COUNT.code)
      replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
    },
    fail: (error, replies, id, hash) => {
      this.settle(hash, false)
      failReplies(error, replies, id)
    },
  }

  /** A write has ended. One that failed takes its key out of tier 1, unless memory's word was given for it. */
  private settle(hash: number, isWritten: boolean, isKept = false): void {
    const left = (this.pending.get(hash) ?? 1) - 1
    if (left === 0) this.pending.delete(hash)
    else this.pending.set(hash, left)
    if (isWritten) {
      if (left === 0) this.hidden.delete(hash)
      return
    }
    this.counters.failedWrites++
    if (!isKept) this.memory.deleteHash(hash)
  }

  private hide(hash: number): void {
    if (this.hidden.size < HIDDEN_COUNT_MAX) this.hidden.add(hash)
  }

  private isHidden(hash: number): boolean {
    return this.hidden.size > 0 && (this.hidden.has(hash) || this.hidden.size >= HIDDEN_COUNT_MAX)
  }

  private tooLarge(what: 'key' | 'value', bytes: number): HearthError {
    const max = what === 'key' ? this.limits.keyBytesMax : this.limits.valueBytesMax
    const code = what === 'key' ? 'KEY_TOO_LARGE' : 'VALUE_TOO_LARGE'
    return new HearthError(
      code,
      `the ${what} has ${bytes} bytes; cache.max_${what}_bytes allows ${max}`,
    )
  }
}
