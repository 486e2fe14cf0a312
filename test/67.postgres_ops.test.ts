/** The postgres worker's handler: frames in, frames out.
 *  Owns:   one server.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type { HearthError } from '../engine/errors.ts'
import { decodeValue, encodeValue } from '../engine/protocol/payload.ts'
import { readRows } from '../engine/protocol/rows.ts'
import { OPS, REPLIES } from '../engine/protocol/spec.ts'
import type { Handler, Replies } from '../workers/handler.ts'
import { createPostgresHandler } from '../workers/postgres/ops.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'

let postgres: TestPostgres
let handler: Handler

before(async () => {
  postgres = await sharedPostgres()
  const history = await postgres.createDatabase('history')
  handler = createPostgresHandler({
    databases: { main: { url: postgres.url }, history: { url: history } },
  })
})

interface Reply {
  op: number
  ticket: number
  value: unknown
}

/** The frame lies in the middle of a buffer that is overwritten afterwards, as a ring's is. */
function send(handlerUsed: Handler, body: Uint8Array, op: number = OPS.QUERY.code): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const ticket = Math.floor(Math.random() * 8_192)
    const bytes = Buffer.concat([Buffer.from('before'), body, Buffer.from('after')])
    const frame = { op, ticket, bytes, start: 6, end: 6 + body.length }
    handlerUsed.handle(frame, {
      reply: (replyOp, replyTicket, reply, start, end) =>
        resolve({
          op: replyOp,
          ticket: replyTicket - ticket,
          value: decoded(replyOp, Buffer.from(reply.subarray(start, end))),
        }),
      fail: (replyTicket, error) => {
        assert.equal(replyTicket, ticket)
        reject(error)
      },
    })
    bytes.fill(0xff)
    handlerUsed.flush?.(NO_REPLIES)
  })
}

const NO_REPLIES: Replies = { reply: () => {}, fail: () => {} }

function decoded(op: number, body: Buffer): unknown {
  return op === REPLIES.ROWS.code ? readRows(body, 0, body.length) : decodeValue(body)
}

function requestOf(name: string, sql: string, params: unknown = [], timeoutMs = 1_000): Buffer {
  return Buffer.concat(
    [name, timeoutMs, 0, 'correlation-7', sql, params].map(value => encodeValue(value)),
  )
}

test('a query is answered with one ROWS: rows, rowCount, fields, command, source', async () => {
  const at = new Date('2016-01-11T17:30:00Z')
  const { op, ticket, value } = await send(
    handler,
    requestOf('main', 'select $1::int8 as n, $2::timestamptz as at, $3::bytea as b', [
      2n ** 60n,
      at,
      Buffer.from([1]),
    ]),
  )
  assert.deepEqual([op, ticket], [REPLIES.ROWS.code, 0])
  assert.deepEqual(value, {
    rows: [{ n: 2n ** 60n, at, b: Buffer.from([1]) }],
    rowCount: 1,
    fields: [
      { name: 'n', dataTypeId: 20 },
      { name: 'at', dataTypeId: 1184 },
      { name: 'b', dataTypeId: 17 },
    ],
    command: 'SELECT',
    source: 'primary',
  })
})

test('each name is its own database, and no name is main', async () => {
  const nameOf = async (name: string) => {
    const { value } = await send(handler, requestOf(name, 'select current_database() as name'))
    return (value as { rows: { name: string }[] }).rows[0]!.name
  }
  assert.equal(await nameOf('main'), 'postgres')
  assert.equal(await nameOf('history'), 'history')
  assert.equal(await nameOf(''), 'postgres')
})

test('an unknown database is NOT_CONFIGURED and lists the known ones', async () => {
  await assert.rejects(send(handler, requestOf('archive', 'select 1')), (error: HearthError) => {
    assert.equal(error.code, 'NOT_CONFIGURED')
    assert.match(error.message, /"archive".*main, history/)
    assert.equal(error.correlationId, 'correlation-7')
    return true
  })
})

test('an error carries the correlation id of its request', async () => {
  await assert.rejects(send(handler, requestOf('main', 'selec')), {
    sqlState: '42601',
    correlationId: 'correlation-7',
  })
})

test('a deadline in the frame is kept', async () => {
  await assert.rejects(send(handler, requestOf('main', 'select pg_sleep(5)', [], 100)), {
    code: 'TIMEOUT',
  })
})

test('params that are no array are refused', async () => {
  await assert.rejects(send(handler, requestOf('main', 'select 1', { a: 1 })), {
    code: 'BAD_REQUEST',
  })
})

test('a result that encodes larger than a frame is VALUE_TOO_LARGE, not a broken frame', async () => {
  // Each text is under the limit that the rows are read with, and over it when it is written out.
  const sql = `select repeat('€', 1000000) as v from generate_series(1, 8)`
  await assert.rejects(send(handler, requestOf('main', sql, [], 20_000)), {
    code: 'VALUE_TOO_LARGE',
  })
})

test('every truncation of a frame, and every other operation, is a coded error', async () => {
  const whole = requestOf('main', 'select $1::int as v', [1])
  for (let length = 0; length < whole.length; length++) {
    await assert.rejects(send(handler, whole.subarray(0, length)), (error: HearthError) => {
      assert.ok(
        ['PROTOCOL', 'BAD_REQUEST'].includes(error.code),
        `${length}: ${error.code} ${error.message}`,
      )
      return true
    })
  }
  for (const op of [0, 0x10, 0xff])
    await assert.rejects(send(handler, whole, op), { code: 'PROTOCOL' })
})

test('stats() tells each pool by its database', () => {
  const stats = handler.stats() as Record<string, { size: number; queries: number }>
  assert.deepEqual(Object.keys(stats), ['main', 'history'])
  assert.equal(stats['main']!.size, 10)
  assert.ok(stats['main']!.queries > 0)
})

test('close() closes every pool, and later requests are CLOSED', async () => {
  await handler.close()
  await assert.rejects(send(handler, requestOf('main', 'select 1')), { code: 'CLOSED' })
})
