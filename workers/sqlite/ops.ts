/** SqliteHandler: answers the operations of tier 2. Reads at once, in the order of the ring; writes after their COMMIT.
 *  Owns:   which part answers what, housekeeping's turns, figures.   Not here: what operations do (reads.ts, writes.ts, …).
 *  Thread: the sqlite worker.
 *  Holds:  (1) a GET is never answered with an error: what cannot be read is a MISS.  (2) no value is decoded, but a number
 *          that is added to. */

import { monotonicMs, wallMs } from '../../engine/clock.ts'
import { HearthError, toHearthError } from '../../engine/errors.ts'
import { BodyReader } from '../../engine/protocol/body.ts'
import { OPS } from '../../engine/protocol/spec.ts'
import type { Handler, Replies, RequestFrame } from '../handler.ts'
import { countBytes } from './byte_count.ts'
import { Hot } from './hot.ts'
import { Invalidation } from './invalidation.ts'
import { Listing } from './listing.ts'
import { Parts } from './parts.ts'
import { Reads } from './reads.ts'
import type { Room } from './room.ts'
import { PAGE_BYTES } from './statements.ts'
import { REOPEN_MS, type StoreHealth, type StoreOptions } from './store.ts'
import type { Upkeep } from './upkeep.ts'
import { Writes } from './writes.ts'

export interface SqliteHandler extends Handler {
  health(): StoreHealth
}

/** Opens the file, or a new one in place of one that cannot be used; never throws for what it finds on the disk. */
export function createSqliteHandler(options: StoreOptions): SqliteHandler {
  return new Tier(options)
}

const DAY_MS = 24 * 3_600_000

class Tier implements SqliteHandler {
  readonly ops: readonly number[]
  private readonly parts: Parts
  private readonly reader = new BodyReader()
  private readonly reads: Reads
  private readonly writes: Writes
  private readonly listing: Listing
  private readonly actions: ((frame: RequestFrame, replies: Replies) => void)[] = []
  private readonly startedMs = monotonicMs()
  private nextVersion: number
  /** Where late answers go: the ring's replies, once there are any. */
  private replies: Replies = NO_REPLIES

  constructor(options: StoreOptions) {
    this.parts = new Parts(options)
    const reads = new Reads(this.parts, this.reader)
    const writes = new Writes(this.parts, this.reader, reads)
    const invalidation = new Invalidation(this.parts, this.reader)
    const hot = new Hot(this.parts, this.reader, reads)
    this.reads = reads
    this.writes = writes
    this.listing = new Listing(this.parts, this.reader)
    this.nextVersion = this.firstVersion()
    const flushed =
      (action: (frame: RequestFrame, replies: Replies) => void) =>
      (frame: RequestFrame, replies: Replies) => {
        writes.flushKept(replies)
        action(frame, replies)
      }
    const { actions } = this
    actions[OPS.GET.code] = (frame, replies) => reads.get(frame, replies)
    actions[OPS.LOOKUP.code] = (frame, replies) => reads.get(frame, replies)
    actions[OPS.GET_MANY.code] = (frame, replies) => reads.getMany(frame, replies)
    actions[OPS.INSPECT.code] = (frame, replies) => reads.inspect(frame, replies)
    actions[OPS.EXPLAIN.code] = (frame, replies) => reads.explain(frame, replies)
    actions[OPS.READ_PART.code] = (frame, replies) => reads.readPart(frame, replies)
    actions[OPS.KEYS.code] = flushed((frame, replies) => this.listing.keys(frame, replies))
    actions[OPS.PUT.code] = (frame, replies) => writes.put(frame, replies)
    actions[OPS.PUT_BEHIND.code] = (frame, replies) => writes.putBehind(frame, replies)
    actions[OPS.PUT_EXTRA.code] = (frame, replies) => writes.putExtra(frame, replies)
    actions[OPS.PUT_MANY.code] = (frame, replies) => writes.putMany(frame, replies)
    actions[OPS.DEL.code] = (frame, replies) => writes.del(frame, replies)
    actions[OPS.RETIME.code] = (frame, replies) => writes.retime(frame, replies)
    actions[OPS.ADD.code] = (frame, replies) => writes.add(frame, replies)
    actions[OPS.FLUSH.code] = (frame, replies) => writes.flushRequest(frame, replies)
    actions[OPS.INVALIDATE_TAGS.code] = flushed((frame, replies) =>
      invalidation.tags(frame, replies),
    )
    actions[OPS.DELETE_MATCHING.code] = flushed((frame, replies) =>
      invalidation.matching(frame, replies),
    )
    actions[OPS.COUNT_BYTES.code] = flushed((frame, replies) =>
      countBytes(this.parts, this.reader, frame, replies),
    )
    // What is kept back has no id yet.
    actions[OPS.SAVE_HOT.code] = flushed((frame, replies) => hot.save(frame, replies))
    actions[OPS.LOAD_HOT.code] = (frame, replies) => hot.load(frame, replies)
    actions[OPS.SAVE_RESULTS.code] = (frame, replies) => hot.saveResults(frame, replies)
    actions[OPS.LOAD_RESULTS.code] = (frame, replies) => hot.loadResults(frame, replies)
    this.ops = Object.keys(actions).map(Number)
  }

