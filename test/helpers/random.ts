/** random: one seed a run, printed when a test that used it fails; HEARTH_TEST_SEED replays it.
 *  Owns:   SEED.   Thread: any; a Random is plain state and may be made from a seed in any thread.
 *  Holds:  (1) the same seed gives the same numbers, on every machine and release of the runtime.  (2) the short run always draws
 *          from SHORT_SEED, for it is to tell whether a change broke something; the long one draws a seed, for it is to search. */

import { type TestContext, test } from 'node:test'

/** The long run, `npm test -- --full`. */
export const FULL = process.env['HEARTH_TEST_FULL'] === '1'

const SHORT_SEED = 26

export const SEED = seedOf(process.env['HEARTH_TEST_SEED'])

/** A test that draws at random. When it fails, the line that replays it is printed. */
export function randomTest(
  sentence: string,
  options: { timeout?: number },
  check: (random: Random, t: TestContext) => void | Promise<void>,
): void {
  test(sentence, options, async t => {
    try {
      await check(new Random(SEED), t)
    } catch (error) {
      console.error(`# to replay: HEARTH_TEST_SEED=${SEED}`)
      throw error
    }
  })
}

/** Options for fast-check's assert, which prints the seed and the path to a counterexample itself. */
export function runs(short: number, full: number): { seed: number; numRuns: number } {
  return { seed: SEED | 0, numRuns: FULL ? full : short }
}

/** A small fast generator (mulberry32): 32 bits of state, good enough to shake code, not for secrets. */
export class Random {
  private state: number

  constructor(seed: number) {
    this.state = seed | 0
  }

  /** 32 bits, unsigned. */
  next(): number {
    this.state = (this.state + 0x6d2b_79f5) | 0
    return mix(this.state)
  }

  /** An integer of 0 .. bound - 1. */
  below(bound: number): number {
    return Math.floor((this.next() / 0x1_0000_0000) * bound)
  }

  /** An integer of low .. high. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1)
  }

  chance(probability: number): boolean {
    return this.next() < probability * 0x1_0000_0000
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let i = 0; i < length; i++) bytes[i] = this.next()
    return bytes
  }

  /** A generator of its own for a part, so that more draws in one part leave the others as they are. */
  fork(): Random {
    return new Random(this.next())
  }
}

/** 32 bits in, 32 well-mixed bits out, unsigned. */
export function mix(bits: number): number {
  let value = Math.imul(bits ^ (bits >>> 15), 1 | bits)
  value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
  return (value ^ (value >>> 14)) >>> 0
}

function seedOf(text: string | undefined): number {
  if (text === undefined || text === '')
    return FULL ? (Math.random() * 0x1_0000_0000) >>> 0 : SHORT_SEED
  const seed = Number(text)
  if (!Number.isInteger(seed))
    throw new TypeError(`HEARTH_TEST_SEED must be an integer, not ${text}`)
  return seed >>> 0
}
