/** The segment's reader, on a segment in which anything may stand: it misses or finds something, and never throws or leaves it.
 *  Owns:   one segment in this process.   Thread: main of a test process.
 *  Holds:  behind the header, which a client checks when it maps the segment, every word may be anything: what is torn looks so. */

import assert from 'node:assert/strict'
import { Memory } from '../engine/cache/memory.ts'
import {
  createSegment,
  HEADER,
  SEGMENT_BYTES_MIN,
  STATE,
  setState,
} from '../engine/cache/segment.ts'
import { MappedTier } from '../engine/client/mapped_tier.ts'
import { SegmentReader } from '../engine/client/segment_reader.ts'
import { fuzz } from './helpers/fuzz.ts'
import { FULL, randomTest } from './helpers/random.ts'

const FUZZ_MS = FULL ? 60_000 : 1_000
const KEY_COUNT = 40
const LOOK_MS_MAX = 1_000

randomTest('a reader survives any words in the index and the storage', {}, async (random, t) => {
  const { shared, pristine } = filled()
  const bytes = new Uint8Array(shared)
  const words = new Int32Array(shared)
  const reader = new SegmentReader(shared, 1_024)
  const wordCount = words.length - (HEADER.bytes >> 2)
  const slotsAt = words[HEADER.slotsAt]! >> 2
  const storageAt = words[HEADER.storageAt]! >> 2
  let hits = 0
  const report = await fuzz(
    {
      name: 'segment',
      sources: /segment_reader\.ts|cache\/segment\.ts|hash\.ts/,
      examples: [Buffer.alloc(0), patch(0, 1), patch(storageAt - (HEADER.bytes >> 2) + 4, -1)],
      words: [patch(slotsAt, 0x7fff_ffff), patch(2, 1), Buffer.from([0xff, 0xff, 0xff, 0x7f])],
      inputBytesMax: 600,
      // Six bytes a patch: which word (the first patches go to the words that are in use), and what is put there.
      run: input => {
        bytes.set(pristine)
        for (let at = 0; at + 6 <= input.length; at += 6)
          words[(HEADER.bytes >> 2) + (input.readUInt16LE(at) % wordCount)] = input.readInt32LE(
            at + 2,
          )
        const startMs = performance.now()
        for (let key = 0; key < KEY_COUNT; key++) {
          if (!reader.find(`key:${key}`)) continue
          hits++
          assert.ok(reader.start >= 0 && reader.start <= reader.end)
          assert.ok(reader.end <= reader.bytes.length)
          assert.ok(
            reader.end - reader.start <= shared.byteLength >> 3,
            'no value is longer than may be',
          )
        }
        assert.ok(performance.now() - startMs < LOOK_MS_MAX, 'no look-up goes on for ever')
      },
    },
    random,
    FUZZ_MS,
  )
  t.diagnostic(JSON.stringify({ ...report, hits }))
  assert.ok(report.inputs > 100)
  assert.ok(hits > 0, 'what was not touched is still found')
})

randomTest(
  'a header that is not the engine’s own is refused before anything is read',
  {},
  random => {
    const { shared, pristine } = filled()
    const page = new ArrayBuffer(4_096)
    const open = () => new MappedTier(shared as unknown as ArrayBuffer, page, 'fuzz', 1_024)
    for (let i = 0; i < 2_000; i++) {
      new Uint8Array(shared).set(pristine)
      const words = new Int32Array(shared)
      const at = random.pick([0, 1, 4, 5, 6, 7, 8, 10, 14, 15, 16])
      const was = words[at]!
      words[at] = random.pick([0, -1, was + 1, was * 2, was >> 1, 0x7fff_ffff, random.next() | 0])
      if (words[at] === was) continue
      assert.throws(
        open,
        (error: Error) => !(error instanceof RangeError),
        `word ${at} = ${words[at]}`,
      )
    }
  },
)

function filled(): { shared: SharedArrayBuffer; pristine: Uint8Array } {
  const shared = new SharedArrayBuffer(SEGMENT_BYTES_MIN)
  const segment = createSegment(shared as unknown as ArrayBuffer, {
    pid: 1,
    hashSeed: 7,
    engineId: 'fuzz',
    guardWord: HEADER.guardAt >> 2,
  })
  new Int32Array(shared)[HEADER.guardAt >> 2] = 1
  const memory = new Memory(segment, { valueBytesMax: 4_096 })
  for (let key = 0; key < KEY_COUNT; key++) {
    const bytes = Buffer.from(`key:${key}`)
    const value = Buffer.alloc(1 + ((key * 37) % 700), key)
    const hash = memory.hash(bytes, 0, bytes.length)
    memory.set(hash, bytes, 0, bytes.length, value, 0, value.length, Infinity)
  }
  setState(segment, STATE.live)
  return { shared, pristine: new Uint8Array(shared).slice() }
}

function patch(word: number, value: number): Buffer {
  const bytes = Buffer.alloc(6)
  bytes.writeUInt16LE(word & 0xffff, 0)
  bytes.writeInt32LE(value, 2)
  return bytes
}
