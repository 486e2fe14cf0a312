/** The segment: tier 1's memory, drawn. Main writes it; any process may map it read-only and look keys up in place.
 *  Owns:   the layout and the header.   Not here: finding keys (index.ts), room (storage.ts), eviction (sieve.ts).
 *  Thread: main writes; readers in other processes only read.
 *  Holds:  (1) sizes are fixed at creation: the whole segment, index included, is memory.max_bytes.
 *          (2) a slot's sequence is odd while the slot, or the entry it points to, is being changed, and is larger afterwards.
 *          (3) an entry's bytes are changed or given away only while its slot's sequence is odd.
 *
 *  So a reader is safe with this, and must do all of it: load the sequence (odd: a miss); read hash, entry,
 *  key, expiry and value; load the sequence again: the same, or what was read is thrown away. What is read in
 *  between may be anything, so an entry, a key's length or a value's length that reaches past the segment is a
 *  miss, not an address. Before the last load stands a fence: an acquire fence in C; in JavaScript an
 *  Atomics.store to a word of the reader's own. Sequences are in the index, never in the storage, so stale
 *  bytes of a reused block cannot pose as one.
 *
 *      header (4096)   | slots: slotCount x 16   | tag counters: tagCount x 4   | storage: blocks up to the end
 *
 *      header, 32-bit words:  magic · layout · state · hashSeed · totalBytes · slotCount · slotsAt · storageAt ·
 *                             storageBytes · pid · engine's id (its hash, 4 words) · guard · tagsAt · tagCount; at byte 128
 *                             the guard's lock
 *
 *      slot    0           4        8             12
 *              | sequence  | hash   | entry / 8   | reserved |          entry 0: empty
 *
 *      block   0                  4                    8
 *              | bytes | used:1   | previous's bytes   | free: next free, previous free  /  used: the entry ...
 *      entry   8        12          16            20     24            32      36      40        44            48
 *              | meta   | key bytes | value bytes | slot | expires:f64 | older | newer | visited | version low | key | value
 *      meta    | version's upper 21 bits | flags:11 |
 *      extras  | grace ms:f64 | tag count | 0 | tag's counter, its version | ... | 8-aligned behind the value, if the flags say so
 *
 *  The header's `guard` is the index of a word in the guard's lock, 0 without one: it is the id of main's thread, and changes when
 *  that thread ends, by whatever death, before the kernel closes the engine's socket. A reader in another process
 *  serves only while the state is live and that word is as it was when the segment was mapped.
 *
 *  `older`, `newer` and `visited` are SIEVE's list, and like all of the storage's bookkeeping mean something to main alone;
 *  `visited` counts reads besides (use.ts).
 *  An entry without grace and tags has no flag: one word, in the line that is read anyway, tells. A tag is a counter, found
 *  by its hash; an entry with tags is there only while areTagsCurrent() says so, which a reader asks between its two loads.
 *  Tags that share a counter are invalidated together, which costs a trip to tier 2, where tags have names. */

import { assert } from '../assert.ts'
import { hashKey } from '../hash.ts'

export const SEGMENT_MAGIC = 0x4854_5248 // 'HRTH'
export const SEGMENT_LAYOUT = 3
export const SEGMENT_BYTES_MIN = 64 * 1024
/** Offsets and sizes are signed 32-bit words. */
export const SEGMENT_BYTES_MAX = 2 ** 31 - 8

export const HEADER = {
  magic: 0,
  layout: 1,
  state: 2,
  hashSeed: 3,
  totalBytes: 4,
  slotCount: 5,
  slotsAt: 6,
  storageAt: 7,
  storageBytes: 8,
  pid: 9,
  engineId: 10,
  guard: 14,
  tagsAt: 15,
  tagCount: 16,
  /** In bytes: room for the guard's lock (holdGuard() of native-bindings). */
  guardAt: 128,
  bytes: 4096,
} as const

/** The kernel sets this in the guard's word when its holder has died. */
export const GUARD_OWNER_DIED = 0x4000_0000

/** The header's state word. A reader serves from a segment only while it is live. */
export const STATE = { building: 0, live: 1, closed: 2 } as const

export const SLOT = { sequenceAt: 0, hashAt: 4, entryAt: 8, bytes: 16 } as const

export const BLOCK = {
  sizeAt: 0,
  previousAt: 4,
  nextFreeAt: 8,
  previousFreeAt: 12,
  usedBit: 1,
  bytesMin: 56,
} as const

export const ENTRY = {
  metaAt: 8,
  keyBytesAt: 12,
  valueBytesAt: 16,
  slotAt: 20,
  expiresAt: 24,
  olderAt: 32,
  newerAt: 36,
  visitedAt: 40,
  versionAt: 44,
  keyAt: 48,
} as const

/** What an entry's meta word says besides the version. */
export const FLAG = { extras: 1, adaptive: 2, all: 0x7ff } as const
const FLAG_BITS = 11

export const EXTRAS = { graceAt: 0, tagCountAt: 8, pairsAt: 16, pairBytes: 8 } as const
/** Tags that an entry may have. */
export const TAG_COUNT_MAX = 32

assert(ENTRY.expiresAt % 8 === 0, 'the expiry is read as a float64')
assert(BLOCK.bytesMin >= ENTRY.keyAt, 'the smallest block holds an entry')

