/** Limits of the configuration: who is refused what, and what evades nothing.
 *  Owns:   one engine a test.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { chmodSync } from 'node:fs'
import { test } from 'node:test'
import { Hearth } from '../engine/client/index.ts'
import { loadConfig } from '../engine/config/load.ts'
import type { HearthError } from '../engine/errors.ts'
import type { EngineStats } from '../engine/figures.ts'
import { Access } from '../engine/guard/access.ts'
import { Accounts } from '../engine/guard/accounts.ts'
import { RateLimits } from '../engine/guard/rate_limit.ts'
import { TICKET_COUNT_MAX } from '../engine/limits.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { LimitGate } from '../engine/router/limit_gate.ts'
import { ReplyWriter } from '../engine/router/reply.ts'
import { localStream } from '../engine/server/local_wire.ts'
import { serve } from './helpers/engine.ts'
import { type OpenedEngine, openEngine } from './helpers/engine_parts.ts'
import { frame } from './helpers/frames.ts'
import { clientProcess } from './helpers/sql_engine.ts'

/** A client of another user, as the kernel would tell of it. */
function clientOf({ engine }: OpenedEngine, uid: number, name = 'one'): Hearth {
  const peer = { uid, gid: process.getegid!(), pid: 1, groups: [] }
  return new Hearth(localStream(engine.context, peer), { name, failOpen: false })
}

/** What a statement comes to: without a database none is run, and each is counted. */
async function outcomes(client: Hearth, count: number): Promise<string[]> {
  const answers = Array.from({ length: count }, () => client.db.query('select 1'))
  const settled = await Promise.allSettled(answers)
  return settled.map(each => (each.status === 'rejected' ? each.reason.code : 'done'))
}

function reload({ engine, folder }: OpenedEngine, limits: { perClient?: string }): void {
  const overrides = { engine: { stateDir: engine.config.engine.stateDir }, limits }
  engine.reload(loadConfig({ env: {}, cwd: folder, overrides }).config)
}

function limitedOf({ limits }: EngineStats): EngineStats['limits']['limited'] {
  return limits.limited
}

const times = (count: number, code: string): string[] => Array(count).fill(code)

test('a client has its statements and no more, over as many connections and names as it likes', async t => {
  const opened = await openEngine(t, { limits: { perClient: '5/10m' } })
  const first = clientOf(opened, 1_000)
  assert.deepEqual(await outcomes(first, 4), times(4, 'NOT_CONFIGURED'))
  const second = clientOf(opened, 1_000, 'two')
  assert.deepEqual(await outcomes(second, 3), ['NOT_CONFIGURED', ...times(2, 'RATE_LIMITED')])
  assert.deepEqual(await outcomes(clientOf(opened, 1_001), 1), ['NOT_CONFIGURED'])
  await assert.rejects(first.db.query('select 1'), (error: HearthError) => {
    assert.match(error.message, /limits\.per_client = "5\/10m" is used up by .* uid 1000;/)
    assert.equal(error.detail, 'limits.per_client')
    assert.ok(error.retryAfterMs! > 590_000 && error.retryAfterMs! <= 600_000)
    return error.retryable
  })
  const named = first.db.query('select 1', [], { correlationId: 'order-7' })
  await assert.rejects(named, { code: 'RATE_LIMITED', correlationId: 'order-7' })
  const cached = first.db.query('select 1', [], { cache: { ttlMs: 1_000 } })
  await assert.rejects(cached, { code: 'RATE_LIMITED' })
  await assert.rejects(first.db.stream('select 1').next(), { code: 'RATE_LIMITED' })
  // Nothing but statements counts.
  await first.cache.set('k', 1)
  await first.ping()
  assert.deepEqual(limitedOf(await first.stats()), { client: 6, global: 0, cache: 0, subject: 0 })
})

test('all clients together have theirs, and what one limit refuses does not count for the other', async t => {
  const opened = await openEngine(t, { limits: { perClient: '4/10m', global: '6/10m' } })
  assert.deepEqual(await outcomes(clientOf(opened, 1), 40), [
    ...times(4, 'NOT_CONFIGURED'),
    ...times(36, 'RATE_LIMITED'),
  ])
  const other = clientOf(opened, 2)
  assert.deepEqual(await outcomes(other, 3), [...times(2, 'NOT_CONFIGURED'), 'RATE_LIMITED'])
  await assert.rejects(other.db.query('select 1'), /limits\.global = "6\/10m".*all clients/)
  assert.deepEqual(limitedOf(await other.stats()), { client: 36, global: 2, cache: 0, subject: 0 })
  const { samples } = (await opened.local().metrics()).metrics['hearth_rate_limited_total']!
  const told = samples.map(({ labels, value }) => `${labels['scope']} ${value}`)
  assert.deepEqual(told.toSorted(), ['cache 0', 'client 36', 'global 2', 'subject 0'])
  reload(opened, { perClient: '4/10m' })
  assert.deepEqual(await outcomes(other, 3), [...times(2, 'NOT_CONFIGURED'), 'RATE_LIMITED'])
})

test('a request that the workers have no room for counts once, however often it waits', async t => {
  const count = TICKET_COUNT_MAX * 2
  const opened = await openEngine(t, { limits: { cachePerClient: `${count}/10m` } })
  const clients = Array.from({ length: 12 }, () => clientOf(opened, 1))
  const ask = (i: number) => clients[i % clients.length]!.cache.get(`none:${i}`)
  await Promise.all(Array.from({ length: count }, (_, i) => ask(i)))
  await assert.rejects(ask(0), { code: 'RATE_LIMITED' })
})

