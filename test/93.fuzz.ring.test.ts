/** The ring's reader: whatever stands in its memory, it gives messages that lie inside the ring, or says that it is damaged.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  a reader that is given what a writer wrote finds exactly that. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AssertionError } from '../engine/assert.ts'
import type { Lease } from '../engine/pool/lease.ts'
import { BODY_BYTES_MAX } from '../engine/protocol/header.ts'
import { CONTROL_BYTES, createRingMemory, HEAD, TAIL } from '../engine/ring/layout.ts'
import { RingReader } from '../engine/ring/reader.ts'
import { RingWriter } from '../engine/ring/writer.ts'
import { openEngine } from './helpers/engine_parts.ts'
import { fuzz } from './helpers/fuzz.ts'
import { FULL, randomTest } from './helpers/random.ts'

const FUZZ_MS = FULL ? 60_000 : 1_000
const RING_BYTES = 512

randomTest('a reader never leaves its ring, whatever is in it', {}, async (random, t) => {
  const memory = createRingMemory(RING_BYTES)
  const control = new Int32Array(memory.shared, 0, CONTROL_BYTES >> 2)
  const data = Buffer.from(memory.shared, CONTROL_BYTES, RING_BYTES)
  const report = await fuzz(
    {
      name: 'ring',
      sources: /\/engine\/ring\/reader\.ts/,
      examples: examples(),
      words: [word(0x0107), word(0), word(0x1000_07), word(RING_BYTES), word(0xffff_ff07)],
      inputBytesMax: 4 + RING_BYTES,
      // The cursors, in units of 8 bytes and from anywhere, then what the data begins with.
      run: input => {
        const bytes = Buffer.concat([input, Buffer.alloc(Math.max(0, 4 - input.length))])
        data.fill(0)
        bytes.copy(data, 0, 4)
        const head = bytes.readInt8(0) & 0x3f
        control[HEAD] = head
        control[TAIL] = head + (bytes.readUInt8(1) % (RING_BYTES / 8 + 1))
        const reader = new RingReader(memory)
        Object.assign(reader, { head, released: head, knownTail: head })
        readAll(reader, RING_BYTES / 8)
      },
    },
    random,
    FUZZ_MS,
  )
  t.diagnostic(JSON.stringify(report))
  assert.ok(report.inputs > 100)
})

test('main ends a worker whose ring is damaged, and another takes its place', async t => {
  const { engine, local } = await openEngine(t)
  const hearth = local()
  await hearth.cache.set('before', 1, { ttlMs: 0 })
  const { pool } = engine as unknown as { pool: { leaseOf(kind: string): Lease } }
  const lease = pool.leaseOf('sqlite')
  const { shared } = lease.replies
  const control = new Int32Array(shared, 0, CONTROL_BYTES >> 2)
  // A record of 16 MB in a ring of 128 KiB, where main reads next.
  new Int32Array(shared, CONTROL_BYTES).fill(-1)
  Atomics.add(control, TAIL, 2)
  const unanswered = hearth.cache.set('during', 1, { ttlMs: 0 })
  lease.poll()
  await assert.rejects(unanswered, { code: 'UNAVAILABLE' })
  const endMs = Date.now() + 10_000
  while (Date.now() < endMs && (await hearth.health()).parts['sqlite']!.status !== 'ok')
    await new Promise(resolve => setTimeout(resolve, 50))
  await hearth.cache.set('after', 2, { ttlMs: 0 })
  assert.deepEqual(await hearth.cache.getMany(['before', 'after']), [1, 2])
})

/** Takes what there is; at most one message for each unit of the ring, or it never ends. */
function readAll(reader: RingReader, countMax: number): void {
  let count = 0
  try {
    while (reader.next()) {
      assert.ok(reader.start >= 0 && reader.start <= reader.end, 'a message has a length')
      assert.ok(reader.end <= reader.bytes.length, 'and ends inside of its bytes')
      assert.ok(reader.end - reader.start <= BODY_BYTES_MAX + 64 * 1024)
      assert.ok(++count <= countMax, 'no more messages than records')
    }
  } catch (error) {
    if (!(error instanceof AssertionError)) throw error
  }
}

/** Rings as writers leave them: one record, several, a long message in parts, one that has gone round. */
function examples(): Buffer[] {
  const found: Buffer[] = []
  for (const bodies of [[0], [5, 40], [60, 60, 60], [200], [1, 2, 3, 200]]) {
    const memory = createRingMemory(RING_BYTES)
    const writer = new RingWriter(memory)
    for (const [ticket, bytes] of bodies.entries()) {
      const body = Buffer.alloc(bytes, ticket)
      if (bytes <= writer.messageBytesMax) writer.push(7, ticket, body, 0, bytes)
      else writer.pushPart(7, ticket, body, 0, bytes, 0)
    }
    writer.publish()
    const control = new Int32Array(memory.shared, 0, CONTROL_BYTES >> 2)
    const data = Buffer.from(memory.shared, CONTROL_BYTES, RING_BYTES)
    found.push(Buffer.concat([Buffer.from([0, control[TAIL]!, 0, 0]), data]))
  }
  return found
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value >>> 0)
  return bytes
}
