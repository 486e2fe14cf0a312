/** Changes: how often results change, and how many kinds of parameters a fingerprint is asked with: what caching it would save.
 *  Owns:   for each slot one call that is watched, and a sketch of its parameters.   Not here: the advice (client/insight/).
 *  Thread: postgres worker.
 *  Holds:  (1) a result is looked at each LOOK_MS of a slot at most, and hashed as far as HASHED_BYTES.  (2) no result is kept.
 *
 *  The sketch is linear counting: of so many bits, those that parameters fall on are set; how many parameters there were follows
 *  from how many bits are not. Calls are counted since the sketch was begun; it is begun anew when it is nearly full. */

export const SKETCH_BITS = 512
const SKETCH_WORDS = SKETCH_BITS / 32
const SKETCH_FULL_BITS = 480
const LOOK_MS = 20
/** Another call is watched when the watched one has not come again for so long. */
const WATCH_MS_MAX = 30_000
/** Fewer tell nothing. */
const LOOKS_MIN = 5
const HASHED_BYTES = 16 * 1024
const FIRST_COUNT = 32

export class Changes {
  /** Looks at a result that had been seen before, and how many of them found another. */
  looks = new Uint32Array(FIRST_COUNT)
  found = new Uint32Array(FIRST_COUNT)
  /** How long results were watched, all looks together. */
  spanMs = new Float64Array(FIRST_COUNT)
  /** Calls that the sketch counted, and bits that are set in it. */
  sketched = new Float64Array(FIRST_COUNT)
  bitsSet = new Uint16Array(FIRST_COUNT)
  private sketch = new Uint32Array(FIRST_COUNT * SKETCH_WORDS)
  private watched = new Int32Array(FIRST_COUNT)
  private results = new Int32Array(FIRST_COUNT)
  private seenMs = new Float64Array(FIRST_COUNT).fill(-Infinity)
  private nextMs = new Float64Array(FIRST_COUNT)

  isDue(slot: number, nowMs: number): boolean {
    return slot >= this.looks.length || nowMs >= this.nextMs[slot]!
  }

  /** A result, bytes[start, end), of a call with these parameters. */
  look(
    slot: number,
    paramsHash: number,
    bytes: Buffer,
    start: number,
    end: number,
    nowMs: number,
  ): void {
    this.makeRoom(slot)
    const seenMs = this.seenMs[slot]!
    const isSame = this.watched[slot] === paramsHash
    if (!isSame && nowMs - seenMs < WATCH_MS_MAX) return
    this.nextMs[slot] = nowMs + LOOK_MS
    const result = hashResult(bytes, start, end)
    if (isSame && seenMs > -Infinity) {
      this.looks[slot]!++
      if (this.results[slot] !== result) this.found[slot]!++
      this.spanMs[slot]! += nowMs - seenMs
    }
    this.watched[slot] = paramsHash
    this.results[slot] = result
    this.seenMs[slot] = nowMs
  }

  /** A call with these parameters. */
  count(slot: number, paramsHash: number): void {
    this.makeRoom(slot)
    // FNV's low bits are its good ones.
    const bit = (paramsHash ^ (paramsHash >>> 15)) & (SKETCH_BITS - 1)
    const word = slot * SKETCH_WORDS + (bit >> 5)
    const mask = 1 << (bit & 31)
    this.sketched[slot]!++
    if ((this.sketch[word]! & mask) !== 0) return
    this.sketch[word]! |= mask
    if (++this.bitsSet[slot]! > SKETCH_FULL_BITS) this.clearSketch(slot)
  }

  /** How long a result lasts on average before it is another one, in milliseconds; 0: too little is known, or none was seen to
   *  change. */
  lastedMs(slot: number): number {
    const found = this.found[slot] ?? 0
    if (found === 0 || this.looks[slot]! < LOOKS_MIN) return 0
    return Math.ceil(this.spanMs[slot]! / found)
  }

  /** As an earlier run had it: looks, changes, and how long. */
  restore(slot: number, [looks = 0, found = 0, spanMs = 0]: readonly number[]): void {
    this.makeRoom(slot)
    this.looks[slot] = looks
    this.found[slot] = found
    this.spanMs[slot] = spanMs
  }

  forget(slot: number): void {
    if (slot >= this.looks.length) return
    this.looks[slot] = 0
    this.found[slot] = 0
    this.spanMs[slot] = 0
    this.seenMs[slot] = -Infinity
    this.nextMs[slot] = 0
    this.clearSketch(slot)
  }

  private clearSketch(slot: number): void {
    this.sketch.fill(0, slot * SKETCH_WORDS, (slot + 1) * SKETCH_WORDS)
    this.bitsSet[slot] = 0
    this.sketched[slot] = 0
  }

  private makeRoom(slot: number): void {
    if (slot < this.looks.length) return
    const count = Math.max(slot + 1, this.looks.length * 2)
    this.looks = larger(this.looks, new Uint32Array(count))
    this.found = larger(this.found, new Uint32Array(count))
    this.spanMs = larger(this.spanMs, new Float64Array(count))
    this.sketched = larger(this.sketched, new Float64Array(count))
    this.bitsSet = larger(this.bitsSet, new Uint16Array(count))
    this.sketch = larger(this.sketch, new Uint32Array(count * SKETCH_WORDS))
    this.watched = larger(this.watched, new Int32Array(count))
    this.results = larger(this.results, new Int32Array(count))
    this.seenMs = larger(this.seenMs, new Float64Array(count).fill(-Infinity))
    this.nextMs = larger(this.nextMs, new Float64Array(count))
  }
}

type Column = Uint32Array | Uint16Array | Int32Array | Float64Array

function larger<T extends Column>(column: T, room: T): T {
  room.set(column as never)
  return room
}

/** Of a long result its beginning, its end and its length. */
function hashResult(bytes: Buffer, start: number, end: number): number {
  let hash = 0x811c9dc5 ^ (end - start)
  const half = HASHED_BYTES >> 1
  const isWhole = end - start <= HASHED_BYTES
  const firstEnd = isWhole ? end : start + half
  for (let i = start; i < firstEnd; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  if (!isWhole)
    for (let i = end - half; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  return hash
}
