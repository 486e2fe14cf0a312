/** Random operations on both tiers against a simple model, on a clock of the test's own, while tier 2 refuses writes, its worker dies
 *  and the engine is started anew.
 *  Owns:   Date while it runs.   Not here: the steps (helpers/cache_steps.ts), what is right (helpers/cache_model.ts).
 *  Thread: main of a test process.
 *  Holds:  a failure prints the seed and the shortest run that shows it. */

import { test } from 'node:test'
import fc from 'fast-check'
import { CacheModel } from './helpers/cache_model.ts'
import { step } from './helpers/cache_steps.ts'
import { FULL, runs } from './helpers/random.ts'

const OPTIONS = { ...runs(60, 10_000), endOnFailure: false }

test(`${OPTIONS.numRuns} random runs agree with the model`, {
  timeout: FULL ? 3_600_000 : 120_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async steps => {
      const model = new CacheModel()
      try {
        for (const each of steps) await model.take(each)
        await model.end()
      } finally {
        model.close()
      }
    }),
    OPTIONS,
  )
})
