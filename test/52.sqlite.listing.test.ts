/** KEYS in small steps: the order, what gets between, and the end.
 *  Owns:   a file a test.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { writeText, writeUint } from '../engine/protocol/body.ts'
import { decodeValue } from '../engine/protocol/payload.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { optionsFor, Tier, temporaryFolder } from './helpers/sqlite.ts'

const COUNT = 30_000
const VALUE = Buffer.from([1])

function filled(): Tier {
  const tier = new Tier(optionsFor(temporaryFolder()))
  for (let i = 0; i < COUNT; i++) {
    tier.put(`key:${i}`, VALUE)
    if (i % 500 === 499) tier.flush()
  }
  return tier
}

function list(tier: Tier, glob: string, limit = 1_000, after = ''): number {
  const body = Buffer.alloc(100)
  const end = writeUint(body, writeText(body, writeText(body, 0, glob), after), limit)
  return tier.sendBody(OPS.KEYS.code, body.subarray(0, end))
}

test('a list that hardly any key is in is made in steps, and gets are answered between them', () => {
  const tier = filled()
  const ticket = list(tier, '*:29999')
  assert.ok(!tier.answers.has(ticket), 'not at once')
  let steps = 0
  while (tier.handler.isBusy) {
    const get = tier.get(`key:${steps}`)
    tier.handler.flush!(tier.replies)
    assert.equal(tier.answer(get).name, 'FOUND')
    steps++
  }
  assert.ok(steps > 2, `${steps} steps`)
  assert.deepEqual(decodeValue(tier.answer(ticket).body), ['key:29999'])
  tier.close()
})

test('lists are answered in their order, and a short one at once', () => {
  const tier = filled()
  const short = list(tier, 'key:12*', 5)
  const expected = ['key:12', 'key:120', 'key:1200', 'key:12000', 'key:12001']
  assert.deepEqual(decodeValue(tier.answer(short).body), expected)
  const long = list(tier, '*:none')
  const behind = list(tier, 'key:7')
  assert.ok(!tier.answers.has(behind))
  tier.flush()
  assert.deepEqual(decodeValue(tier.answer(long).body), [])
  assert.deepEqual(decodeValue(tier.answer(behind).body), ['key:7'])
  tier.close()
})

test('page after page, each key comes once, in order', () => {
  const tier = filled()
  const found: string[] = []
  for (let length = 700; length === 700; ) {
    const ticket = list(tier, '*9', 700, found.at(-1) ?? '')
    tier.flush()
    const keys = decodeValue(tier.answer(ticket).body) as string[]
    found.push(...keys)
    length = keys.length
  }
  const expected = Array.from({ length: COUNT }, (_, i) => `key:${i}`).filter(key =>
    key.endsWith('9'),
  )
  assert.deepEqual(found, expected.toSorted())
  tier.close()
})

test('a key that is written or deleted while a list is made is in it or not, and all others are', () => {
  const tier = filled()
  const ticket = list(tier, 'key:*9999')
  while (tier.handler.isBusy) {
    tier.put('key:0:new', VALUE)
    tier.del('key:5')
    tier.handler.flush!(tier.replies)
  }
  assert.deepEqual(decodeValue(tier.answer(ticket).body), ['key:19999', 'key:29999', 'key:9999'])
  tier.close()
})

test('a list that is being made when the engine stops is refused', () => {
  const tier = filled()
  const ticket = list(tier, '*:none')
  tier.handler.flush!(tier.replies)
  assert.ok(tier.handler.isBusy)
  tier.close()
  assert.equal(tier.answer(ticket).error!.code, 'UNAVAILABLE')
})
