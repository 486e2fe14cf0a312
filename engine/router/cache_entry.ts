/** cache_entry: what is asked or changed of one entry beside its whole value: lookup, inspect, touch, increment, explain.
 *  Owns:   nothing.   Not here: get and set (cache_ops.ts), STORE (cache_store.ts).
 *  Thread: main.
 *  Holds:  as cache_ops.ts does. A sum is made by the worker; until it is there, tier 1 has no entry of the key. */

import { copyBytes } from '../bytes.ts'
import { wallMs } from '../clock.ts'
import type { HearthError } from '../errors.ts'
import { PART_BYTES } from '../limits.ts'
import type { Lease, Receiver } from '../pool/lease.ts'
import {
  SCALAR_BYTES_MAX,
  textHeaderBytes,
  writeTextHeader,
  writeTime,
  writeUint,
} from '../protocol/body.ts'
import { TIER } from '../protocol/cache_spec.ts'
import { decodeValue, encodeValue } from '../protocol/payload.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { RingReader } from '../ring/reader.ts'
import type { CacheState } from './cache_state.ts'
import { DeferredGets } from './deferred_gets.ts'
import { failReplies } from './forward.ts'
import { Found } from './found.ts'
import { LargeRead } from './large_read.ts'
import type { ReplyWriter } from './reply.ts'

/** Tier, whether it is stale, version, expiry: what stands before the value in ENTRY. */
const ENTRY_HEAD_BYTES = 2 + SCALAR_BYTES_MAX * 2

export class CacheEntry {
  private readonly state: CacheState
  private readonly found: Found

  constructor(state: CacheState) {
    this.state = state
    this.found = new Found(state)
  }

  lookup(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const { memory } = state
    const request = state.request.reset(bytes, start, end)
    const hash = state.key(request)
    const { textStart, textEnd } = request
    const isStaleToo = request.uint() === 1
    request.done()
    const nowMs = wallMs()
    let entry = memory.get(hash, bytes, textStart, textEnd, nowMs)
    if (entry === 0 && isStaleToo) entry = memory.look(hash, bytes, textStart, textEnd, nowMs)
    if (entry !== 0) {
      const valueAt = memory.valueStart(entry)
      const valueEnd = valueAt + memory.valueBytes(entry)
      const expiresAtMs = memory.expiresAtMs(entry)
      const version = memory.versionOf(entry)
      reply(replies, id, TIER.memory, version, expiresAtMs, memory.bytes, valueAt, valueEnd)
      return true
    }
    const lease = state.lease()
    if (!lease.isOpen || state.isHidden(hash)) {
      state.counters.misses++
      replies.empty(REPLIES.MISS.code, id)
      return true
    }
    if (!lease.send(OPS.LOOKUP.code, this.lookupReceiver, replies, id, hash, bytes, start, end))
      return false
    replies.inflight++
    return true
  }

  inspect(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const { memory } = state
    const request = state.request.reset(bytes, start, end)
    const hash = state.key(request)
    request.done()
    const nowMs = wallMs()
    const entry = memory.look(hash, bytes, request.textStart, request.textEnd, nowMs)
    if (entry !== 0) {
      const expiresAtMs = memory.expiresAtMs(entry)
      if (expiresAtMs <= nowMs) replies.empty(REPLIES.MISS.code, id)
      else inspected(replies, id, expiresAtMs, memory.versionOf(entry))
      return true
    }
    const lease = state.lease()
    if (!lease.isOpen || state.isHidden(hash)) {
      replies.empty(REPLIES.MISS.code, id)
      return true
    }
    if (!lease.send(OPS.INSPECT.code, this.inspectReceiver, replies, id, hash, bytes, start, end))
      return false
    replies.inflight++
    return true
  }

  touch(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const { memory, frame } = state
    const request = state.request.reset(bytes, start, end)
    const hash = state.key(request)
    const { textStart, textEnd } = request
    const expiresAtMs = state.expiryOf(request.ttl())
    request.done()
    const lease = state.openLeaseToBuildOn('the key keeps its time to live')
    if (!this.dropHidden(lease, hash, bytes, textStart, textEnd)) return false
    const keyBytes = textEnd - textStart
    if (!frame.begin(lease, textHeaderBytes(keyBytes) + keyBytes + SCALAR_BYTES_MAX)) return false
    let at = writeTextHeader(frame.target, frame.at, keyBytes)
    at += bytes.copy(frame.target, at, textStart, textEnd)
    at = writeTime(frame.target, at, expiresAtMs)
    const nowMs = wallMs()
    const entry = memory.look(hash, bytes, textStart, textEnd, nowMs)
    const isInMemory = entry !== 0 && memory.expiresAtMs(entry) > nowMs
    if (isInMemory) memory.retime(entry, expiresAtMs)
    const receiver = isInMemory ? this.touchedReceiver : this.touchReceiver
    frame.send(OPS.RETIME.code, at, receiver, replies, id, hash)
    state.begin(hash)
    replies.inflight++
    return true
  }

