/** What one connection may take while others ask too: all of an engine it has for itself, a bounded part of one that is shared.
 *  Owns:   one engine.   Thread: main of a test process.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  SESSION_INFLIGHT_COUNT_MAX,
  SHARED_INFLIGHT_COUNT_MAX,
  SHARED_MS,
  SHARED_TURN_COUNT_MAX,
} from '../engine/limits.ts'
import { FairShare } from '../engine/server/fair_share.ts'
import { serve } from './helpers/engine.ts'
import { get, nameOf, ping, set } from './helpers/frames.ts'

/** How many requests a turn takes, of a good many. */
function takenOf(share: FairShare): number {
  let taken = 0
  while (taken < 5_000 && share.takes()) taken++
  return taken
}

test('a connection that is alone takes all it brings, however often', () => {
  const share = new FairShare()
  const one = {}
  for (let ms = 0; ms < 1_000; ms += 10) {
    share.turnBegins(one, ms)
    assert.equal(takenOf(share), 5_000)
    assert.equal(share.inflightMax, SESSION_INFLIGHT_COUNT_MAX)
  }
})

test('while two take turns each has a bounded part, and a moment after the other asked no more', () => {
  const share = new FairShare()
  const [one, other] = [{}, {}]
  share.turnBegins(one, 0)
  share.turnBegins(other, 1)
  assert.equal(takenOf(share), SHARED_TURN_COUNT_MAX)
  share.turnBegins(one, 2)
  assert.equal(takenOf(share), SHARED_TURN_COUNT_MAX)
  assert.equal(share.inflightMax, SHARED_INFLIGHT_COUNT_MAX)
  share.turnBegins(one, 1 + SHARED_MS)
  assert.equal(takenOf(share), SHARED_TURN_COUNT_MAX, 'it asked within the moment')
  share.turnBegins(one, 2 + SHARED_MS)
  assert.equal(takenOf(share), 5_000)
})

test('a connection that ends leaves nobody to share with', () => {
  const share = new FairShare()
  const [one, other] = [{}, {}]
  share.turnBegins(one, 0)
  share.ended(one)
  share.turnBegins(other, 1)
  assert.equal(takenOf(share), 5_000)
})

test('what a turn leaves over is taken in the next ones: all is answered, in order, and the other one between', async t => {
  const engine = await serve(t)
  const [flooding, other] = [await engine.raw(), await engine.raw()]
  await flooding.hello()
  await other.hello()
  const count = 20 * SHARED_TURN_COUNT_MAX
  flooding.send(set(0, 'k', 1))
  await flooding.reply(0)
  other.send(ping(0))
  flooding.send(
    ...Array.from({ length: count }, (_, i) => (i % 4 === 0 ? set(i, `k${i}`, i) : get(i, 'k'))),
  )
  for (let i = 0; i < 20; i++) {
    other.send(ping(i + 1))
    assert.equal(nameOf(await other.reply(i + 1)), 'OK')
  }
  const gets: number[] = []
  let sets = 0
  for (let i = 0; i < count; i++) {
    const { id, ...reply } = await flooding.next()
    if (nameOf({ id, ...reply }) === 'VALUE_MEMORY') gets.push(id)
    else sets++
  }
  assert.equal(sets, count / 4)
  assert.deepEqual(
    gets,
    gets.toSorted((a, b) => a - b),
    'gets of memory are answered as they come',
  )
})
