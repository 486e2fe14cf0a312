/** 21: who is at the other end of a Unix socket, and telling systemd; the allocator's two calls.
 *  Owns: sockets in a temporary folder.   Thread: main, and children.   Holds: real sockets, no stand-ins. */
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { after, test } from 'node:test'
import {
  listeningPath,
  notifySystemd,
  peerCredentials,
  trimMemory,
  tuneAllocator,
} from '../native-bindings/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'hearth-socket-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const python = ['python3', '/usr/bin/python3'].find(
  name => spawnSync(name, ['-c', 'import socket'], { stdio: 'ignore' }).status === 0,
)
const skip =
  python === undefined ? 'python3 is not installed: no datagram socket to listen on' : false

test('the peer of a Unix socket is the process that connected, with its user and groups', async t => {
  const path = join(folder, 'peer')
  const server = createServer().listen(path)
  await once(server, 'listening')
  const script = `require('net').connect(${JSON.stringify(path)})`
  const child = spawn(process.execPath, ['-e', script], { stdio: 'ignore' })
  const [socket] = (await once(server, 'connection')) as [Socket]
  t.after(() => {
    child.kill()
    socket.destroy()
    server.close()
  })
  assert.deepEqual(peerCredentials(descriptorOf(socket)), {
    pid: child.pid,
    uid: process.getuid!(),
    gid: process.getgid!(),
    groups: ownGroups(),
  })
})

/** As the kernel has them: Node adds the process's first group. */
function ownGroups(): number[] {
  const status = readFileSync('/proc/self/status', 'latin1')
  const [, list = ''] = /^Groups:[ \t]*(.*)$/m.exec(status) ?? []
  return list.split(' ').filter(Boolean).map(Number)
}

test('the peer’s user is the one it had when it connected', async t => {
  if (process.getuid!() !== 0) return t.skip('only root can start a child as somebody else')
  const server = createServer().listen('\0hearth-peer-' + process.pid)
  await once(server, 'listening')
  const script = `require('net').connect('\\0hearth-peer-${process.pid}')`
  const child = spawn(process.execPath, ['-e', script], {
    stdio: 'ignore',
    uid: 65534,
    gid: 65534,
    cwd: '/',
  })
  const connected = once(server, 'connection')
  const failed = once(child, 'exit').then(() => undefined)
  const answer = await Promise.race([connected, failed])
  if (answer === undefined) {
    server.close()
    return t.skip('the runtime cannot be executed by another user here')
  }
  const [socket] = answer as [Socket]
  const { uid, gid } = peerCredentials(descriptorOf(socket))
  assert.deepEqual({ uid, gid }, { uid: 65534, gid: 65534 })
  child.kill()
  socket.destroy()
  server.close()
})

test('a listening socket tells its path; what does not listen, or has none, is a coded error', async () => {
  const path = join(folder, 'listens')
  const server = createServer().listen(path)
  const nameless = createServer().listen('\0hearth-listens-' + process.pid)
  const tcp = createServer().listen(0, '127.0.0.1')
  await Promise.all([server, nameless, tcp].map(each => once(each, 'listening')))
  const client = connect(path)
  await once(client, 'connect')
  const of = (each: unknown) => listeningPath(descriptorOf(each as Socket))
  assert.equal(of(server), path)
  assert.equal(of(nameless), `@hearth-listens-${process.pid}`)
  assert.throws(() => of(tcp), { code: 'EPROTOTYPE' })
  assert.throws(() => of(client), { code: 'EINVAL' })
  const file = openSync(import.meta.filename, 'r')
  assert.throws(() => listeningPath(file), { code: 'ENOTSOCK', syscall: 'getsockname' })
  assert.throws(() => listeningPath(-1), { code: 'EBADF' })
  closeSync(file)
  client.destroy()
  for (const each of [server, nameless, tcp]) each.close()
})

test('a TCP socket, a file and a number that is no descriptor are coded errors', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1')
  await once(socket, 'connect')
  assert.throws(() => peerCredentials(descriptorOf(socket)), { code: 'ENOTCONN' })
  assert.throws(() => peerCredentials(-1), { code: 'EBADF', syscall: 'getsockopt' })
  const file = execFileSync('mktemp', [join(folder, 'XXXX')], { encoding: 'utf8' }).trim()
  const { open } = await import('node:fs/promises')
  const handle = await open(file)
  assert.throws(() => peerCredentials(handle.fd), { code: 'ENOTSOCK' })
  await handle.close()
  socket.destroy()
  server.close()
})

test('without NOTIFY_SOCKET nothing is sent and the answer is false', () => {
  assert.equal(notifySystemd('READY=1', ''), false)
  assert.equal(notifySystemd('READY=1', undefined), process.env['NOTIFY_SOCKET'] !== undefined)
})

for (const kind of ['a path', 'an abstract name'] as const) {
  test(`systemd’s socket as ${kind} gets the text as one datagram`, { skip }, async () => {
    const address = kind === 'a path' ? join(folder, 'notify') : `@hearth-notify-${process.pid}`
    const listener = datagramListener(address)
    await said(listener)
    const state = 'READY=1\nSTATUS=ready: 1 000 entries, café'
    assert.equal(notifySystemd(state, address), true)
    assert.equal(Buffer.from(await said(listener), 'hex').toString(), state)
  })
}

test('NOTIFY_SOCKET is read from the environment', { skip }, async () => {
  const address = join(folder, 'notify-environment')
  const listener = datagramListener(address)
  await said(listener)
  process.env['NOTIFY_SOCKET'] = address
  try {
    assert.equal(notifySystemd('WATCHDOG=1'), true)
  } finally {
    delete process.env['NOTIFY_SOCKET']
  }
  assert.equal(Buffer.from(await said(listener), 'hex').toString(), 'WATCHDOG=1')
})

test('a notify socket that nobody listens on is a coded error', () => {
  assert.throws(() => notifySystemd('READY=1', join(folder, 'nobody')), { code: 'ENOENT' })
  assert.throws(() => notifySystemd('READY=1', 'relative'), { code: 'EINVAL' })
  assert.throws(() => notifySystemd('READY=1', '/' + 'x'.repeat(200)), { code: 'ENAMETOOLONG' })
})

test('trimming gives memory back, and tuning takes each setting by itself', () => {
  const script = `
    import { trimMemory, tuneAllocator } from ${JSON.stringify(join(import.meta.dirname, '../native-bindings/index.ts'))}
    const ok = [tuneAllocator({ arenasMax: 1 }), tuneAllocator({ trimThresholdBytes: 65536, topPadBytes: 65536 }), tuneAllocator({})]
    console.log(JSON.stringify([ok, typeof trimMemory()]))`
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  })
  assert.deepEqual(JSON.parse(out), [[true, true, true], 'boolean'])
  assert.equal(typeof trimMemory(), 'boolean')
  assert.equal(tuneAllocator({}), true)
})

function descriptorOf(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd
}

/** A datagram socket in Python: says 'ready', then one datagram in hexadecimal, and ends. */
function datagramListener(address: string): Interface {
  const bound = address.startsWith('@') ? `\\0${address.slice(1)}` : address
  const script = `
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("${bound}")
s.settimeout(10)
print("ready", flush=True)
print(s.recv(65536).hex(), flush=True)`
  const child = spawn(python!, ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  return createInterface(child.stdout)
}

async function said(lines: Interface): Promise<string> {
  const [line] = await once(lines, 'line')
  return line
}
