/** bytes: moving ranges of bytes.   Owns: nothing.   Thread: any.   Holds: ranges are copied whole or not at all. */

/** Copies source[start, end) to target[at ...). Short ranges in a loop: the call into native code costs more than 24 moves. */
export function copyBytes(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): void {
  if (end - start <= 24) {
    for (let i = start; i < end; i++) target[at++] = source[i]!
    return
  }
  target.set(start === 0 && end === source.length ? source : source.subarray(start, end), at)
}
