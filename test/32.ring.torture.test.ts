/** Two threads, two rings, every byte checked: random sizes, wraps, full rings, long messages between short ones.
 *  Owns:   one worker a test.   Thread: main of a test process, and its workers.
 *  Runs:   beside others, since no figure of it is near its bound.
 *  Holds:  no wait has a deadline, so a lost wake-up hangs; the watchdog then says where it stood. */

import assert from 'node:assert/strict'
import { Worker } from 'node:worker_threads'
import { monotonicMs } from '../engine/clock.ts'
import { RING_BYTES } from '../engine/limits.ts'
import { createRingMemory } from '../engine/ring/layout.ts'
import { RingReader } from '../engine/ring/reader.ts'
import { RingWriter } from '../engine/ring/writer.ts'
import { FULL, Random, randomTest, SEED } from './helpers/random.ts'
import type { PeerOptions } from './helpers/ring_peer.ts'
import { Receiver, Sender, Traffic } from './helpers/ring_traffic.ts'

const STALL_MS = 20_000

interface Mode {
  readonly name: string
  readonly dataBytes: number
  readonly count: number
  /** Requests that may be unanswered. */
  readonly inflight: number
  readonly batchCountMax: number
  readonly pauseMsMax: number
}

/** How main and its peer wait for something to read: a worker with an event loop, one without, no native binding. */
const WAYS = [
  { main: 'bell', peer: 'bell' },
  { main: 'bell', peer: 'block' },
  { main: 'waitAsync', peer: 'block' },
] as const

type Way = (typeof WAYS)[number]

const scale = FULL ? 0.5 : 0.01

const MODES: readonly Mode[] = [
  mode('a ring of the real size, deep', RING_BYTES, 5_000_000 * scale, 8_192, 1_024, 0),
  mode('a ring of 4 KiB, always near full', 4_096, 2_000_000 * scale, 200, 64, 0),
  mode('a ring of 512 bytes, wrapping all the time', 512, 1_000_000 * scale, 50, 20, 0),
  mode('a ring of 64 bytes, one message at a time in it', 64, 500_000 * scale, 20, 4, 0),
  mode('single steps: both sleep between messages', 4_096, 1_500_000 * scale, 1, 1, 0),
  mode('long random pauses on both sides', 1_024, FULL ? 5_000 : 600, 30, 40, 15),
]

for (const each of MODES) {
  const frames = Math.round(each.count).toLocaleString('en')
  for (const way of WAYS) {
    const sentence = `${each.name}: ${frames} messages out and back (${way.main}, ${way.peer})`
    randomTest(sentence, { timeout: 600_000 }, () => torture(each, way))
  }
}

function mode(
  name: string,
  dataBytes: number,
  count: number,
  inflight: number,
  batchCountMax: number,
  pauseMsMax: number,
): Mode {
  return { name, dataBytes, count: Math.round(count), inflight, batchCountMax, pauseMsMax }
}

async function torture(each: Mode, way: Way): Promise<void> {
  const out = createRingMemory(each.dataBytes)
  const back = createRingMemory(each.dataBytes)
  const writer = new RingWriter(out)
  const reader = new RingReader(back)
  const sender = new Sender(writer, new Traffic(SEED, 'out', writer.messageBytesMax), each.count)
  const receiver = new Receiver(new Traffic(SEED, 'back', writer.messageBytesMax))
  const workerData: PeerOptions = {
    out,
    back,
    seed: SEED,
    count: each.count,
    batchCountMax: each.batchCountMax,
    pauseMsMax: each.pauseMsMax,
    sleeps: way.peer,
  }
  const worker = new Worker(new URL('./helpers/ring_peer.ts', import.meta.url), { workerData })
  const watchdog = new Watchdog(
    () => sender.sent + receiver.received,
    () => `sent ${sender.sent}, received ${receiver.received} of ${each.count}`,
  )
  const ended = new Promise<void>((resolve, reject) => {
    worker.once('error', reject)
    worker.once('exit', () => resolve())
  })
  try {
    const flow = Promise.all([
      send(each, sender, writer, receiver),
      receive(each, way, reader, receiver),
    ])
    await Promise.race([flow, watchdog.stalled, ended.then(() => flow)])
    await Promise.race([ended, watchdog.stalled])
  } finally {
    watchdog.stop()
    reader.close()
    await worker.terminate()
  }
  assert.equal(receiver.received, each.count)
  assert.ok(sender.isDone)
}

/** Called by the receiving side when an answer has come, so that the sending side goes on. */
let answered: () => void = () => {}

async function send(
  each: Mode,
  sender: Sender,
  writer: RingWriter,
  receiver: Receiver,
): Promise<void> {
  const random = new Random(SEED + 2)
  while (!sender.isDone) {
    const before = receiver.received
    const hasRoom = sender.pump(before + random.between(1, each.inflight))
    writer.publish()
    if (!hasRoom) await writer.onceRoom()
    else if (receiver.received === before && !sender.isDone)
      await new Promise<void>(resolve => (answered = resolve))
    if (each.pauseMsMax > 0 && random.chance(0.3)) await pause(random.below(each.pauseMsMax))
  }
}

async function receive(
  each: Mode,
  way: Way,
  reader: RingReader,
  receiver: Receiver,
): Promise<void> {
  const random = new Random(SEED + 3)
  for (;;) {
    const batch = random.between(1, each.batchCountMax)
    for (let i = 0; i < batch && reader.next(); i++) receiver.take(reader)
    reader.release()
    answered()
    if (receiver.received === each.count) return
    if (each.pauseMsMax > 0 && random.chance(0.3)) await pause(random.below(each.pauseMsMax))
    const wait = way.main === 'bell' ? rung(reader) : reader.onceReadable()
    // Undefined when there is something now: the event loop still gets its turn.
    await (wait ?? new Promise(setImmediate))
  }
}

let ring: () => void = () => {}

/** whenReadable() as a promise: undefined when there is something now. */
function rung(reader: RingReader): Promise<void> | undefined {
  const { promise, resolve } = Promise.withResolvers<void>()
  ring = resolve
  return reader.whenReadable(() => ring()) ? promise : undefined
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}

/** Rejects when nothing has moved for STALL_MS; its timer also keeps the process alive while both ends sleep. */
class Watchdog {
  readonly stalled: Promise<never>
  private timer: NodeJS.Timeout | undefined

  constructor(progress: () => number, describe: () => string) {
    let last = -1
    let movedMs = monotonicMs()
    this.stalled = new Promise<never>((_, reject) => {
      this.timer = setInterval(() => {
        if (progress() !== last) movedMs = monotonicMs()
        last = progress()
        if (monotonicMs() - movedMs > STALL_MS) reject(new Error(`stalled: ${describe()}`))
      }, 250)
    })
    this.stalled.catch(() => {})
  }

  stop(): void {
    clearInterval(this.timer)
  }
}
