/** FrameWriter: frames gathered over a turn and handed to the socket in one write.
 *  Owns:   the bytes not yet handed over.   Not here: the socket.
 *  Thread: any; one writer a connection.
 *  Holds:  (1) a frame is written whole.  (2) after end(), frames go nowhere.  (3) an idle connection holds no buffer: they
 *          come from a small common stock and go back to it when the socket took them. */

import { copyBytes } from '../bytes.ts'
import { WRITE_BYTES } from '../limits.ts'
import { HEADER_BYTES, writeHeader } from './header.ts'

/** The way to the peer. */
export interface Outlet {
  /** Sends bytes; true when it is done with the buffer, false when it keeps it. */
  send(bytes: Buffer): boolean
  /** Calls back once the peer has taken all that was sent. */
  onceSent(callback: () => void): void
}

const STOCK_COUNT_MAX = 4
const stock: Buffer[] = []

export class FrameWriter {
  isEnded = false
  private readonly outlet: Outlet
  private readonly onGathering: (writer: FrameWriter) => void
  private buffer: Buffer | undefined
  protected at = 0
  private isAnnounced = false

  /** `onGathering` is told when the first frame since the last flush is there, so that somebody flushes. */
  constructor(outlet: Outlet, onGathering: (writer: FrameWriter) => void) {
    this.outlet = outlet
    this.onGathering = onGathering
  }

  /** A frame whose body is source[start, end). */
  frame(op: number, id: number, source: Uint8Array, start: number, end: number): void {
    const at = this.begin(end - start)
    if (at < 0) return
    copyBytes(source, start, end, this.buffer!, at)
    this.commit(op, id, at + end - start)
  }

  /** Room for a frame with a body of up to so many bytes: where the body goes in `target`, or -1 after end(). */
  begin(bodyBytesMax: number): number {
    const bytes = HEADER_BYTES + bodyBytesMax
    if (this.buffer === undefined || this.at + bytes > this.buffer.length) this.renew(bytes)
    return this.isEnded ? -1 : this.at + HEADER_BYTES
  }

  get target(): Buffer {
    return this.buffer!
  }

  /** Ends the frame that begin() began; its body reaches to `end` in `target`. */
  commit(op: number, id: number, end: number): void {
    writeHeader(this.buffer!, this.at, op, id, end - this.at - HEADER_BYTES)
    this.at = end
    if (this.isAnnounced) return
    this.isAnnounced = true
    this.onGathering(this)
  }

  /** Hands what is gathered to the socket. */
  flush(): void {
    this.isAnnounced = false
    const buffer = this.buffer
    if (buffer === undefined || this.isEnded) return
    const end = this.at
    this.buffer = undefined
    this.at = 0
    const isTaken = this.outlet.send(end === buffer.length ? buffer : buffer.subarray(0, end))
    if (isTaken && buffer.length === WRITE_BYTES && stock.length < STOCK_COUNT_MAX)
      stock.push(buffer)
  }

  /** Calls back once the peer has taken all that was written so far. */
  onceSent(callback: () => void): void {
    this.flush()
    this.outlet.onceSent(callback)
  }

  end(): void {
    this.isEnded = true
    this.buffer = undefined
    this.at = 0
  }

  private renew(bytes: number): void {
    if (this.buffer !== undefined) this.flush()
    if (this.isEnded) return
    this.buffer =
      bytes <= WRITE_BYTES
        ? (stock.pop() ?? Buffer.allocUnsafeSlow(WRITE_BYTES))
        : Buffer.allocUnsafeSlow(bytes)
    this.at = 0
  }
}
