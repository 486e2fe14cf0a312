/** Claims: the right to load a key that is missing, one client of the host at a time: single flight over all processes.
 *  Owns:   the claims, who waits for them, and their time.   Not here: storing (cache_store.ts), the loading (client/get_or_set.ts).
 *  Thread: main.
 *  Holds:  (1) a key has at most one holder. Each grant has a token of its own, and only the newest may FILL: who was too slow,
 *          lost its connection or was passed over finds its value dropped.
 *          (2) a holder's connection, failure or time limit ends its claim at once, and exactly one who waits gets it.
 *          (3) a set of the key by anybody settles the claim; a delete or invalidation voids what is being loaded, since it
 *          may have been read before: its FILL is dropped.
 *          (4) nothing is kept of a key that nobody loads, except that it rests for a while after a failure.
 *
 *      (none) ──CLAIM──▶ held ──FILL, set, nothing──▶ (none)      held ──failed, gone, too slow──▶ held by the next, else (none)
 *      held ──failed, all have stale values──▶ resting ──restMs──▶ (none)      resting ──CLAIM without a stale value──▶ held */

import { monotonicMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import { Glob } from '../glob.ts'
import {
  CLAIM_COUNT_MAX,
  CLAIM_MS_MAX,
  CLAIM_SESSION_COUNT_MAX,
  CLAIM_SWEEP_MS,
  CLAIM_WAIT_MS_MAX,
  CLAIM_WAITER_COUNT_MAX,
  TAGS_COUNT_MAX,
} from '../limits.ts'
import { BodyReader, SCALAR_BYTES_MAX, writeTime } from '../protocol/body.ts'
import { CLAIM_FLAG, OUTCOME } from '../protocol/claim_spec.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import { ClaimQueue } from './claim_queue.ts'
import { effectOf, textsOf } from './key_effects.ts'
import { flushReplies, type ReplyWriter } from './reply.ts'

/** Stores what FILL carries behind its token: the body of a STORE. */
type Store = (
  replies: ReplyWriter,
  id: number,
  bytes: Buffer,
  start: number,
  end: number,
) => boolean

/** What a claim asks of the cache. */
export interface ClaimsState {
  /** Reads and checks the key of a request; its hash. */
  key(request: BodyReader): number
  /** The version of the entry that tier 1 has, -1 when it has none that is fresh. */
  freshVersion(hash: number, bytes: Buffer, start: number, end: number): number
}

/** Who asks, and on what terms. */
interface Asker {
  readonly replies: ReplyWriter
  readonly id: number
  readonly limitMs: number
  readonly flags: number
  readonly tags: readonly string[]
}

interface Waiter extends Asker {
  readonly claim: Claim
  readonly untilMs: number
}

interface Claim {
  readonly key: string
  /** Undefined: it rests. */
  holder: ReplyWriter | undefined
  token: number
  /** The end of the holder's time, or of the rest. */
  untilMs: number
  isVoid: boolean
  tags: readonly string[]
  readonly waiters: Set<Waiter>
}

export class Claims {
  private readonly state: ClaimsState
  private readonly store: Store
  private readonly claims = new Map<string, Claim>()
  private readonly queue = new ClaimQueue<Claim, Waiter>()
  private readonly request = new BodyReader()
  /** Begins anywhere, so that a token of an engine that is gone means nothing to this one. */
  private token = Math.floor(Math.random() * 2 ** 46)
  private timer: NodeJS.Timeout | undefined

  constructor(state: ClaimsState, store: Store) {
    this.state = state
    this.store = store
  }

  /** Some key is being loaded, or rests. */
  get any(): boolean {
    return this.claims.size > 0
  }

  /** Takes CLAIM. */
  claim(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const request = this.request.reset(bytes, start, end)
    const hash = this.state.key(request)
    const { textStart, textEnd } = request
    const waitMs = Math.min(request.uint(), CLAIM_WAIT_MS_MAX)
    const limitMs = Math.min(request.uint(), CLAIM_MS_MAX)
    const seen = request.maybeUint()
    const flags = request.uint()
    const tags = tagsOf(request)
    request.done()
    const isForced = (flags & CLAIM_FLAG.force) !== 0
    // Who looked before another's value was stored, and asks after it, need not load.
    const fresh = isForced ? -1 : this.state.freshVersion(hash, bytes, textStart, textEnd)
    if (fresh >= 0 && fresh !== seen) {
      replies.empty(REPLIES.SETTLED.code, id)
      return true
    }
    const asker = { replies, id, limitMs, flags, tags }
    const key = bytes.toString('utf8', textStart, textEnd)
    const claim = this.claims.get(key)
    if (claim === undefined) this.grant(this.begin(key, replies), asker)
    else if (claim.holder === undefined) {
      if ((flags & CLAIM_FLAG.stale) !== 0) replies.empty(REPLIES.HELD.code, id)
      else this.grant(claim, asker)
    } else if (claim.untilMs <= monotonicMs() && claim.waiters.size === 0) {
      this.letGo(claim)
      this.grant(claim, asker)
    } else if (waitMs === 0) replies.empty(REPLIES.HELD.code, id)
    else this.wait(claim, asker, monotonicMs() + waitMs)
    return true
  }

  /** Takes FILL. False: no room now, and the claim stays. */
  fill(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const request = this.request.reset(bytes, start, end)
    const token = request.time()
    const storeStart = request.at
    const claim = this.held(request.text(), token)
    if (claim === undefined || claim.isVoid) {
      if (claim !== undefined) this.pass(claim)
      replies.count(id, 0)
      return true
    }
    if (!this.store(replies, id, bytes, storeStart, end)) return false
    this.end(claim, REPLIES.SETTLED.code)
    return true
  }

  /** Takes RELEASE. */
  release(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): boolean {
    const request = this.request.reset(bytes, start, end)
    const token = request.time()
    const claim = this.held(request.text(), token)
    const outcome = request.uint()
    const restMs = Math.min(request.uint(), CLAIM_MS_MAX)
    request.done()
    if (claim !== undefined) {
      if (outcome === OUTCOME.nothing) this.end(claim, REPLIES.NOTHING.code)
      else if (restMs > 0 && !claim.isVoid) this.rest(claim, restMs)
      else this.pass(claim)
    }
    replies.count(id, claim === undefined ? 0 : 1)
    return true
  }

  /** Sees a request that may change a key which is being loaded, before it is taken: it may also come again. */
  observe(op: number, bytes: Buffer, start: number, end: number): void {
    if (op === OPS.FILL.code) return
    const effect = effectOf(op, this.request.reset(bytes, start, end))
    switch (effect?.word) {
      case 'set':
        for (const key of effect.keys) this.settle(key)
        return
      case 'deleted':
        for (const key of effect.keys) this.void(this.claims.get(key))
        return
      case 'tags': {
        const tags = new Set(effect.tags)
        return this.voidWhere(claim => claim.tags.some(tag => tags.has(tag)))
      }
      case 'pattern': {
        const glob = new Glob(effect.pattern)
        return this.voidWhere(claim => glob.matches(claim.key))
      }
    }
  }

  /** A connection is gone: what it held is passed on, what it waited for is forgotten. */
  sessionEnded(replies: ReplyWriter): void {
    const party = this.queue.leave(replies)
    if (party === undefined) return
    for (const waiter of party.waiting) waiter.claim.waiters.delete(waiter)
    for (const claim of party.held) this.pass(claim)
    flushReplies()
  }

  stop(): void {
    clearInterval(this.timer)
  }

  private begin(key: string, replies: ReplyWriter): Claim {
    if (this.claims.size >= CLAIM_COUNT_MAX || this.isFull(replies))
      throw busy('too many keys are being loaded')
    const claim = {
      key,
      holder: undefined,
      token: 0,
      untilMs: 0,
      isVoid: false,
      tags: [],
      waiters: new Set<Waiter>(),
    }
    this.claims.set(key, claim)
    this.timer ??= setInterval(this.sweep, CLAIM_SWEEP_MS).unref()
    return claim
  }

  private grant(claim: Claim, { replies, id, limitMs, tags }: Asker): void {
    claim.holder = replies
    claim.token = ++this.token
    claim.untilMs = monotonicMs() + limitMs
    claim.isVoid = false
    claim.tags = tags
    this.queue.hold(replies, claim)
    const at = replies.begin(SCALAR_BYTES_MAX)
    if (at < 0) return
    replies.commit(REPLIES.CLAIMED.code, id, writeTime(replies.target, at, claim.token))
  }

  private wait(claim: Claim, asker: Asker, untilMs: number): void {
    if (this.queue.waiterCount >= CLAIM_WAITER_COUNT_MAX || this.isFull(asker.replies))
      throw busy('too many requests wait for keys that are being loaded')
    const waiter: Waiter = { ...asker, claim, untilMs }
    claim.waiters.add(waiter)
    this.queue.wait(asker.replies, waiter)
  }

  private held(key: string, token: number): Claim | undefined {
    const claim = this.claims.get(key)
    return claim?.holder !== undefined && claim.token === token ? claim : undefined
  }

  private settle(key: string): void {
    const claim = this.claims.get(key)
    if (claim !== undefined) this.end(claim, REPLIES.SETTLED.code)
  }

  /** The claim ends, and all who wait are told; those who load in any case get it in turn. */
  private end(claim: Claim, op: number): void {
    for (const waiter of claim.waiters) {
      if ((waiter.flags & CLAIM_FLAG.force) !== 0) continue
      this.forget(waiter)
      waiter.replies.empty(op, waiter.id)
    }
    this.pass(claim)
  }

  /** The holder is done with it: the first who waits gets it. */
  private pass(claim: Claim): void {
    this.letGo(claim)
    for (const waiter of claim.waiters) {
      this.forget(waiter)
      return this.grant(claim, waiter)
    }
    this.claims.delete(claim.key)
    if (this.claims.size > 0) return
    clearInterval(this.timer)
    this.timer = undefined
  }

  /** Who has a stale value goes without; only if nobody else waits does the key rest. */
  private rest(claim: Claim, restMs: number): void {
    for (const waiter of claim.waiters) {
      if ((waiter.flags & CLAIM_FLAG.stale) === 0) continue
      this.forget(waiter)
      waiter.replies.empty(REPLIES.HELD.code, waiter.id)
    }
    if (claim.waiters.size > 0) return this.pass(claim)
    this.letGo(claim)
    claim.untilMs = monotonicMs() + restMs
  }

  private voidWhere(isMeant: (claim: Claim) => boolean): void {
    for (const claim of this.claims.values()) if (isMeant(claim)) this.void(claim)
  }

  private void(claim: Claim | undefined): void {
    if (claim === undefined) return
    if (claim.holder === undefined) this.pass(claim)
    else claim.isVoid = true
  }

  private letGo(claim: Claim): void {
    if (claim.holder !== undefined) this.queue.letGo(claim.holder, claim)
    claim.holder = undefined
  }

  private forget(waiter: Waiter): void {
    waiter.claim.waiters.delete(waiter)
    this.queue.forget(waiter.replies, waiter)
  }

  private isFull(replies: ReplyWriter): boolean {
    return this.queue.countOf(replies) >= CLAIM_SESSION_COUNT_MAX
  }

  private readonly sweep = (): void => {
    const nowMs = monotonicMs()
    for (const claim of this.claims.values()) {
      for (const waiter of claim.waiters) {
        if (waiter.untilMs > nowMs) continue
        this.forget(waiter)
        waiter.replies.empty(REPLIES.HELD.code, waiter.id)
      }
      // Nobody is served by ending a slow load that nobody waits for.
      const isOver = claim.holder === undefined || claim.waiters.size > 0
      if (isOver && claim.untilMs <= nowMs) this.pass(claim)
    }
    flushReplies()
  }
}

function tagsOf(request: BodyReader): string[] {
  const tags = textsOf(request)
  if (tags.length > TAGS_COUNT_MAX)
    throw new HearthError('BAD_REQUEST', `a request has at most ${TAGS_COUNT_MAX} tags`)
  return tags
}

function busy(what: string): HearthError {
  return new HearthError('BUSY', `${what}; ask again shortly`, { retryAfterMs: CLAIM_SWEEP_MS })
}
