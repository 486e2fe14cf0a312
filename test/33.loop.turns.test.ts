/** The worker's loop, in this thread: when it drains, when it does housekeeping, how often it wakes for nothing.
 *  Owns:   both ends of two rings a test.   Thread: main of a test process, which is also the worker.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  a handler here counts what it is asked; STOP ends every loop. */

import assert from 'node:assert/strict'
import { performance } from 'node:perf_hooks'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { DRAIN_COUNT_MAX, IDLE_MS } from '../engine/limits.ts'
import { OPS, REPLIES } from '../engine/protocol/spec.ts'
import { BELL_BESIDE, createRingMemory, TAIL_PARKED } from '../engine/ring/layout.ts'
import { RingReader } from '../engine/ring/reader.ts'
import { RingWriter } from '../engine/ring/writer.ts'
import type { Handler, Replies, RequestFrame } from '../workers/handler.ts'
import { serveRings } from '../workers/loop.ts'

const EMPTY = Buffer.alloc(0)

class Counter implements Handler {
  readonly ops = [OPS.QUERY.code]
  handled = 0
  flushes = 0
  idles = 0
  isClosed = false
  idleMs = 60
  settles = 0
  /** Drains that it wants beyond those for requests. */
  owed = 0
  onFlush = (): void => {}
  onHandle = (_frame: RequestFrame, _replies: Replies): void => {}

  handle(frame: RequestFrame, replies: Replies): void {
    this.handled++
    replies.reply(REPLIES.OK.code, frame.ticket, EMPTY)
    this.onHandle(frame, replies)
  }

  flush(): void {
    this.flushes++
    if (this.owed > 0) this.owed--
    this.onFlush()
  }

  settle(): void {
    this.settles++
    assert.equal(this.settles, this.flushes)
  }

  get isBusy(): boolean {
    return this.owed > 0
  }

  idle(): number {
    this.idles++
    return this.idleMs
  }

  stats(): Record<string, unknown> {
    return {}
  }

  close(): void {
    this.isClosed = true
  }
}

/** A loop with an event loop around it, and main's ends of its rings. */
class Stand {
  readonly handler = new Counter()
  readonly memory = createRingMemory()
  readonly requests = new RingWriter(this.memory)
  private readonly repliesMemory = createRingMemory()
  readonly replies = new RingReader(this.repliesMemory)
  readonly ended: Promise<void>
  private answered = 0

  constructor() {
    const rings = { requests: this.memory, replies: this.repliesMemory }
    this.ended = serveRings(rings, [{ kind: 'counter', handler: this.handler }], false)
  }

  send(op: number, count = 1): void {
    for (let i = 0; i < count; i++) assert.ok(this.requests.push(op, i, EMPTY, 0, 0))
    this.requests.publish()
  }

  /** Replies so far. */
  count(): number {
    while (this.replies.next()) this.answered++
    this.replies.release()
    return this.answered
  }

  async stop(): Promise<void> {
    this.send(OPS.STOP.code)
    await this.ended
  }
}

function turns(): number {
  return performance.nodeTiming.uvMetricsInfo.loopCount
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 5_000 && !condition(); i++) await sleep(1)
  assert.ok(condition(), what)
}