  handle(frame: RequestFrame, replies: Replies): void {
    this.replies = replies
    try {
      this.reader.reset(frame.bytes, frame.start, frame.end)
      const action = this.actions[frame.op]
      if (action === undefined)
        throw new HearthError('BAD_REQUEST', `operation ${frame.op} is not one of tier 2`)
      action(frame, replies)
    } catch (error) {
      // Only what is wrong with the frame comes here: each operation answers for the disk itself.
      replies.fail(frame.ticket, toHearthError(error))
    }
  }

  flush(replies: Replies): void {
    this.writes.flushIfDue(replies)
    if (this.listing.isDue) this.listing.step(replies)
    this.parts.group.flush(replies)
  }

  settle(): void {
    this.parts.group.settle()
  }

  get isBusy(): boolean {
    return this.listing.isDue
  }

  idle(): number {
    const { parts } = this
    if (parts.behind.isDue) this.flush(this.replies)
    this.settle()
    if (!parts.isReady()) return REOPEN_MS
    if (parts.store.degraded || parts.doubts.any) this.probe()
    const { upkeep, behind } = parts
    const nextMs = Math.min(upkeep.idle(), Math.ceil(behind.untilDueMs))
    if (upkeep.entries !== undefined) {
      parts.entries.count = upkeep.entries + parts.removals()
      upkeep.entries = undefined
    }
    return parts.store.degraded ? Math.min(nextMs, REOPEN_MS) : nextMs
  }

  health(): StoreHealth {
    return this.parts.store.health()
  }

  /** `entries` counts expired rows until they are removed, and is put right by each walk of upkeep. */
  stats(): Record<string, unknown> {
    const { store, group, room, upkeep, entries, behind } = this.parts
    const figures = { bytes: 0, freeBytes: 0, walBytes: 0 }
    try {
      if (store.statements !== undefined) Object.assign(figures, sizes(room, upkeep))
    } catch (error) {
      store.failed('read', error)
    }
    const ranMs = Math.max(monotonicMs() - this.startedMs, 1)
    return {
      entries:
        store.statements === undefined ? 0 : Math.max(0, entries.count - this.parts.removals()),
      ...figures,
      maxBytes: store.maxBytes,
      hits: this.reads.hits,
      misses: this.reads.misses,
      writes: group.writes,
      commits: group.commits,
      groupSize: group.commits === 0 ? 0 : group.writes / group.commits,
      coalescedWrites: behind.coalesced,
      keptBack: behind.size,
      writtenBytes: upkeep.writtenBytes,
      writtenBytesPerDay: Math.round((upkeep.writtenBytes * DAY_MS) / ranMs),
      evictions: room.evictions,
      expirations: upkeep.expirations,
      nextVersion: this.nextVersion,
      setAsideAs: store.setAsideAs,
      ...store.health(),
    }
  }

  close(): void {
    this.listing.close(this.replies)
    this.writes.flushKept(this.replies)
    this.parts.group.flush(this.replies)
    // Nobody remembers them after this: what can be deleted now does not come back.
    if (this.parts.doubts.any) this.probe()
    try {
      this.parts.upkeep.truncate()
    } catch (error) {
      this.parts.store.failed('checkpoint', error)
    }
    this.parts.upkeep.close()
    this.parts.store.close()
  }

  /** Where main begins to count versions. Of a file that cannot be read now the clock alone knows. */
  private firstVersion(): number {
    try {
      if (this.parts.isReady()) return this.parts.entries.nextVersion()
    } catch (error) {
      this.parts.store.failed('read', error)
    }
    return Math.floor(wallMs() * 1_000)
  }

  /** Writes something small, to see whether the disk takes writes again; and deletes what is doubted. */
  private probe(): void {
    const { group, store } = this.parts
    const nowMs = monotonicMs()
    if (group.beforeWrite(0, NO_REPLIES)) {
      try {
        store.statements!.probe.run(nowMs)
        store.succeeded('read')
      } catch (error) {
        group.fail(error, NO_REPLIES)
      }
    }
    group.flush(NO_REPLIES)
  }
}

/** A probe has no one to answer. */
const NO_REPLIES: Replies = { reply() {}, fail() {} }

function sizes(room: Room, upkeep: Upkeep) {
  return {
    bytes: room.pageCount() * PAGE_BYTES,
    freeBytes: room.freePages() * PAGE_BYTES,
    walBytes: upkeep.walBytes(),
  }
}
