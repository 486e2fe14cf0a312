/** tier1: a memory tier under test, and the walk that checks all it holds true about itself.
 *  Owns:   nothing.   Thread: any.
 *  Holds:  the walk reads the segment as segment.ts draws it, and knows the classes only by the few fields named here. */

import assert from 'node:assert/strict'
import type { IndexTable } from '../../engine/cache/index_table.ts'
import { Memory, type MemoryOptions } from '../../engine/cache/memory.ts'
import { BLOCK, createSegment, ENTRY, type Segment, SLOT } from '../../engine/cache/segment.ts'
import type { Storage } from '../../engine/cache/storage.ts'
import { hashKey } from '../../engine/hash.ts'

interface Insides {
  readonly index: IndexTable
  readonly storage: Storage
  readonly sieve: { readonly oldest: number; readonly newest: number; readonly hand: number }
  readonly sweepAt: number
}

/** A memory tier with keys and values as Buffers. */
export class Tier1 {
  readonly segment: Segment
  readonly memory: Memory
  nowMs = 1_000

  constructor(bytes: number, options: Partial<MemoryOptions> = {}, hashSeed = 7) {
    this.segment = createSegment(new ArrayBuffer(bytes), { pid: 1, hashSeed })
    this.memory = new Memory(this.segment, { valueBytesMax: 64 * 1024, ...options })
  }

  get insides(): Insides {
    return this.memory as unknown as Insides
  }

  set(key: string, value: Uint8Array, expiresAtMs = Infinity): boolean {
    const bytes = Buffer.from(key)
    const hash = this.memory.hash(bytes, 0, bytes.length)
    return this.memory.set(hash, bytes, 0, bytes.length, value, 0, value.length, expiresAtMs)
  }

  get(key: string): Buffer | undefined {
    const bytes = Buffer.from(key)
    const hash = this.memory.hash(bytes, 0, bytes.length)
    const entry = this.memory.get(hash, bytes, 0, bytes.length, this.nowMs)
    if (entry === 0) return undefined
    const start = this.memory.valueStart(entry)
    return Buffer.from(this.memory.bytes.subarray(start, start + this.memory.valueBytes(entry)))
  }

  has(key: string): boolean {
    const bytes = Buffer.from(key)
    return this.memory.has(this.memory.hash(bytes, 0, bytes.length), bytes, 0, bytes.length)
  }

  delete(key: string): boolean {
    const bytes = Buffer.from(key)
    return this.memory.delete(this.memory.hash(bytes, 0, bytes.length), bytes, 0, bytes.length)
  }
}

export interface Held {
  readonly value: Buffer
  readonly expiresAtMs: number
}

/** Checks every invariant; answers what is in the tier, by key, oldest first. */
export function walk(tier: Tier1): Map<string, Held> {
  const blocks = walkBlocks(tier.segment)
  const { index, storage, sieve, sweepAt } = tier.insides
  const used = [...blocks].filter(([, isUsed]) => isUsed).map(([block]) => block)
  const usedBytes = used.reduce((sum, block) => sum + bytesOf(tier.segment, block), 0)
  assert.equal(storage.usedBytes, usedBytes, 'used bytes are counted right')
  const slots = walkSlots(tier.segment)
  assert.equal(index.count, slots.size, 'the index counts its slots')
  assert.deepEqual(new Set(slots.values()), new Set(used), 'an entry a used block, and none twice')
  assert.ok(index.count <= (tier.segment.slotCount / 4) * 3, 'at most 3/4 of the slots')
  const list = walkList(tier.segment, sieve.oldest, sieve.newest)
  assert.deepEqual(new Set(list), new Set(used), 'the list holds every entry')
  assert.equal(list.length, used.length, 'once')
  if (sieve.hand !== 0) assert.ok(list.includes(sieve.hand), 'the hand points into the list')
  if (sweepAt !== 0) assert.ok(list.includes(sweepAt), 'the sweep goes on at an entry')
  return new Map(list.map(entry => contentOf(tier.segment, entry)))
}

