/** BodyTaker: the body of an answer, whole, decompressed, and no longer than allowed.
 *  Owns:   the pieces.   Thread: the client's.
 *  Holds:  (1) tells once: the body, or an error.  (2) keeps at most the limit and one piece; what is compressed counts as it is after
 *          decompression, so that a small answer cannot become a large one. */

import type { IncomingMessage } from 'node:http'
import type { Transform } from 'node:stream'
import { HearthError } from '../../errors.ts'

export class BodyTaker {
  private readonly bytesMax: number
  private readonly tell: (error: Error | undefined, body?: Buffer) => void
  private pieces: Buffer[] = []
  private bytes = 0

  constructor(bytesMax: number, tell: (error: Error | undefined, body?: Buffer) => void) {
    this.bytesMax = bytesMax
    this.tell = tell
  }

  /** `isBodiless`: an answer to HEAD, or 204 or 304, whose headers are about a body that is not here. */
  take(incoming: IncomingMessage, isBodiless: boolean): void {
    // Also of a body that was cut, which has no end.
    incoming.on('error', error => this.tell(error))
    if (isBodiless) return this.read(incoming, incoming)
    const { 'content-length': length = '0', 'content-encoding': encoding = '' } = incoming.headers
    if (Number(length) > this.bytesMax) return this.tell(this.tooLarge())
    const known = DECODERS.get(encoding.trim().toLowerCase())
    if (known === undefined) return this.read(incoming, incoming)
    // Until the decoder is there nothing flows.
    incoming.pause()
    void import('node:zlib').then(zlib => {
      const decoder = known(zlib)
      let isEmpty = true
      incoming.once('data', () => (isEmpty = false))
      // An empty body is valid in none of them, and yet is sent as such.
      incoming.once('end', () => isEmpty && this.tell(undefined, Buffer.alloc(0)))
      decoder.on('error', error => {
        this.tell(new Error(`its body is no valid ${encoding}: ${error.message}`))
      })
      this.read(decoder, incoming)
      incoming.pipe(decoder)
    })
  }

  private read(source: NodeJS.ReadableStream, incoming: IncomingMessage): void {
    source.on('data', (piece: Buffer) => {
      this.bytes += piece.length
      if (this.bytes <= this.bytesMax) return void this.pieces.push(piece)
      this.pieces = []
      this.tell(this.tooLarge())
      incoming.destroy()
    })
    source.on('end', () => this.tell(undefined, Buffer.concat(this.pieces)))
  }

  private tooLarge(): HearthError {
    const text = `the answer has more than ${this.bytesMax} bytes; raise maxBodyBytes, or services.<name>.max_body_bytes, if it is meant to`
    return new HearthError('VALUE_TOO_LARGE', text)
  }
}

type Zlib = typeof import('node:zlib')

/** A map, and no object: the service names the encoding, and might say `constructor`. */
const DECODERS = new Map<string, (zlib: Zlib) => Transform>([
  ['gzip', zlib => zlib.createGunzip()],
  ['x-gzip', zlib => zlib.createGunzip()],
  ['deflate', zlib => zlib.createInflate()],
  ['br', zlib => zlib.createBrotliDecompress()],
])
