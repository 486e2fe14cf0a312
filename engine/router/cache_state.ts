/** CacheState: what all operations of the cache share: both tiers, and which keys and tags have a change on its way.
 *  Owns:   versions; writes in flight; what is hidden from tier 2.   Not here: the operations (cache_*.ts).
 *  Thread: main.
 *  Holds:  (1) a version is given once, also over restarts: counting begins beyond what the file says was reserved.
 *          (2) what tier 2 says of a key is believed, and kept in tier 1, only while no write of the key is on its way, the key is
 *          not hidden, and no invalidation that could mean it is unfinished. */

import { assert } from '../assert.ts'
import { AdaptiveTtl } from '../cache/adaptive.ts'
import type { Memory } from '../cache/memory.ts'
import { type TtlPolicies, ttlOf } from '../cache/policies.ts'
import type { Segment } from '../cache/segment.ts'
import { Extras, TagCounters } from '../cache/tags.ts'
import { wallMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import type { Lease } from '../pool/lease.ts'
import { BodyReader } from '../protocol/body.ts'
import { DURABILITY } from '../protocol/spec.ts'
import { Namespaces } from './namespaces.ts'
import { RingFrame } from './ring_frame.ts'
import { Unfinished } from './unfinished.ts'
import { Unflushed } from './unflushed.ts'

export interface CacheLimits {
  readonly keyBytesMax: number
  readonly valueBytesMax: number
}

export interface CacheCounters {
  sqliteHits: number
  misses: number
  writes: number
  failedWrites: number
  invalidatedTags: number
  invalidatedPatterns: number
}

/** Hashes that may be hidden from tier 2 at once; past it all of tier 2 is, until the engine is started anew. */
const HIDDEN_COUNT_MAX = 65_536
const PENDING_SLOTS = 4_096
const PENDING_MASK = PENDING_SLOTS - 1

export class CacheState {
  readonly counters: CacheCounters = {
    sqliteHits: 0,
    misses: 0,
    writes: 0,
    failedWrites: 0,
    invalidatedTags: 0,
    invalidatedPatterns: 0,
  }
  readonly namespaces = new Namespaces()
  readonly memory: Memory
  readonly tags: TagCounters
  readonly adaptive = new AdaptiveTtl()
  readonly limits: CacheLimits
  policies: TtlPolicies
  /** The worker of tier 2, as it is now. */
  readonly lease: () => Lease
  /** For the request that is being taken; nothing is kept in them. */
  readonly request = new BodyReader()
  readonly frame = new RingFrame()
  readonly extras = new Extras()
  readonly unfinished: Unfinished
  readonly unflushed: Unflushed
  /** How many writes are on their way to SQLite, by the low bits of their keys' hashes. Keys that share them wait for each other,
   *  which costs a fill now and then. A Map would make 2 MB of garbage a second of 20 000 sets: the tables that it outgrows are old. */
  private readonly pending = new Uint32Array(PENDING_SLOTS)
  private readonly hidden = new Set<number>()
  private version = 0
  /** Told of tags whose entries have just been ended, by their names. */
  tagsEnded: (names: readonly string[]) => void = () => undefined

  constructor(
    segment: Segment,
    memory: Memory,
    lease: () => Lease,
    policies: TtlPolicies,
    limits: CacheLimits,
  ) {
    this.memory = memory
    memory.adaptive = this.adaptive
    this.tags = new TagCounters(segment)
    this.lease = lease
    this.policies = policies
    this.limits = limits
    this.unfinished = new Unfinished(lease)
    this.unflushed = new Unflushed(lease, hash => this.hide(hash))
  }

  /** Versions given from now on are at least this. */
  raiseVersion(version: number): void {
    this.version = Math.max(this.version, version)
  }

  /** The first of so many versions, never given before. */
  nextVersions(count = 1): number {
    const first = this.version
    this.version += count
    return first
  }

  /** Reads the key of a request: its range is then in textStart and textEnd. Its hash. */
  key(request: BodyReader): number {
    request.textRange()
    const keyBytes = request.textEnd - request.textStart
    if (keyBytes === 0) throw new HearthError('BAD_REQUEST', 'a key has at least one byte')
    const { bytes, textStart } = request
    if (bytes[textStart] === 0 && bytes[textStart + 1] === 1 && keyBytes > 1)
      throw new HearthError('BAD_REQUEST', 'keys that begin with \\0\\x01 are the engine’s own')
    if (keyBytes > this.limits.keyBytesMax) throw this.tooLarge('key', keyBytes)
    return this.memory.hash(request.bytes, request.textStart, request.textEnd)
  }

  /** The version of the entry that tier 1 has, -1 when it has none that is fresh. */
  freshVersion(hash: number, key: Buffer, start: number, end: number): number {
    const { memory } = this
    const nowMs = wallMs()
    const entry = memory.look(hash, key, start, end, nowMs)
    return entry !== 0 && memory.expiresAtMs(entry) > nowMs ? memory.versionOf(entry) : -1
  }

  /** Reads a durability: whether it is `commit`. */
  isCommit(request: BodyReader): boolean {
    const durability = request.uint()
    if (durability > DURABILITY.memory)
      throw new HearthError('BAD_REQUEST', `no durability has the number ${durability}`)
    return durability !== DURABILITY.memory
  }

  checkValue(bytes: number): void {
    if (bytes > this.limits.valueBytesMax) throw this.tooLarge('value', bytes)
  }

  /** When an entry that is stored now expires; a jitter is added at random, so that what was stored together does not expire so. */
  expiryOf(ttl: number | string | undefined, jitterMs = 0): number {
    const ttlMs = ttlOf(this.policies, ttl)
    return ttlMs === 0 ? Infinity : wallMs() + ttlMs + (jitterMs > 0 ? Math.random() * jitterMs : 0)
  }

  /** The worker, for a write: UNAVAILABLE when there is none, with what that means. */
  openLease(otherwise: string): Lease {
    const lease = this.lease()
    if (!lease.isOpen)
      throw new HearthError('UNAVAILABLE', `the sqlite worker is restarting: ${otherwise}`)
    return lease
  }

  /** The worker, for a write that builds on what tier 2 has: UNAVAILABLE also while that may be what an invalidation meant that
   *  failed, and that every read passes over. */
  openLeaseToBuildOn(otherwise: string): Lease {
    if (this.unfinished.isOwed)
      throw new HearthError(
        'UNAVAILABLE',
        `an invalidation that failed is tried again first: ${otherwise}`,
      )
    return this.openLease(otherwise)
  }

  /** A write of this key is on its way. */
  begin(hash: number): void {
    this.counters.writes++
    this.pending[hash & PENDING_MASK]!++
  }

  /** A write has ended. One that failed takes its key out of tier 1, unless memory's word was given for it (`isKept`). */
  settle(hash: number, isWritten: boolean, isKept = false): void {
    const left = --this.pending[hash & PENDING_MASK]!
    assert(left < 2 ** 31, 'a write ended twice')
    if (isWritten) {
      if (left === 0) this.hidden.delete(hash)
      return
    }
    this.counters.failedWrites++
    if (!isKept) this.memory.deleteHash(hash)
  }

  /** Whether tier 1 may be filled with what tier 2 has of this key. */
  mayFill(hash: number): boolean {
    return this.pending[hash & PENDING_MASK] === 0
  }

  /** What tier 2 has of this key is older than what somebody was told. */
  hide(hash: number): void {
    if (this.hidden.size < HIDDEN_COUNT_MAX) this.hidden.add(hash)
  }

  isHidden(hash: number): boolean {
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
