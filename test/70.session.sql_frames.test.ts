/** Sessions: frames for the postgres worker with bodies that are wrong, each operation cut at every byte: it costs the connection
 *  that sent them, or only an error, and whoever is in the middle of something goes on.
 *  Owns:   one server and one engine.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { decodeValue } from '../engine/protocol/payload.ts'
import { OPS, REPLIES } from '../engine/protocol/spec.ts'
import { errorOf, frame, header, nameOf, RawClient } from './helpers/frames.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { FULL } from './helpers/random.ts'
import { sharedSqlEngine, untilQuiet } from './helpers/sql_engine.ts'

let postgres: TestPostgres

before(async () => {
  postgres = await sharedPostgres()
  await (await postgres.admin()).query('create table t (a int)')
})

const LIMITS = ['main', 0, 0, 'c'] as const
/** By operation, a body that is well formed; `handle` is of something that is open. */
const BODIES: [keyof typeof OPS, (handle: number) => unknown[]][] = [
  ['QUERY', () => ['main', 1_000, 0, 'c', 'select $1::int', [1]]],
  ['BEGIN', () => [...LIMITS, 'serializable', 3]],
  ['EXECUTE', handle => [handle, 0, 'c', 'select $1::int', [1]]],
  ['COMMIT', handle => [handle]],
  ['CLOSE', handle => [handle]],
  ['STREAM', () => [0, ...LIMITS, 'select $1::int', [1]]],
  ['STREAM', handle => [handle, ...LIMITS, 'select $1::int', [1]]],
  ['FETCH', handle => [handle, 10]],
  ['COPY_OUT', () => [...LIMITS, 'copy t to stdout']],
  ['COPY_READ', handle => [handle]],
  ['COPY_IN', () => [...LIMITS, 'copy t from stdin']],
  ['COPY_WRITE', handle => [handle, Buffer.from('1\n')]],
  ['COPY_END', handle => [handle]],
  ['LISTEN', () => ['main', 'c', 'room']],
]

/** A connection with a transaction of its own. */
async function open(socket: string): Promise<{ raw: RawClient; handle: number }> {
  const raw = await RawClient.open(socket)
  await raw.hello()
  raw.send(frame(OPS.BEGIN.code, 1, ...LIMITS, '', 0))
  const reply = await raw.reply(1)
  assert.equal(nameOf(reply), 'OPENED')
  return { raw, handle: decodeValue(reply.body) as number }
}

for (const [name, bodyOf] of BODIES) {
  test(`${name} cut anywhere, or with a byte too many`, async t => {
    const { client, socket, figure } = await sharedSqlEngine(t, postgres.url)
    await client.db.transaction(async tx => {
      const length = frame(0, 0, ...bodyOf(0xffff_ffff)).length - 8
      for (let cut = -1; cut < length; cut += FULL ? 1 : 3) {
        const { raw, handle: own } = await open(socket)
        const whole = frame(0, 0, ...bodyOf(own)).subarray(8)
        const body = cut < 0 ? Buffer.concat([whole, Buffer.from([0xc1])]) : whole.subarray(0, cut)
        raw.send(Buffer.concat([header(OPS[name].code, 2, body.length), body]))
        const reply = await raw.reply(2)
        // Bytes of a COPY end wherever they end.
        const mayBeWhole = name === 'COPY_WRITE' || cut < 0
        if (reply.op === REPLIES.ERROR.code) {
          assert.ok(errorOf(reply).wire <= 2, errorOf(reply).message)
          if (errorOf(reply).wire === 2 && !/msgpack|read|end/i.test(errorOf(reply).message))
            await raw.untilClosed()
        } else assert.ok(mayBeWhole, `${name} cut at ${cut}: ${nameOf(reply)}`)
        await raw.close()
      }
      assert.equal((await tx.query('select 1')).rowCount, 1)
    })
    await untilQuiet(postgres)
    await until('none is in use', async () => (await figure('inUse')) === 0)
  })
}

test('a CANCEL with a body, and a piece of COPY that is too long, are no frames of ours', async t => {
  const { client, socket } = await sharedSqlEngine(t, postgres.url)
  for (const bytes of [
    frame(OPS.CANCEL.code, 2, 1),
    header(OPS.COPY_WRITE.code, 2, 65_536 + 64),
    header(OPS.BEGIN.code, 2, 0xff_ffff),
  ]) {
    const { raw } = await open(socket)
    raw.send(bytes)
    assert.equal(errorOf(await raw.reply(2)).wire, 2)
    await raw.untilClosed()
  }
  await untilQuiet(postgres)
  assert.equal((await client.db.query('select 1')).rowCount, 1)
})
