/** loop: feeds one worker's handlers from its request ring and carries their replies back, until it is told to stop.
 *  Owns:   the worker's ends of both rings.   Not here: what operations mean (sqlite/, postgres/).
 *  Thread: one worker; one loop a thread.
 *  Holds:  (1) requests are handled in ring order.  (2) after each drain handlers flush, so a group is committed before the loop
 *          sleeps.  (3) a thread whose handlers never wait for events blocks in Atomics.wait; one that hosts Postgres has an
 *          event loop to run and sleeps in Atomics.waitAsync. */

import { monotonicMs } from '../engine/clock.ts'
import { Collector } from '../engine/collector.ts'
import { HearthError, toHearthError } from '../engine/errors.ts'
import { DRAIN_COUNT_MAX, IDLE_MS } from '../engine/limits.ts'
import { encodeError } from '../engine/protocol/error_frame.ts'
import { encodeValue } from '../engine/protocol/payload.ts'
import { OPS, REPLIES } from '../engine/protocol/spec.ts'
import type { RingMemory } from '../engine/ring/layout.ts'
import { RingReader } from '../engine/ring/reader.ts'
import { RingWriter } from '../engine/ring/writer.ts'
import type { Handler, Replies } from './handler.ts'

export interface Hosted {
  readonly kind: string
  readonly handler: Handler
}

/** Replies that are pushed before the consumer is told: one wake-up for many, and no long wait for the first. */
const PUBLISH_COUNT = 32
/** Records handled before their room is given back to main. */
const RELEASE_COUNT = 64
/** How long a push may wait for main to make room before it looks again. */
const ROOM_MS = 100

export async function serveRings(
  rings: { requests: RingMemory; replies: RingMemory },
  hosted: Hosted[],
  blocks: boolean,
): Promise<void> {
  const requests = new RingReader(rings.requests)
  const replies = new RingReplies(new RingWriter(rings.replies))
  const handlers = handlersByOp(hosted)
  const collector = new Collector()
  let stopTicket = -1
  const idleTurn = new IdleTurn(hosted, collector)

  while (stopTicket < 0) {
    const count = drain()
    for (const { handler } of hosted) handler.flush?.(replies)
    replies.publish()
    collector.turn()
    if (count > 0) {
      idleTurn.busy()
      // Events get their turn between drains, however many requests there are.
      if (!blocks) await new Promise(setImmediate)
      continue
    }
    const sleepMs = idleTurn.sleepMs()
    if (blocks) requests.wait(sleepMs)
    else await requests.onceReadable(sleepMs)
    idleTurn.woke()
  }
  for (const { handler } of hosted) await handler.close()
  replies.reply(REPLIES.OK.code, stopTicket, EMPTY)
  replies.publish()

  function drain(): number {
    let count = 0
    replies.isDraining = true
    while (stopTicket < 0 && count < DRAIN_COUNT_MAX && requests.next()) {
      count++
      handleOne()
      if (count % RELEASE_COUNT === 0) requests.release()
    }
    replies.isDraining = false
    requests.release()
    return count
  }

  function handleOne(): void {
    const { op, ticket } = requests
    const handler = handlers[op]
    try {
      if (handler !== undefined) handler.handle(requests, replies)
      else if (op === OPS.PING.code)
        replies.reply(REPLIES.READY.code, ticket, encodeValue(statsOf(hosted)))
      else if (op === OPS.STATS.code)
        replies.reply(REPLIES.RESULT.code, ticket, encodeValue(statsOf(hosted)))
      else if (op === OPS.STOP.code) stopTicket = ticket
      else
        throw new HearthError(
          'PROTOCOL',
          `no handler of this worker answers operation 0x${op.toString(16)}`,
        )
    } catch (error) {
      replies.fail(ticket, toHearthError(error))
    }
  }
}

/** The replies' way into the ring; a full ring makes the thread wait for main, which always reads. */
class RingReplies implements Replies {
  isDraining = false
  private readonly writer: RingWriter
  private unpublished = 0
  private isScheduled = false

  constructor(writer: RingWriter) {
    this.writer = writer
  }

  reply(op: number, ticket: number, body: Uint8Array, start = 0, end = body.length): void {
    if (end - start <= this.writer.messageBytesMax) {
      while (!this.writer.push(op, ticket, body, start, end)) this.writer.waitForRoom(ROOM_MS)
    } else {
      let at = start
      while ((at = this.writer.pushPart(op, ticket, body, start, end, at)) < end)
        this.writer.waitForRoom(ROOM_MS)
    }
    this.unpublished++
    if (this.unpublished >= PUBLISH_COUNT) this.publish()
    else if (!this.isDraining) this.publishSoon()
  }

  fail(ticket: number, error: HearthError): void {
    this.reply(REPLIES.ERROR.code, ticket, encodeError(error))
  }

  publish(): void {
    this.unpublished = 0
    this.writer.publish()
  }

  /** A reply that came from an event: those of all connections that were readable together go together. Main sleeps while
   *  Postgres works, so each publish is a wake-up, and half a worker's time was those before they were gathered. */
  private publishSoon(): void {
    if (this.isScheduled) return
    this.isScheduled = true
    setImmediate(() => {
      this.isScheduled = false
      this.publish()
    })
  }
}

/** When a worker that has nothing to do wakes for housekeeping, and for giving memory back. */
class IdleTurn {
  private readonly hosted: Hosted[]
  private readonly collector: Collector
  private lastBusyMs = monotonicMs()
  private hasCollected = false
  private nextMs = IDLE_MS
  private lastTurnMs = monotonicMs()

  constructor(hosted: Hosted[], collector: Collector) {
    this.hosted = hosted
    this.collector = collector
  }

  /** Housekeeping has its turn now and then also when there is no pause: a disk that was full is tried again, whatever reads come. */
  busy(): void {
    this.lastBusyMs = monotonicMs()
    this.hasCollected = false
    if (this.lastBusyMs - this.lastTurnMs >= BUSY_TURN_MS) this.turn()
    this.nextMs = IDLE_MS
  }

  sleepMs(): number {
    return this.nextMs
  }

  /** Runs the handlers' housekeeping once nothing has come for IDLE_MS. */
  woke(): void {
    if (monotonicMs() - this.lastBusyMs < IDLE_MS) return
    if (!this.hasCollected) {
      this.hasCollected = true
      this.collector.idle()
    }
    this.turn()
  }

  private turn(): void {
    this.nextMs = Math.min(...this.hosted.map(({ handler }) => handler.idle?.() ?? IDLE_MS_MAX))
    this.lastTurnMs = monotonicMs()
  }
}

const IDLE_MS_MAX = 10_000
const BUSY_TURN_MS = 1_000
const EMPTY = new Uint8Array(0)

function handlersByOp(hosted: Hosted[]): (Handler | undefined)[] {
  const table: (Handler | undefined)[] = new Array(256).fill(undefined)
  for (const { handler } of hosted) for (const op of handler.ops) table[op] = handler
  return table
}

function statsOf(hosted: Hosted[]): Record<string, unknown> {
  return Object.fromEntries(hosted.map(({ kind, handler }) => [kind, handler.stats()]))
}
