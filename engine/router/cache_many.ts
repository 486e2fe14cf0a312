/** cache_many: many keys in one frame: getMany asks tier 2 once for all that tier 1 lacks, setMany is one write.
 *  Owns:   nothing.   Not here: how clients divide what is too much for one frame (client/many.ts).
 *  Thread: main.
 *  Holds:  (1) a reply has at most about MANY_BYTES_MAX from each tier: what does not fit is to be asked for again, so neither side
 *          ever holds much.  (2) a client that has yet to take what was sent before gets no values, only marks to ask again. */

import { wallMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import { MANY_BYTES_MAX, MANY_COUNT_MAX } from '../limits.ts'
import type { Receiver } from '../pool/lease.ts'
import {
  ARRAY_HEAD_BYTES_MAX,
  BIN_HEAD_BYTES,
  BodyReader,
  SCALAR_BYTES_MAX,
  writeArrayHead,
  writeBinHead,
  writeTime,
  writeUint,
} from '../protocol/body.ts'
import { TIER } from '../protocol/cache_spec.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { RingReader } from '../ring/reader.ts'
import type { CacheState } from './cache_state.ts'
import { Found } from './found.ts'
import type { ReplyWriter } from './reply.ts'

/** An index, a tier and the head of a bin. */
const RECORD_HEAD_BYTES = SCALAR_BYTES_MAX + 1 + BIN_HEAD_BYTES

interface Asked {
  readonly replies: ReplyWriter
  /** Of the keys that tier 2 was asked for, their places in the request. */
  readonly indexes: readonly number[]
}

interface Written {
  readonly replies: ReplyWriter
  readonly hashes: readonly number[]
}

export class CacheMany {
  private readonly state: CacheState
  private readonly found: Found
  private readonly records = new BodyReader()

  constructor(state: CacheState) {
    this.state = state
    this.found = new Found(state)
  }

  getMany(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const { memory, frame } = state
    const lease = state.lease()
    // Room for the case that tier 1 has none of them.
    if (lease.isOpen && !frame.begin(lease, end - start + ARRAY_HEAD_BYTES_MAX)) return false
    const request = state.request.reset(bytes, start, end)
    const count = countIn(request)
    const nowMs = wallMs()
    const hits: number[] = []
    const indexes: number[] = []
    const ranges: number[] = []
    let hitBytes = 0
    for (let index = 0; index < count; index++) {
      const keyAt = request.at
      const hash = state.key(request)
      const entry = memory.get(hash, bytes, request.textStart, request.textEnd, nowMs)
      if (entry !== 0) {
        hits.push(index, hitBytes > MANY_BYTES_MAX ? 0 : entry)
        if (hitBytes <= MANY_BYTES_MAX) hitBytes += memory.valueBytes(entry)
        hitBytes += RECORD_HEAD_BYTES
      } else if (lease.isOpen && !state.isHidden(hash)) {
        indexes.push(index)
        ranges.push(keyAt, request.at)
      } else state.counters.misses++
    }
    request.done()
    const isWhole = indexes.length === 0
    this.writeHits(replies, id, hits, hitBytes, isWhole)
    if (isWhole) return true
    let at = writeArrayHead(frame.target, frame.at, indexes.length)
    for (let i = 0; i < ranges.length; i += 2)
      at += bytes.copy(frame.target, at, ranges[i], ranges[i + 1])
    frame.send(OPS.GET_MANY.code, at, this.foundReceiver, { replies, indexes }, id, 0)
    replies.inflight++
    return true
  }

  setMany(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const { state } = this
    const { memory, frame } = state
    const request = state.request.reset(bytes, start, end)
    const expiresAtMs = state.expiryOf(request.ttl())
    const isCommit = state.isCommit(request)
    const entriesAt = request.at
    const count = this.checkEntries(request)
    if (count === 0) {
      replies.ok(id)
      return true
    }
    const lease = state.openLease('the values were not stored')
    if (!frame.begin(lease, SCALAR_BYTES_MAX * 3 + end - entriesAt)) return false
    const first = state.nextVersions(count)
    let at = writeTime(frame.target, frame.at, expiresAtMs)
    at = writeTime(frame.target, at, first)
    at = writeUint(frame.target, at, isCommit ? 0 : 1)
    at += bytes.copy(frame.target, at, entriesAt, end)
    const hashes: number[] = []
    const receiver = isCommit ? this.writtenReceiver : this.behindReceiver
    frame.send(OPS.PUT_MANY.code, at, receiver, { replies, hashes }, id, 0)
    request.reset(bytes, entriesAt, end).arrayHead()
    for (let i = 0; i < count; i++) {
      const hash = state.key(request)
      const { textStart, textEnd } = request
      request.binRange()
      hashes.push(hash)
      state.begin(hash)
      memory.set(
        hash,
        bytes,
        textStart,
        textEnd,
        bytes,
        request.textStart,
        request.textEnd,
        expiresAtMs,
        first + i,
      )
      if (!isCommit) state.unflushed.add(hash)
    }
    if (isCommit) replies.inflight++
    else replies.ok(id)
    return true
  }

  /** Sends what tier 1 has: as the whole answer, or as the first part of it. */
  private writeHits(
    replies: ReplyWriter,
    id: number,
    hits: readonly number[],
    hitBytes: number,
    isWhole: boolean,
  ): void {
    if (hits.length === 0 && !isWhole) return
    const { memory } = this.state
    let at = replies.begin(hitBytes)
    if (at < 0) return
    const { target } = replies
    for (let i = 0; i < hits.length; i += 2) {
      const entry = hits[i + 1]!
      at = writeUint(target, at, hits[i]!)
      at = writeUint(target, at, entry === 0 ? TIER.later : TIER.memory)
      if (entry === 0) continue
      const valueAt = memory.valueStart(entry)
      const bytes = memory.valueBytes(entry)
      at = writeBinHead(target, at, bytes)
      at += memory.bytes.copy(target, at, valueAt, valueAt + bytes)
    }
    replies.commit(isWhole ? REPLIES.VALUES.code : REPLIES.PART.code, id, at)
  }

  private readonly foundReceiver: Receiver<Asked> = {
    receive: (reply, { replies, indexes }, id) => {
      replies.inflight--
      if (reply.op === REPLIES.FOUND_MANY.code) this.takeFound(reply, replies, indexes, id)
      else replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
    },
    fail: (error, { replies }, id) => {
      replies.inflight--
      replies.error(id, error)
    },
  }

  private takeFound(
    reply: RingReader,
    replies: ReplyWriter,
    indexes: readonly number[],
    id: number,
  ): void {
    const { records, found, state } = this
    const isLater = replies.isCongested()
    // A record to the client is shorter than the one from the worker.
    let at = replies.begin(reply.end - reply.start + indexes.length)
    if (at < 0) return
    const { target } = replies
    records.reset(reply.bytes, reply.start, reply.end)
    let foundCount = 0
    while (records.at < records.end) {
      const index = indexes[records.uint()]!
      const tier = records.uint()
      if (tier !== TIER.sqlite) {
        at = writeUint(target, writeUint(target, at, index), tier)
        foundCount++
        continue
      }
      const hash = found.readRecord(records)
      if (!found.isBelieved(hash)) continue
      foundCount++
      at = writeUint(target, writeUint(target, at, index), isLater ? TIER.later : TIER.sqlite)
      if (isLater) continue
      const { valueStart, valueEnd } = found
      at = writeBinHead(target, at, valueEnd - valueStart)
      at += reply.bytes.copy(target, at, valueStart, valueEnd)
      state.counters.sqliteHits++
      found.keep(hash)
    }
    state.counters.misses += indexes.length - foundCount
    replies.commit(REPLIES.VALUES.code, id, at)
  }

  private readonly writtenReceiver = this.putReceiver(false)
  private readonly behindReceiver = this.putReceiver(true)

  /** `isBehind`: acknowledged already. */
  private putReceiver(isBehind: boolean): Receiver<Written> {
    const settle = (hashes: readonly number[], isWritten: boolean): void => {
      for (const hash of hashes) {
        if (!isWritten && isBehind) this.state.hide(hash)
        this.state.settle(hash, isWritten, isBehind)
      }
    }
    return {
      receive: (reply, { replies, hashes }, id) => {
        settle(hashes, reply.op === REPLIES.OK.code)
        if (isBehind) return
        replies.inflight--
        replies.frame(reply.op, id, reply.bytes, reply.start, reply.end)
      },
      fail: (error, { replies, hashes }, id) => {
        settle(hashes, false)
        if (isBehind) return
        replies.inflight--
        replies.error(id, error)
      },
    }
  }

  /** Reads all entries, so that nothing is stored if one of them is wrong; how many. */
  private checkEntries(request: BodyReader): number {
    const elements = request.arrayHead()
    if (elements % 2 !== 0 || elements > MANY_COUNT_MAX * 2)
      throw new HearthError('BAD_REQUEST', `at most ${MANY_COUNT_MAX} entries go in one frame`)
    for (let i = 0; i < elements; i += 2) {
      this.state.key(request)
      request.binRange()
      if (request.textEnd === request.textStart)
        throw new HearthError('BAD_REQUEST', 'a value has at least one byte')
      this.state.checkValue(request.textEnd - request.textStart)
    }
    request.done()
    return elements / 2
  }
}

function countIn(request: BodyReader): number {
  const count = request.arrayHead()
  if (count > MANY_COUNT_MAX)
    throw new HearthError('BAD_REQUEST', `at most ${MANY_COUNT_MAX} keys go in one frame`)
  return count
}
