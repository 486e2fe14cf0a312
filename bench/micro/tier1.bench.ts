/** tier1: what a get and a set cost in the segment, against a Map of Buffers.
 *  Owns:   one segment a trial.   Thread: main of a trial's process.
 *  Holds:  keys are drawn in the same order everywhere; a set copies its value, in the Map too. */

import { Memory } from '../../engine/cache/memory.ts'
import { createSegment } from '../../engine/cache/segment.ts'
import { type MicroBench, measure, type Size, type Trial } from '../harness.ts'

const SEGMENT_BYTES = 16 * 1024 * 1024
const KEYS = { smoke: 100, real: 20_000 } as const
const OPERATIONS = { smoke: 1_000, real: 50_000 } as const
const VALUE_BYTES = 100

interface Store {
  get(key: Buffer): number
  set(key: Buffer, value: Buffer): void
}

export const bench: MicroBench = {
  title: `keys of 12 bytes, values of ${VALUE_BYTES}, ${KEYS.real} keys`,
  isNot:
    'Not a request through the socket, and not a look-up from another process. A Map bounds nothing, and cannot be shared: it is the floor, not a rival.',
  trials: [
    trial('get, hit', segmentStore, 'get', false),
    trial('get, hit: Map', mapStore, 'get', false),
    trial('get, miss', segmentStore, 'get', true),
    trial('set, over an old value', segmentStore, 'set', false),
    trial('set, over an old value: Map', mapStore, 'set', false),
    evictingTrial(),
  ],
}

function trial(name: string, open: () => Store, operation: 'get' | 'set', isMiss: boolean): Trial {
  const run = (size: Size) => {
    const store = open()
    const keys = keysOf(KEYS[size])
    const value = Buffer.alloc(VALUE_BYTES, 5)
    for (const key of keys) store.set(key, value)
    const asked = isMiss ? keys.map(key => Buffer.from(`no${key.toString().slice(2)}`)) : keys
    return measure(size, OPERATIONS[size], () => {
      let hash = 0
      for (let i = 0; i < OPERATIONS[size]; i++) {
        // A stride that is prime to the number of keys: every key, in an order the processor cannot guess.
        const key = asked[(i * 7_919) % asked.length]!
        if (operation === 'get') hash = (hash * 31 + store.get(key)) | 0
        else store.set(key, value)
      }
      return hash
    })
  }
  return { name, run }
}

/** Every set is of a new key into a full segment. */
function evictingTrial(): Trial {
  const run = (size: Size) => {
    const memory = memoryOf(SEGMENT_BYTES / 4)
    const value = Buffer.alloc(VALUE_BYTES, 5)
    const key = Buffer.from('key:00000000')
    let next = 0
    const round = (): number => {
      for (let i = 0; i < OPERATIONS[size]; i++) {
        key.writeUInt32LE(next++, 8)
        memory.set(memory.hash(key, 0, 12), key, 0, 12, value, 0, VALUE_BYTES, Infinity)
      }
      return memory.stats().entries
    }
    while (memory.stats().evictions === 0) round()
    return measure(size, OPERATIONS[size], round)
  }
  return { name: 'set, evicting', run }
}

function keysOf(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => Buffer.from(`key:${String(i).padStart(8, '0')}`))
}

function memoryOf(bytes: number): Memory {
  const segment = createSegment(new ArrayBuffer(bytes), { pid: process.pid, hashSeed: 1 })
  return new Memory(segment, { valueBytesMax: 65_536 })
}

function segmentStore(): Store {
  const memory = memoryOf(SEGMENT_BYTES)
  return {
    get(key) {
      const entry = memory.get(memory.hash(key, 0, key.length), key, 0, key.length, 0)
      return entry === 0 ? 0 : memory.bytes[memory.valueStart(entry)]!
    },
    set(key, value) {
      const hash = memory.hash(key, 0, key.length)
      memory.set(hash, key, 0, key.length, value, 0, value.length, Infinity)
    },
  }
}

function mapStore(): Store {
  const map = new Map<string, Buffer>()
  return {
    get: key => map.get(key.toString('latin1'))?.[0] ?? 0,
    set: (key, value) => void map.set(key.toString('latin1'), Buffer.from(value)),
  }
}
