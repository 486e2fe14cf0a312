/** Deframer: finds frames in what a socket brings, piece by piece.
 *  Owns:   a frame that is not whole yet.   Not here: what a frame means; holding back (server/session.ts has its own).
 *  Thread: any; one a connection. Used by the client, which takes every frame at once.
 *  Holds:  each frame is given once, whole, in order; its bytes are valid only during the call. */

import { bodyBytesOf, HEADER_BYTES, opOf, readId, readWord } from './header.ts'

export type TakeFrame = (op: number, id: number, bytes: Buffer, start: number, end: number) => void

export class Deframer {
  private readonly take: TakeFrame
  private partial: Buffer | undefined
  private partialEnd = 0

  constructor(take: TakeFrame) {
    this.take = take
  }

  /** Takes bytes[0, end) of a read. */
  push(bytes: Buffer, end: number): void {
    let at = 0
    while (at < end) {
      if (this.partial !== undefined) {
        at = this.fill(bytes, at, end)
        continue
      }
      const left = end - at
      const frameBytes =
        left < HEADER_BYTES ? HEADER_BYTES : HEADER_BYTES + bodyBytesOf(readWord(bytes, at))
      if (left < frameBytes || left < HEADER_BYTES) {
        this.begin(frameBytes, bytes, at, end)
        return
      }
      this.give(bytes, at, frameBytes)
      at += frameBytes
    }
  }

  /** Forgets a frame that was begun. */
  reset(): void {
    this.partial = undefined
  }

  private begin(frameBytes: number, bytes: Buffer, start: number, end: number): void {
    this.partial = Buffer.allocUnsafeSlow(frameBytes)
    this.partialEnd = bytes.copy(this.partial, 0, start, end)
  }

  private fill(bytes: Buffer, start: number, end: number): number {
    const partial = this.partial!
    const taken = Math.min(partial.length - this.partialEnd, end - start)
    bytes.copy(partial, this.partialEnd, start, start + taken)
    this.partialEnd += taken
    if (this.partialEnd < partial.length) return start + taken
    this.partial = undefined
    const frameBytes = HEADER_BYTES + bodyBytesOf(readWord(partial, 0))
    if (frameBytes > partial.length) this.begin(frameBytes, partial, 0, partial.length)
    else this.give(partial, 0, frameBytes)
    return start + taken
  }

  private give(bytes: Buffer, at: number, frameBytes: number): void {
    this.take(
      opOf(readWord(bytes, at)),
      readId(bytes, at),
      bytes,
      at + HEADER_BYTES,
      at + frameBytes,
    )
  }
}
