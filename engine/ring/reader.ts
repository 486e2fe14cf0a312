/** RingReader: the consuming end of a one-producer, one-consumer queue of messages in shared memory.
 *  Owns:   the head cursor, and long messages that are still being put together.
 *  Thread: the one consumer. Requests: one worker. Replies: main.
 *  Holds:  (1) the message in op, ticket, bytes, start, end is valid until the next next() or release().  (2) messages come
 *          in the order they were completed; a long one does not hold up those pushed between its parts.
 *          (3) what no writer writes is an AssertionError, before anything beyond the ring is read or memory is asked for. */

import { assert } from '../assert.ts'
import { PART_BYTES } from '../limits.ts'
import { BODY_BYTES_MAX } from '../protocol/header.ts'
import { park, parkAsync, Sleeper, wake } from './doorbell.ts'
import {
  CLIENT_SHIFT,
  CONTROL_BYTES,
  FLAG_MORE,
  HEAD,
  HEAD_PARKED,
  OP_PAD,
  RECORD_HEADER_BYTES,
  type RingMemory,
  recordBytes,
  TAIL,
  TAIL_PARKED,
} from './layout.ts'

interface LongMessage {
  readonly bytes: Buffer
  filled: number
}

/** A buffer up to this is used again: values of tier 2 that come in one message fit. */
const SPARE_BYTES_MAX = PART_BYTES + 4_096
/** A long message is a frame's body, with what a request gets besides. */
const LONG_BYTES_MAX = BODY_BYTES_MAX + 64 * 1024

export class RingReader {
  /** The message that next() found. */
  op = 0
  ticket = 0
  /** Of a request: whose it is; 0: nobody's. */
  client = 0
  bytes: Buffer
  start = 0
  end = 0

  private readonly data: Buffer
  private readonly words: Int32Array
  private readonly control: Int32Array
  private readonly mask: number
  private readonly long = new Map<number, LongMessage>()
  private spare: Buffer | undefined
  private sleeper: Sleeper | undefined
  /** Cursors in units of 8 bytes: read so far, given back so far, last known tail. */
  private head = 0
  private released = 0
  private knownTail = 0

  constructor(memory: RingMemory) {
    this.mask = memory.dataBytes - 1
    this.data = Buffer.from(memory.shared, CONTROL_BYTES, memory.dataBytes)
    this.words = new Int32Array(memory.shared, CONTROL_BYTES, memory.dataBytes >> 2)
    this.control = new Int32Array(memory.shared, 0, CONTROL_BYTES >> 2)
    this.bytes = this.data
  }

  /** Moves to the next whole message; false when there is none now. */
  next(): boolean {
    while (this.head !== this.knownTail || this.reloadTail()) {
      const at = (this.head << 3) & this.mask
      const word = at >> 2
      const first = this.words[word]!
      if ((first & 0xff) === OP_PAD) {
        const padUnits = (this.mask + 1 - at) >> 3
        assert(padUnits <= this.unreadUnits(), 'a pad ends within what was published')
        this.head = (this.head + padUnits) | 0
        continue
      }
      const bodyBytes = first >>> 8
      const units = recordBytes(bodyBytes) >> 3
      assert(units <= this.unreadUnits(), 'a record ends within what was published')
      assert(at + (units << 3) <= this.mask + 1, 'a record does not wrap')
      this.head = (this.head + units) | 0
      this.op = first & 0xff
      this.ticket = this.words[word + 1]!
      const start = at + RECORD_HEADER_BYTES
      const flags = this.words[word + 2]!
      this.client = flags >>> CLIENT_SHIFT
      const totalBytes = this.words[word + 3]!
      if (totalBytes === bodyBytes) {
        this.bytes = this.data
        this.start = start
        this.end = start + bodyBytes
        return true
      }
      if (this.takePart(start, bodyBytes, totalBytes, (flags & FLAG_MORE) !== 0)) return true
    }
    return false
  }

  /** Gives all that next() went past back to the producer, and wakes it if it waits for room. */
  release(): void {
    if (this.head === this.released) return
    this.released = this.head
    // Pairs with the load in RingWriter.reloadFreeBytes(): nothing is read from these bytes after this.
    Atomics.store(this.control, HEAD, this.head)
    wake(this.control, HEAD, HEAD_PARKED, this.head)
  }

  // All waits compare with the own head, not with the last known tail: a drain that was cut short does not sleep.

  /** Blocks until there is something to read, or the time is over. Worker threads only. */
  wait(timeoutMs: number): void {
    park(this.control, TAIL, TAIL_PARKED, this.head, timeoutMs)
  }

  /** Resolves once there is something to read; undefined when there is something already. */
  onceReadable(): Promise<unknown> | undefined {
    return parkAsync(this.control, TAIL, TAIL_PARKED, this.head)
  }

  /** Calls back from the event loop once there is something to read, or now and then without; false, and no call, when there is
   *  something already. The callback is the same each time. Ends with close(). */
  whenReadable(callback: () => void): boolean {
    this.sleeper ??= new Sleeper(this.control, TAIL, TAIL_PARKED, callback)
    return this.sleeper.sleep(this.head)
  }

  /** Whoever has used whenReadable() is called no more. */
  close(): void {
    this.sleeper?.close()
  }

  /** Bytes that the producer has published and this side has not read. */
  depthBytes(): number {
    this.reloadTail()
    return ((this.knownTail - this.head) | 0) << 3
  }

  private reloadTail(): boolean {
    // Pairs with the store in RingWriter.publish(): what the producer wrote before it is visible now.
    this.knownTail = Atomics.load(this.control, TAIL)
    return this.head !== this.knownTail
  }

  /** How much is published and not read: wraps as the cursors do. */
  private unreadUnits(): number {
    return (this.knownTail - this.head) >>> 0
  }

  /** Adds one record to a long message; true when that completes it. */
  private takePart(start: number, bodyBytes: number, totalBytes: number, more: boolean): boolean {
    let message = this.long.get(this.ticket)
    if (message === undefined) {
      assert(totalBytes > 0 && totalBytes <= LONG_BYTES_MAX, 'a long message has its length')
      message = { bytes: this.room(totalBytes), filled: 0 }
      this.long.set(this.ticket, message)
    }
    message.filled += bodyBytes
    assert(totalBytes <= message.bytes.length, 'every part says the same length')
    assert(message.filled <= totalBytes, 'parts are no longer than their message')
    this.data.copy(message.bytes, message.filled - bodyBytes, start, start + bodyBytes)
    if (more) return false
    assert(message.filled === totalBytes, 'the last part completes its message')
    this.long.delete(this.ticket)
    this.bytes = message.bytes
    this.start = 0
    this.end = totalBytes
    if (message.bytes.length <= SPARE_BYTES_MAX) this.spare = message.bytes
    return true
  }

  /** Where a long message is put together: mostly where the last one was, which nobody may look at any more. */
  private room(totalBytes: number): Buffer {
    const spare = this.spare
    if (spare === undefined || spare.length < totalBytes) return Buffer.allocUnsafeSlow(totalBytes)
    this.spare = undefined
    return spare
  }
}
