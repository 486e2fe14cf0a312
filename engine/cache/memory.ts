/** Memory: tier 1. Keys and values as bytes in a shared segment, bounded by bytes, with TTL and SIEVE eviction.
 *  Owns:   the entries, and the order in which index, storage and list change together.
 *  Thread: main. Readers elsewhere follow segment.ts.
 *  Holds:  (1) get() never gives an expired, invalidated or removed entry.  (2) set() either stores the whole value or leaves
 *          no entry of that key behind.  (3) however sizes are mixed, set() frees at most what the value needs, once around it, beyond
 *          what SIEVE chose: see makeRoom(). */

import { assert } from '../assert.ts'
import { copyBytes } from '../bytes.ts'
import type { MemoryFigures } from '../figures.ts'
import { hashKey } from '../hash.ts'
import type { AdaptiveTtl } from './adaptive.ts'
import { IndexTable } from './index_table.ts'
import {
  areTagsCurrent,
  ENTRY,
  EXTRAS,
  extrasAt,
  FLAG,
  HEADER,
  type Segment,
  setMeta,
  versionOf,
} from './segment.ts'
import { Sieve } from './sieve.ts'
import { Storage } from './storage.ts'
import type { Extras } from './tags.ts'

export interface MemoryOptions {
  /** Values longer than this are not kept here. */
  readonly valueBytesMax: number
  /** Entries at most; 0 or left out: as many as fit. */
  readonly entryCountMax?: number
}

