/** Slots: the figures of each fingerprint, in columns: recording one call touches a few numbers and allocates nothing.
 *  Owns:   the columns, which slot is whose.   Not here: what is counted when (recorder.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) at most `countMax` slots and TEXT_CHARS_MAX characters of text; when either is used up, those that count least make
 *          room, a sixteenth at a time.  (2) a slot that has changed hands has another generation. */

import { hash } from 'node:crypto'
import { wallMs } from '../../../engine/clock.ts'
import type { Sample } from './sample.ts'

/** Durations by half octaves, from 8 µs to four minutes. */
export const BUCKET_COUNT = 50
/** Callers told apart of one fingerprint; the last counts all others. */
export const CALLERS_OF_ONE = 4
/** All texts together. */
const TEXT_CHARS_MAX = 256 * 1024
const FIRST_COUNT = 32
const DAY_MS = 86_400_000

export const OUTCOMES = ['memory', 'sqlite', 'inPlace', 'stale', 'shared', 'misses'] as const

export class Slots {
  readonly texts: string[] = []
  readonly databases: string[] = []
  /** What the fingerprint is called: a hash of its text. */
  readonly names: string[] = []
  readonly samples: (Sample | undefined)[] = []
  readonly isRead: boolean[] = []
  generations = new Uint32Array(FIRST_COUNT)
  calls = new Float64Array(FIRST_COUNT)
  errors = new Float64Array(FIRST_COUNT)
  totalMs = new Float64Array(FIRST_COUNT)
  maxMs = new Float32Array(FIRST_COUNT)
  rows = new Float64Array(FIRST_COUNT)
  /** Wall clock, of the first and the last call. */
  firstMs = new Float64Array(FIRST_COUNT)
  lastMs = new Float64Array(FIRST_COUNT)
  buckets = new Uint32Array(FIRST_COUNT * BUCKET_COUNT)
  callers = new Uint16Array(FIRST_COUNT * CALLERS_OF_ONE)
  callerCalls = new Float64Array(FIRST_COUNT * CALLERS_OF_ONE)
  outcomes = new Float64Array(FIRST_COUNT * OUTCOMES.length)
  /** Told of each slot whose fingerprint makes room for another. */
  onEvicted: (slot: number) => void = () => {}
  evictions = 0
  private readonly countMax: number
  private readonly byKey = new Map<string, number>()
  private readonly free: number[] = []
  private used = 0
  private textChars = 0

  constructor(countMax: number) {
    this.countMax = countMax
  }

  get count(): number {
    return this.byKey.size
  }

  /** Slots in use. */
  values(): IterableIterator<number> {
    return this.byKey.values()
  }

  find(database: string, name: string): number | undefined {
    return this.byKey.get(`${database} ${name}`)
  }

  /** The slot of a fingerprint: its own, or one that is free or made so. */
  of(database: string, text: string, isRead: boolean): number {
    const name = nameOf(text)
    const key = `${database} ${name}`
    const known = this.byKey.get(key)
    if (known !== undefined) return known
    while (this.byKey.size >= this.countMax || this.textChars > TEXT_CHARS_MAX) this.makeRoom()
    const slot = this.free.pop() ?? this.nextSlot()
    this.byKey.set(key, slot)
    this.texts[slot] = text
    this.databases[slot] = database
    this.names[slot] = name
    this.isRead[slot] = isRead
    this.samples[slot] = undefined
    this.textChars += text.length
    this.firstMs[slot] = wallMs()
    this.lastMs[slot] = this.firstMs[slot]!
    return slot
  }

  clear(): void {
    for (const slot of [...this.byKey.values()]) this.evict(slot)
  }

  private nextSlot(): number {
    const slot = this.used++
    if (slot === this.calls.length) this.grow(Math.min(this.countMax, slot * 2))
    return slot
  }

  private grow(count: number): void {
    this.generations = grown(this.generations, count)
    this.calls = grown(this.calls, count)
    this.errors = grown(this.errors, count)
    this.totalMs = grown(this.totalMs, count)
    this.maxMs = grown(this.maxMs, count)
    this.rows = grown(this.rows, count)
    this.firstMs = grown(this.firstMs, count)
    this.lastMs = grown(this.lastMs, count)
    this.buckets = grown(this.buckets, count * BUCKET_COUNT)
    this.callers = grown(this.callers, count * CALLERS_OF_ONE)
    this.callerCalls = grown(this.callerCalls, count * CALLERS_OF_ONE)
    this.outcomes = grown(this.outcomes, count * OUTCOMES.length)
  }

  /** Those with the fewest calls go, and of old calls each day makes half as many. */
  private makeRoom(): void {
    const nowMs = wallMs()
    const worth = (slot: number) => this.calls[slot]! / 2 ** ((nowMs - this.lastMs[slot]!) / DAY_MS)
    const all = [...this.byKey.values()].map(slot => ({ slot, worth: worth(slot) }))
    all.sort((a, b) => a.worth - b.worth)
    const count = Math.max(1, all.length >> 4)
    for (const { slot } of all.slice(0, count)) this.evict(slot)
    this.evictions += count
  }

  private evict(slot: number): void {
    this.onEvicted(slot)
    this.byKey.delete(`${this.databases[slot]} ${this.names[slot]}`)
    this.textChars -= this.texts[slot]!.length
    this.texts[slot] = ''
    this.samples[slot] = undefined
    this.generations[slot]!++
    for (const column of [this.calls, this.errors, this.totalMs, this.maxMs, this.rows])
      column[slot] = 0
    this.buckets.fill(0, slot * BUCKET_COUNT, (slot + 1) * BUCKET_COUNT)
    this.callers.fill(0, slot * CALLERS_OF_ONE, (slot + 1) * CALLERS_OF_ONE)
    this.callerCalls.fill(0, slot * CALLERS_OF_ONE, (slot + 1) * CALLERS_OF_ONE)
    this.outcomes.fill(0, slot * OUTCOMES.length, (slot + 1) * OUTCOMES.length)
    this.free.push(slot)
  }
}

/** 11 characters: 66 bits. */
export function nameOf(text: string): string {
  return hash('sha1', text, 'base64url').slice(0, 11)
}

/** The bucket of a duration: the exponent and the first digit of its mantissa, as its bits have them. */
export function bucketOf(ms: number): number {
  float[0] = ms
  const bucket = (bits[0]! >> 22) - FIRST_BITS
  return bucket <= 0 ? 0 : bucket >= BUCKET_COUNT ? BUCKET_COUNT - 1 : bucket
}

/** Where a bucket ends, in milliseconds. */
export function bucketEndMs(bucket: number): number {
  bits[0] = (bucket + 1 + FIRST_BITS) << 22
  return float[0]!
}

const float = new Float32Array(1)
const bits = new Int32Array(float.buffer)
const FIRST_BITS = (127 - 7) * 2 // 2^-7 ms

type Column = Uint32Array | Uint16Array | Float64Array | Float32Array

function grown<T extends Column>(column: T, length: number): T {
  const larger = new (column.constructor as new (length: number) => T)(length)
  larger.set(column as never)
  return larger
}