test('the cache has a limit of its own, and admins have none', async t => {
  const limits = { perClient: '1/10m', global: '1/10m', cachePerClient: '3/10m' }
  const opened = await openEngine(t, { limits })
  const service = clientOf(opened, 1)
  await service.cache.set('a', 1)
  await service.cache.get('b')
  await service.cache.delete('a')
  await assert.rejects(service.cache.get('b'), /limits\.cache_per_client/)
  const admin = opened.local()
  for (let i = 0; i < 10; i++) await admin.cache.get('b')
  assert.deepEqual(await outcomes(admin, 10), times(10, 'NOT_CONFIGURED'))
  assert.deepEqual(await outcomes(service, 2), ['NOT_CONFIGURED', 'RATE_LIMITED'])
})

test('new limits hold at once, and what was counted goes on counting', async t => {
  const opened = await openEngine(t, { limits: { perClient: '2/10m' } })
  const client = clientOf(opened, 1)
  await outcomes(client, 2)
  reload(opened, { perClient: '4/10m' })
  assert.deepEqual(await outcomes(client, 3), [...times(2, 'NOT_CONFIGURED'), 'RATE_LIMITED'])
  reload(opened, { perClient: '3/10m' })
  assert.deepEqual(await outcomes(client, 1), ['RATE_LIMITED'])
  reload(opened, {})
  assert.deepEqual(await outcomes(client, 50), times(50, 'NOT_CONFIGURED'))
})

test('what was taken back does not count, and savepoints are never refused', () => {
  const rate = { max: 2, windowMs: 600_000, text: '2/10m' }
  const limits = new RateLimits({
    perClient: rate,
    global: rate,
    cachePerClient: undefined,
    maxSubjects: 64,
  })
  const gate = new LimitGate(limits)
  const outlet = { send: () => true, onceSent: () => undefined }
  const replies = new ReplyWriter(outlet, () => false)
  replies.access = new Access({ role: 'service', like: 'service' })
  replies.account = new Accounts().join(7, replies)
  const admit = (sql: string) => {
    const bytes = frame(OPS.EXECUTE.code, 1, 1, 1_000, 'id', sql, [])
    return gate.admit(replies, OPS.EXECUTE.code, bytes, 8, bytes.length)
  }
  for (let i = 0; i < 10; i++) {
    assert.ok(admit('select 1'))
    gate.takeBack()
  }
  assert.ok(admit('select 1'))
  assert.ok(admit('savepoint hearth_1'))
  assert.throws(() => admit('select 1'), { code: 'RATE_LIMITED' })
  for (const sql of ['rollback to savepoint hearth_1', 'release savepoint hearth_1'])
    assert.ok(admit(sql))
  assert.throws(() => admit('savepoint hearth_1; select 1'), { code: 'RATE_LIMITED' })
})

test('limits.check is one count for all clients, and says what is wrong', async t => {
  const opened = await openEngine(t)
  const one = clientOf(opened, 1)
  const two = clientOf(opened, 2)
  const limit = { max: 100, windowMs: 60_000 }
  const answers = await Promise.all(
    Array.from({ length: 240 }, (_, i) => (i % 2 === 0 ? one : two).limits.check('user:7', limit)),
  )
  assert.equal(answers.filter(({ allowed }) => allowed).length, 100)
  const refused = await one.limits.check('user:7', limit)
  assert.deepEqual([refused.allowed, refused.remaining], [false, 0])
  assert.ok(refused.retryAfterMs > 50_000 && refused.retryAfterMs <= 60_000)
  assert.equal((await one.limits.check('user:7', { max: 1, windowMs: 1_000 })).allowed, true)
  await assert.rejects(one.limits.check('é'.repeat(200), limit), { code: 'BAD_REQUEST' })
  await assert.rejects(one.limits.check('s', { max: 0, windowMs: 1 }), TypeError)
  await assert.rejects(one.limits.check('s', { max: 2 ** 40, windowMs: 1 }), /max must be from 1/)
  await assert.rejects(one.limits.check('s', { max: 1, windowMs: 2 ** 40 }), /windowMs must be/)
  await assert.rejects(one.limits.check('s', {} as typeof limit), TypeError)
})

test('another user of the system is limited by its uid', async t => {
  if (process.getuid!() !== 0) return t.skip('needs root, to be another user')
  const engine = await serve(t, {
    HEARTH_LIMITS_PER_CLIENT: '2/10m',
    HEARTH_ENGINE_SOCKET_MODE: '0666',
    HEARTH_ACCESS_SERVICE_MEMBERS: 'uid:65534',
  })
  chmodSync(engine.folder, 0o711)
  const script = `
    process.setgid(65534); process.setuid(65534)
    const again = await connect({ socket: ${JSON.stringify(engine.socket)}, failOpen: false })
    const codes = []
    for (let i = 0; i < 4; i++) await again.db.query('select 1').catch(error => codes.push(error.code))
    console.log(codes.join() === 'NOT_CONFIGURED,NOT_CONFIGURED,RATE_LIMITED,RATE_LIMITED' ? 'ready' : codes.join())
    await again.close(); await hearth.close()`
  await clientProcess(t, engine.socket, script)
})

test('a limit that is none is refused at the start, with what was expected', () => {
  for (const perClient of ['100', '0/1m', '100/0s', '1.5/1m', '100/30d', 'many'])
    assert.throws(
      () => loadConfig({ env: { HEARTH_LIMITS_PER_CLIENT: perClient }, cwd: '/tmp' }),
      /HEARTH_LIMITS_PER_CLIENT.*expected so many within so long, such as "100\/1m", or "unlimited"/s,
      perClient,
    )
  const loaded = loadConfig({ env: { HEARTH_LIMITS_PER_CLIENT: '0100 / 60s' }, cwd: '/tmp' })
  assert.equal(loaded.config.limits.perClient, '100/1m')
})
