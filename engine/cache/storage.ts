/** Storage: room for entries in the segment, by two-level segregated fit (TLSF).
 *  Owns:   every block's header, and the lists of free blocks.   Not here: what is in a used block (memory.ts).
 *  Thread: main.
 *  Holds:  (1) blocks tile the storage: each knows its own size and that of the one before it.
 *          (2) no two free blocks are neighbours.  (3) a block is larger than what was asked by less than bytesMin + 8,
 *          so waste inside blocks is bounded; waste between them is ended by the caller, who frees neighbours (memory.ts).
 *  Source: M. Masmano, I. Ripoll et al., "TLSF: a new dynamic memory allocator for real-time systems", ECRTS 2004.
 *
 *  Free blocks hang in lists by size: a first level by power of two, a second of eight steps within it. Two bitmaps find the
 *  smallest list whose blocks all fit, so allocate() and free() take the same few steps however full the storage is. */

import { assert } from '../assert.ts'
import { BLOCK, type Segment } from './segment.ts'

const SECOND_BITS = 3
const SECOND_COUNT = 1 << SECOND_BITS
const FIRST_COUNT = 32

export class Storage {
  /** Bytes in used blocks, headers included. */
  usedBytes = 0
  private readonly words: Int32Array
  private readonly start: number
  private readonly end: number
  private readonly heads = new Int32Array(FIRST_COUNT * SECOND_COUNT)
  private readonly secondMaps = new Int32Array(FIRST_COUNT)
  private firstMap = 0

  constructor(segment: Segment) {
    this.words = segment.words
    this.start = segment.storageAt
    this.end = segment.storageEnd
    this.setHeader(this.start, this.end - this.start, 0)
    this.words[(this.start + BLOCK.previousAt) >> 2] = 0
    this.insertFree(this.start)
  }

  get capacityBytes(): number {
    return this.end - this.start
  }

  /** A used block with room for `bytes`, its header included: its offset, or -1 when no free block is large enough. */
  allocate(bytes: number): number {
    const need = Math.max(BLOCK.bytesMin, (bytes + 7) & ~7)
    const block = this.findFree(need)
    if (block < 0) return -1
    this.removeFree(block)
    const rest = this.bytesOf(block) - need
    if (rest >= BLOCK.bytesMin) {
      this.setHeader(block, need, BLOCK.usedBit)
      this.setHeader(block + need, rest, 0)
      this.tellNext(block)
      this.tellNext(block + need)
      this.insertFree(block + need)
    } else {
      this.setHeader(block, need + rest, BLOCK.usedBit)
    }
    this.usedBytes += this.bytesOf(block)
    return block
  }

  /** Whether allocate() would find room. */
  hasRoom(bytes: number): boolean {
    return this.findFree(Math.max(BLOCK.bytesMin, (bytes + 7) & ~7)) >= 0
  }

  /** Gives a block back, joined with free neighbours; returns the offset of the free block it is now part of. */
  free(block: number): number {
    assert(this.isUsed(block), 'only a used block is freed')
    let at = block
    let bytes = this.bytesOf(block)
    this.usedBytes -= bytes
    const next = block + bytes
    if (next < this.end && !this.isUsed(next)) {
      this.removeFree(next)
      bytes += this.bytesOf(next)
    }
    const previousBytes = this.words[(block + BLOCK.previousAt) >> 2]!
    if (previousBytes > 0 && !this.isUsed(block - previousBytes)) {
      at = block - previousBytes
      this.removeFree(at)
      bytes += previousBytes
    }
    this.setHeader(at, bytes, 0)
    this.tellNext(at)
    this.insertFree(at)
    return at
  }

  bytesOf(block: number): number {
    return this.words[block >> 2]! & ~BLOCK.usedBit
  }

  isUsed(block: number): boolean {
    return (this.words[block >> 2]! & BLOCK.usedBit) !== 0
  }

  /** The block after this one, or -1 at the end. */
  next(block: number): number {
    const next = block + this.bytesOf(block)
    return next < this.end ? next : -1
  }

  /** The block before this one, or -1 at the start. */
  previous(block: number): number {
    const bytes = this.words[(block + BLOCK.previousAt) >> 2]!
    return bytes > 0 ? block - bytes : -1
  }

  first(): number {
    return this.start
  }

  private findFree(need: number): number {
    // Rounded up to the next list, whose every block fits; a block in the list of `need` itself might be smaller.
    const rounded = need + (1 << Math.max(0, 31 - Math.clz32(need) - SECOND_BITS)) - 1
    let first = 31 - Math.clz32(rounded)
    const second = (rounded >>> (first - SECOND_BITS)) & (SECOND_COUNT - 1)
    let secondMap = this.secondMaps[first]! & (-1 << second)
    if (secondMap === 0) {
      const firstMap = first === 31 ? 0 : this.firstMap & (-1 << (first + 1))
      if (firstMap === 0) return -1
      first = lowestBit(firstMap)
      secondMap = this.secondMaps[first]!
    }
    return this.heads[first * SECOND_COUNT + lowestBit(secondMap)]!
  }

  private insertFree(block: number): void {
    const list = this.listOf(this.bytesOf(block))
    const head = this.heads[list]!
    this.words[(block + BLOCK.nextFreeAt) >> 2] = head
    this.words[(block + BLOCK.previousFreeAt) >> 2] = 0
    if (head !== 0) this.words[(head + BLOCK.previousFreeAt) >> 2] = block
    this.heads[list] = block
    const first = list >> SECOND_BITS
    this.secondMaps[first]! |= 1 << (list & (SECOND_COUNT - 1))
    this.firstMap |= 1 << first
  }

  private removeFree(block: number): void {
    const next = this.words[(block + BLOCK.nextFreeAt) >> 2]!
    const previous = this.words[(block + BLOCK.previousFreeAt) >> 2]!
    if (next !== 0) this.words[(next + BLOCK.previousFreeAt) >> 2] = previous
    if (previous !== 0) {
      this.words[(previous + BLOCK.nextFreeAt) >> 2] = next
      return
    }
    const list = this.listOf(this.bytesOf(block))
    this.heads[list] = next
    if (next !== 0) return
    const first = list >> SECOND_BITS
    this.secondMaps[first]! &= ~(1 << (list & (SECOND_COUNT - 1)))
    if (this.secondMaps[first] === 0) this.firstMap &= ~(1 << first)
  }

  private listOf(bytes: number): number {
    const first = 31 - Math.clz32(bytes)
    return first * SECOND_COUNT + ((bytes >>> (first - SECOND_BITS)) & (SECOND_COUNT - 1))
  }

  private setHeader(block: number, bytes: number, used: number): void {
    this.words[block >> 2] = bytes | used
  }

  /** Tells the block behind `block` how long `block` is now. */
  private tellNext(block: number): void {
    const bytes = this.bytesOf(block)
    const next = block + bytes
    if (next < this.end) this.words[(next + BLOCK.previousAt) >> 2] = bytes
  }
}

function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits)
}
