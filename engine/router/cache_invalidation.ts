/** cache_invalidation: many entries ended at a stroke, by tag or by pattern, in both tiers.
 *  Owns:   the walks of patterns through both tiers.   Not here: what failed and is owed (unfinished.ts).
 *  Thread: main.
 *  Holds:  (1) from the moment a request is taken nobody reads what it means, and it is acknowledged once tier 2 has committed it.
 *          (2) what is stored after it was taken stays, in both tiers: by tag since the counter is another, by pattern since its
 *          version is.
 *          (3) a pattern's walk goes SCAN_COUNT entries at a time through tier 1 and a few milliseconds through tier 2. */

import { HearthError } from '../errors.ts'
import { Glob } from '../glob.ts'
import { PATTERN_WALK_COUNT_MAX, TAGS_COUNT_MAX } from '../limits.ts'
import type { Receiver } from '../pool/lease.ts'
import { textBytesMax, writeArrayHead, writeText, writeTime } from '../protocol/body.ts'
import { decodeValue } from '../protocol/payload.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { RingReader } from '../ring/reader.ts'
import type { CacheState } from './cache_state.ts'
import { tagHash } from './cache_store.ts'
import type { ReplyWriter } from './reply.ts'
import type { Pattern } from './unfinished.ts'

/** Entries of tier 1 that a walk looks at before others have their turn. */
const SCAN_COUNT = 256

interface TagsRequest {
  readonly replies: ReplyWriter
  readonly names: readonly string[]
  readonly counters: readonly number[]
}

export class CacheInvalidation {
  private readonly state: CacheState
  private walkCount = 0

  constructor(state: CacheState) {
    this.state = state
    state.unfinished.retryTags = (names, done) => this.retryTags(names, done)
    state.unfinished.retryPattern = (pattern, done) =>
      new PatternWalk(state, pattern, (_count, error) => done(error === undefined)).start()
  }

  tags(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const request = state.request.reset(bytes, start, end)
    const count = request.arrayHead()
    if (count > TAGS_COUNT_MAX)
      throw new HearthError('BAD_REQUEST', `at most ${TAGS_COUNT_MAX} tags go in one request`)
    const names: string[] = []
    const hashes: number[] = []
    for (let left = count; left > 0; left--) {
      hashes.push(tagHash(request))
      names.push(bytes.toString('utf8', request.textStart, request.textEnd))
    }
    request.done()
    const lease = state.openLease('the entries may still be there')
    const counters = hashes.map(hash => state.tags.counterOf(hash))
    const context: TagsRequest = { replies, names, counters }
    const { receiver } = this
    if (
      !lease.send(OPS.INVALIDATE_TAGS.code, receiver as Receiver, context, id, 0, bytes, start, end)
    )
      return false
    state.unfinished.beginTags(counters)
    for (const hash of hashes) state.tags.bump(hash)
    state.tagsEnded(names)
    state.counters.invalidatedTags += count
    replies.inflight++
    return true
  }

  /** Ends in tier 2 what tier 1 has ended already, for the engine itself. */
  endInTier2(names: readonly string[], hashes: readonly number[]): void {
    const { state } = this
    const { unfinished } = state
    const counters = hashes.map(hash => state.tags.counterOf(hash))
    unfinished.beginTags(counters)
    this.retryTags(names, isDone => {
      if (isDone) unfinished.endTags(counters)
      else unfinished.failedTags(names, counters)
    })
  }

  pattern(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const request = state.request.reset(bytes, start, end)
    const text = request.text()
    request.done()
    state.openLease('the entries may still be there')
    if (this.walkCount >= PATTERN_WALK_COUNT_MAX)
      throw new HearthError(
        'BUSY',
        `${PATTERN_WALK_COUNT_MAX} patterns are being invalidated: try again later`,
      )
    const pattern = { text, glob: new Glob(text), below: state.nextVersions() }
    const { unfinished } = state
    unfinished.beginPattern(pattern)
    state.counters.invalidatedPatterns++
    this.walkCount++
    replies.inflight++
    const walk = new PatternWalk(state, pattern, (count, error) => {
      this.walkCount--
      replies.inflight--
      if (error === undefined) {
        unfinished.endPattern(pattern)
        replies.count(id, count)
      } else {
        unfinished.failedPattern(pattern)
        replies.error(id, error)
      }
      replies.flush()
    })
    walk.start()
    return true
  }

