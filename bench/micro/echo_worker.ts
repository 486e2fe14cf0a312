/** echo_worker: answers each message with its own bytes, over rings or over a message port.
 *  Owns:   its ends of the rings.   Thread: a worker of the ring bench.
 *  Holds:  both ways do the same with a message: look at its first byte, send it back. */

import { parentPort, workerData } from 'node:worker_threads'
import type { RingMemory } from '../../engine/ring/layout.ts'
import { RingReader } from '../../engine/ring/reader.ts'
import { RingWriter } from '../../engine/ring/writer.ts'

const { requests, replies } = workerData as { requests?: RingMemory; replies?: RingMemory }

if (requests !== undefined && replies !== undefined) {
  echoRings(new RingReader(requests), new RingWriter(replies))
} else {
  parentPort?.on('message', (message: unknown) => parentPort?.postMessage(message))
}

function echoRings(reader: RingReader, writer: RingWriter): never {
  for (;;) {
    while (reader.next()) {
      while (!writer.push(reader.op, reader.ticket, reader.bytes, reader.start, reader.end)) {
        writer.waitForRoom(1_000)
      }
    }
    reader.release()
    writer.publish()
    reader.wait(1_000)
  }
}