  increment(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const { frame } = state
    const request = state.request.reset(bytes, start, end)
    const hash = state.key(request)
    const { textStart, textEnd } = request
    const by = request.number()
    const expiresAtMs = state.expiryOf(request.ttl())
    request.done()
    const lease = state.openLeaseToBuildOn('nothing was added')
    if (!this.dropHidden(lease, hash, bytes, textStart, textEnd)) return false
    const keyBytes = textEnd - textStart
    if (!frame.begin(lease, textHeaderBytes(keyBytes) + keyBytes + SCALAR_BYTES_MAX * 3))
      return false
    let at = writeTextHeader(frame.target, frame.at, keyBytes)
    at += bytes.copy(frame.target, at, textStart, textEnd)
    at = writeTime(frame.target, writeTime(frame.target, at, by), expiresAtMs)
    at = writeTime(frame.target, at, state.nextVersions())
    frame.send(OPS.ADD.code, at, this.addReceiver, replies, id, hash)
    state.begin(hash)
    state.memory.delete(hash, bytes, textStart, textEnd)
    replies.inflight++
    return true
  }

  explain(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const request = state.request.reset(bytes, start, end)
    const hash = state.key(request)
    request.done()
    const known = {
      key: bytes.toString('utf8', request.textStart, request.textEnd),
      memory: this.explainMemory(hash, bytes, request.textStart, request.textEnd),
      isHidden: state.isHidden(hash),
      adaptive: state.adaptive.explain(hash) ?? null,
    }
    const answer = (sqlite: unknown): void => {
      const body = encodeValue({ ...known, sqlite })
      replies.frame(REPLIES.RESULT.code, id, body, 0, body.length)
    }
    const lease = state.lease()
    if (!lease.isOpen) {
      answer(null)
      return true
    }
    const receiver: Receiver = {
      receive: reply => {
        replies.inflight--
        if (reply.op !== REPLIES.RESULT.code)
          replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
        else answer(decodeValue(reply.bytes, reply.start, reply.end))
      },
      fail: (error: HearthError) => failReplies(error, replies, id),
    }
    if (!lease.send(OPS.EXPLAIN.code, receiver, undefined, id, hash, bytes, start, end))
      return false
    replies.inflight++
    return true
  }

  /** Takes a lookup again that was put off; DeferredGets asks for it. */
  again(
    _op: number,
    replies: ReplyWriter,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): boolean {
    return this.lookup(replies, id, bytes, start, end)
  }

  lease(): Lease {
    return this.state.lease()
  }

  /** What tier 2 has of a hidden key is older than what somebody was told: nothing is built on it. False: no room now. */
  private dropHidden(
    lease: Lease,
    hash: number,
    bytes: Buffer,
    keyStart: number,
    keyEnd: number,
  ): boolean {
    const { state } = this
    if (!state.isHidden(hash)) return true
    const keyBytes = keyEnd - keyStart
    const { frame } = state
    if (!frame.begin(lease, textHeaderBytes(keyBytes) + keyBytes)) return false
    const at = writeTextHeader(frame.target, frame.at, keyBytes)
    const end = at + bytes.copy(frame.target, at, keyStart, keyEnd)
    frame.send(OPS.DEL.code, end, this.dropReceiver, undefined, 0, hash)
    state.begin(hash)
    return true
  }

  private readonly dropReceiver: Receiver<undefined> = {
    receive: (reply, _context, _id, hash) => {
      const isDone = reply.op === REPLIES.COUNT.code
      if (!isDone) this.state.hide(hash)
      this.state.settle(hash, isDone, true)
    },
    fail: (_error, _context, _id, hash) => {
      this.state.hide(hash)
      this.state.settle(hash, false, true)
    },
  }

  private explainMemory(hash: number, key: Buffer, start: number, end: number): unknown {
    const { memory } = this.state
    const nowMs = wallMs()
    const entry = memory.look(hash, key, start, end, nowMs)
    if (entry === 0) return null
    const expiresAtMs = memory.expiresAtMs(entry)
    return {
      version: memory.versionOf(entry),
      valueBytes: memory.valueBytes(entry),
      expiresAtMs,
      graceMs: memory.graceMs(entry),
      isExpired: expiresAtMs <= nowMs,
    }
  }

  private readonly lookupReceiver: Receiver<ReplyWriter> = {
    receive: (frame, replies, id, hash) => {
      const isLarge = frame.op === REPLIES.FOUND_LARGE.code
      const isFound =
        isLarge || frame.op === REPLIES.FOUND.code || frame.op === REPLIES.FOUND_EXTRA.code
      if (!isFound || !this.found.read(frame, hash)) {
        replies.inflight--
        this.state.counters.misses++
        replies.empty(REPLIES.MISS.code, id)
      } else if (isLarge) this.takeLarge(replies, id)
      else this.takeEntry(frame, replies, id, hash)
    },
    fail: failReplies,
  }