/** One slot for so many bytes of segment: entries smaller than this on average run out of slots before storage. */
const BYTES_PER_SLOT = 128
/** One tag counter for so many bytes: 4 096 of them in 4 MiB. */
const BYTES_PER_TAG_COUNTER = 1_024

/** The segment's memory through the views that the rest of tier 1 needs. */
export interface Segment {
  readonly bytes: Buffer
  readonly words: Int32Array
  readonly floats: Float64Array
  readonly hashSeed: number
  readonly slotCount: number
  readonly slotsAt: number
  readonly tagCount: number
  readonly tagsAt: number
  readonly storageAt: number
  readonly storageEnd: number
}

/** Lays a segment out over fresh, zeroed memory; it is not live before `setState`. Length in bytes, a multiple of 8. */
export function createSegment(
  memory: ArrayBuffer,
  options: { pid: number; hashSeed: number; engineId?: string; guardWord?: number },
): Segment {
  const totalBytes = memory.byteLength & ~7
  assert(totalBytes >= SEGMENT_BYTES_MIN, 'a segment has room for its index')
  assert(totalBytes <= SEGMENT_BYTES_MAX, 'offsets in a segment have 31 bits')
  const slotCount = powerOfTwoAtMost(totalBytes / BYTES_PER_SLOT)
  const slotsAt = HEADER.bytes
  const tagCount = powerOfTwoAtMost(totalBytes / BYTES_PER_TAG_COUNTER)
  const tagsAt = slotsAt + slotCount * SLOT.bytes
  const storageAt = tagsAt + tagCount * 4
  const words = new Int32Array(memory, 0, totalBytes >> 2)
  words[HEADER.layout] = SEGMENT_LAYOUT
  words[HEADER.hashSeed] = options.hashSeed
  words[HEADER.totalBytes] = totalBytes
  words[HEADER.slotCount] = slotCount
  words[HEADER.slotsAt] = slotsAt
  words[HEADER.storageAt] = storageAt
  words[HEADER.storageBytes] = totalBytes - storageAt
  words[HEADER.pid] = options.pid
  words.set(engineIdWords(options.engineId ?? ''), HEADER.engineId)
  words[HEADER.guard] = options.guardWord ?? 0
  words[HEADER.tagsAt] = tagsAt
  words[HEADER.tagCount] = tagCount
  // Published last: whoever sees the magic sees a whole header.
  Atomics.store(words, HEADER.magic, SEGMENT_MAGIC)
  return {
    bytes: Buffer.from(memory, 0, totalBytes),
    words,
    floats: new Float64Array(memory, 0, totalBytes >> 3),
    hashSeed: options.hashSeed | 0,
    slotCount,
    slotsAt,
    tagCount,
    tagsAt,
    storageAt,
    storageEnd: totalBytes,
  }
}

/** Tells readers whether they may serve from the segment. */
export function setState(segment: Segment, state: (typeof STATE)[keyof typeof STATE]): void {
  Atomics.store(segment.words, HEADER.state, state)
}

/** What stands for an engine's id in the header. */
export function engineIdWords(id: string): number[] {
  const bytes = Buffer.from(id)
  return [1, 2, 3, 4].map(seed => hashKey(seed, bytes, 0, bytes.length))
}

/** The version of an entry, up to 2^53. Any process may ask; of an entry that is being changed the answer means nothing. */
export function versionOf(words: Int32Array, entry: number): number {
  const high = words[(entry + ENTRY.metaAt) >> 2]! >>> FLAG_BITS
  return high * 2 ** 32 + (words[(entry + ENTRY.versionAt) >> 2]! >>> 0)
}

/** Writes an entry's version and flags: its slot must be open. */
export function setMeta(words: Int32Array, entry: number, version: number, flags: number): void {
  const high = Math.floor(version / 2 ** 32)
  words[(entry + ENTRY.metaAt) >> 2] = (high << FLAG_BITS) | flags
  words[(entry + ENTRY.versionAt) >> 2] = version | 0
}

/** Where an entry's extras begin. Means something only if its flags say that it has any. */
export function extrasAt(words: Int32Array, entry: number): number {
  const keyBytes = words[(entry + ENTRY.keyBytesAt) >> 2]!
  const valueBytes = words[(entry + ENTRY.valueBytesAt) >> 2]!
  return (entry + ENTRY.keyAt + keyBytes + valueBytes + 7) & ~7
}

/** Whether all tags of an entry are as they were when it was stored. Any process may ask, of words that may be changing
 *  meanwhile: nothing outside of `words` is read, and an answer in between is thrown away with the rest. */
export function areTagsCurrent(words: Int32Array, entry: number): boolean {
  if ((words[(entry + ENTRY.metaAt) >> 2]! & FLAG.extras) === 0) return true
  const extras = extrasAt(words, entry)
  const count = words[(extras + EXTRAS.tagCountAt) >> 2]!
  if (!(count >= 0 && count <= TAG_COUNT_MAX)) return false
  const counters = words[HEADER.tagsAt]! >> 2
  const mask = words[HEADER.tagCount]! - 1
  const end = ((extras + EXTRAS.pairsAt) >> 2) + count * 2
  for (let pair = end - count * 2; pair < end; pair += 2) {
    // Pairs with the store in TagCounters.bump(): an invalidation that was acknowledged is seen.
    if (Atomics.load(words, counters + (words[pair]! & mask)) !== words[pair + 1]) return false
  }
  return true
}

function powerOfTwoAtMost(limit: number): number {
  return 2 ** Math.floor(Math.log2(limit))
}
