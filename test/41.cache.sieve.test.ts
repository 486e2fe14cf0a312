/** SIEVE: the victims are those of a plain implementation of the paper's algorithm.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  the reference below follows the paper's pseudocode, with an array for the list. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSegment } from '../engine/cache/segment.ts'
import { Sieve } from '../engine/cache/sieve.ts'
import { FULL, randomTest } from './helpers/random.ts'

/** Oldest first; the hand is the entry it stands at, or undefined for the oldest. */
class Reference {
  readonly list: number[] = []
  readonly visited = new Set<number>()
  hand: number | undefined

  remove(entry: number): void {
    const at = this.list.indexOf(entry)
    if (this.hand === entry) this.hand = this.list[at + 1]
    this.list.splice(at, 1)
    this.visited.delete(entry)
  }

  victim(): number {
    let at = this.hand === undefined ? 0 : this.list.indexOf(this.hand)
    while (this.visited.delete(this.list[at]!)) at = (at + 1) % this.list.length
    this.hand = this.list[at]
    return this.hand ?? 0
  }
}

function sieve(): Sieve {
  return new Sieve(createSegment(new ArrayBuffer(256 * 1024), { pid: 1, hashSeed: 1 }))
}

randomTest('random hits, arrivals and removals give the victims of the reference', {}, random => {
  const tested = sieve()
  const reference = new Reference()
  let unused = Array.from({ length: 300 }, (_, i) => 65_536 + i * 64)
  for (let step = 0; step < (FULL ? 1_000_000 : 60_000); step++) {
    const action = random.below(100)
    if (action < 40 && unused.length > 0) {
      const at = random.below(unused.length)
      const entry = unused[at]!
      unused = unused.with(at, unused.at(-1)!).slice(0, -1)
      tested.insert(entry)
      reference.list.push(entry)
    } else if (action < 70 && reference.list.length > 0) {
      const entry = random.pick(reference.list)
      tested.mark(entry)
      reference.visited.add(entry)
    } else if (action < 80 && reference.list.length > 0) {
      const entry = random.pick(reference.list)
      tested.remove(entry)
      reference.remove(entry)
      unused.push(entry)
    } else {
      const entry = reference.victim()
      assert.equal(tested.victim(), entry, `victim at step ${step}`)
      if (entry === 0) continue
      tested.remove(entry)
      reference.remove(entry)
      unused.push(entry)
    }
    assert.equal(tested.oldestEntry(), reference.list[0] ?? 0)
  }
})

test('a mark saves an entry once: the hand clears it and moves on', () => {
  const tested = sieve()
  for (const entry of [64, 128, 192]) tested.insert(entry)
  tested.mark(64)
  assert.equal(tested.victim(), 128)
  tested.remove(128)
  assert.equal(tested.victim(), 192, 'the hand goes on from where it stood')
  tested.remove(192)
  assert.equal(tested.victim(), 64)
})

test('when all are marked, the oldest goes after one round', () => {
  const tested = sieve()
  for (const entry of [64, 128, 192]) {
    tested.insert(entry)
    tested.mark(entry)
  }
  assert.equal(tested.victim(), 64)
})

test('an empty list has no victim', () => {
  assert.equal(sieve().victim(), 0)
})