/** After so many evictions marks of readers elsewhere are asked for, at least; else after an eighth of the entries. */
const EVICTIONS_PER_COLLECT_MIN = 16
/** A walk over the entries: the one that comes next. */
export interface Scan {
  entry: number
}

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
  /** Told of each read of an entry whose time to live adapts. */
  adaptive: AdaptiveTtl | undefined
  /** An entry with its key: so much room can always be made by evicting neighbours. */
  private readonly entryBytesMax: number
  private readonly words: Int32Array
  private readonly floats: Float64Array
  private readonly seed: number
  private readonly index: IndexTable
  private readonly storage: Storage
  private readonly sieve: Sieve
  private readonly entryCountMax: number
  private sweepAt = 0
  private readonly scans: Scan[] = []
  private hits = 0
  private hitsInPlace = 0
  private misses = 0
  private evictions = 0
  /** With so many evictions marks are asked for again. */
  private collectAt = 0
  private expirations = 0
  private invalidations = 0

  constructor(segment: Segment, options: MemoryOptions) {
    this.bytes = segment.bytes
    this.words = segment.words
    this.floats = segment.floats
    this.seed = segment.hashSeed
    this.slotCount = segment.slotCount
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
      const flags = this.flagsOf(entry)
      if (this.expiresAtMs(entry) > nowMs && (flags === 0 || this.isCurrent(entry, flags, hash))) {
        this.sieve.mark(entry)
        this.hits++
        return entry
      }
      this.removeIfOver(entry, flags, nowMs)
    }
    this.misses++
    return 0
  }

  /** The entry of a key that could still be given, without counting or marking: fresh, or expired and within its grace. 0: none. */
  look(hash: number, key: Uint8Array, start: number, end: number, nowMs: number): number {
    const slot = this.index.find(hash, key, start, end)
    if (slot < 0) return 0
    const entry = this.index.entryOf(slot)
    return this.goneAtMs(entry) > nowMs && areTagsCurrent(this.words, entry) ? entry : 0
  }

  /** The version that an entry was stored as, up to 2^53. */
  versionOf(entry: number): number {
    return versionOf(this.words, entry)
  }

  /** How long an entry may be given after its expiry, in milliseconds. */
  graceMs(entry: number): number {
    const hasExtras = (this.flagsOf(entry) & FLAG.extras) !== 0
    return hasExtras ? this.floats[(extrasAt(this.words, entry) + EXTRAS.graceAt) >> 3]! : 0
  }

  /** Gives an entry another end: its value and version stay. */
  retime(entry: number, expiresAtMs: number): void {
    const slot = this.words[(entry + ENTRY.slotAt) >> 2]!
    this.index.open(slot)
    this.floats[(entry + ENTRY.expiresAt) >> 3] = expiresAtMs
    this.index.close(slot)
  }

  /** Counts a read of an entry that was made in another process, for times to live that adapt. */
  noteRead(entry: number): void {
    if ((this.flagsOf(entry) & FLAG.adaptive) === 0) return
    const slot = this.words[(entry + ENTRY.slotAt) >> 2]!
    this.adaptive?.read(this.index.hashOf(slot))
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
   *  milliseconds since 1970, Infinity for never. The source may not be this segment. `extras`: grace and tags, if any. */
  set(
    hash: number,
    key: Uint8Array,
    keyStart: number,
    keyEnd: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
    expiresAtMs: number,
    version = 0,
    extras?: Extras,
  ): boolean {
    const keyBytes = keyEnd - keyStart
    const valueBytes = valueEnd - valueStart
    const need = ENTRY.keyAt + keyBytes + valueBytes + (extras === undefined ? 0 : extras.bytes)
    const fits = valueBytes <= this.valueBytesMax && need <= this.entryBytesMax
    const slot = this.index.find(hash, key, keyStart, keyEnd)
    let use = 0
    if (slot >= 0) {
      const entry = this.index.entryOf(slot)
      use = this.sieve.useOf(entry)
      const room = this.storage.bytesOf(entry)
      if (fits && need <= room && need > room >> 1) {
        this.index.open(slot)
        this.writeValue(entry, value, valueStart, valueEnd, expiresAtMs, version, extras)
        this.index.close(slot)
        this.sieve.keep(entry)
        return true
      }
      this.removeEntry(entry)
    }
    if (!fits) return false
    const entry = this.makeRoom(need)
    const at = this.index.insertOpen(hash, entry)
    this.words[(entry + ENTRY.keyBytesAt) >> 2] = keyBytes
    copyBytes(key, keyStart, keyEnd, this.bytes, entry + ENTRY.keyAt)
    this.writeValue(entry, value, valueStart, valueEnd, expiresAtMs, version, extras)
    this.sieve.insert(entry, use)
    this.index.close(at)
    return true
  }

  /** Whether so many bytes, key and value, go in without an eviction. */
  hasRoom(bytes: number): boolean {
    return this.index.count < this.entryCountMax && this.storage.hasRoom(ENTRY.keyAt + bytes)
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
    for (let slot = this.index.findHash(hash); slot >= 0; slot = this.index.findHash(hash))
      this.removeEntry(this.index.entryOf(slot))
  }

  /** Looks at up to `count` entries, oldest first and on from where it stopped, and removes the expired. */
  sweep(count: number, nowMs: number): number {
    let removed = 0
    let entry = this.sweepAt !== 0 ? this.sweepAt : this.sieve.oldestEntry()
    for (let i = 0; i < count && entry !== 0; i++) {
      const newer = this.sieve.newerThan(entry)
      this.sweepAt = newer
      // What still expires later costs no look at its extras, but for tags.
      const flags = this.flagsOf(entry)
      if (this.expiresAtMs(entry) <= nowMs || (flags & FLAG.extras) !== 0) {
        if (this.removeIfOver(entry, flags, nowMs)) removed++
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
          if (entry === 0) continue
          this.sieve.mark(entry)
          this.noteRead(entry)
        }
      }
    }
  }

  /** Counts hits and misses of readers in other processes. */
  addInPlace(hits: number, misses: number): void {
    this.hitsInPlace += hits
    this.misses += misses
  }

  /** A walk over all entries that are there now, oldest first, in as many steps as its caller likes; entries may come and
   *  go between them. The caller ends it. */
  beginScan(): Scan {
    const scan = { entry: this.sieve.oldestEntry() }
    this.scans.push(scan)
    return scan
  }

  /** Shows up to `count` entries to `isToGo` and removes those it says; false when the walk has come to its end. */
  scan(scan: Scan, count: number, isToGo: (entry: number) => boolean): boolean {
    for (let i = 0; i < count && scan.entry !== 0; i++) {
      const { entry } = scan
      scan.entry = this.sieve.newerThan(entry)
      if (!isToGo(entry)) continue
      this.removeEntry(entry)
      this.invalidations++
    }
    return scan.entry !== 0
  }

  endScan(scan: Scan): void {
    this.scans.splice(this.scans.indexOf(scan), 1)
  }

  keyStart(entry: number): number {
    return entry + ENTRY.keyAt
  }

  stats(): MemoryFigures {
    this.collect()
    return {
      entries: this.index.count,
      bytes: this.storage.usedBytes,
      maxBytes: this.words[HEADER.totalBytes]!,
      hits: this.hits + this.hitsInPlace,
      hitsInPlace: this.hitsInPlace,
      misses: this.misses,
      evictions: this.evictions,
      expirations: this.expirations,
      invalidations: this.invalidations,
    }
  }

  private writeValue(
    entry: number,
    value: Uint8Array,
    start: number,
    end: number,
    expiresAtMs: number,
    version: number,
    extras: Extras | undefined,
  ): void {
    this.words[(entry + ENTRY.valueBytesAt) >> 2] = end - start
    this.floats[(entry + ENTRY.expiresAt) >> 3] = expiresAtMs
    copyBytes(value, start, end, this.bytes, this.valueStart(entry))
    setMeta(this.words, entry, version, extras === undefined ? 0 : extras.flags)
    if (extras !== undefined) extras.writeTo(this.words, this.floats, extrasAt(this.words, entry))
  }

  private flagsOf(entry: number): number {
    return this.words[(entry + ENTRY.metaAt) >> 2]! & FLAG.all
  }

  private goneAtMs(entry: number): number {
    return this.expiresAtMs(entry) + this.graceMs(entry)
  }

  /** Of an entry with flags: whether it may be given. Counts the read. */
  private isCurrent(entry: number, flags: number, hash: number): boolean {
    if (!areTagsCurrent(this.words, entry)) return false
    if ((flags & FLAG.adaptive) !== 0) this.adaptive?.read(hash)
    return true
  }

  /** Removes an entry that can never be given again: past its grace, or invalidated by a tag. */
  private removeIfOver(entry: number, flags: number, nowMs: number): boolean {
    if (flags !== 0 && !areTagsCurrent(this.words, entry)) this.invalidations++
    else if (this.goneAtMs(entry) <= nowMs) this.expirations++
    else return false
    this.removeEntry(entry)
    return true
  }

  private removeEntry(entry: number): number {
    if (this.sweepAt === entry) this.sweepAt = this.sieve.newerThan(entry)
    for (const scan of this.scans)
      if (scan.entry === entry) scan.entry = this.sieve.newerThan(entry)
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
