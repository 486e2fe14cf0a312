/** SegmentReader: finds a key's value in tier 1 in place, by the rule in cache/segment.ts, while main changes it.
 *  Owns:   a copy of the value last found, a buffer for keys.   Not here: whether the engine lives, marks, decoding (shared_memory.ts).
 *  Thread: any but main's; one reader a thread.
 *  Holds:  (1) what find() gives was whole, of that key and not expired at one moment during the call.  (2) nothing read from
 *          the segment is used as an address or a size before it was checked against the segment's end.
 *
 *  In JavaScript and not in C: what a call into C costs (its argument, its answer) is what it saves
 *  (bench/micro/in_place.bench.ts has the figures of this side; in C it was 52 ns and the clock, here 47 and the clock). */

import { writeUtf8 } from '../bytes.ts'
import { areTagsCurrent, ENTRY, HEADER, SLOT } from '../cache/segment.ts'
import { wallMs } from '../clock.ts'
import { hashKey } from '../hash.ts'
import type { RecentValues } from './recent_values.ts'

/** A key that is being changed is looked up so often before it counts as a miss. */
const ATTEMPT_COUNT_MAX = 4
/** Up to here a value is copied by a loop: setting up a call of memmove costs more. */
const LOOP_BYTES_MAX = 512
const COPY_BYTES = 4096
/** A copy longer than this is not kept for the next value. */
const COPY_BYTES_KEPT = 64 * 1024
const SLOT_WORDS = SLOT.bytes >> 2

const MISS = 0
const FOUND = 1
const THROWN_AWAY = 2

export class SegmentReader {
  /** The value last found is bytes[start, end): until the next find(), and to be copied from. */
  bytes: Buffer
  start = 0
  end = 0
  /** When it expires. */
  expiresAtMs = 0
  /** The slot where it was, and that slot's sequence. */
  slot = 0
  sequence = 0
  /** Its place among the recent values, and then it was not copied to `bytes`; else -1. */
  recentAt = -1
  /** Look-ups that met a change: counted for tests. */
  thrownAwayCount = 0
  private readonly words: Int32Array
  private readonly floats: Float64Array
  private readonly source: Uint8Array
  private readonly mask: number
  private readonly slotsAtWord: number
  private readonly hashSeed: number
  private readonly valueBytesMax: number
  private readonly key: Buffer
  private readonly recent: RecentValues | undefined
  private copy: Int32Array
  /** A word of this reader's own, for fences. */
  private readonly own = new Int32Array(1)

  /** `keyBytesMax`: longer keys are in no entry. The segment's header has been checked. A value that is among the recent ones is
   *  not copied. */
  constructor(memory: ArrayBufferLike, keyBytesMax: number, recent?: RecentValues) {
    const words = new Int32Array(memory, 0, memory.byteLength >> 2)
    const totalBytes = words[HEADER.totalBytes]!
    this.words = words
    this.floats = new Float64Array(memory, 0, memory.byteLength >> 3)
    this.source = new Uint8Array(memory, 0, totalBytes)
    this.mask = words[HEADER.slotCount]! - 1
    this.slotsAtWord = words[HEADER.slotsAt]! >> 2
    this.hashSeed = words[HEADER.hashSeed]!
    this.valueBytesMax = totalBytes >> 3
    this.recent = recent
    this.key = Buffer.allocUnsafeSlow(keyBytesMax * 3)
    this.copy = new Int32Array(COPY_BYTES >> 2)
    this.bytes = Buffer.from(this.copy.buffer)
  }

  /** Whether the key has a value, which is then in bytes[start, end), or recent. */
  find(key: string): boolean {
    return this.findTaken(this.takeKey(key))
  }

  /** The same for a key in two parts, of which the second is bytes[0, end) as Latin-1. */
  findParts(prefix: Uint8Array, bytes: Uint8Array, end: number): boolean {
    return this.findTaken(this.takeParts(prefix, bytes, end))
  }

  private findTaken(keyBytes: number): boolean {
    const hash = hashKey(this.hashSeed, this.key, 0, keyBytes)
    for (let attempt = 0; attempt < ATTEMPT_COUNT_MAX; attempt++) {
      const outcome = this.look(hash, keyBytes)
      if (outcome !== THROWN_AWAY) return outcome === FOUND
      this.thrownAwayCount++
    }
    return false
  }

