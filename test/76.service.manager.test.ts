/** Under a service manager: what it is told and when, the socket that it holds, the watchdog that a hung worker starves.
 *  Owns:   one manager, played by a process, a test; the real daemon under it.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { cleanEnvironment, HEARTH, prepare } from './helpers/engine.ts'
import { manager, noManager } from './helpers/service_manager.ts'

const skip = noManager

test('it is told in order: ready, reloading with its moment and ready again, stopping; exit 0', {
  skip,
}, async t => {
  const systemd = await manager(t)
  const file = join(systemd.folder, 'hearth.toml')
  writeFileSync(file, '[ttl]\nsession = "30m"\n')
  await systemd.start({ HEARTH_CONFIG: file })
  const beforeUsec = Number(process.hrtime.bigint() / 1_000n)
  systemd.signal('SIGHUP')
  await systemd.until(() => systemd.count('READY=1') === 2, 'READY=1 after a reload')
  writeFileSync(file, '[ttl]\nsession = "no time"\n')
  systemd.signal('SIGHUP')
  await systemd.until(() => systemd.count('READY=1') === 3, 'READY=1 after a refused reload')
  assert.equal(await systemd.stop(), 0)
  const firsts = systemd.heard.map(each => each.split('\n')[0])
  assert.deepEqual(firsts, [
    'READY=1',
    ...['RELOADING=1', 'READY=1', 'RELOADING=1', 'READY=1'],
    'STOPPING=1',
  ])
  assert.match(systemd.heard[0]!, /\nSTATUS=serving 0 clients on .*run\.sock$/)
  const moment = Number(/\nMONOTONIC_USEC=(\d+)$/.exec(systemd.heard[1]!)![1])
  assert.ok(moment >= beforeUsec && moment < beforeUsec + 10_000_000, `${moment}, ${beforeUsec}`)
  assert.match(systemd.heard[4]!, /\nSTATUS=configuration not reloaded: .*hearth\.toml:2.*$/)
  assert.match(systemd.heard[5]!, /\nEXTEND_TIMEOUT_USEC=\d+\n/)
})

test('the socket it holds is served on, with its mode, and stays when the engine is gone', {
  skip,
}, async t => {
  const systemd = await manager(t, {}, '0600')
  const { ino } = statSync(systemd.socket)
  const early = systemd.connect()
  await systemd.start()
  const client = await early
  await client.cache.set('a', 1)
  assert.equal(await client.cache.get('a'), 1)
  const stats = (await client.stats()) as unknown as Record<string, unknown>
  assert.ok(stats)
  await client.close()
  assert.equal(await systemd.stop(), 0)
  assert.equal(statSync(systemd.socket).ino, ino)
  assert.equal(statSync(systemd.socket).mode & 0o777, 0o600)
  // Nobody serves now, and nobody is refused.
  const waiting = net.connect(systemd.socket)
  await once(waiting, 'connect')
  const next = systemd.connect()
  await sleep(50)
  await systemd.start()
  assert.equal(await (await next).cache.get('a'), 1)
  waiting.destroy()
  // A crash leaves it too.
  assert.equal(await systemd.stop('SIGKILL'), -9)
  await systemd.start()
  assert.equal(statSync(systemd.socket).ino, ino)
  assert.equal(await (await systemd.connect()).cache.get('a'), 1)
})

test('a socket meant for another process is left alone', { skip }, async t => {
  const systemd = await manager(t)
  await systemd.start({ HEARTH_ENGINE_SOCKET: join(systemd.folder, 'own.sock'), LISTEN_FDS: '0' })
  assert.match(systemd.heard[0]!, /own\.sock/)
})

test('a descriptor that is no listening socket is refused with words', async t => {
  const engine = prepare(t)
  const fd = openSync(join(engine.folder, 'file'), 'w')
  const child = spawn(
    'sh',
    ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', process.execPath, HEARTH, 'serve'],
    {
      env: { ...cleanEnvironment(), ...engine.env, LISTEN_FDS: '1' },
      stdio: ['ignore', 'ignore', 'pipe', fd],
    },
  )
  let said = ''
  child.stderr!.on('data', data => {
    said += data
  })
  const [code] = await once(child, 'close')
  closeSync(fd)
  assert.equal(code, 1)
  assert.match(said, /BAD_REQUEST: LISTEN_FDS is set.*ENOTSOCK.*ListenStream=/)
})

test('the watchdog is fed twice an interval, starved while a worker hangs, and fed again after', {
  skip,
}, async t => {
  const intervalMs = 1_000
  const env = { WATCHDOG_USEC: String(intervalMs * 1_000), HEARTH_SQLITE_BUSY_TIMEOUT: '60s' }
  const systemd = await manager(t, env)
  await systemd.start()
  const fed = () => systemd.heard.filter(each => each.startsWith('WATCHDOG=1')).length
  await systemd.until(() => fed() >= 4, 'WATCHDOG=1')
  const client = await systemd.connect()
  // A lock on the file that is not given back: the worker's thread waits for it within SQLite.
  const thief = new Database(join(systemd.folder, 'state', 'cache.sqlite'))
  thief.exec('begin immediate')
  const stuck = client.cache.set('a', 1)
  await sleep(100)
  const before = fed()
  await sleep(2 * intervalMs)
  assert.ok(fed() - before <= 1, `fed ${fed() - before} times while a worker hung`)
  assert.match(systemd.log(), /the watchdog is not fed/)
  assert.ok((await client.ping()) >= 0, 'main still answers')
  thief.exec('rollback')
  thief.close()
  assert.equal(await stuck, true)
  const hung = fed()
  await systemd.until(() => fed() >= hung + 2, 'WATCHDOG=1 after the worker came back')
})

test('a watchdog that is another process’s is not fed', { skip }, async t => {
  const systemd = await manager(t, { WATCHDOG_USEC: '100000', WATCHDOG_PID: '1' })
  await systemd.start()
  await sleep(300)
  assert.deepEqual(
    systemd.heard.map(each => each.split('\n')[0]),
    ['READY=1'],
  )
})