/** Every block by offset, and whether it is used. */
export function walkBlocks(segment: Segment): Map<number, boolean> {
  const blocks = new Map<number, boolean>()
  let previousBytes = 0
  let wasFree = false
  let block = segment.storageAt
  while (block < segment.storageEnd) {
    const bytes = bytesOf(segment, block)
    const isUsed = (segment.words[block >> 2]! & BLOCK.usedBit) !== 0
    assert.ok(bytes >= BLOCK.bytesMin, `block ${block} is large enough`)
    assert.equal(bytes % 8, 0, `block ${block} is aligned`)
    assert.equal(
      segment.words[(block + BLOCK.previousAt) >> 2],
      previousBytes,
      `block ${block} knows the one before`,
    )
    assert.ok(!(wasFree && !isUsed), `free neighbours at ${block}`)
    blocks.set(block, isUsed)
    wasFree = !isUsed
    previousBytes = bytes
    block += bytes
  }
  assert.equal(block, segment.storageEnd, 'blocks tile the storage')
  return blocks
}

export function bytesOf(segment: Segment, block: number): number {
  return segment.words[block >> 2]! & ~BLOCK.usedBit
}

/** Every taken slot and its entry. */
function walkSlots(segment: Segment): Map<number, number> {
  const slots = new Map<number, number>()
  const mask = segment.slotCount - 1
  for (let slot = 0; slot < segment.slotCount; slot++) {
    const word = wordOf(segment, slot)
    assert.equal(segment.words[word]! & 1, 0, `the sequence of slot ${slot} is even`)
    const entry = segment.words[word + 2]! << 3
    if (entry === 0) continue
    slots.set(slot, entry)
    const hash = segment.words[word + 1]!
    assert.equal(segment.words[(entry + ENTRY.slotAt) >> 2], slot, 'the entry knows its slot')
    const keyBytes = segment.words[(entry + ENTRY.keyBytesAt) >> 2]!
    const keyAt = entry + ENTRY.keyAt
    assert.equal(
      hashKey(segment.hashSeed, segment.bytes, keyAt, keyAt + keyBytes),
      hash,
      'the hash is the key’s',
    )
    for (let at = hash & mask; at !== slot; at = (at + 1) & mask) {
      assert.notEqual(
        segment.words[wordOf(segment, at) + 2],
        0,
        `slot ${slot} is findable from its home`,
      )
    }
  }
  return slots
}

function walkList(segment: Segment, oldest: number, newest: number): number[] {
  const list: number[] = []
  let older = 0
  for (let entry = oldest; entry !== 0; entry = segment.words[(entry + ENTRY.newerAt) >> 2]!) {
    assert.equal(
      segment.words[(entry + ENTRY.olderAt) >> 2],
      older,
      'the list reads the same backwards',
    )
    assert.ok(list.length <= segment.slotCount, 'the list ends')
    list.push(entry)
    older = entry
  }
  assert.equal(older, newest, 'the list ends at the newest')
  return list
}

function contentOf(segment: Segment, entry: number): [string, Held] {
  const keyAt = entry + ENTRY.keyAt
  const valueAt = keyAt + segment.words[(entry + ENTRY.keyBytesAt) >> 2]!
  const valueEnd = valueAt + segment.words[(entry + ENTRY.valueBytesAt) >> 2]!
  assert.ok(valueEnd <= entry + bytesOf(segment, entry), 'an entry stays within its block')
  const held = {
    value: Buffer.from(segment.bytes.subarray(valueAt, valueEnd)),
    expiresAtMs: segment.floats[(entry + ENTRY.expiresAt) >> 3]!,
  }
  return [segment.bytes.toString('utf8', keyAt, valueAt), held]
}

function wordOf(segment: Segment, slot: number): number {
  return (segment.slotsAt + slot * SLOT.bytes) >> 2
}
