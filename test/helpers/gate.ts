/** gate: a test of a time that is promised. It is tried again when it was late: a busy machine is late now and then, an engine that is
 *  slow is late each time.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  lateness alone is forgiven, ATTEMPTS - 1 times; whatever else goes wrong fails the test at once. */

import { type TestContext, test } from 'node:test'

const ATTEMPTS = 5

/** Throws Late when it took longer than promised. */
export type Gate = (what: string, tookMs: number, mostMs: number) => void

class Late extends Error {}

/** What `check` opens with t stays open until the last attempt is over. */
export function gateTest(
  sentence: string,
  check: (t: TestContext, gate: Gate) => Promise<void>,
): void {
  test(sentence, async t => {
    const gate: Gate = (what, tookMs, mostMs) => {
      if (tookMs >= mostMs)
        throw new Late(`${what} after ${tookMs.toFixed(1)} ms, not within ${mostMs} ms`)
    }
    for (let attempt = 1; ; attempt++) {
      try {
        return await check(t, gate)
      } catch (error) {
        if (!(error instanceof Late) || attempt === ATTEMPTS) throw error
        t.diagnostic(`attempt ${attempt}: ${error.message}`)
      }
    }
  })
}
