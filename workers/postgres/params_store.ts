/** ParamsStore: where the parameters of statements are kept until they are answered: their frames' bytes are used again.
 *  Owns:   the block being filled.   Thread: postgres worker.
 *  Holds:  bytes given out are never changed; a block lives as long as one of its statements. */

const BLOCK_BYTES = 16 * 1024

export class ParamsStore {
  /** What keep() kept: `block[start, end)`. */
  block = Buffer.alloc(0)
  start = 0
  end = 0

  /** Copies bytes to the end of the block, or to a new one; one block serves hundreds of statements. */
  keep(bytes: Buffer, start: number, end: number): void {
    const size = end - start
    if (this.end + size > this.block.length) {
      this.block = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, size))
      this.end = 0
    }
    this.start = this.end
    this.end += size
    if (size > LOOP_BYTES_MAX) bytes.copy(this.block, this.start, start, end)
    else for (let i = 0; i < size; i++) this.block[this.start + i] = bytes[start + i]!
  }
}

/** A call into native code costs as much as copying so many bytes one by one. */
const LOOP_BYTES_MAX = 32
