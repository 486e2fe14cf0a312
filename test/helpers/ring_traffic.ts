/** ring_traffic: what the two ends of a torture test send each other. Each message follows from the seed, the direction
 *  and its number alone, so the receiver checks every byte without having been told.
 *  Owns:   the traffic and its check.   Thread: any, one a direction and thread.
 *  Holds:  a message is sent once and must come once; short ones in the order sent. */

import assert from 'node:assert/strict'
import type { RingReader } from '../../engine/ring/reader.ts'
import type { RingWriter } from '../../engine/ring/writer.ts'
import { mix, Random } from './random.ts'

const POOL_BYTES = 1 << 20
const LONG_COUNT_MAX = 3

interface Long {
  readonly number: number
  sentTo: number
}

/** Which message it is, from its number. */
export class Traffic {
  readonly pool: Buffer
  private readonly salt: number
  readonly recordBytesMax: number

  constructor(seed: number, direction: 'out' | 'back', recordBytesMax: number) {
    this.pool = poolOf(seed)
    this.salt = mix(seed ^ (direction === 'out' ? 0x51ed_270b : 0x2545_f491))
    this.recordBytesMax = recordBytesMax
  }

  /** From nothing to several times a record: most are small, as in life. */
  bytesOf(number: number): number {
    const draw = mix(number ^ this.salt)
    const kind = draw & 0xff
    const size = draw >>> 8
    if (kind < 100) return size % 25
    if (kind < 220) return size % Math.min(400, this.recordBytesMax + 1)
    if (kind < 252) return size % Math.min(2_000, this.recordBytesMax + 1)
    // The exact edge of a record, then past it.
    if (kind < 254) return this.recordBytesMax - (size % 9)
    return size % Math.min(5 * this.recordBytesMax, POOL_BYTES >> 2)
  }

  startOf(number: number): number {
    return mix(number + this.salt) % (POOL_BYTES >> 1)
  }

  opOf(number: number): number {
    return 1 + (mix(number) % 255)
  }

  isLong(number: number): boolean {
    return this.bytesOf(number) > this.recordBytesMax
  }
}

/** The sending end: pushes messages until the ring is full, long ones in parts between the short ones. */
export class Sender {
  sent = 0
  private readonly writer: RingWriter
  private readonly traffic: Traffic
  private readonly count: number
  private readonly long: Long[] = []

  constructor(writer: RingWriter, traffic: Traffic, count: number) {
    this.writer = writer
    this.traffic = traffic
    this.count = count
  }

  get isDone(): boolean {
    return this.sent === this.count && this.long.length === 0
  }

  /** Pushes on to message `upTo`; false when the ring is full. */
  pump(upTo: number): boolean {
    const end = Math.min(upTo, this.count)
    while (this.sent < end || this.long.length > 0) {
      if (
        this.long.length > 0 &&
        (this.sent >= end || this.long.length >= LONG_COUNT_MAX || this.sent % 3 === 0)
      ) {
        if (!this.pumpLong()) return false
        if (this.sent >= end) continue
      }
      if (this.long.length >= LONG_COUNT_MAX) continue
      const number = this.sent
      if (this.traffic.isLong(number)) this.long.push({ number, sentTo: 0 })
      else if (!this.pushShort(number)) return false
      this.sent++
    }
    return true
  }

  private pushShort(number: number): boolean {
    const start = this.traffic.startOf(number)
    const bytes = this.traffic.bytesOf(number)
    if (number % 2 === 0) {
      return this.writer.push(
        this.traffic.opOf(number),
        number,
        this.traffic.pool,
        start,
        start + bytes,
      )
    }
    // The other way in: reserve more than is needed, write in place, commit what there is.
    const reserved = Math.min(bytes + (number % 64), this.writer.messageBytesMax)
    const at = this.writer.reserve(reserved)
    if (at < 0) return false
    this.traffic.pool.copy(this.writer.bytes, at, start, start + bytes)
    this.writer.commit(at, this.traffic.opOf(number), number, bytes)
    return true
  }

  /** The next part of the first long message, which then goes to the back of the queue. */
  private pumpLong(): boolean {
    const message = this.long[0]!
    const start = this.traffic.startOf(message.number)
    const end = start + this.traffic.bytesOf(message.number)
    const from = start + message.sentTo
    // One record at a time: pushPart() would go on while there is room.
    const stop = Math.min(end, from + this.writer.messageBytesMax)
    const at = this.pushRecord(message, start, end, from, stop)
    if (at < 0) return false
    message.sentTo = at - start
    this.long.shift()
    if (at < end) this.long.push(message)
    return true
  }

  private pushRecord(
    message: Long,
    start: number,
    end: number,
    from: number,
    stop: number,
  ): number {
    const { traffic, writer } = this
    const op = traffic.opOf(message.number)
    if (message.number % 2 === 0) {
      const at = writer.pushPart(op, message.number, traffic.pool, start, end, from)
      return at === from ? -1 : at
    }
    const bodyAt = writer.reserve(stop - from)
    if (bodyAt < 0) return -1
    traffic.pool.copy(writer.bytes, bodyAt, from, stop)
    writer.commit(bodyAt, op, message.number, stop - from, stop < end ? 1 : 0, end - start)
    return stop
  }
}

/** The receiving end: every message is checked to its last byte. */
export class Receiver {
  received = 0
  private readonly traffic: Traffic
  private nextShort = 0
  private readonly seenLong = new Set<number>()

  constructor(traffic: Traffic) {
    this.traffic = traffic
  }

  take(reader: RingReader): void {
    const { traffic } = this
    const number = reader.ticket
    if (traffic.isLong(number)) {
      assert.ok(!this.seenLong.has(number), `long message ${number} came twice`)
      this.seenLong.add(number)
    } else {
      while (traffic.isLong(this.nextShort)) this.nextShort++
      assert.equal(number, this.nextShort, 'short messages come in order, each once')
      this.nextShort++
    }
    assert.equal(reader.op, traffic.opOf(number), `op of ${number}`)
    assert.equal(reader.end - reader.start, traffic.bytesOf(number), `length of ${number}`)
    const start = traffic.startOf(number)
    const bytes = reader.end - reader.start
    const isSame =
      traffic.pool.compare(reader.bytes, reader.start, reader.end, start, start + bytes) === 0
    assert.ok(isSame, `bytes of message ${number}, ${bytes} long`)
    this.received++
  }
}

const pools = new Map<number, Buffer>()

function poolOf(seed: number): Buffer {
  let pool = pools.get(seed)
  if (pool === undefined) pools.set(seed, (pool = new Random(seed).bytes(POOL_BYTES)))
  return pool
}
