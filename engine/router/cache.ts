/** Cache: every operation of the cache by its code.
 *  Owns:   the table from operation to action.   Not here: the actions (cache_*.ts).
 *  Thread: main.
 *  Holds:  as cache_ops.ts does, for each of them. */

import type { Memory } from '../cache/memory.ts'
import type { TtlPolicies } from '../cache/policies.ts'
import type { Segment } from '../cache/segment.ts'
import type { Lease } from '../pool/lease.ts'
import { OPS } from '../protocol/spec.ts'
import { CacheEntry } from './cache_entry.ts'
import { CacheInvalidation } from './cache_invalidation.ts'
import { CacheKeep } from './cache_keep.ts'
import { CacheMany } from './cache_many.ts'
import { CacheOps } from './cache_ops.ts'
import { type CacheLimits, CacheState } from './cache_state.ts'
import { CacheStore } from './cache_store.ts'
import { Claims } from './claims.ts'
import type { ReplyWriter } from './reply.ts'

type Action = (
  replies: ReplyWriter,
  id: number,
  bytes: Buffer,
  start: number,
  end: number,
) => boolean

export class Cache {
  readonly state: CacheState
  readonly ops: CacheOps
  readonly claims: Claims
  readonly keep: CacheKeep
  private readonly actions: (Action | undefined)[] = new Array(256).fill(undefined)

  constructor(
    segment: Segment,
    memory: Memory,
    lease: () => Lease,
    policies: TtlPolicies,
    limits: CacheLimits,
  ) {
    this.state = new CacheState(segment, memory, lease, policies, limits)
    this.ops = new CacheOps(this.state)
    const store = new CacheStore(this.state, this.ops)
    const entry = new CacheEntry(this.state)
    const many = new CacheMany(this.state)
    const invalidation = new CacheInvalidation(this.state)
    this.keep = new CacheKeep(this.state, this.ops, invalidation)
    this.claims = new Claims(this.state, (...request) => store.store(...request))
    const { actions, claims } = this
    actions[OPS.CLAIM.code] = (...request) => claims.claim(...request)
    actions[OPS.FILL.code] = (...request) => claims.fill(...request)
    actions[OPS.RELEASE.code] = (...request) => claims.release(...request)
    actions[OPS.STORE.code] = (...request) => store.store(...request)
    actions[OPS.LOOKUP.code] = (...request) => entry.lookup(...request)
    actions[OPS.INSPECT.code] = (...request) => entry.inspect(...request)
    actions[OPS.TOUCH.code] = (...request) => entry.touch(...request)
    actions[OPS.INCREMENT.code] = (...request) => entry.increment(...request)
    actions[OPS.EXPLAIN.code] = (...request) => entry.explain(...request)
    actions[OPS.GET_MANY.code] = (...request) => many.getMany(...request)
    actions[OPS.SET_MANY.code] = (...request) => many.setMany(...request)
    actions[OPS.INVALIDATE_TAGS.code] = (...request) => invalidation.tags(...request)
    actions[OPS.INVALIDATE_PATTERN.code] = (...request) => invalidation.pattern(...request)
    actions[OPS.COUNT_READS.code] = (replies, id, bytes, start, end) => {
      this.state.namespaces.add(this.state.request.reset(bytes, start, end))
      replies.ok(id)
      return true
    }
  }

  handles(op: number): boolean {
    return this.actions[op] !== undefined
  }

  /** Takes a request that it handles. */
  handle(
    replies: ReplyWriter,
    op: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): boolean {
    return this.actions[op]!(replies, id, bytes, start, end)
  }

  /** The worker of tier 2, as it is now. */
  lease(): Lease {
    return this.state.lease()
  }

  stop(): void {
    this.state.unfinished.stop()
    this.claims.stop()
  }
}
