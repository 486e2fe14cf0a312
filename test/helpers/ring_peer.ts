/** ring_peer: the worker's end of a ring torture test. Sleeps without a deadline, so that a lost wake-up shows as a hang.
 *  Owns:   its two ring ends.   Thread: a worker of the test.
 *  Holds:  it answers message n with message n of the way back, and never runs ahead. */

import { workerData } from 'node:worker_threads'
import type { RingMemory } from '../../engine/ring/layout.ts'
import { RingReader } from '../../engine/ring/reader.ts'
import { RingWriter } from '../../engine/ring/writer.ts'
import { Random } from './random.ts'
import { Receiver, Sender, Traffic } from './ring_traffic.ts'

export interface PeerOptions {
  readonly out: RingMemory
  readonly back: RingMemory
  readonly seed: number
  readonly count: number
  /** Messages handled before release() and publish(). */
  readonly batchCountMax: number
  /** How long a pause may be; 0: none. */
  readonly pauseMsMax: number
  /** How it waits for something to read: in Atomics.wait, or in its event loop. */
  readonly sleeps: 'block' | 'bell'
}

const options = workerData as PeerOptions
const reader = new RingReader(options.out)
const writer = new RingWriter(options.back)
const random = new Random(options.seed + 1)
const receiver = new Receiver(new Traffic(options.seed, 'out', writer.messageBytesMax))
const sender = new Sender(
  writer,
  new Traffic(options.seed, 'back', writer.messageBytesMax),
  options.count,
)
const idle = new Int32Array(new SharedArrayBuffer(4))

let ring: () => void = () => {}
// A bell does not keep the thread alive.
const alive = setInterval(() => {}, 60_000)

while (receiver.received < options.count) {
  const batch = random.between(1, options.batchCountMax)
  let taken = 0
  while (taken < batch && reader.next()) {
    receiver.take(reader)
    taken++
  }
  reader.release()
  while (!sender.pump(receiver.received)) writer.waitForRoom(Infinity)
  writer.publish()
  if (options.pauseMsMax > 0 && random.chance(0.3))
    Atomics.wait(idle, 0, 0, random.below(options.pauseMsMax))
  if (taken > 0) continue
  if (options.sleeps === 'block') reader.wait(Infinity)
  else
    await new Promise<void>(resolve => {
      ring = resolve
      if (!reader.whenReadable(() => ring())) setImmediate(ring)
    })
}
clearInterval(alive)
reader.close()
