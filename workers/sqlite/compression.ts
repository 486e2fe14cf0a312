/** Compression: long values made shorter on their way into tier 2, if the operator wants that (`sqlite.compress_from_bytes`).
 *  Owns:   which algorithm, and when it is not worth it.   Not here: where values are kept (entries.ts, large.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) node:zlib is not even loaded until a value is to be compressed or is found to be.  (2) one piece at a time is
 *          compressed, at most PART_BYTES, and nothing is kept between two.
 *
 *  zstd at its default level: as fast as deflate at its fastest and nearly twice its ratio (64 KiB of JSON, both ways). What it
 *  costs in memory stands in engine/README.md. */

import type * as Zlib from 'node:zlib'

/** Less than this share saved is not worth the time that each read then takes. */
const WORTH = 0.9

let zlib: typeof Zlib | undefined

export class Compression {
  private readonly fromBytes: number

  /** `fromBytes`: values shorter than this stay as they are; Infinity: all do. */
  constructor(fromBytes: number) {
    this.fromBytes = fromBytes
  }

  get isOn(): boolean {
    return this.fromBytes !== Infinity
  }

  /** The value compressed, or undefined when it stays as it is. */
  pack(value: Buffer): Buffer | undefined {
    if (value.length < this.fromBytes) return undefined
    const packed = this.packAlways(value)
    return packed.length > value.length * WORTH ? undefined : packed
  }

  packAlways(value: Buffer): Buffer {
    // A copy: what comes from a ring is shared memory, which zlib does not take.
    return load().zstdCompressSync(Buffer.from(value))
  }

  unpack(packed: Buffer): Buffer {
    return load().zstdDecompressSync(packed)
  }
}

function load(): typeof Zlib {
  zlib ??= process.getBuiltinModule('node:zlib')
  return zlib
}