  private takeEntry(frame: RingReader, replies: ReplyWriter, id: number, hash: number): void {
    const { found, state } = this
    if (replies.isCongested()) {
      const keyEnd = found.keyEnd - frame.start
      const body = Buffer.allocUnsafe(keyEnd + 1)
      frame.bytes.copy(body, 0, frame.start, found.keyEnd)
      body[keyEnd] = 1 // Whoever did not ask for what is stale has not got it here either.
      replies.deferred ??= new DeferredGets(replies)
      replies.deferred.add(this, OPS.LOOKUP.code, id, body)
      return
    }
    replies.inflight--
    state.counters.sqliteHits++
    const { version, expiresAtMs, valueStart, valueEnd } = found
    reply(replies, id, TIER.sqlite, version, expiresAtMs, frame.bytes, valueStart, valueEnd)
    found.keep(hash)
  }

  private takeLarge(replies: ReplyWriter, id: number): void {
    const { found, state } = this
    state.counters.sqliteHits++
    const { version, expiresAtMs, largeBytes } = found
    const head = Buffer.allocUnsafe(ENTRY_HEAD_BYTES)
    const end = writeEntryHead(head, 0, TIER.sqlite, version, expiresAtMs)
    const read = new LargeRead(
      state.lease(),
      replies,
      id,
      found.key(),
      version,
      largeBytes,
      PART_BYTES,
      head.subarray(0, end),
    )
    read.start()
  }

  private readonly inspectReceiver: Receiver<ReplyWriter> = {
    receive: (frame, replies, id, hash) => {
      replies.inflight--
      const { found } = this
      const isThere = frame.op === REPLIES.FOUND_LARGE.code && found.read(frame, hash)
      if (isThere) inspected(replies, id, found.expiresAtMs, found.version)
      else replies.empty(REPLIES.MISS.code, id)
    },
    fail: failReplies,
  }

  private readonly touchReceiver = this.retimeReceiver(false)
  private readonly touchedReceiver = this.retimeReceiver(true)

  /** `isInMemory`: tier 1 had the entry, whatever tier 2 has. */
  private retimeReceiver(isInMemory: boolean): Receiver<ReplyWriter> {
    return {
      receive: (frame, replies, id, hash) => {
        replies.inflight--
        const isDone = frame.op === REPLIES.COUNT.code
        this.state.settle(hash, isDone)
        if (isDone && isInMemory) replies.count(id, 1)
        else replies.frame(frame.op, id, frame.bytes, frame.start, frame.end)
      },
      fail: (error, replies, id, hash) => {
        this.state.settle(hash, false)
        failReplies(error, replies, id)
      },
    }
  }

  private readonly addReceiver: Receiver<ReplyWriter> = {
    receive: (frame, replies, id, hash) => {
      replies.inflight--
      // A refusal changes nothing, in no tier; a key that holds no number holds it still.
      const isDone = frame.op === REPLIES.FOUND.code || frame.op === REPLIES.FOUND_EXTRA.code
      this.state.settle(hash, isDone)
      if (!isDone) {
        replies.frame(frame.op, id, frame.bytes, frame.start, frame.end)
        return
      }
      const isBelieved = this.found.read(frame, hash)
      const { valueStart, valueEnd } = this.found
      replies.frame(REPLIES.RESULT.code, id, frame.bytes, valueStart, valueEnd)
      if (isBelieved) this.found.keep(hash)
    },
    fail: (error, replies, id, hash) => {
      this.state.settle(hash, false)
      failReplies(error, replies, id)
    },
  }
}

function inspected(replies: ReplyWriter, id: number, expiresAtMs: number, version: number): void {
  const at = replies.begin(SCALAR_BYTES_MAX * 2)
  if (at < 0) return
  const versionAt = writeTime(replies.target, at, expiresAtMs)
  replies.commit(REPLIES.INSPECTED.code, id, writeTime(replies.target, versionAt, version))
}

function reply(
  replies: ReplyWriter,
  id: number,
  tier: number,
  version: number,
  expiresAtMs: number,
  bytes: Buffer,
  start: number,
  end: number,
): void {
  const at = replies.begin(ENTRY_HEAD_BYTES + end - start)
  if (at < 0) return
  const valueAt = writeEntryHead(replies.target, at, tier, version, expiresAtMs)
  copyBytes(bytes, start, end, replies.target, valueAt)
  replies.commit(REPLIES.ENTRY.code, id, valueAt + end - start)
}

function writeEntryHead(
  target: Buffer,
  at: number,
  tier: number,
  version: number,
  expiresAtMs: number,
): number {
  const isStale = expiresAtMs <= wallMs() ? 1 : 0
  const versionAt = writeUint(target, writeUint(target, at, tier), isStale)
  return writeTime(target, writeTime(target, versionAt, version), expiresAtMs)
}
