/** hash: short hashes of bytes.   Owns: nothing.   Thread: any.
 *  Holds:  the same bytes and seed give the same hash in every process; nothing secret rests on it. */

/** The hash of a key: FNV-1a over its UTF-8 bytes from a seed of this boot, then murmur3's finish. 32 bits, as a signed int. */
export function hashKey(seed: number, bytes: Uint8Array, start: number, end: number): number {
  let hash = seed ^ 0x811c_9dc5
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x0100_0193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35)
  return hash ^ (hash >>> 16)
}

/** Sixteen hexadecimal digits that stand for a text in a name. */
export function nameHash(text: string): string {
  const bytes = Buffer.from(text)
  const digits = (seed: number) =>
    (hashKey(seed, bytes, 0, bytes.length) >>> 0).toString(16).padStart(8, '0')
  return digits(1) + digits(2)
}
