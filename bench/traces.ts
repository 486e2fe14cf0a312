/** traces: what a cache is asked for, in order: keys by Zipf's law, with scans in between.
 *  Owns:   nothing.   Thread: any.
 *  Holds:  the same shape gives the same trace, on every machine. */

export interface TraceShape {
  /** Keys 0 .. keys - 1 are asked for by Zipf's law, the first most often. */
  readonly keys: number
  /** How many times one of them is asked for. */
  readonly requests: number
  readonly exponent: number
  /** After every so many requests a scan: so many keys from `keys` on, each once, in order, and never again. 0: none. */
  readonly scanEvery: number
  readonly scanLength: number
}

/** The keys asked for, in order. What is `>= shape.keys` belongs to a scan. */
export function traceOf(shape: TraceShape): Uint32Array {
  const { keys, requests, scanEvery, scanLength } = shape
  const scans = scanEvery > 0 ? Math.floor(requests / scanEvery) : 0
  const trace = new Uint32Array(requests + scans * scanLength)
  const next = zipf(keys, shape.exponent)
  let scanned = keys
  for (let i = 1, at = 0; i <= requests; i++) {
    trace[at++] = next()
    if (scanEvery === 0 || i % scanEvery !== 0) continue
    for (let j = 0; j < scanLength; j++) trace[at++] = scanned++
  }
  return trace
}

/** Of a trace, or of anything that it makes: changed work shows. */
export function hashOf(trace: Uint32Array): number {
  let hash = 0
  for (const key of trace) hash = (hash * 31 + key) | 0
  return hash
}

function zipf(count: number, exponent: number): () => number {
  const sums = new Float64Array(count)
  for (let rank = 0, sum = 0; rank < count; rank++) sums[rank] = sum += (rank + 1) ** -exponent
  const total = sums[count - 1]!
  let state = 1
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    const mixed = Math.imul(state ^ (state >>> 15), 0x2c1b_3c6d)
    const wanted = (((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 32) * total
    let low = 0
    for (let high = count - 1; low < high; ) {
      const middle = (low + high) >> 1
      if (sums[middle]! < wanted) low = middle + 1
      else high = middle
    }
    return low
  }
}
