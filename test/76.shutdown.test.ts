/** Starting, stopping and reloading: signals, what is left behind, and two engines that want the same socket.
 *  Owns:   one `hearth serve` a test.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HearthError } from '../engine/client/index.ts'
import { NO_ID } from '../engine/protocol/leave_spec.ts'
import { type Exit, prepare, type ServedEngine, serve } from './helpers/engine.ts'
import { get, nameOf, rawValue, set } from './helpers/frames.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { FULL } from './helpers/random.ts'

const STOP_MS_MAX = 5_000

function isTidy(engine: ServedEngine): void {
  assert.ok(!existsSync(engine.socket), 'the socket file is gone')
  const segment = engine.greeting!.segment
  if (segment !== null) assert.ok(!existsSync(segment.path), 'the segment is gone')
  assert.deepEqual(readdirSync(engine.stateDir), ['cache.sqlite'], 'SQLite has no log left')
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} on an idle engine: exit 0, nothing left behind but the data`, async t => {
    const engine = await serve(t)
    const client = await engine.connect()
    await client.cache.set('a', 1)
    const { code, tookMs } = await engine.stop(signal)
    assert.equal(code, 0)
    console.log(`# stopped in ${tookMs.toFixed(0)} ms`)
    assert.ok(tookMs < STOP_MS_MAX)
    isTidy(engine)
  })
}

test('SIGTERM under load: what was acknowledged is there, exit 0 in time', async t => {
  const engine = await serve(t)
  const clients = await Promise.all([0, 1, 2, 3].map(() => engine.connect()))
  const acked = new Map<string, number>()
  let isOver = false
  const lanes = clients.flatMap((client, lane) =>
    Array.from({ length: 25 }, async (_, stream) => {
      for (let step = 0; !isOver; step++) {
        try {
          const key = `${lane}:${stream}:${step}`
          await client.cache.set(key, step)
          acked.set(key, step)
        } catch (error) {
          assert.match((error as HearthError).code, /UNAVAILABLE|TIMEOUT|CLOSED/)
          return
        }
      }
    }),
  )
  await sleep(300)
  const { code, tookMs } = await engine.stop()
  isOver = true
  console.log(`# ${acked.size} sets acknowledged; stopped in ${tookMs.toFixed(0)} ms`)
  assert.equal(code, 0)
  assert.ok(tookMs < STOP_MS_MAX, `took ${tookMs} ms`)
  isTidy(engine)
  await engine.start()
  await Promise.all(lanes)
  const client = await engine.connect()
  const keys = [...acked.keys()]
  const found = await client.cache.getMany(keys)
  for (const [i, key] of keys.entries()) assert.equal(found[i], acked.get(key), key)
})

test('what the engine has taken before SIGTERM is answered before it ends', async t => {
  const engine = await serve(t, { HEARTH_SQLITE_MAX_BYTES: '64MiB' })
  const client = await engine.raw()
  await client.hello()
  client.send(set(1, 'large', rawValue(3_000_000)))
  await client.reply(1)
  client.send(...Array.from({ length: 200 }, (_, i) => set(10 + i, `k${i}`, i)), get(2, 'large'))
  await client.reply(10)
  const stopped = engine.stop()
  for (let i = 1; i < 200; i++) assert.equal(nameOf(await client.reply(10 + i)), 'OK')
  let bytes = 0
  for (;;) {
    const reply = await client.reply(2)
    bytes += reply.body.length
    if (nameOf(reply) !== 'PART') break
  }
  assert.equal(bytes, 3_000_000)
  assert.equal((await stopped).code, 0)
})

test('clients are told to leave before it ends, and what they ask until then is answered', async t => {
  const engine = await serve(t)
  const greeted = await engine.raw()
  const client = await engine.raw()
  await client.hello() // by now the engine has taken both
  const stopped = engine.stop()
  assert.equal(nameOf(await client.reply(NO_ID)), 'LEAVING')
  client.send(set(5, 'late', 1), get(6, 'late'))
  assert.equal(nameOf(await client.reply(5)), 'OK')
  assert.equal(nameOf(await client.reply(6)), 'VALUE_MEMORY')
  // One that had connected and said nothing yet is greeted first.
  await greeted.hello()
  assert.equal(nameOf(await greeted.reply(NO_ID)), 'LEAVING')
  await client.close()
  await greeted.close()
  assert.equal((await stopped).code, 0)
  isTidy(engine)
})

test('a transaction that is open when it is to end may be finished', async t => {
  const { url } = await sharedPostgres()
  const engine = await serve(t, { HEARTH_POSTGRES_URL: url })
  const client = await engine.connect()
  await client.db.query('create table if not exists kept (n int)')
  let stopped: Promise<Exit> | undefined
  await client.db.transaction(async tx => {
    await tx.query('insert into kept values (1)')
    stopped = engine.stop()
    await engine.untilLogged('stopping')
    await sleep(100)
    await tx.query('insert into kept values (2)')
  })
  assert.equal((await stopped!).code, 0)
  await engine.start()
  const { rows } = await (await engine.connect()).db.query('select count(*)::int as n from kept')
  assert.equal(rows[0]!['n'], 2)
})

test('an engine that is started while another still finishes waits for its state folder', async t => {
  const engine = await serve(t)
  const silent = await engine.raw()
  await silent.hello()
  const next = prepare(t, { HEARTH_ENGINE_STATE_DIR: engine.stateDir })
  const stopped = engine.stop()
  await engine.untilLogged('stopping')
  next.spawn()
  await next.untilReady()
  assert.equal((await stopped).code, 0)
  // One that does not stop is not waited for.
  const third = prepare(t, { HEARTH_ENGINE_STATE_DIR: engine.stateDir })
  third.spawn()
  assert.equal((await third.untilExit()).code, 1)
  assert.match(third.log(), /BUSY: another engine \(pid \d+\) keeps its state/)
})

test('clients that do not read and clients that say nothing do not hold up the end', async t => {
  const engine = await serve(t)
  const deaf = await engine.raw()
  await deaf.hello()
  deaf.send(set(1, 'k', rawValue(60_000)))
  await deaf.reply(1)
  deaf.pause()
  deaf.send(...Array.from({ length: 1_000 }, (_, i) => get(i, 'k')))
  await engine.raw()
  await sleep(100)
  const { code, tookMs } = await engine.stop()
  assert.equal(code, 0)
  assert.ok(tookMs < STOP_MS_MAX, `took ${tookMs} ms`)
  isTidy(engine)
})

test('a second signal while it stops changes nothing', async t => {
  const engine = await serve(t)
  await engine.connect()
  engine.signal('SIGTERM')
  engine.signal('SIGTERM')
  engine.signal('SIGINT')
  assert.equal((await engine.untilExit()).code, 0)
  isTidy(engine)
})

test('SIGHUP applies what can change, names what cannot, and survives a wrong file', async t => {
  const engine = prepare(t)
  const file = join(engine.folder, 'hearth.toml')
  writeFileSync(file, '[ttl]\nsession = "30m"\n')
  await engine.start({ HEARTH_CONFIG: file })
  const client = await engine.connect()
  await assert.rejects(client.cache.set('k', 1, { policy: 'brief' }), { code: 'BAD_REQUEST' })
  writeFileSync(file, '[ttl]\nbrief = "80ms"\n[sqlite]\nmax_bytes = "32MiB"\n')
  engine.signal('SIGHUP')
  await engine.untilLogged('configuration reloaded')
  assert.match(engine.log(), /"needsRestart":\["sqlite.max_bytes"\]/)
  await client.cache.set('k', 1, { policy: 'brief' })
  await sleep(100)
  assert.equal(await client.cache.get('k'), undefined)
  writeFileSync(file, '[ttl]\nbrief = "no time"\n')
  engine.signal('SIGHUP')
  await engine.untilLogged('configuration not reloaded')
  await client.cache.set('k', 1, { policy: 'brief' })
  assert.equal(client.state, 'open')
  writeFileSync(file, '[ttl]\nshort = "1s"\n[sqlite]\nmax_bytes = "32MiB"\n')
  engine.signal('SIGHUP')
  await engine.untilLogged(
    '"changed":["ttl.brief","ttl.short"],"needsRestart":["sqlite.max_bytes"]',
  )
  writeFileSync(file, '')
  engine.signal('SIGHUP')
  await engine.untilLogged('"changed":["ttl.short"],"needsRestart":[]')
})

test('a second engine on the same socket refuses with clear words and leaves the first alone', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  await client.cache.set('a', 1)
  const second = prepare(t)
  second.spawn({ HEARTH_SOCKET: engine.socket })
  assert.equal((await second.untilExit()).code, 1)
  assert.match(second.log(), /another engine is serving on .*hearth\.sock; stop it/)
  assert.equal(await client.cache.get('a'), 1)
  assert.ok(existsSync(engine.greeting!.segment?.path ?? engine.socket))
  await (await engine.connect()).ping()
})

test('of two engines started at the same moment on one socket exactly one serves', async t => {
  for (let round = 0; round < (FULL ? 3 : 1); round++) {
    const [one, other] = [prepare(t), prepare(t)]
    one.spawn()
    other.spawn({ HEARTH_SOCKET: one.socket })
    const loser = await Promise.race([
      one.untilExit().then(exit => ({ exit, winner: other })),
      other.untilExit().then(exit => ({ exit, winner: one })),
    ])
    assert.equal(loser.exit.code, 1)
    assert.match(one.log() + other.log(), /another engine is serving|cannot listen/)
    await loser.winner.untilReady()
    const segment = loser.winner.greeting!.segment?.path
    assert.ok(segment === undefined || existsSync(segment), 'the loser took the winner’s segment')
    const client = await one.connect()
    await client.cache.set('a', 1)
    assert.equal(await client.cache.get('a'), 1)
    await client.close()
    assert.equal((await loser.winner.stop()).code, 0)
  }
})

test('a socket file that nobody listens on is replaced, and so is the segment of a killed engine', async t => {
  const engine = await serve(t)
  await (await engine.connect()).cache.set('a', 1)
  const segment = engine.greeting!.segment?.path
  await engine.kill()
  assert.ok(existsSync(engine.socket), 'kill -9 leaves the socket file')
  if (segment !== undefined) assert.ok(existsSync(segment), 'kill -9 leaves the segment')
  await engine.start()
  if (segment !== undefined) assert.ok(!existsSync(segment), 'the next engine removes it')
  assert.equal(await (await engine.connect()).cache.get('a'), 1)
  assert.equal((await engine.stop()).code, 0)
  isTidy(engine)
})

test('a plain file in the socket’s place is not touched', async t => {
  const engine = prepare(t)
  writeFileSync(engine.socket, 'precious')
  engine.spawn()
  assert.equal((await engine.untilExit()).code, 1)
  assert.match(engine.log(), /is not a socket/)
  assert.equal(statSync(engine.socket).size, 'precious'.length)
})

test('a socket path that is too long is refused with a hint', async t => {
  const engine = prepare(t, { HEARTH_SOCKET: join('/tmp', 'x'.repeat(120), 'hearth.sock') })
  engine.spawn()
  assert.equal((await engine.untilExit()).code, 1)
  assert.match(engine.log(), /at most 107/)
})

test('the socket has its mode from the first moment', async t => {
  const engine = prepare(t, { HEARTH_ENGINE_SOCKET_MODE: '0600' })
  engine.spawn()
  const modes = new Set<number>()
  for (let i = 0; i < 2_000; i++) {
    const stat = statSync(engine.socket, { throwIfNoEntry: false })
    if (stat !== undefined) {
      modes.add(stat.mode & 0o777)
      if (modes.size > 0 && (await answers(engine.socket))) break
    }
    await sleep(1)
  }
  assert.deepEqual([...modes], [0o600])
})

function answers(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = net.connect(path)
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}