  /** Writes the key as UTF-8; its length, 0 (which no key has) when it is too long for any entry. */
  private takeKey(text: string): number {
    const { key } = this
    const { length } = text
    if (length * 3 > key.length) return 0
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i)
      if (unit > 0x7f) return writeUtf8(key, text, 0)
      key[i] = unit
    }
    return length
  }

  private takeParts(prefix: Uint8Array, bytes: Uint8Array, end: number): number {
    const { key } = this
    let at = 0
    for (; at < prefix.length; at++) key[at] = prefix[at]!
    for (let i = 0; i < end; i++) {
      const byte = bytes[i]!
      if (byte < 0x80) key[at++] = byte
      else {
        key[at++] = 0xc0 | (byte >> 6)
        key[at++] = 0x80 | (byte & 0x3f)
      }
    }
    return at
  }

  private look(hash: number, keyBytes: number): number {
    const { words, mask } = this
    for (let slot = hash & mask, i = 0; i <= mask; slot = (slot + 1) & mask, i++) {
      const word = this.slotsAtWord + slot * SLOT_WORDS
      // Acquire. Pairs with IndexTable.close(): what is read below is as new as this sequence.
      const sequence = Atomics.load(words, word)
      if ((sequence & 1) !== 0) return THROWN_AWAY
      const entry = words[word + 2]! << 3
      if (entry === 0) return MISS
      if (words[word + 1] !== hash || !this.isKey(entry, keyBytes)) continue
      // A slot's sequence changes with the slot and with its entry: at the same one this is the value that was decoded then.
      const recentAt = this.recent === undefined ? -1 : this.recent.find(slot, sequence)
      const isTaken = this.isValid(entry) && (recentAt >= 0 || this.take(entry, keyBytes))
      // The fence: no load above may come after the one below, which pairs with IndexTable.open().
      Atomics.store(this.own, 0, 0)
      if (Atomics.load(words, word) !== sequence) return THROWN_AWAY
      this.slot = slot
      this.sequence = sequence
      this.recentAt = recentAt
      return isTaken ? FOUND : MISS
    }
    return MISS
  }

  /** Whether the entry may be served, apart from its key. Its bytes may be torn: any answer will do then, but no exception. */
  private isValid(entry: number): boolean {
    const expiresAtMs = this.floats[(entry + ENTRY.expiresAt) >> 3]!
    this.expiresAtMs = expiresAtMs
    const isFresh = expiresAtMs === Infinity || expiresAtMs > wallMs()
    return isFresh && areTagsCurrent(this.words, entry)
  }

  private isKey(entry: number, keyBytes: number): boolean {
    const { source, key } = this
    const at = entry + ENTRY.keyAt
    if (entry < 0 || at + keyBytes > source.length) return false
    if (this.words[(entry + ENTRY.keyBytesAt) >> 2] !== keyBytes) return false
    for (let i = 0; i < keyBytes; i++) if (source[at + i] !== key[i]) return false
    return true
  }

  /** Copies the value; false when its length is nonsense. */
  private take(entry: number, keyBytes: number): boolean {
    const { words } = this
    const valueBytes = words[(entry + ENTRY.valueBytesAt) >> 2]!
    const at = entry + ENTRY.keyAt + keyBytes
    if (valueBytes < 0 || valueBytes > this.valueBytesMax) return false
    if (at + valueBytes > this.source.length) return false
    // By whole words, those at the edges with up to three bytes of the neighbours.
    const from = at >> 2
    const to = (at + valueBytes + 3) >> 2
    const copy = this.copyFor(to - from)
    if (valueBytes <= LOOP_BYTES_MAX) {
      for (let word = from, i = 0; word < to; word++, i++) copy[i] = words[word]!
    } else {
      copy.set(words.subarray(from, to))
    }
    this.start = at & 3
    this.end = this.start + valueBytes
    return true
  }

  private copyFor(words: number): Int32Array {
    const { length } = this.copy
    if (words > length) this.renewCopy(Math.max(words, length * 2))
    else if (length > COPY_BYTES_KEPT >> 2 && words <= COPY_BYTES >> 2)
      this.renewCopy(COPY_BYTES >> 2)
    return this.copy
  }

  private renewCopy(words: number): void {
    this.copy = new Int32Array(words)
    this.bytes = Buffer.from(this.copy.buffer)
  }
}
