/** fire: a fault of bench/fire as a test: short here, at its real size with --full.
 *  Owns:   nothing; a fault starts its own engine and ends it.   Thread: main of a test process.
 *  Holds:  a fault that misses a bound is brought about again, at most ATTEMPTS times: a busy machine misses one now and then, an
 *          engine that is broken misses each time. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { endRoles, type Fault } from '../../bench/fire/parts.ts'
import { ensureBuilt } from './engine.ts'
import { FULL } from './random.ts'

const ATTEMPTS = 3

/** `isElsewhere`: shorter tests of the same are in the short run already. */
export function fireTest(sentence: string, fault: Fault, isElsewhere = false): void {
  const skip = isElsewhere && !FULL && 'HEARTH_TEST_FULL=1 runs it (8 s)'
  test(sentence, { timeout: FULL ? 1_800_000 : 120_000, skip }, async t => {
    ensureBuilt()
    for (let attempt = 1; ; attempt++) {
      const seen = await fault.run(FULL ? 'real' : 'short').finally(endRoles)
      if (seen === undefined) return t.skip('this machine does not let it be tried')
      const missed = seen.filter(({ isHeld }) => isHeld === false)
      const words = (of: typeof seen) => of.map(({ what, figure }) => `${what} ${figure}`)
      console.log(`# ${fault.name}: ${words(seen).join('; ')}`)
      if (missed.length === 0) return
      if (attempt === ATTEMPTS) assert.fail(`not held: ${words(missed).join('; ')}`)
    }
  })
}
