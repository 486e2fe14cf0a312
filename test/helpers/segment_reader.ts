/** segment_reader: reads tier 1 in another thread or process with the client's SegmentReader, while a test changes it.
 *  Owns:   its counts.   Thread: a worker of the test, or main of a child process.
 *  Holds:  every value it accepts is checked to the last byte, and must not be older than the last change that had
 *          ended before the look-up began. */

import { setImmediate as turn } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import type { Memory } from '../../engine/cache/memory.ts'
import { SegmentReader } from '../../engine/client/segment_reader.ts'
import { monotonicMs } from '../../engine/clock.ts'
import { mapFileReadOnly } from '../../native-bindings/index.ts'
import { mix, Random } from './random.ts'

export interface ReaderOptions {
  /** In shared memory, or for another process the path of a file there. */
  readonly segment: SharedArrayBuffer | string
  /** Likewise. Words: 0 is set when the reader is to stop; 1 + key: the oldest version it may still see. */
  readonly floors: SharedArrayBuffer | string
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

/** Changes a tier at random for so long, as fast as one thread can; a key's floor is raised after its change has returned.
 *  Returns how many changes there were. */
export async function churn(
  memory: Memory,
  floors: Int32Array,
  { keyCount, seed, ms }: { keyCount: number; seed: number; ms: number },
): Promise<number> {
  const random = new Random(seed)
  const keys = Array.from({ length: keyCount }, (_, key) => keyOf(key))
  const versions = new Uint32Array(keyCount)
  let changes = 0
  for (const endMs = monotonicMs() + ms; monotonicMs() < endMs; await turn()) {
    for (let i = 0; i < 2_000; i++, changes++) {
      const key = random.below(keyCount)
      const bytes = keys[key]!
      const hash = memory.hash(bytes, 0, bytes.length)
      if (random.chance(0.2)) {
        memory.delete(hash, bytes, 0, bytes.length)
        versions[key]!++
      } else {
        // One in ten is stored as expired.
        const value = bytesOfVersion(key, versions[key]! + 1)
        const expiresAtMs = random.chance(0.1) ? 0 : Infinity
        memory.set(hash, bytes, 0, bytes.length, value, 0, value.length, expiresAtMs)
        versions[key]! += expiresAtMs === 0 ? 2 : 1
      }
      Atomics.store(floors, 1 + key, versions[key]!)
    }
  }
  return changes
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

/** A version of a key as a flat object, which the client may keep decoded. */
export function objectOfVersion(key: number, version: number): Record<string, number | string> {
  const draw = mix((key << 20) ^ version)
  return { key, version, text: 'x'.repeat(draw % 50), check: draw }
}

export function keyOf(key: number): Buffer {
  return Buffer.from(`key:${key}:${'x'.repeat(key % 40)}`)
}

if (parentPort !== null) parentPort.postMessage(run(workerData as ReaderOptions))
else if (process.send !== undefined && process.argv[2]?.startsWith('{"segment"')) {
  process.send('ready')
  process.send(run(JSON.parse(process.argv[2]) as ReaderOptions), () => process.exit(0))
}

function run({ segment, floors, keyCount, seed }: ReaderOptions): ReaderReport {
  const reader = new SegmentReader(memoryOf(segment), 1_024)
  const words = new Int32Array(memoryOf(floors))
  const random = new Random(seed)
  const keys = Array.from({ length: keyCount }, (_, key) => keyOf(key).toString())
  const report: ReaderReport = { lookups: 0, hits: 0, thrownAway: 0, errors: [] }
  while (Atomics.load(words, 0) === 0 && report.errors.length < 5) {
    const key = random.below(keyCount)
    const floor = Atomics.load(words, 1 + key)
    report.lookups++
    if (!reader.find(keys[key]!)) continue
    report.hits++
    const error = errorIn(reader.bytes.subarray(reader.start, reader.end), key, floor)
    if (error !== undefined) report.errors.push(error)
  }
  report.thrownAway = reader.thrownAwayCount
  return report
}

function memoryOf(memory: SharedArrayBuffer | string): ArrayBufferLike {
  return typeof memory === 'string' ? mapFileReadOnly(memory) : memory
}

/** What is wrong with bytes that were read as a key's when `floor` was its oldest version allowed. */
export function errorIn(value: Buffer, key: number, floor: number): string | undefined {
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
