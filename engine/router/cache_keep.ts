/** CacheKeep: entries that the engine stores and ends for itself, with nobody to answer.
 *  Owns:   which of their tags tier 2 may have.   Not here: what they are (query_cache.ts).
 *  Thread: main.
 *  Holds:  (1) an entry is ended in tier 1 at once, in every process; tier 2 is not believed about it until it has committed that.
 *          (2) what is lost of them is only time: they are written behind, and not at all while the worker has no room. */

import { hashKey } from '../hash.ts'
import type { Receiver } from '../pool/lease.ts'
import {
  SCALAR_BYTES_MAX,
  textBytesMax,
  textHeaderBytes,
  writeArrayHead,
  writeNil,
  writeText,
  writeTextHeader,
  writeTime,
  writeUint,
} from '../protocol/body.ts'
import { ENTRY_FLAG } from '../protocol/cache_spec.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { CacheInvalidation } from './cache_invalidation.ts'
import type { CacheOps } from './cache_ops.ts'
import type { CacheState } from './cache_state.ts'

/** Tags that tier 2 is known to have; past it, it may have any. */
const STORED_TAG_COUNT_MAX = 4_096

/** How an entry is kept. */
export interface Kept {
  readonly expiresAtMs: number
  readonly graceMs: number
  /** Its reads count for its next time to live. */
  readonly isAdaptive: boolean
  readonly tags: readonly string[]
}

export class CacheKeep {
  private readonly state: CacheState
  private readonly ops: CacheOps
  private readonly invalidation: CacheInvalidation
  /** Tags of what was sent to tier 2 since they were last ended there. */
  private readonly stored = new Set<string>()
  private isAnyStored = false
  /** Tier 2 may have something of what was stored here. */
  mayBeInTier2 = false

  constructor(state: CacheState, ops: CacheOps, invalidation: CacheInvalidation) {
    this.state = state
    this.ops = ops
    this.invalidation = invalidation
  }

  /** Stores a value, bytes[start, end), under tags that are as they are now. */
  store(
    hash: number,
    key: Buffer,
    bytes: Buffer,
    start: number,
    end: number,
    { expiresAtMs, graceMs, isAdaptive, tags }: Kept,
  ): void {
    const { state } = this
    const extras = state.extras.reset()
    extras.graceMs = graceMs
    extras.isAdaptive = isAdaptive
    for (const tag of tags) extras.addTag(state.tags, hashOfTag(tag))
    const version = state.nextVersions()
    const isInMemory = state.memory.set(
      hash,
      key,
      0,
      key.length,
      bytes,
      start,
      end,
      expiresAtMs,
      version,
      extras,
    )
    const lease = state.lease()
    if (!lease.isOpen) return
    const tagsBytes = tags.reduce((sum, tag) => sum + textBytesMax(tag), 5)
    const keyBytes = textHeaderBytes(key.length) + key.length
    const { frame } = state
    if (!frame.begin(lease, keyBytes + SCALAR_BYTES_MAX * 5 + tagsBytes + end - start)) return
    const { target } = frame
    let at = writeTextHeader(target, frame.at, key.length)
    at += key.copy(target, at)
    at = writeTime(target, writeTime(target, at, expiresAtMs), version)
    at = writeUint(target, at, graceMs)
    const flags = (isInMemory ? ENTRY_FLAG.behind : 0) | (isAdaptive ? ENTRY_FLAG.adaptive : 0)
    at = writeUint(target, at, flags)
    at = writeArrayHead(target, writeNil(target, at), tags.length)
    for (const tag of tags) at = writeText(target, at, tag)
    at += bytes.copy(target, at, start, end)
    frame.send(OPS.PUT_EXTRA.code, at, isInMemory ? this.ops.behind : this.written, NOBODY, 0, hash)
    state.begin(hash)
    if (isInMemory) state.unflushed.add(hash)
    this.noteStored(tags)
    lease.publish()
  }

  /** Ends everything that was stored under any of the tags. */
  end(tags: readonly string[]): void {
    const { state, stored } = this
    for (const tag of tags) state.tags.bump(hashOfTag(tag))
    state.tagsEnded(tags)
    const kept = this.isAnyStored ? tags : tags.filter(tag => stored.has(tag))
    if (kept.length === 0) return
    for (const tag of kept) stored.delete(tag)
    this.invalidation.endInTier2(kept, kept.map(hashOfTag))
  }

  /** The body of a GET. */
  getBody(key: Buffer): Buffer {
    const body = Buffer.allocUnsafe(textHeaderBytes(key.length) + key.length)
    key.copy(body, writeTextHeader(body, 0, key.length))
    return body
  }

  private noteStored(tags: readonly string[]): void {
    this.mayBeInTier2 = true
    if (this.isAnyStored) return
    for (const tag of tags) this.stored.add(tag)
    if (this.stored.size <= STORED_TAG_COUNT_MAX) return
    this.stored.clear()
    this.isAnyStored = true
  }

  private readonly written: Receiver<undefined> = {
    receive: (reply, _nobody, _id, hash) =>
      this.state.settle(hash, reply.op === REPLIES.COUNT.code),
    fail: (_error, _nobody, _id, hash) => this.state.settle(hash, false),
  }
}

/** The hash by which both tiers know a tag. */
function hashOfTag(tag: string): number {
  const bytes = Buffer.from(tag)
  return hashKey(0, bytes, 0, bytes.length)
}

const NOBODY = undefined as never
