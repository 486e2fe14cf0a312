/** RingWriter: the producing end of a one-producer, one-consumer queue of messages in shared memory.
 *  Owns:   the tail cursor and every byte not yet published.   Not here: sleeping (doorbell.ts), layout (layout.ts).
 *  Thread: the one producer. Requests: main. Replies: one worker.
 *  Holds:  (1) a message is readable only after publish().  (2) push() either takes a whole message or none of it; only
 *          pushPart() splits one.  (3) the consumer's head is read again only when the ring looks full.
 *
 *  Batches: push as many as there are, then publish() once; that is one store and at most one wake-up. */

import { assert } from '../assert.ts'
import { copyBytes } from '../bytes.ts'
import { RECORD_BYTES_MAX } from '../limits.ts'
import { offerRinging, park, parkAsync, wake } from './doorbell.ts'
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

export class RingWriter {
  /** The ring's data, for writing a body in place at the offset that reserve() gave. */
  readonly bytes: Buffer
  private readonly words: Int32Array
  private readonly control: Int32Array
  private readonly dataBytes: number
  private readonly mask: number
  private readonly recordBytesMax: number
  /** Cursors in units of 8 bytes, wrapping at 32 bits: unpublished end, published end, last known head. */
  private tail = 0
  private published = 0
  private knownHead = 0

  constructor(memory: RingMemory) {
    this.dataBytes = memory.dataBytes
    this.mask = memory.dataBytes - 1
    this.bytes = Buffer.from(memory.shared, CONTROL_BYTES, memory.dataBytes)
    this.words = new Int32Array(memory.shared, CONTROL_BYTES, memory.dataBytes >> 2)
    this.control = new Int32Array(memory.shared, 0, CONTROL_BYTES >> 2)
    this.recordBytesMax = Math.min(RECORD_BYTES_MAX, memory.dataBytes >> 3)
    offerRinging(this.control, TAIL_PARKED)
  }

  /** The most bytes that one push() takes; longer messages go through pushPart(). */
  get messageBytesMax(): number {
    return this.recordBytesMax
  }

  /** Room for one record with a body of up to `bodyBytes`: its offset in `bytes`, or -1 when the ring is full. */
  reserve(bodyBytes: number): number {
    assert(bodyBytes <= this.recordBytesMax, 'a record is at most an eighth of the ring')
    const need = recordBytes(bodyBytes)
    let at = (this.tail << 3) & this.mask
    const toEnd = this.dataBytes - at
    const total = need <= toEnd ? need : toEnd + need
    if (total > this.freeBytes() && total > this.reloadFreeBytes()) return -1
    if (need > toEnd) {
      // One word, no length: as few as 8 bytes may be left, and a pad always runs to the end of the data.
      this.words[at >> 2] = OP_PAD
      this.tail = (this.tail + (toEnd >> 3)) | 0
      at = 0
    }
    return at + RECORD_HEADER_BYTES
  }

  /** Ends the record begun by reserve(); its body is `bodyBytes` long, at most what was reserved. */
  commit(
    bodyAt: number,
    op: number,
    ticket: number,
    bodyBytes: number,
    flags = 0,
    totalBytes = bodyBytes,
  ): void {
    const word = (bodyAt - RECORD_HEADER_BYTES) >> 2
    this.words[word] = (bodyBytes << 8) | op
    this.words[word + 1] = ticket
    this.words[word + 2] = flags
    this.words[word + 3] = totalBytes
    this.tail = (this.tail + (recordBytes(bodyBytes) >> 3)) | 0
  }

  /** Queues a message of at most messageBytesMax; false when there is no room now. */
  push(
    op: number,
    ticket: number,
    source: Uint8Array,
    start: number,
    end: number,
    client = 0,
  ): boolean {
    const at = this.reserve(end - start)
    if (at < 0) return false
    copyBytes(source, start, end, this.bytes, at)
    this.commit(at, op, ticket, end - start, client << CLIENT_SHIFT)
    return true
  }

  /** Queues as much of a long message as there is room for, from `from` on; returns where it stopped (`end`: all of it). */
  pushPart(
    op: number,
    ticket: number,
    source: Uint8Array,
    start: number,
    end: number,
    from: number,
    client = 0,
  ): number {
    let at = from
    while (at < end) {
      const bodyBytes = Math.min(end - at, this.recordBytesMax)
      const bodyAt = this.reserve(bodyBytes)
      if (bodyAt < 0) return at
      copyBytes(source, at, at + bodyBytes, this.bytes, bodyAt)
      at += bodyBytes
      const flags = (client << CLIENT_SHIFT) | (at < end ? FLAG_MORE : 0)
      this.commit(bodyAt, op, ticket, bodyBytes, flags, end - start)
    }
    return at
  }

  /** Lets the consumer see all that was pushed, and wakes it if it sleeps. */
  publish(): void {
    if (this.tail === this.published) return
    this.published = this.tail
    // Publish. Pairs with the load in RingReader.next(): the records written above are visible before the tail is.
    Atomics.store(this.control, TAIL, this.tail)
    wake(this.control, TAIL, TAIL_PARKED, this.tail)
  }

  /** Blocks until the consumer has freed something, or the time is over. Worker threads only. */
  waitForRoom(timeoutMs: number): void {
    this.publish()
    park(this.control, HEAD, HEAD_PARKED, this.knownHead, timeoutMs)
  }

  /** Resolves once the consumer has freed something; undefined when it has already. */
  onceRoom(): Promise<unknown> | undefined {
    this.publish()
    return parkAsync(this.control, HEAD, HEAD_PARKED, this.knownHead)
  }

  /** Bytes that are queued and not yet released by the consumer. */
  depthBytes(): number {
    this.reloadFreeBytes()
    return this.dataBytes - this.freeBytes()
  }

  private freeBytes(): number {
    return this.dataBytes - (((this.tail - this.knownHead) | 0) << 3)
  }

  private reloadFreeBytes(): number {
    // Pairs with the store in RingReader.release(): the consumer is done with the bytes before its head passes them.
    this.knownHead = Atomics.load(this.control, HEAD)
    return this.freeBytes()
  }
}