  private readonly receiver: Receiver<TagsRequest> = {
    receive: (reply, { replies, names, counters }, id) => {
      const { unfinished } = this.state
      replies.inflight--
      if (reply.op === REPLIES.COUNT.code) unfinished.endTags(counters)
      else unfinished.failedTags(names, counters)
      replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
    },
    fail: (error, { replies, names, counters }, id) => {
      this.state.unfinished.failedTags(names, counters)
      replies.inflight--
      replies.error(id, error)
    },
  }

  private retryTags(names: readonly string[], done: (isDone: boolean) => void): void {
    const body = Buffer.allocUnsafe(5 + names.reduce((sum, name) => sum + textBytesMax(name), 0))
    let at = writeArrayHead(body, 0, names.length)
    for (const name of names) at = writeText(body, at, name)
    const lease = this.state.lease()
    const receiver: Receiver = {
      receive: reply => done(reply.op === REPLIES.COUNT.code),
      fail: () => done(false),
    }
    const isSent = lease.send(OPS.INVALIDATE_TAGS.code, receiver, undefined, 0, 0, body, 0, at)
    if (isSent) lease.publish()
    else done(false)
  }
}

/** One pattern's way through both tiers, in turns. */
class PatternWalk {
  private readonly state: CacheState
  private readonly pattern: Pattern
  private readonly done: (count: number, error?: HearthError) => void
  private after = ''
  private count = 0
  private tiersLeft = 2
  private error: HearthError | undefined

  constructor(
    state: CacheState,
    pattern: Pattern,
    done: (count: number, error?: HearthError) => void,
  ) {
    this.state = state
    this.pattern = pattern
    this.done = done
  }

  start(): void {
    this.scanMemory()
    this.stepSqlite()
  }

  private scanMemory(): void {
    const { memory } = this.state
    const { glob, below } = this.pattern
    const scan = memory.beginScan()
    const isMeant = (entry: number): boolean =>
      memory.versionOf(entry) < below &&
      glob.matches(memory.bytes.toString('utf8', memory.keyStart(entry), memory.valueStart(entry)))
    const turn = (): void => {
      if (memory.scan(scan, SCAN_COUNT, isMeant)) {
        setImmediate(turn)
        return
      }
      memory.endScan(scan)
      this.tierDone()
    }
    turn()
  }

  private readonly stepSqlite = (): void => {
    const lease = this.state.lease()
    if (!lease.isOpen) return this.failed(new HearthError('UNAVAILABLE', GONE))
    const { text, below } = this.pattern
    const body = Buffer.allocUnsafe(textBytesMax(text) + textBytesMax(this.after) + 9)
    const end = writeTime(body, writeText(body, writeText(body, 0, text), this.after), below)
    const { receiver } = this
    if (lease.send(OPS.DELETE_MATCHING.code, receiver, this, 0, 0, body, 0, end)) lease.publish()
    else lease.onceRoom(this.stepSqlite)
  }

  private readonly receiver: Receiver = {
    receive: (reply: RingReader) => {
      if (reply.op !== REPLIES.RESULT.code)
        return this.failed(new HearthError('UNAVAILABLE', FAILED))
      const [count, next] = decodeValue(reply.bytes, reply.start, reply.end) as [
        number,
        string | null,
      ]
      this.count += count
      if (next === null) return this.tierDone()
      this.after = next
      // Requests that came meanwhile go first.
      setImmediate(this.stepSqlite)
    },
    fail: (error: HearthError) => this.failed(error),
  }

  private failed(error: HearthError): void {
    this.error = error
    this.tierDone()
  }

  private tierDone(): void {
    this.tiersLeft--
    if (this.tiersLeft === 0) this.done(this.count, this.error)
  }
}

const GONE = 'the sqlite worker is restarting: the invalidation is finished later'
const FAILED = 'not written to tier 2: what matches is a miss from now on, and is removed later'
