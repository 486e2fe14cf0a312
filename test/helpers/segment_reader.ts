/** segment_reader: reads tier 1 in another thread by the rule in segment.ts, while main changes it.
 *  Owns:   its counts.   Thread: a worker of the test.
 *  Holds:  every value it accepts is checked to the last byte, and must not be older than the last change that had
 *          ended before the look-up began. */

import { parentPort, workerData } from 'node:worker_threads'
import { ENTRY, HEADER, SLOT } from '../../engine/cache/segment.ts'
import { hashKey } from '../../engine/hash.ts'
import { mix, Random } from './random.ts'

export interface ReaderOptions {
  readonly segment: SharedArrayBuffer
  /** Words: 0 is set when the reader is to stop; 1 + key: the oldest version it may still see. */
  readonly floors: SharedArrayBuffer
  readonly keyCount: number
  readonly seed: number
}

export interface ReaderReport {
  lookups: number
  hits: number
  /** Looked at while it was changed: thrown away. */
  thrownAway: number
  readonly errors: string[]
}

/** Bytes of a version of a key: its length and content follow from the two numbers. */
export function bytesOfVersion(key: number, version: number): Buffer {
  const draw = mix((key << 20) ^ version)
  const length = 8 + (draw % (draw & 0x100 ? 60 : 1_500))
  const value = Buffer.alloc(length, draw & 0xff)
  value.writeUInt32LE(key, 0)
  value.writeUInt32LE(version, 4)
  for (let i = 8; i + 4 <= length; i += 64) value.writeUInt32LE(mix(draw + i), i)
  return value
}

export function keyOf(key: number): Buffer {
  return Buffer.from(`key:${key}:${'x'.repeat(key % 40)}`)
}

class SegmentReader {
  private readonly words: Int32Array
  private readonly floats: Float64Array
  private readonly bytes: Buffer
  private readonly own = new Int32Array(new SharedArrayBuffer(4))
  isThrownAway = false

  constructor(segment: SharedArrayBuffer) {
    this.words = new Int32Array(segment)
    this.floats = new Float64Array(segment)
    this.bytes = Buffer.from(segment)
  }

  /** The value of a key, or undefined: a miss, or a change met on the way. */
  get(key: Buffer, nowMs: number): Buffer | undefined {
    const { words } = this
    this.isThrownAway = false
    const mask = words[HEADER.slotCount]! - 1
    const slotsAt = words[HEADER.slotsAt]!
    const hash = hashKey(words[HEADER.hashSeed]!, key, 0, key.length)
    for (let slot = hash & mask, i = 0; i <= mask; slot = (slot + 1) & mask, i++) {
      const word = (slotsAt + slot * SLOT.bytes) >> 2
      const sequence = Atomics.load(words, word)
      if ((sequence & 1) !== 0) return this.throwAway()
      const entry = words[word + 2]! << 3
      if (entry === 0) return undefined
      if (words[word + 1] !== hash) continue
      const value = this.copyOf(entry, key, nowMs)
      // The fence: no load above may come after the one below.
      Atomics.store(this.own, 0, 0)
      if (Atomics.load(words, word) !== sequence) return this.throwAway()
      if (value !== null) return value
    }
    return undefined
  }

  /** null: another key. */
  private copyOf(entry: number, key: Buffer, nowMs: number): Buffer | undefined | null {
    const { words, bytes } = this
    if (entry < 0 || entry + ENTRY.keyAt > bytes.length) return undefined
    const keyBytes = words[(entry + ENTRY.keyBytesAt) >> 2]!
    const valueBytes = words[(entry + ENTRY.valueBytesAt) >> 2]!
    if (keyBytes !== key.length) return null
    const valueAt = entry + ENTRY.keyAt + keyBytes
    if (valueBytes < 0 || valueAt + valueBytes > bytes.length) return undefined
    if (bytes.compare(key, 0, keyBytes, entry + ENTRY.keyAt, valueAt) !== 0) return null
    if (!(this.floats[(entry + ENTRY.expiresAt) >> 3]! > nowMs)) return undefined
    return Buffer.from(bytes.subarray(valueAt, valueAt + valueBytes))
  }

  private throwAway(): undefined {
    this.isThrownAway = true
    return undefined
  }
}

if (parentPort !== null) parentPort.postMessage(run(workerData as ReaderOptions))

function run({ segment, floors, keyCount, seed }: ReaderOptions): ReaderReport {
  const reader = new SegmentReader(segment)
  const words = new Int32Array(floors)
  const random = new Random(seed)
  const keys = Array.from({ length: keyCount }, (_, key) => keyOf(key))
  const report: ReaderReport = { lookups: 0, hits: 0, thrownAway: 0, errors: [] }
  while (Atomics.load(words, 0) === 0 && report.errors.length < 5) {
    const key = random.below(keyCount)
    const floor = Atomics.load(words, 1 + key)
    const value = reader.get(keys[key]!, 0)
    report.lookups++
    if (reader.isThrownAway) report.thrownAway++
    if (value === undefined) continue
    report.hits++
    const error = errorIn(value, key, floor)
    if (error !== undefined) report.errors.push(error)
  }
  return report
}

function errorIn(value: Buffer, key: number, floor: number): string | undefined {
  if (value.length < 8) return `key ${key}: ${value.length} bytes`
  const found = value.readUInt32LE(0)
  const version = value.readUInt32LE(4)
  if (found !== key) return `asked for key ${key}, got key ${found}`
  if (version < floor)
    return `key ${key}: version ${version} was over, ${floor} is the oldest allowed`
  if (!value.equals(bytesOfVersion(key, version)))
    return `key ${key}: torn bytes in version ${version}`
  return undefined
}
