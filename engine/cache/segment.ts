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
 *      header (4096)   | slots: slotCount x 16                  | storage: blocks up to the end
 *
 *      header, 32-bit words:  magic · layout · state · hashSeed · totalBytes · slotCount · slotsAt · storageAt ·
 *                             storageBytes · pid · engine's id (its hash, 4 words) · guard; at byte 128 the guard's lock
 *
 *      slot    0           4        8             12
 *              | sequence  | hash   | entry / 8   | reserved |          entry 0: empty
 *
 *      block   0                  4                    8
 *              | bytes | used:1   | previous's bytes   | free: next free, previous free  /  used: the entry ...
 *      entry   8        12                16            20      24            32      36      40        44        48
 *              | hash   | key bytes       | value bytes | slot  | expires:f64 | older | newer | visited | version | key | value
 *
 *  The header's `guard` is the index of a word in the guard's lock, 0 without one: it is the id of main's thread, and changes when
 *  that thread ends, by whatever death, before the kernel closes the engine's socket. A reader in another process
 *  serves only while the state is live and that word is as it was when the segment was mapped.
 *
 *  `older`, `newer` and `visited` are SIEVE's list, and like all of the storage's bookkeeping mean something to main alone. */

import { assert } from '../assert.ts'
import { hashKey } from '../hash.ts'

export const SEGMENT_MAGIC = 0x4854_5248 // 'HRTH'
export const SEGMENT_LAYOUT = 2
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
  hashAt: 8,
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

assert(ENTRY.expiresAt % 8 === 0, 'the expiry is read as a float64')
assert(BLOCK.bytesMin >= ENTRY.keyAt, 'the smallest block holds an entry')

/** One slot for so many bytes of segment: entries smaller than this on average run out of slots before storage. */
const BYTES_PER_SLOT = 128

/** The segment's memory through the views that the rest of tier 1 needs. */
export interface Segment {
  readonly bytes: Buffer
  readonly words: Int32Array
  readonly floats: Float64Array
  readonly hashSeed: number
  readonly slotCount: number
  readonly slotsAt: number
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
  const storageAt = slotsAt + slotCount * SLOT.bytes
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
  // Published last: whoever sees the magic sees a whole header.
  Atomics.store(words, HEADER.magic, SEGMENT_MAGIC)
  return {
    bytes: Buffer.from(memory, 0, totalBytes),
    words,
    floats: new Float64Array(memory, 0, totalBytes >> 3),
    hashSeed: options.hashSeed | 0,
    slotCount,
    slotsAt,
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

function powerOfTwoAtMost(limit: number): number {
  return 2 ** Math.floor(Math.log2(limit))
}
