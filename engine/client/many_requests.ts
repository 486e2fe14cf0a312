/** many_requests: many keys or entries in one frame, and how a longer list is divided into frames.
 *  Owns:   the division.   Not here: what is done with what did not fit (cache.ts).
 *  Thread: the client's.
 *  Holds:  no frame is longer than the engine takes, and frames keep the order of the list. */

import type { HearthError } from '../errors.ts'
import { MANY_COUNT_MAX } from '../limits.ts'
import {
  ARRAY_HEAD_BYTES_MAX,
  BIN_HEAD_BYTES,
  BodyReader,
  textBytesMax,
  writeArrayHead,
  writeBinHead,
  writeText,
  writeUint,
} from '../protocol/body.ts'
import { TIER } from '../protocol/cache_spec.ts'
import { decodeValue } from '../protocol/payload.ts'
import { DURABILITY, type Durability, OPS } from '../protocol/spec.ts'
import type { Request } from './inflight.ts'
import { failOpen, ttlBytesMax, writeTtl } from './requests.ts'

/** What the keys, or the entries, of one frame take at most. */
const KEYS_BYTES_MAX = 512 * 1024
const ENTRIES_BYTES_MAX = 256 * 1024

const reader = new BodyReader()

/** What came of a frame of keys, by the places of the keys in the whole list. */
export interface FoundMany {
  readonly memory: number
  readonly sqlite: number
  /** Did not fit into the reply. */
  readonly later: number[]
  /** Too long for a reply to many. */
  readonly alone: number[]
}

/** Asks for keys[i] of each place i, and puts what is found into values[i]. */
export class GetManyRequest implements Request {
  readonly op = OPS.GET_MANY.code
  readonly isRepeatable = true
  private readonly keys: readonly string[]
  private readonly places: readonly number[]
  private readonly values: unknown[]
  private readonly isFailOpen: boolean

  constructor(
    keys: readonly string[],
    places: readonly number[],
    values: unknown[],
    isFailOpen: boolean,
  ) {
    this.keys = keys
    this.places = places
    this.values = values
    this.isFailOpen = isFailOpen
  }

  bodyBytesMax(): number {
    return this.places.reduce(
      (sum, place) => sum + textBytesMax(this.keys[place]!),
      ARRAY_HEAD_BYTES_MAX,
    )
  }

  write(target: Buffer, at: number): number {
    let end = writeArrayHead(target, at, this.places.length)
    for (const place of this.places) end = writeText(target, end, this.keys[place]!)
    return end
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    reader.reset(bytes, start, end)
    const later: number[] = []
    const alone: number[] = []
    let memory = 0
    let sqlite = 0
    while (reader.at < end) {
      const place = this.places[reader.uint()]!
      const tier = reader.uint()
      if (tier === TIER.later) later.push(place)
      else if (tier === TIER.alone) alone.push(place)
      else {
        reader.binRange()
        this.values[place] = decodeValue(bytes, reader.textStart, reader.textEnd)
        if (tier === TIER.memory) memory++
        else sqlite++
      }
    }
    return { memory, sqlite, later, alone }
  }

  giveUp(error: HearthError): unknown {
    if (!this.isFailOpen) throw error
    return failOpen(error, { memory: 0, sqlite: 0, later: [], alone: [] })
  }
}

/** An entry on its way, its value encoded. */
export interface EncodedEntry {
  readonly key: string
  readonly value: Buffer
}

export class SetManyRequest implements Request {
  readonly op = OPS.SET_MANY.code
  readonly isRepeatable = true
  private readonly entries: readonly EncodedEntry[]
  private readonly ttl: number | string | undefined
  private readonly durability: Durability
  private readonly isFailOpen: boolean

  constructor(
    entries: readonly EncodedEntry[],
    ttl: number | string | undefined,
    durability: Durability,
    isFailOpen: boolean,
  ) {
    this.entries = entries
    this.ttl = ttl
    this.durability = durability
    this.isFailOpen = isFailOpen
  }

  get written(): readonly string[] {
    return this.entries.map(({ key }) => key)
  }

  bodyBytesMax(): number {
    return this.entries.reduce(
      (sum, entry) => sum + entryBytesMax(entry),
      ttlBytesMax(this.ttl) + 1 + ARRAY_HEAD_BYTES_MAX,
    )
  }

  write(target: Buffer, at: number): number {
    let end = writeTtl(target, at, this.ttl)
    end = writeUint(target, end, DURABILITY[this.durability])
    end = writeArrayHead(target, end, this.entries.length * 2)
    for (const { key, value } of this.entries) {
      end = writeText(target, end, key)
      end = writeBinHead(target, end, value.length)
      end += value.copy(target, end)
    }
    return end
  }

  read(): unknown {
    return true
  }

  giveUp(error: HearthError): unknown {
    if (!this.isFailOpen) throw error
    return failOpen(error, false)
  }
}

/** Divides the places of keys into frames. */
export function* keyFrames(
  keys: readonly string[],
  places: readonly number[],
): Generator<readonly number[]> {
  let frame: number[] = []
  let bytes = 0
  for (const place of places) {
    const keyBytes = textBytesMax(keys[place]!)
    if (frame.length > 0 && (frame.length >= MANY_COUNT_MAX || bytes + keyBytes > KEYS_BYTES_MAX)) {
      yield frame
      frame = []
      bytes = 0
    }
    frame.push(place)
    bytes += keyBytes
  }
  if (frame.length > 0) yield frame
}

/** Entries that are gathered for one frame. */
export class EntryFrame {
  readonly entries: EncodedEntry[] = []
  private bytes = 0

  /** Adds an entry; false when the frame must be sent first. */
  add(entry: EncodedEntry): boolean {
    const bytes = entryBytesMax(entry)
    const isFull = this.entries.length >= MANY_COUNT_MAX || this.bytes + bytes > ENTRIES_BYTES_MAX
    if (isFull && this.entries.length > 0) return false
    this.entries.push(entry)
    this.bytes += bytes
    return true
  }

  /** Whether a value is better sent in a frame of its own. */
  static isTooLarge(value: Buffer): boolean {
    return value.length > ENTRIES_BYTES_MAX / 4
  }
}

function entryBytesMax({ key, value }: EncodedEntry): number {
  return textBytesMax(key) + BIN_HEAD_BYTES + value.length
}
