/** Memory: tier 1. Keys and values as bytes in a shared segment, bounded by bytes, with TTL and SIEVE eviction.
 *  Owns:   the entries, and the order in which index, storage and list change together.
 *  Thread: main. Readers elsewhere follow segment.ts.
 *  Holds:  (1) get() never gives an expired or removed entry.  (2) set() either stores the whole value or leaves no entry of
 *          that key behind.  (3) however sizes are mixed, set() frees at most what the value needs, once around it, beyond
 *          what SIEVE chose: see makeRoom(). */

import { assert } from '../assert.ts'
import { copyBytes } from '../bytes.ts'
import type { MemoryFigures } from '../figures.ts'
import { hashKey } from '../hash.ts'
import { IndexTable } from './index_table.ts'
import { ENTRY, HEADER, type Segment } from './segment.ts'
import { Sieve } from './sieve.ts'
import { Storage } from './storage.ts'

export interface MemoryOptions {
  /** Values longer than this are not kept here. */
  readonly valueBytesMax: number
  /** Entries at most; 0 or left out: as many as fit. */
  readonly entryCountMax?: number
}

/** After so many evictions marks of readers elsewhere are asked for, at least; else after an eighth of the entries. */
const EVICTIONS_PER_COLLECT_MIN = 16
/** Victims that SIEVE may choose for one value before neighbours of the last one are taken instead. */
const VICTIM_COUNT_MAX = 8

export class Memory {
  /** The segment's bytes: a value of an entry is valueStart(entry) .. valueEnd(entry) in them, until the next change. */
  readonly bytes: Buffer
  valueBytesMax = 0
  readonly slotCount: number
  /** Brings in what readers in other processes have used, by markSlots() and addInPlace(). Called before figures are given and
   *  while much is evicted; whoever knows the readers sets it. */
  collect: () => void = () => undefined
  /** An entry with its key: so much room can always be made by evicting neighbours. */
  private readonly entryBytesMax: number
  private readonly words: Int32Array
  private readonly floats: Float64Array
  private readonly seed: number
  private readonly totalBytes: number
  private readonly index: IndexTable
  private readonly storage: Storage
  private readonly sieve: Sieve
  private readonly entryCountMax: number
  private sweepAt = 0
  private hits = 0
  private hitsInPlace = 0
  private misses = 0
  private evictions = 0
  /** With so many evictions marks are asked for again. */
  private collectAt = 0
  private expirations = 0

  constructor(segment: Segment, options: MemoryOptions) {
    this.bytes = segment.bytes
    this.words = segment.words
    this.floats = segment.floats
    this.seed = segment.hashSeed
    this.slotCount = segment.slotCount
    this.totalBytes = segment.words[HEADER.totalBytes]!
    this.index = new IndexTable(segment)
    this.storage = new Storage(segment)
    this.sieve = new Sieve(segment)
    this.setValueBytesMax(options.valueBytesMax)
    this.entryBytesMax = this.storage.capacityBytes >> 2
    this.entryCountMax = Math.min(options.entryCountMax || Infinity, this.index.countMax)
  }

  /** The longest value kept here: as given, and never more than an eighth of the storage. */
  setValueBytesMax(bytes: number): void {
    this.valueBytesMax = Math.min(bytes, this.storage.capacityBytes >> 3)
  }

  hash(key: Uint8Array, start: number, end: number): number {
    return hashKey(this.seed, key, start, end)
  }

  /** The entry of a key that is there and not expired, marked as used, or 0. Counts a hit or a miss. */
  get(hash: number, key: Uint8Array, start: number, end: number, nowMs: number): number {
    const slot = this.index.find(hash, key, start, end)
    if (slot >= 0) {
      const entry = this.index.entryOf(slot)
      if (this.expiresAtMs(entry) > nowMs) {
        this.sieve.mark(entry)
        this.hits++
        return entry
      }
      this.removeEntry(entry)
      this.expirations++
    }
    this.misses++
    return 0
  }

  valueStart(entry: number): number {
    return entry + ENTRY.keyAt + this.words[(entry + ENTRY.keyBytesAt) >> 2]!
  }

  valueBytes(entry: number): number {
    return this.words[(entry + ENTRY.valueBytesAt) >> 2]!
  }

  expiresAtMs(entry: number): number {
    return this.floats[(entry + ENTRY.expiresAt) >> 3]!
  }

  /** Whether the key has an entry, expired or not, without counting or marking. */
  has(hash: number, key: Uint8Array, start: number, end: number): boolean {
    return this.index.find(hash, key, start, end) >= 0
  }

  /** Stores a value; false when it is too large for this tier, and then the key has no entry. Expiry is absolute, in
   *  milliseconds since 1970, Infinity for never. The source may not be this segment. */
  set(
    hash: number,
    key: Uint8Array,
    keyStart: number,
    keyEnd: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
    expiresAtMs: number,
  ): boolean {
    const keyBytes = keyEnd - keyStart
    const valueBytes = valueEnd - valueStart
    const need = ENTRY.keyAt + keyBytes + valueBytes
    const fits = valueBytes <= this.valueBytesMax && need <= this.entryBytesMax
    const slot = this.index.find(hash, key, keyStart, keyEnd)
    if (slot >= 0) {
      const entry = this.index.entryOf(slot)
      const room = this.storage.bytesOf(entry)
      if (fits && need <= room && need > room >> 1) {
        this.index.open(slot)
        this.writeValue(entry, value, valueStart, valueEnd, expiresAtMs)
        this.index.close(slot)
        this.sieve.mark(entry)
        return true
      }
      this.removeEntry(entry)
    }
    if (!fits) return false
    const entry = this.makeRoom(need)
    const at = this.index.insertOpen(hash, entry)
    this.words[(entry + ENTRY.hashAt) >> 2] = hash
    this.words[(entry + ENTRY.keyBytesAt) >> 2] = keyBytes
    this.words[(entry + ENTRY.versionAt) >> 2] = 0
    copyBytes(key, keyStart, keyEnd, this.bytes, entry + ENTRY.keyAt)
    this.writeValue(entry, value, valueStart, valueEnd, expiresAtMs)
    this.sieve.insert(entry)
    this.index.close(at)
    return true
  }

