/** The name that was probably meant, which a refusal tells.
 *  Owns:   nothing.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import test from 'node:test'
import { editDistance, nearest } from '../engine/config/nearest.ts'

test('the nearest name counts a swap of neighbours as one edit', () => {
  assert.equal(editDistance('ybtes', 'bytes'), 1)
  assert.equal(editDistance('bytes', 'byte'), 1)
  assert.equal(editDistance('', 'abc'), 3)
  assert.equal(
    nearest('x.busy_timeout', ['memory.max_bytes', 'sqlite.busy_timeout']),
    'sqlite.busy_timeout',
  )
  assert.equal(nearest('x', []), undefined)
})