describe('a loop with events', () => {
  test('answers what comes while it sleeps, by a bell', async () => {
    const stand = new Stand()
    for (let i = 1; i <= 20; i++) {
      stand.send(OPS.QUERY.code)
      await until(() => stand.count() === i, `answer ${i}`)
    }
    assert.ok(new Int32Array(stand.memory.shared)[TAIL_PARKED + BELL_BESIDE]! > 0)
    await stand.stop()
    assert.ok(stand.handler.isClosed)
  })

  test('drains and flushes a batch once, before it sleeps', async () => {
    const stand = new Stand()
    await sleep(5)
    const { flushes } = stand.handler
    stand.send(OPS.QUERY.code, 100)
    await until(() => stand.count() === 100, 'all of them')
    assert.equal(stand.handler.flushes, flushes + 1)
    assert.equal(stand.handler.settles, flushes + 1, 'and settles after it')
    await stand.stop()
  })

  test('comes round at once, and with events between, while a handler has more to do', async () => {
    const stand = new Stand()
    await sleep(5)
    stand.handler.owed = 200
    let immediates = 0
    const count = (): void => {
      immediates++
      if (stand.handler.owed > 0) setImmediate(count)
    }
    setImmediate(count)
    stand.send(OPS.QUERY.code)
    await until(() => stand.count() === 1 && stand.handler.owed === 0, 'all drains')
    assert.ok(immediates > 50, `${immediates} turns of others`)
    const { flushes } = stand.handler
    await sleep(10)
    assert.equal(stand.handler.flushes, flushes, 'and sleeps then')
    await stand.stop()
  })

  test('lets events have their turn however many requests there are', async () => {
    const stand = new Stand()
    let immediates = 0
    let isOver = false
    const tick = () => {
      immediates++
      if (!isOver) setImmediate(tick)
    }
    setImmediate(tick)
    // Each request brings the next, so the ring is never empty.
    let seen = 0
    stand.handler.onHandle = () => {
      if (stand.handler.handled < 10 * DRAIN_COUNT_MAX) stand.send(OPS.QUERY.code)
      if (stand.handler.handled === 9 * DRAIN_COUNT_MAX) seen = immediates
      stand.count()
    }
    stand.send(OPS.QUERY.code)
    await until(() => stand.count() === 10 * DRAIN_COUNT_MAX, 'all of them')
    isOver = true
    assert.ok(seen >= 8, `${seen} turns in 9 full drains`)
    await stand.stop()
  })
})

test('a loop that sleeps between drains does not while a handler has more to do', () => {
  const requests = createRingMemory()
  const writer = new RingWriter(requests)
  const handler = new Counter()
  handler.owed = 8
  handler.idleMs = 1_000
  handler.onFlush = () => {
    if (handler.owed > 0) return
    assert.ok(writer.push(OPS.STOP.code, 1, EMPTY, 0, 0))
    writer.publish()
  }
  const startMs = performance.now()
  void serveRings({ requests, replies: createRingMemory() }, [{ kind: 'counter', handler }], true)
  assert.equal(handler.flushes, 9, 'the last of them is the one that stops it')
  assert.ok(performance.now() - startMs < IDLE_MS * 4, 'at once, not when it is time to look round')
})

describe('housekeeping of a loop with events', () => {
  test('comes when nothing has come for a while, then as often as the handler wants', async () => {
    const stand = new Stand()
    stand.send(OPS.QUERY.code)
    await sleep(IDLE_MS / 2)
    assert.equal(stand.handler.idles, 0)
    await until(() => stand.handler.idles >= 3, 'three times')
    stand.send(OPS.QUERY.code)
    await until(() => stand.count() === 2, 'answered')
    const { idles } = stand.handler
    await sleep(IDLE_MS / 2)
    assert.equal(stand.handler.idles, idles, 'a request begins the pause anew')
    await until(() => stand.handler.idles > idles, 'and again')
    await stand.stop()
  })

  test('comes soon after a request although the handler had asked for a long pause', async () => {
    const stand = new Stand()
    stand.handler.idleMs = 10_000
    await until(() => stand.handler.idles === 1, 'the first')
    stand.send(OPS.QUERY.code)
    await until(() => stand.handler.idles === 2, 'the second, within IDLE_MS and a little')
    await stand.stop()
  })

  test('is neither put off nor called for by pings, which come for ever', async () => {
    const stand = new Stand()
    stand.handler.idleMs = 10_000
    let pings = 0
    const ping = async () => {
      stand.send(OPS.PING.code)
      pings++
      await until(() => stand.count() === pings, `pong ${pings}`)
      await sleep(IDLE_MS / 5)
    }
    while (stand.handler.idles === 0) await ping()
    // As long as housekeeping under load would take to come.
    for (let i = 0; i < 15; i++) await ping()
    assert.equal(stand.handler.idles, 1)
    await stand.stop()
  })

  test('is all that a loop wakes for while nobody asks anything', async () => {
    const stand = new Stand()
    stand.handler.idleMs = 10_000
    stand.send(OPS.QUERY.code, 500)
    await until(() => stand.count() === 500, 'answered')
    const before = turns()
    await sleep(4 * IDLE_MS)
    assert.ok(turns() - before < 12, `${turns() - before} turns in ${4 * IDLE_MS} ms`)
    await stand.stop()
  })
})
