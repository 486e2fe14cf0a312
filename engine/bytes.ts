/** bytes: moving ranges of bytes, and text in and out of them.
 *  Owns:   nothing.   Thread: any.   Holds: ranges are copied whole or not at all. */

/** Copies source[start, end) to target[at ...). Short ranges in a loop: the call into native code costs more than 24 moves. */
export function copyBytes(
  source: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  at: number,
): void {
  if (end - start <= 24) {
    for (let i = start; i < end; i++) target[at++] = source[i]!
    return
  }
  target.set(start === 0 && end === source.length ? source : source.subarray(start, end), at)
}

/** Node's own methods behind write() and toString(), which check and choose an encoding first at each call. */
interface RawText {
  utf8Write(text: string, at: number): number
  utf8Slice(start: number, end: number): string
}

/** Writes text as UTF-8; returns how many bytes that took. The caller has made room. */
export function writeUtf8(target: Buffer, text: string, at: number): number {
  return (target as unknown as RawText).utf8Write(text, at)
}

export function readUtf8(source: Buffer, start: number, end: number): string {
  return (source as unknown as RawText).utf8Slice(start, end)
}
