/** A ring's memory, drawn. One producer, one consumer, records of msgpack bodies between them.
 *  Owns:   the offsets.   Not here: who moves what (writer.ts, reader.ts), sleeping (doorbell.ts).
 *  Thread: any.
 *  Holds:  (1) 0 <= tail - head <= RING_BYTES / 8, both counted in units of 8 bytes and wrapping at 32 bits.
 *          (2) bytes between head and tail belong to the consumer, all others to the producer.
 *          (3) each word below has a cache line of its own, so that two cores do not fight over one. Beside a parked word lie two
 *          that are written once: the sleeper's bell, and whether the mover can ring it (doorbell.ts).
 *
 *      control                                                           data, RING_BYTES
 *      | tail ..| tailParked ..| head ..| headParked ..|                 | record | record | pad | ...
 *      0        64             128      192                              256
 *
 *  A record, 8-byte aligned; it never wraps (a pad record fills the end of the data instead):
 *
 *      0                 4        8              12               16
 *      | bytes:24 | op:8 | ticket | flags        | total bytes    | body ... to a multiple of 8
 *
 *  flags: MORE = further records of the same ticket belong to this message; above that bit, of a request, the number of the client
 *  it is from, 0: nobody's. `total bytes` is the whole message's length. */

import { assert } from '../assert.ts'
import { RING_BYTES } from '../limits.ts'

/** Indexes of 32-bit words in the control part. */
export const TAIL = 0
export const TAIL_PARKED = 16
export const HEAD = 32
export const HEAD_PARKED = 48

/** Beside each parked word, in its cache line: the native bell that its sleeper has hung up, and whether its mover can ring. */
export const BELL_BESIDE = 1
export const CAN_RING_BESIDE = 2

export const CONTROL_BYTES = 256
export const RECORD_HEADER_BYTES = 16
export const UNIT_BYTES = 8

export const FLAG_MORE = 1
/** Where the client's number begins in the flags. */
export const CLIENT_SHIFT = 1
/** The op of the record that fills the rest of the data before it wraps. */
export const OP_PAD = 0

/** The memory of one ring, as both its ends see it. */
export interface RingMemory {
  readonly shared: SharedArrayBuffer
  readonly dataBytes: number
}

/** A record of the largest size and the pad before it must both fit, whatever is left before the end. */
export const RING_BYTES_MIN = 64

/** Fresh memory for a ring, all zero: an empty ring. `dataBytes` is a power of two. */
export function createRingMemory(dataBytes = RING_BYTES): RingMemory {
  assert((dataBytes & (dataBytes - 1)) === 0, 'ring positions wrap with a mask, not a modulo')
  assert(dataBytes >= RING_BYTES_MIN, 'a record and a pad fit the ring')
  return { shared: new SharedArrayBuffer(CONTROL_BYTES + dataBytes), dataBytes }
}

/** Bytes that a record with such a body takes in the data, header and padding included. */
export function recordBytes(bodyBytes: number): number {
  return (RECORD_HEADER_BYTES + bodyBytes + UNIT_BYTES - 1) & ~(UNIT_BYTES - 1)
}