  /** Removes a key; false when it had no entry. */
  delete(hash: number, key: Uint8Array, start: number, end: number): boolean {
    const slot = this.index.find(hash, key, start, end)
    if (slot < 0) return false
    this.removeEntry(this.index.entryOf(slot))
    return true
  }

  /** Removes every entry whose key has this hash: the key meant, and at worst one that shares its hash. */
  deleteHash(hash: number): void {
    for (let slot = this.index.findHash(hash); slot >= 0; slot = this.index.findHash(hash)) {
      this.removeEntry(this.index.entryOf(slot))
    }
  }

  /** Looks at up to `count` entries, oldest first and on from where it stopped, and removes the expired. */
  sweep(count: number, nowMs: number): number {
    let removed = 0
    let entry = this.sweepAt !== 0 ? this.sweepAt : this.sieve.oldestEntry()
    for (let i = 0; i < count && entry !== 0; i++) {
      const newer = this.sieve.newerThan(entry)
      this.sweepAt = newer
      if (this.expiresAtMs(entry) <= nowMs) {
        this.removeEntry(entry)
        this.expirations++
        removed++
      }
      entry = newer
    }
    return removed
  }

  /** Marks as used what stands in slot s wherever the bit s % markCount is set. */
  markSlots(marks: Int32Array, markCount: number): void {
    for (let word = 0; word < marks.length; word++) {
      for (let bits = marks[word]!; bits !== 0; bits &= bits - 1) {
        const mark = (word << 5) + 31 - Math.clz32(bits & -bits)
        for (let slot = mark; slot < this.slotCount; slot += markCount) {
          const entry = this.index.entryOf(slot)
          if (entry !== 0) this.sieve.mark(entry)
        }
      }
    }
  }

  /** Counts hits and misses of readers in other processes. */
  addInPlace(hits: number, misses: number): void {
    this.hitsInPlace += hits
    this.misses += misses
  }

  stats(): MemoryFigures {
    this.collect()
    return {
      entries: this.index.count,
      bytes: this.storage.usedBytes,
      maxBytes: this.totalBytes,
      hits: this.hits + this.hitsInPlace,
      hitsInPlace: this.hitsInPlace,
      misses: this.misses,
      evictions: this.evictions,
      expirations: this.expirations,
    }
  }

  private writeValue(
    entry: number,
    value: Uint8Array,
    start: number,
    end: number,
    expiresAtMs: number,
  ): void {
    this.words[(entry + ENTRY.valueBytesAt) >> 2] = end - start
    this.words[(entry + ENTRY.versionAt) >> 2]!++
    this.floats[(entry + ENTRY.expiresAt) >> 3] = expiresAtMs
    copyBytes(value, start, end, this.bytes, this.valueStart(entry))
  }

  private removeEntry(entry: number): number {
    if (this.sweepAt === entry) this.sweepAt = this.sieve.newerThan(entry)
    this.index.remove(this.words[(entry + ENTRY.slotAt) >> 2]!)
    this.sieve.remove(entry)
    return this.storage.free(entry)
  }

  /** A block for `need` bytes, evicting as needed. First SIEVE's victims; when those leave only scattered room, the
   *  neighbours of the last one go too, until it has grown to the size. */
  private makeRoom(need: number): number {
    while (this.index.count >= this.entryCountMax) this.evict(this.victim())
    let block = this.storage.allocate(need)
    for (let i = 0; block < 0; i++) {
      const freed = this.evict(this.victim())
      if (i >= VICTIM_COUNT_MAX) this.evictAround(freed, need)
      block = this.storage.allocate(need)
    }
    return block
  }

  /** SIEVE's choice, with what readers elsewhere have used known to it. */
  private victim(): number {
    if (this.evictions >= this.collectAt) {
      this.collect()
      this.collectAt = this.evictions + Math.max(EVICTIONS_PER_COLLECT_MIN, this.index.count >> 3)
    }
    return this.sieve.victim()
  }

  private evict(entry: number): number {
    assert(entry !== 0, 'something can be evicted')
    this.evictions++
    return this.removeEntry(entry)
  }

  /** Evicts neighbours of a free block, after it and then before it, until it surely holds `need`. */
  private evictAround(free: number, need: number): void {
    // TLSF finds a block only in a list whose every block fits, an eighth larger at most.
    const enough = need + (need >> 3) + 64
    let block = free
    while (this.storage.bytesOf(block) < enough) {
      const next = this.storage.next(block)
      const neighbour = next >= 0 ? next : this.storage.previous(block)
      assert(neighbour >= 0, 'an entry is at most a quarter of the storage')
      block = this.evict(neighbour)
    }
  }
}
