/** cache_store: STORE, a set with all that an entry can have: tags, grace, jitter, an adaptive time to live, a condition.
 *  Owns:   nothing.   Not here: the plain set (cache_ops.ts), to which a STORE without any of these comes down.
 *  Thread: main.
 *  Holds:  (1) a condition is decided once, in the order in which main takes requests: by tier 1 when it has the entry, whose
 *          version is then the newest there is; else by the worker, behind all writes that were sent before.
 *          (2) while the worker decides, tier 1 has no entry of the key, so a get waits in line behind the decision. */

import type { AdaptiveBounds } from '../cache/adaptive.ts'
import { ttlOf } from '../cache/policies.ts'
import { TAG_COUNT_MAX } from '../cache/segment.ts'
import { wallMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import { hashKey } from '../hash.ts'
import { TAG_BYTES_MAX } from '../limits.ts'
import type { Receiver } from '../pool/lease.ts'
import {
  type BodyReader,
  SCALAR_BYTES_MAX,
  textHeaderBytes,
  writeNil,
  writeTextHeader,
  writeTime,
  writeUint,
} from '../protocol/body.ts'
import { ENTRY_FLAG } from '../protocol/cache_spec.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { CacheOps } from './cache_ops.ts'
import type { CacheState } from './cache_state.ts'
import { failReplies } from './forward.ts'
import type { ReplyWriter } from './reply.ts'

export class CacheStore {
  private readonly state: CacheState
  private readonly ops: CacheOps
  /** The tags of the request that is being taken, as it has them: an array of str. */
  private tagsStart = 0
  private tagsEnd = 0

  constructor(state: CacheState, ops: CacheOps) {
    this.state = state
    this.ops = ops
  }

  store(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const request = state.request.reset(bytes, start, end)
    const hash = state.key(request)
    const { textStart, textEnd } = request
    const ttl = request.ttl()
    const isCommit = state.isCommit(request)
    let ifVersion = request.maybeUint()
    const extras = state.extras.reset()
    extras.graceMs = request.uint()
    const jitterMs = request.uint()
    const bounds = boundsIn(request)
    extras.isAdaptive = bounds !== undefined
    this.readTags(request)
    const valueAt = request.raw()
    state.checkValue(end - valueAt)

    if (ifVersion >= 0) {
      const isMet = this.decide(hash, bytes, textStart, textEnd, ifVersion)
      if (isMet === false) {
        replies.count(id, 0)
        return true
      }
      if (isMet === true) ifVersion = -1
    }
    const expiresAtMs = this.expiryOf(ttl, jitterMs, bounds, hash, bytes, valueAt, end)
    if (extras.flags === 0 && ifVersion < 0) {
      return this.ops.put(
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
        true,
      )
    }
    return this.putExtra(
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
      ifVersion,
    )
  }

  /** Whether the entry is of a version (0: absent), as far as main knows; undefined: the worker must say. */
  private decide(
    hash: number,
    key: Buffer,
    start: number,
    end: number,
    ifVersion: number,
  ): boolean | undefined {
    const { state } = this
    const { memory } = state
    const nowMs = wallMs()
    const entry = memory.look(hash, key, start, end, nowMs)
    if (entry !== 0 && memory.expiresAtMs(entry) > nowMs)
      return memory.versionOf(entry) === ifVersion
    // What is hidden is absent to everybody.
    return state.isHidden(hash) ? ifVersion === 0 : undefined
  }

  /** PUT_EXTRA, and tier 1 at once unless there is a condition yet. */
  private putExtra(
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
    ifVersion: number,
  ): boolean {
    const { state } = this
    const { memory, extras, frame } = state
    const isConditional = ifVersion >= 0
    if (!isCommit && !isConditional && !state.lease().isOpen) {
      const version = state.nextVersions()
      memory.set(
        hash,
        bytes,
        keyStart,
        keyEnd,
        bytes,
        valueStart,
        valueEnd,
        expiresAtMs,
        version,
        extras,
      )
      state.hide(hash)
      replies.count(id, 1)
      return true
    }
    const lease = state.openLease('the value was not stored')
    const isAckedNow = !isCommit && !isConditional && valueEnd - valueStart <= memory.valueBytesMax
    const keyBytes = keyEnd - keyStart
    const tagsBytes = this.tagsEnd - this.tagsStart
    const bodyBytes =
      textHeaderBytes(keyBytes) +
      keyBytes +
      SCALAR_BYTES_MAX * 5 +
      tagsBytes +
      valueEnd -
      valueStart
    if (!frame.begin(lease, bodyBytes)) return false
    const version = state.nextVersions()
    const { target } = frame
    let at = writeTextHeader(target, frame.at, keyBytes)
    at += bytes.copy(target, at, keyStart, keyEnd)
    at = writeTime(target, writeTime(target, at, expiresAtMs), version)
    at = writeUint(target, at, extras.graceMs)
    const flags =
      (isAckedNow ? ENTRY_FLAG.behind : 0) | (extras.isAdaptive ? ENTRY_FLAG.adaptive : 0)
    at = writeUint(target, at, flags)
    at = isConditional ? writeUint(target, at, ifVersion) : writeNil(target, at)
    at += bytes.copy(target, at, this.tagsStart, this.tagsEnd)
    at += bytes.copy(target, at, valueStart, valueEnd)
    const receiver = isAckedNow ? this.ops.behind : this.receiver
    frame.send(OPS.PUT_EXTRA.code, at, receiver, replies, id, hash)
    state.begin(hash)
    if (isConditional) memory.delete(hash, bytes, keyStart, keyEnd)
    else
      memory.set(
        hash,
        bytes,
        keyStart,
        keyEnd,
        bytes,
        valueStart,
        valueEnd,
        expiresAtMs,
        version,
        extras,
      )
    if (isAckedNow) {
      state.unflushed.add(hash)
      replies.count(id, 1)
    } else replies.inflight++
    return true
  }

  private readonly receiver: Receiver<ReplyWriter> = {
    receive: (reply, replies, id, hash) => {
      replies.inflight--
      this.state.settle(hash, reply.op === REPLIES.COUNT.code)
      replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
    },
    fail: (error, replies, id, hash) => {
      this.state.settle(hash, false)
      failReplies(error, replies, id)
    },
  }

  private readTags(request: BodyReader): void {
    const { state } = this
    this.tagsStart = request.at
    const count = request.arrayHead()
    if (count > TAG_COUNT_MAX)
      throw new HearthError('BAD_REQUEST', `an entry has at most ${TAG_COUNT_MAX} tags`)
    for (let left = count; left > 0; left--) state.extras.addTag(state.tags, tagHash(request))
    this.tagsEnd = request.at
  }

  private expiryOf(
    ttl: number | string | undefined,
    jitterMs: number,
    bounds: AdaptiveBounds | undefined,
    hash: number,
    bytes: Buffer,
    valueStart: number,
    valueEnd: number,
  ): number {
    const { state } = this
    if (bounds === undefined) return state.expiryOf(ttl, jitterMs)
    const startMs = ttl === undefined ? bounds.minMs : ttlOf(state.policies, ttl)
    const ttlMs = state.adaptive.store(hash, bytes, valueStart, valueEnd, bounds, startMs)
    return state.expiryOf(ttlMs, jitterMs)
  }
}

/** Reads one tag; its hash, by which both tiers know it. */
export function tagHash(request: BodyReader): number {
  request.textRange()
  const { bytes, textStart, textEnd } = request
  if (textEnd === textStart || textEnd - textStart > TAG_BYTES_MAX)
    throw new HearthError('BAD_REQUEST', `a tag has 1 to ${TAG_BYTES_MAX} bytes`)
  return hashKey(0, bytes, textStart, textEnd)
}

/** Bounds of an adaptive time to live; undefined: it is none. Throws BAD_REQUEST. */
export function boundsIn(request: BodyReader): AdaptiveBounds | undefined {
  const minMs = request.uint()
  const maxMs = request.uint()
  if (maxMs === 0) return undefined
  if (minMs === 0 || minMs > maxMs)
    throw new HearthError('BAD_REQUEST', 'adaptive: minMs must be above 0, and at most maxMs')
  return { minMs, maxMs }
}
