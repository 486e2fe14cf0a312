/** loop: feeds one worker's handlers from its request ring and carries their replies back, until it is told to stop.
 *  Owns:   the worker's ends of both rings.   Not here: what operations mean (sqlite/, postgres/).
 *  Thread: one worker; one loop a thread.
 *  Holds:  (1) requests are handled in ring order.  (2) after each drain handlers flush, so a group is committed before the loop
 *          sleeps.  (3) a thread whose handlers never wait for events blocks in Atomics.wait; one that hosts Postgres has an
 *          event loop to run, and is called back from it (ring/doorbell.ts).  (4) a thread that nobody asks anything wakes for
 *          pings and for the housekeeping its handlers want, nothing else. */

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

/** Serves until STOP. With `blocks` the thread does nothing else; without, its event loop goes on. */
export async function serveRings(
  rings: { requests: RingMemory; replies: RingMemory },
  hosted: Hosted[],
  blocks: boolean,
): Promise<void> {
  const loop = new Loop(rings, hosted)
  if (blocks) loop.block()
  else await loop.listen()
  await loop.close()
}

class Loop {
  private readonly requests: RingReader
  private readonly replies: RingReplies
  private readonly hosted: Hosted[]
  private readonly handlers: (Handler | undefined)[]
  private readonly collector = new Collector()
  private readonly idleTurn: IdleTurn
  private stopTicket = -1
  /** Whether the last drain had anything but main's pings, which come for ever. */
  private hasWorked = false

  constructor(rings: { requests: RingMemory; replies: RingMemory }, hosted: Hosted[]) {
    this.requests = new RingReader(rings.requests)
    this.replies = new RingReplies(new RingWriter(rings.replies))
    this.hosted = hosted
    this.handlers = handlersByOp(hosted)
    this.idleTurn = new IdleTurn(hosted, this.collector)
  }

  /** Until STOP, asleep in Atomics.wait between drains. */
  block(): void {
    while (this.stopTicket < 0) {
      if (this.turn() > 0 || this.isBusy()) continue
      this.requests.wait(this.idleTurn.sleepMs())
      this.idleTurn.woke()
    }
  }

  /** Resolves at STOP. Events have their turn between drains, however many requests there are. */
  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        try {
          this.turn()
          if (this.stopTicket >= 0) resolve()
          else if (this.isBusy() || !this.requests.whenReadable(turn)) setImmediate(turn)
        } catch (error) {
          reject(error)
        }
      }
      this.idleTurn.arm()
      turn()
    })
  }

  async close(): Promise<void> {
    this.requests.close()
    this.idleTurn.disarm()
    for (const { handler } of this.hosted) await handler.close()
    this.replies.reply(REPLIES.OK.code, this.stopTicket, EMPTY)
    this.replies.publish()
  }

  /** Whether a handler has begun what it goes on with between drains. */
  private isBusy(): boolean {
    for (const { handler } of this.hosted) if (handler.isBusy === true) return true
    return false
  }

  /** One drain, answered as far as it can be now; how many requests it had. */
  private turn(): number {
    const count = this.drain()
    for (const { handler } of this.hosted) handler.flush?.(this.replies)
    this.replies.publish()
    for (const { handler } of this.hosted) handler.settle?.()
    this.collector.turn()
    if (this.hasWorked) this.idleTurn.busy()
    return count
  }

  private drain(): number {
    const { requests, replies } = this
    let count = 0
    this.hasWorked = false
    replies.isDraining = true
    while (this.stopTicket < 0 && count < DRAIN_COUNT_MAX && requests.next()) {
      count++
      this.handleOne()
      if (count % RELEASE_COUNT === 0) requests.release()
    }
    replies.isDraining = false
    requests.release()
    return count
  }

  private handleOne(): void {
    const { requests, replies } = this
    const { op, ticket } = requests
    const handler = this.handlers[op]
    // Questions that main asks by itself, for ever.
    if (op !== OPS.PING.code && op !== OPS.METRICS.code) this.hasWorked = true
    try {
      if (handler !== undefined) handler.handle(requests, replies)
      else if (op === OPS.PING.code)
        replies.reply(REPLIES.READY.code, ticket, encodeValue(statsOf(this.hosted)))
      else if (op === OPS.STATS.code)
        replies.reply(REPLIES.RESULT.code, ticket, encodeValue(statsOf(this.hosted)))
      else if (op === OPS.METRICS.code)
        replies.reply(REPLIES.RESULT.code, ticket, encodeValue(metricsOf(this.hosted)))
      else if (op === OPS.STOP.code) this.stopTicket = ticket
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
  private timer: NodeJS.Timeout | undefined
  private dueMs = Infinity

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
    if (this.timer !== undefined && this.dueMs > this.lastBusyMs + IDLE_MS) this.arm()
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

  /** For a thread with an event loop: from now on a timer wakes it. One that goes off twice a second while the thread is busy, and
   *  not one for each sleep: those that were not needed would pile up in the event loop until they are due. */
  arm(delayMs = this.nextMs): void {
    clearTimeout(this.timer)
    this.dueMs = monotonicMs() + delayMs
    this.timer = setTimeout(this.tick, delayMs).unref()
  }

  disarm(): void {
    clearTimeout(this.timer)
    this.timer = undefined
  }

  private readonly tick = (): void => {
    const leftMs = this.lastBusyMs + IDLE_MS - monotonicMs()
    if (leftMs > 0) return this.arm(leftMs)
    this.woke()
    this.arm()
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

function metricsOf(hosted: Hosted[]): Record<string, unknown> {
  return Object.assign(statsOf(hosted), ...hosted.map(({ handler }) => handler.metrics?.()))
}

function statsOf(hosted: Hosted[]): Record<string, unknown> {
  return Object.fromEntries(hosted.map(({ kind, handler }) => [kind, handler.stats()]))
}
