/** WriteWatch: on the ring, what a write has ended comes before the reply that acknowledges it.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  the ring is played by a list that keeps the order. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HearthError } from '../engine/errors.ts'
import { BodyReader } from '../engine/protocol/body.ts'
import { OPS, REPLIES } from '../engine/protocol/spec.ts'
import type { Replies } from '../workers/handler.ts'
import { WriteWatch } from '../workers/postgres/write_watch.ts'

const ROWS = REPLIES.ROWS.code
const NOTHING = new Uint8Array(0)

/** A watch through a ring, and what has gone over it: 'main:1,2' for an INVALIDATED, else a reply's ticket. */
function open(): { watch: WriteWatch; told: (string | number)[] } {
  const told: (string | number)[] = []
  const ring: Replies = {
    reply(op, ticket, body, start = 0, end = body.length) {
      if (op !== REPLIES.INVALIDATED.code) return void told.push(ticket)
      const reader = new BodyReader().reset(Buffer.from(body), start, end)
      const database = reader.text()
      const tables = Array.from({ length: reader.arrayHead() }, () => reader.uint())
      told.push(`${database}:${tables.join(',')}`)
    },
    fail: ticket => void told.push(-ticket),
  }
  return { watch: new WriteWatch().through(ring), told }
}

test('a write is told before its reply, also when it failed; a read is not', () => {
  const { watch, told } = open()
  for (const ticket of [1, 2, 3, 4]) watch.begun(ticket)
  watch.watch(4)
  told.length = 0
  for (const ticket of [5, 6, 7, 8]) watch.begun(ticket)
  watch.expect(5, 'main', [10, 11])
  watch.expect(6, 'main', [])
  watch.expect(7, 'other', 'everything')
  watch.reply(ROWS, 6, NOTHING)
  watch.reply(REPLIES.CACHEABLE.code, 5, NOTHING)
  watch.reply(ROWS, 5, NOTHING)
  watch.fail(7, new HearthError('UNAVAILABLE', 'lost'))
  watch.reply(ROWS, 8, NOTHING)
  assert.deepEqual(told, [6, 5, 'main:10,11', 5, 'other:', -7, 8])
})

test('what runs while the schema changes may have written anything', () => {
  const { watch, told } = open()
  watch.begun(1)
  watch.watch(1)
  let forgotten = 0
  for (const ticket of [5, 6, 7]) watch.begun(ticket)
  watch.expect(5, 'main', [10])
  watch.expect(6, 'main', 'everything')
  watch.after(6, () => forgotten++)
  watch.opened(9, 'main', [11])
  watch.reply(ROWS, 6, NOTHING)
  watch.reply(ROWS, 5, NOTHING)
  watch.ends(7, 9)
  watch.reply(ROWS, 7, NOTHING)
  assert.deepEqual([told, forgotten], [['main:', 6, 'main:', 5, 'main:', 7], 1])
})

test('before main asks nothing is told; what was under way then is told as everything', () => {
  const { watch, told } = open()
  watch.begun(1)
  watch.reply(ROWS, 1, NOTHING)
  watch.tell('main', [1])
  watch.begun(2)
  watch.begun(3)
  watch.watch(3)
  watch.reply(ROWS, 2, NOTHING)
  assert.deepEqual(told, [1, ':', 2])
})

test('what a transaction has written is told with its end; of one opened before, everything', () => {
  const { watch, told } = open()
  watch.watch(1)
  watch.opened(50, 'main', [])
  watch.wrote(50, [3])
  watch.wrote(50, [4, 3])
  watch.opened(51, 'main', [])
  for (const [ticket, handle] of [
    [2, 50],
    [3, 51],
    [4, 52],
  ] as const) {
    watch.begun(ticket)
    watch.ends(ticket, handle)
    watch.reply(REPLIES.OK.code, ticket, NOTHING)
  }
  assert.deepEqual(told, ['main:3,4', 2, 3, ':', 4])
  assert.equal(OPS.WATCH_WRITES.worker, 'postgres')
})
