/** payload: values as msgpack, whole. The sole importer of msgpackr.
 *  Owns:   one packer and one unpacker a thread.   Not here: single arguments of hot frames (body.ts).
 *  Thread: any; never the engine's main thread for a cached value (it only moves those).
 *  Holds:  (1) Date, Map, Set, bigint, Uint8Array, undefined and Error survive a round trip.  (2) A decoded buffer is a
 *          copy, never a view of shared or reused memory.  (3) Every value stands by itself: no structure is shared
 *          between messages, so any process reads what any other wrote, years later. */

import { addExtension, Packr, Unpackr } from 'msgpackr'

const OPTIONS = {
  useRecords: false,
  mapsAsObjects: true,
  moreTypes: true,
  copyBuffers: true,
  useBigIntExtension: true,
  // Only a bigint is written as int64: numbers past 32 bits go as float64. So an int64 that is read was a bigint.
  int64AsType: 'bigint' as const,
}

/** A Map on its way through msgpackr, which writes a bare Map exactly as it writes an object. */
class MapEntries {
  readonly entries: [unknown, unknown][]
  constructor(map: Map<unknown, unknown>) {
    this.entries = [...map].map(([key, value]) => [boxMaps(key), boxMaps(value)])
  }
}
const MAP_EXTENSION = 0x4d // 'M'
addExtension({
  Class: MapEntries,
  type: MAP_EXTENSION,
  write: (boxed: MapEntries) => boxed.entries,
  read: (entries: [unknown, unknown][]) => new Map(entries),
} as never)

const packr = new Packr(OPTIONS)
const unpackr = new Unpackr(OPTIONS)

/** A value as msgpack; the bytes are the caller's own. Throws RangeError on a structure that contains itself. */
export function encodeValue(value: unknown): Buffer {
  return packr.pack(containsMap(value) ? boxMaps(value) : value)
}

/** One msgpack value from `start` to `end`. Throws what msgpackr throws on bytes that are none. */
export function decodeValue(bytes: Uint8Array, start = 0, end = bytes.length): unknown {
  // msgpackr takes an end of 0 for no end at all.
  if (start >= end) throw new RangeError('no value: there are no bytes')
  return unpackr.unpack(bytes, { start, end } as never)
}

/** All msgpack values from `start` to `end`, in order. */
export function decodeSequence(bytes: Uint8Array, start = 0, end = bytes.length): unknown[] {
  if (start === end) return []
  return unpackr.unpackMultiple(bytes.subarray(start, end)) as unknown[]
}

/** Whether a Map is anywhere in the value; nearly always not, and then packing needs no copy. */
function containsMap(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (value instanceof Map) return true
  if (Array.isArray(value)) return value.some(containsMap)
  if (value instanceof Set) return [...value].some(containsMap)
  if (!isPlain(value)) return false
  for (const key in value) {
    if (containsMap((value as Record<string, unknown>)[key])) return true
  }
  return false
}

/** A copy with each Map boxed. Arrays, Sets and plain objects are entered; anything else is kept as it is. */
function boxMaps(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Map) return new MapEntries(value)
  if (Array.isArray(value)) return value.map(boxMaps)
  if (value instanceof Set) return new Set([...value].map(boxMaps))
  if (!isPlain(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, boxMaps(inner)]))
}

/** An object literal, or one without a prototype (parsers make those). A field named `constructor` says nothing. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
