/** Storage: blocks tile the segment, neighbours join, waste is bounded, offsets near 2 GiB hold.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  after every step the walk of helpers/tier1.ts passes. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { AssertionError } from '../engine/assert.ts'
import {
  BLOCK,
  createSegment,
  SEGMENT_BYTES_MAX,
  SEGMENT_BYTES_MIN,
  type Segment,
} from '../engine/cache/segment.ts'
import { Storage } from '../engine/cache/storage.ts'
import { FULL, type Random, randomTest } from './helpers/random.ts'
import { bytesOf, walkBlocks } from './helpers/tier1.ts'

function segmentOf(bytes: number): Segment {
  return createSegment(new ArrayBuffer(bytes), { pid: 1, hashSeed: 1 })
}

randomTest('blocks tile the storage and free neighbours join, whatever is asked', {}, random => {
  const segment = segmentOf(SEGMENT_BYTES_MIN)
  const storage = new Storage(segment)
  const held: number[] = []
  for (let step = 0; step < (FULL ? 100_000 : 4_000); step++) {
    if (random.chance(0.55)) allocate(storage, segment, held, random)
    else if (held.length > 0) {
      const [block] = held.splice(random.below(held.length), 1)
      const joined = storage.free(block!)
      assert.ok(!storage.isUsed(joined))
      assert.ok(
        joined <= block! && block! < joined + storage.bytesOf(joined),
        'the answer holds the block',
      )
    }
    const blocks = walkBlocks(segment)
    assert.deepEqual(
      [...blocks].filter(([, isUsed]) => isUsed).map(([block]) => block),
      held.toSorted((a, b) => a - b),
    )
  }
  for (const block of held) storage.free(block)
  assert.deepEqual(
    [...walkBlocks(segment)],
    [[segment.storageAt, false]],
    'all given back: one block',
  )
  assert.equal(storage.usedBytes, 0)
})

/** Asks for a random size; a refusal must be true up to the eighth that TLSF rounds by. */
function allocate(storage: Storage, segment: Segment, held: number[], random: Random): void {
  const bytes = random.chance(0.5) ? random.between(0, 200) : random.between(0, 6_000)
  const block = storage.allocate(bytes)
  if (block >= 0) {
    const waste = bytesOf(segment, block) - Math.max(bytes, BLOCK.bytesMin)
    assert.ok(
      waste >= 0 && waste < BLOCK.bytesMin + 8,
      `${waste} bytes of waste in a block for ${bytes}`,
    )
    held.push(block)
    return
  }
  const need = Math.max(bytes, BLOCK.bytesMin)
  for (const [free, isUsed] of walkBlocks(segment)) {
    if (!isUsed)
      assert.ok(
        bytesOf(segment, free) < need + need / 8 + 8,
        `${bytes} would have fitted at ${free}`,
      )
  }
}

describe('32 bits', () => {
  test('blocks up to the last byte of the largest segment are found, split and joined', () => {
    // Not touched, so not taken from the machine: only block headers are written.
    const segment = segmentOf(SEGMENT_BYTES_MAX)
    const storage = new Storage(segment)
    const blocks: number[] = []
    for (;;) {
      const block = storage.allocate(100_000_000)
      if (block < 0) break
      blocks.push(block)
    }
    const last = Math.max(...blocks)
    assert.ok(last > 1_800_000_000, `the last block stands at ${last}`)
    assert.equal(walkBlocks(segment).size, blocks.length + 1)
    for (const block of blocks) storage.free(block)
    assert.equal(walkBlocks(segment).size, 1)
    assert.ok(storage.allocate(1_500_000_000) >= 0)
    assert.equal(storage.allocate(1_500_000_000), -1)
  })

  test('a segment of more, or of less than an index takes, is refused', () => {
    assert.throws(() => segmentOf(SEGMENT_BYTES_MAX + 8), AssertionError)
    assert.throws(() => segmentOf(SEGMENT_BYTES_MIN - 8), AssertionError)
  })
})

test('only a used block is freed', () => {
  const storage = new Storage(segmentOf(SEGMENT_BYTES_MIN))
  const block = storage.allocate(100)
  storage.free(block)
  assert.throws(() => storage.free(block), AssertionError)
})
