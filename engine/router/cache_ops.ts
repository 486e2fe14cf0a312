/** cache_ops: get, set, del and keys over both tiers.
 *  Owns:   the order in which tier 1 and tier 2 see a change.   Not here: what is on its way (cache_state.ts), other operations.
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
import { wallMs } from '../clock.ts'
import { PART_BYTES } from '../limits.ts'
import type { Lease, Receiver } from '../pool/lease.ts'
import { SCALAR_BYTES_MAX, textHeaderBytes, writeTextHeader, writeTime } from '../protocol/body.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { RingReader } from '../ring/reader.ts'
import type { CacheState } from './cache_state.ts'
import { DeferredGets } from './deferred_gets.ts'
import { failReplies, forwardReceiver } from './forward.ts'
import { Found } from './found.ts'
import { LargeRead } from './large_read.ts'
import type { ReplyWriter } from './reply.ts'

export class CacheOps {
  private readonly state: CacheState
  private readonly found: Found

  constructor(state: CacheState) {
    this.state = state
    this.found = new Found(state)
  }

  get(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const { memory } = state
    const request = state.request.reset(bytes, start, end)
    const hash = state.key(request)
    request.done()
    const entry = memory.get(hash, bytes, request.textStart, request.textEnd, wallMs())
    if (entry !== 0) {
      const valueAt = memory.valueStart(entry)
      const valueEnd = valueAt + memory.valueBytes(entry)
      replies.frame(REPLIES.VALUE_MEMORY.code, id, memory.bytes, valueAt, valueEnd)
      return true
    }
    const lease = state.lease()
    if (!lease.isOpen || state.isHidden(hash)) {
      state.counters.misses++
      replies.empty(REPLIES.MISS.code, id)
      return true
    }
    if (!lease.send(OPS.GET.code, this.getReceiver, replies, id, hash, bytes, start, end))
      return false
    replies.inflight++
    return true
  }

  set(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const request = state.request.reset(bytes, start, end)
    const hash = state.key(request)
    const { textStart, textEnd } = request
    const expiresAtMs = state.expiryOf(request.ttl())
    const isCommit = state.isCommit(request)
    const valueAt = request.raw()
    state.checkValue(end - valueAt)
    return this.put(
      replies,
      id,
      hash,
      bytes,
      textStart,
      textEnd,
      valueAt,
      end,
      expiresAtMs,
      isCommit,
      false,
    )
  }

  /** Stores a plain value in both tiers; its key is the bytes from keyStart to keyEnd. `isCounted`: the answer is a count of 1. */
  put(
    replies: ReplyWriter,
    id: number,
    hash: number,
    bytes: Buffer,
    keyStart: number,
    keyEnd: number,
    valueStart: number,
    valueEnd: number,
    expiresAtMs: number,
    isCommit: boolean,
    isCounted: boolean,
  ): boolean {
    const { state } = this
    const { memory } = state
    if (!isCommit && !state.lease().isOpen) {
      const version = state.nextVersions()
      memory.set(hash, bytes, keyStart, keyEnd, bytes, valueStart, valueEnd, expiresAtMs, version)
      state.hide(hash)
      acknowledge(replies, id, isCounted)
      return true
    }
    const lease = state.openLease('the value was not stored')
    // A value that memory cannot hold is acknowledged by SQLite alone, whatever durability was asked.
    const isAckedNow = !isCommit && valueEnd - valueStart <= memory.valueBytesMax
    const keyBytes = keyEnd - keyStart
    const bodyBytes =
      textHeaderBytes(keyBytes) + keyBytes + SCALAR_BYTES_MAX * 2 + valueEnd - valueStart
    const { frame } = state
    if (!frame.begin(lease, bodyBytes)) return false
    const version = state.nextVersions()
    const { target } = frame
    let cursor = writeTextHeader(target, frame.at, keyBytes)
    copyBytes(bytes, keyStart, keyEnd, target, cursor)
    cursor = writeTime(target, writeTime(target, cursor + keyBytes, expiresAtMs), version)
    copyBytes(bytes, valueStart, valueEnd, target, cursor)
    cursor += valueEnd - valueStart
    if (isAckedNow) frame.send(OPS.PUT_BEHIND.code, cursor, this.behind, replies, id, hash)
    else {
      const receiver = isCounted ? this.storeReceiver : this.setReceiver
      frame.send(OPS.PUT.code, cursor, receiver, replies, id, hash)
    }
    state.begin(hash)
    memory.set(hash, bytes, keyStart, keyEnd, bytes, valueStart, valueEnd, expiresAtMs, version)
    if (isAckedNow) {
      state.unflushed.add(hash)
      acknowledge(replies, id, isCounted)
    } else replies.inflight++
    return true
  }

  del(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const request = state.request.reset(bytes, start, end)
    const hash = state.key(request)
    request.done()
    const lease = state.openLease('the key may still be there')
    if (!lease.send(OPS.DEL.code, this.delReceiver, replies, id, hash, bytes, start, end))
      return false
    state.begin(hash)
    state.memory.delete(hash, bytes, request.textStart, request.textEnd)
    replies.inflight++
    return true
  }

  keys(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const request = this.state.request.reset(bytes, start, end)
    request.textRange()
    request.textRange()
    request.uint()
    request.done()
    const lease = this.state.openLease('its keys cannot be read')
    if (!lease.send(OPS.KEYS.code, forwardReceiver, replies, id, 0, bytes, start, end)) return false
    replies.inflight++
    return true
  }

  /** Takes a get again that was put off; DeferredGets asks for it. */
  again(
    _op: number,
    replies: ReplyWriter,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): boolean {
    return this.get(replies, id, bytes, start, end)
  }

  lease(): Lease {
    return this.state.lease()
  }

  private readonly getReceiver: Receiver<ReplyWriter> = {
    receive: (reply, replies, id, hash) => {
      if (reply.op === REPLIES.FOUND_LARGE.code) this.takeLarge(reply, replies, id, hash)
      else if (reply.op === REPLIES.MISS.code) this.miss(replies, id)
      else this.takeFound(reply, replies, id, hash)
    },
    fail: failReplies,
  }

  private takeFound(reply: RingReader, replies: ReplyWriter, id: number, hash: number): void {
    const { found } = this
    const isFound = reply.op === REPLIES.FOUND.code || reply.op === REPLIES.FOUND_EXTRA.code
    if (!isFound || !found.read(reply, hash)) return this.miss(replies, id)
    if (replies.isCongested()) {
      replies.deferred ??= new DeferredGets(replies)
      const key = Buffer.from(reply.bytes.subarray(reply.start, found.keyEnd))
      replies.deferred.add(this, OPS.GET.code, id, key)
      return
    }
    replies.inflight--
    this.state.counters.sqliteHits++
    replies.frame(REPLIES.VALUE_SQLITE.code, id, reply.bytes, found.valueStart, found.valueEnd)
    found.keep(hash)
  }

  private takeLarge(reply: RingReader, replies: ReplyWriter, id: number, hash: number): void {
    const { found, state } = this
    if (!found.read(reply, hash)) return this.miss(replies, id)
    state.counters.sqliteHits++
    const { version, largeBytes } = found
    new LargeRead(state.lease(), replies, id, found.key(), version, largeBytes, PART_BYTES).start()
  }

  private miss(replies: ReplyWriter, id: number): void {
    replies.inflight--
    this.state.counters.misses++
    replies.empty(REPLIES.MISS.code, id)
  }

  /** Of writes that were acknowledged before they were sent. */
  readonly behind: Receiver<ReplyWriter> = {
    receive: (reply, _replies, _id, hash) => {
      const isWritten = reply.op !== REPLIES.ERROR.code
      if (!isWritten) this.state.hide(hash)
      this.state.settle(hash, isWritten, true)
    },
    fail: (_error, _replies, _id, hash) => {
      this.state.hide(hash)
      this.state.settle(hash, false, true)
    },
  }

  private readonly setReceiver = this.writeReceiver(false)
  private readonly storeReceiver = this.writeReceiver(true)

  private writeReceiver(isCounted: boolean): Receiver<ReplyWriter> {
    return {
      receive: (reply, replies, id, hash) => {
        replies.inflight--
        const isWritten = reply.op === REPLIES.OK.code
        this.state.settle(hash, isWritten)
        if (isWritten) acknowledge(replies, id, isCounted)
        else replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
      },
      fail: (error, replies, id, hash) => {
        this.state.settle(hash, false)
        failReplies(error, replies, id)
      },
    }
  }

  private readonly delReceiver: Receiver<ReplyWriter> = {
    receive: (reply, replies, id, hash) => {
      replies.inflight--
      const isDone = reply.op === REPLIES.COUNT.code
      // What was to go is not shown any more, though it was not acknowledged.
      if (!isDone) this.state.hide(hash)
      this.state.settle(hash, isDone)
      replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
    },
    fail: (error, replies, id, hash) => {
      this.state.hide(hash)
      this.state.settle(hash, false)
      failReplies(error, replies, id)
    },
  }
}

/** SET is answered OK, STORE with a count of 1. */
function acknowledge(replies: ReplyWriter, id: number, isCounted: boolean): void {
  if (isCounted) replies.count(id, 1)
  else replies.ok(id)
}
