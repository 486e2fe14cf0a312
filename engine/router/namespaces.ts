/** Namespaces: reads by namespace, as clients count and report them: only they know which namespace a key was meant in, and only
 *  they see what they read in place.
 *  Owns:   the sums.   Thread: main.
 *  Holds:  at most COUNT_MAX names; what comes under another then is added up under `(others)`. */

import { HearthError } from '../errors.ts'
import type { ReadFigures } from '../figures.ts'
import type { BodyReader } from '../protocol/body.ts'

const COUNT_MAX = 256
const NAME_BYTES_MAX = 128
const OTHERS = '(others)'

export class Namespaces {
  private readonly sums = new Map<string, ReadFigures>()

  /** Takes COUNT_READS. */
  add(request: BodyReader): void {
    const given = request.text()
    if (given === '' || Buffer.byteLength(given) > NAME_BYTES_MAX)
      throw new HearthError('BAD_REQUEST', `a namespace has 1 to ${NAME_BYTES_MAX} bytes`)
    const isKnown = this.sums.has(given) || this.sums.size < COUNT_MAX
    const name = isKnown ? given : OTHERS
    let sum = this.sums.get(name)
    if (sum === undefined) {
      sum = { memoryHits: 0, sqliteHits: 0, misses: 0 }
      this.sums.set(name, sum)
    }
    sum.memoryHits += request.uint()
    sum.sqliteHits += request.uint()
    sum.misses += request.uint()
    request.done()
  }

  figures(): Record<string, ReadFigures & { hitRate: number | null }> {
    return Object.fromEntries(
      [...this.sums].map(([name, sum]) => [name, { ...sum, hitRate: hitRateOf(sum) }]),
    )
  }
}

/** The share of reads that some tier answered; null before the first. */
export function hitRateOf({ memoryHits, sqliteHits, misses }: ReadFigures): number | null {
  const hits = memoryHits + sqliteHits
  return hits + misses === 0 ? null : hits / (hits + misses)
}
