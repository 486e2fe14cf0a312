/** RecentValues: small flat values that were decoded before, kept for as long as their slot's sequence stays the same.
 *  Owns:   the decoded values, a fixed number of them.
 *  Thread: the client's.
 *  Holds:  (1) a value is given only for the slot and the sequence it was decoded at: the reader has compared both with the segment in
 *          this very look-up, so nothing old is ever served from here.  (2) what is given is a copy of the caller's own.
 *
 *  Decoding is two thirds of a hit (bench/micro/in_place.bench.ts): an object of six fields takes 210 ns to decode, 15 to copy. A value
 *  that has to take another's place is kept when it is met the second time, so that a scan drives little out. */

import type { QueryResult } from './database.ts'

/** At 200 bytes each this is 400 KiB. */
const COUNT_BITS = 11
const COUNT = 1 << COUNT_BITS
const FIELD_COUNT_MAX = 32

export class RecentValues {
  /** Each slot has two places here, so that few have to share. */
  private readonly slots = new Int32Array(COUNT).fill(-1)
  private readonly sequences = new Int32Array(COUNT)
  private readonly values: unknown[] = Array.from({ length: COUNT }, () => undefined)
  /** What was met last and is not kept. */
  private readonly metSlots = new Int32Array(COUNT).fill(-1)
  private readonly metSequences = new Int32Array(COUNT)

  /** The place of a slot's value at this sequence, or -1. */
  find(slot: number, sequence: number): number {
    const first = slot & (COUNT - 1)
    if (this.slots[first] === slot && this.sequences[first] === sequence) return first
    const second = secondPlace(slot)
    return this.slots[second] === slot && this.sequences[second] === sequence ? second : -1
  }

  /** The value in a place that find() has given. */
  copyOf(place: number): unknown {
    const value = this.values[place]
    return typeof value === 'object' && value !== null ? { ...value } : value
  }

  /** A value was decoded: it is kept where there is room for it, else when it is met the second time. The caller goes on to give
   *  it away, so it is copied. */
  note(slot: number, sequence: number, value: unknown): void {
    const place = this.placeFor(slot, sequence)
    if (place < 0 || !(isPrimitive(value) || isFlat(value as object))) return
    this.keep(place, slot, sequence, isPrimitive(value) ? value : { ...(value as object) })
  }

  /** The result in a place that find() has given; it was noted by noteRows(). */
  copyOfRows(place: number): QueryResult {
    return copyOfRows(this.values[place] as QueryResult)
  }

  /** The result of a statement was decoded: as note(). */
  noteRows(slot: number, sequence: number, result: QueryResult): void {
    const place = this.placeFor(slot, sequence)
    if (place >= 0 && result.rows.every(isFlat))
      this.keep(place, slot, sequence, copyOfRows(result))
  }

  private keep(place: number, slot: number, sequence: number, value: unknown): void {
    this.slots[place] = slot
    this.sequences[place] = sequence
    this.values[place] = value
  }

  /** Where an older value of this slot is, else where none is, else another's place, but only for what is met again; or -1. */
  private placeFor(slot: number, sequence: number): number {
    const first = slot & (COUNT - 1)
    const second = secondPlace(slot)
    if (this.slots[first] === slot || this.slots[first] === -1) return first
    if (this.slots[second] === slot || this.slots[second] === -1) return second
    if (this.metSlots[first] === slot && this.metSequences[first] === sequence) return first
    this.metSlots[first] = slot
    this.metSequences[first] = sequence
    return -1
  }
}

function secondPlace(slot: number): number {
  return Math.imul(slot, 0x9e37_79b1) >>> (32 - COUNT_BITS)
}

/** Rows of primitives; the columns are frozen, and shared. */
function copyOfRows({ rows, rowCount, fields, command, source }: QueryResult): QueryResult {
  return { rows: rows.map(row => ({ ...row })), rowCount, fields, command, source }
}

function isPrimitive(value: unknown): boolean {
  return typeof value !== 'object' || value === null
}

/** A plain object of a few primitives: a shallow copy of it is a whole one. */
function isFlat(value: object): boolean {
  if (Object.getPrototypeOf(value) !== Object.prototype) return false
  let fields = 0
  for (const name in value) {
    if (++fields > FIELD_COUNT_MAX || !isPrimitive((value as Record<string, unknown>)[name]))
      return false
  }
  return true
}
