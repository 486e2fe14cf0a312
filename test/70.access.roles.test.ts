/** Who may do what: every operation of the table, by each of the four roles, over a real socket and by real users.
 *  Owns:   one engine for the file.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  (1) a new operation fails here until somebody has said who may use it.  (2) what is refused says who may. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { ERRORS } from '../engine/errors.ts'
import { RIGHT } from '../engine/protocol/rights.ts'
import { type FrameSpec, OPS } from '../engine/protocol/spec.ts'
import { prepare } from './helpers/engine.ts'
import { errorOf, frame, hello, nameOf, ping, RawClient } from './helpers/frames.ts'
import { asUser, openTheWay, skipUnlessRoot } from './helpers/users.ts'

const UIDS = { admin: 54_001, service: 54_002, 'read-only': 54_003, none: 54_004 } as const
type Role = keyof typeof UIDS
const ROLES = Object.keys(UIDS) as Role[]

/** Who may: a(dmin), s(ervice), r(ead-only). Nobody is the fourth, who may not even say HELLO. */
const MAY: Record<string, string> = {
  HELLO: 'asr',
  PING: 'asr',
  ATTACH: 'asr',
  GET: 'asr',
  LOOKUP: 'asr',
  GET_MANY: 'asr',
  INSPECT: 'asr',
  EXPLAIN: 'asr',
  KEYS: 'asr',
  COUNT_READS: 'asr',
  SET: 'as',
  SET_MANY: 'as',
  STORE: 'as',
  DEL: 'as',
  TOUCH: 'as',
  INCREMENT: 'as',
  INVALIDATE_TAGS: 'as',
  INVALIDATE_PATTERN: 'as',
  CLAIM: 'as',
  FILL: 'as',
  RELEASE: 'as',
  QUERY: 'asr',
  QUERY_CACHED: 'asr',
  EXPLAIN_CACHE: 'asr',
  BEGIN: 'asr',
  EXECUTE: 'asr',
  COMMIT: 'asr',
  CLOSE: 'asr',
  CANCEL: 'asr',
  STREAM: 'asr',
  FETCH: 'asr',
  COPY_OUT: 'asr',
  COPY_READ: 'asr',
  COPY_IN: 'as',
  COPY_WRITE: 'as',
  COPY_END: 'as',
  LISTEN: 'asr',
  PUBLISH: 'as',
  SUBSCRIBE: 'asr',
  STATS: 'asr',
  HEALTH: 'asr',
  ALERTS: 'asr',
  ALERT_TEST: 'a',
  METRICS: 'asr',
  SERIES: 'asr',
  SERVICE: 'as',
  REPORT_CALLS: 'as',
  TRY_SERVICE: 'as',
  LIMIT_CHECK: 'as',
  REFRESH: 'as',
  INSIGHT: 'as',
  INSIGHT_ADMIN: 'a',
  COUNT_IN_PLACE: 'asr',
}

const engine = prepare(
  { after },
  {
    HEARTH_ENGINE_SOCKET_MODE: '0666',
    HEARTH_ACCESS_ADMIN_MEMBERS: `uid:${UIDS.admin}`,
    HEARTH_ACCESS_SERVICE_MEMBERS: String(UIDS.service),
    HEARTH_ACCESS_READ_ONLY_MEMBERS: `uid:${UIDS['read-only']}`,
    HEARTH_ACCESS_NONE_MEMBERS: `uid:${UIDS.none}`,
  },
)

/** An argument of each kind that nothing is wrong with. */
const ARGUMENT: Record<string, unknown> = {
  text: 'name',
  texts: ['name'],
  uint: 0,
  maybe: null,
  number: Buffer.from([0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]),
  time: 1,
  ttl: 1_000,
  entries: ['name', Buffer.from([0xc4, 0x01, 0x07])],
  any: [],
  raw: [],
  bytes: Buffer.from('bytes'),
}

function argumentsOf(spec: FrameSpec): unknown[] {
  return spec.args.map(([, kind]) => ARGUMENT[kind])
}

const SOCKET_OPS = Object.entries<FrameSpec>(OPS).filter(([, { on }]) => on !== 'ring')

test('the table says of every operation what it needs, and this test who may', () => {
  for (const [name, { needs }] of SOCKET_OPS) {
    assert(needs !== undefined && needs in RIGHT, `${name} needs a column \`needs\` in its row`)
    assert(name in MAY, `say in MAY who may ${name}`)
  }
  assert.deepEqual(Object.keys(MAY).toSorted(), SOCKET_OPS.map(([name]) => name).toSorted())
})

describe('by its user a client', { skip: skipUnlessRoot }, () => {
  const clients = new Map<Role, RawClient>()

  before(async () => {
    await engine.start()
    openTheWay(engine.socket)
    for (const role of ROLES) {
      const client = await asUser(UIDS[role], () => RawClient.open(engine.socket))
      clients.set(role, client)
      if (role !== 'none') assert.equal(((await client.hello()) as { role?: string }).role, role)
    }
  })
  after(async () => {
    for (const client of clients.values()) await client.close()
  })

  let id = 100
  for (const role of ROLES.filter(each => each !== 'none')) {
    for (const [name, spec] of SOCKET_OPS) {
      if (name === 'HELLO') continue
      const may = MAY[name]!.includes(role[0]!)
      test(`who is ${role} ${may ? 'may' : 'may not'} ${name}`, async () => {
        const client = clients.get(role)!
        const own = ++id
        client.send(frame(spec.code, own, ...argumentsOf(spec)))
        if (name === 'CANCEL') {
          client.send(ping(++id))
          assert.equal(nameOf(await client.reply(id)), 'OK')
          return
        }
        const reply = await client.reply(own)
        const error = nameOf(reply) === 'ERROR' ? errorOf(reply) : undefined
        const isForbidden = error?.wire === ERRORS.FORBIDDEN.wire
        assert.equal(isForbidden, !may, String(error?.message))
        assert.notEqual(error?.wire, ERRORS.PROTOCOL.wire, String(error?.message))
        if (may) return
        assert.match(error!.message, new RegExp(`^${name} needs the right "\\w+"`))
        assert.match(error!.message, new RegExp(`role "${role}"`))
        assert.match(error!.message, /access\.\w+\.members/)
      })
    }
  }

  test('who is nobody may not even say HELLO, and is told how to become somebody', async () => {
    for (const uid of [UIDS.none, 54_005]) {
      const client = await asUser(uid, () => RawClient.open(engine.socket))
      client.send(hello())
      const { wire, message } = errorOf(await client.next())
      assert.equal(wire, ERRORS.FORBIDDEN.wire)
      assert.match(message, new RegExp(`uid ${uid}\\).*role "none".*access\\.service\\.members`))
      await client.untilClosed()
    }
  })

  test('what came before HELLO, or without it, is not answered to nobody', async () => {
    const client = await asUser(UIDS.none, () => RawClient.open(engine.socket))
    client.send(frame(OPS.GET.code, 7, 'name'))
    assert.equal(errorOf(await client.next()).wire, ERRORS.PROTOCOL.wire)
    await client.untilClosed()
  })

  test('an operation that is not in the table is no question of rights', async () => {
    const client = await asUser(UIDS['read-only'], () => RawClient.open(engine.socket))
    await client.hello()
    client.send(frame(OPS.PUT.code, 7, 'key', 1, 1, Buffer.from([1])))
    assert.equal(errorOf(await client.next()).wire, ERRORS.PROTOCOL.wire)
  })
})
