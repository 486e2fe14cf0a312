/** The HTTP side: each route, and each request that is refused.
 *  Owns:   one engine for the file, in this process.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { loadConfig } from '../engine/config/load.ts'
import type { Health } from '../engine/figures.ts'
import { HEAD_BYTES_MAX, HttpConnection } from '../engine/observe/http_connection.ts'
import { CONNECTION_COUNT_MAX } from '../engine/observe/http_server.ts'
import { cleanEnvironment, prepare } from './helpers/engine.ts'
import { type OpenedEngine, openEngine } from './helpers/engine_parts.ts'
import { until } from './helpers/postgres_pool.ts'

const NOWHERE = 'postgres://nobody@127.0.0.1:1/none'

let opened: OpenedEngine
let url: URL
const endings: (() => Promise<void>)[] = []

before(async () => {
  opened = await openEngine(
    { after: end => void endings.push(end) },
    {
      http: { listen: '127.0.0.1:0', allowedHosts: ['Hearth.example'] },
      postgres: { main: { url: NOWHERE } },
    },
  )
  url = new URL((await opened.engine.httpUrl())!)
})

after(async () => {
  for (const end of endings) await end()
})

/** Sends bytes over a connection of its own; what comes back until the engine closes it, or `quietMs` pass. */
async function talk(bytes: string, quietMs = 5_000): Promise<string> {
  const socket = net.connect(Number(url.port), url.hostname)
  let text = ''
  socket.on('data', data => {
    text += data.toString('latin1')
  })
  const closed = new Promise(resolve => socket.once('close', resolve))
  socket.on('error', () => undefined)
  socket.write(bytes, 'latin1')
  await Promise.race([closed, sleep(quietMs, undefined, { ref: false })])
  socket.destroy()
  return text
}

const request = (line: string, ...fields: string[]) => `${[line, ...fields].join('\r\n')}\r\n\r\n`
const ask = (line: string, ...fields: string[]) =>
  talk(request(line, 'Host: localhost', 'Connection: close', ...fields))
const statusOf = (answer: string) => Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1])

async function json<T = Record<string, unknown>>(path: string, status = 200): Promise<T> {
  const response = await fetch(new URL(path, url))
  assert.equal(response.status, status, path)
  assert.equal(response.headers.get('content-type'), 'application/json')
  assert.equal(response.headers.get('cache-control'), 'no-store')
  return (await response.json()) as T
}

test('every route of the contract answers, and health tells each part', async () => {
  const health = await json<Health>('/health')
  assert.equal(health.status, 'degraded', 'its database is nowhere')
  assert.equal(health.parts['sqlite']!.status, 'ok')
  assert.equal(health.parts['postgres.main']!.status, 'down')
  assert.equal(health.parts['cache']!.hitRateTarget, 0.8)
  assert.deepEqual(await json('/health/live'), { status: 'ok' })
  assert.deepEqual(await json('/health/ready'), { status: 'ok', phase: 'serving' })
  assert.deepEqual(await json('/health/services'), { status: 'ok', services: {} })
  const { breakers } = await json<{ breakers: Record<string, { state: string }> }>(
    '/health/circuit-breakers',
  )
  assert.equal(breakers['main.reads']!.state, 'closed')
  const pools = await json<{ status: string; pools: Record<string, { inUse: number }> }>(
    '/health/pools',
  )
  assert.deepEqual([pools.status, pools.pools['main']!.inUse], ['degraded', 0])
  const replication = await json<{ databases: Record<string, { status: string }> }>(
    '/health/replication',
  )
  assert.equal(replication.databases['main']!.status, 'down')
  const { metrics } = await json<{ metrics: object }>('/metrics/json')
  assert.ok('hearth_clients' in metrics)
  assert.match(await (await fetch(new URL('/metrics', url))).text(), /^# HELP hearth_/)
  assert.ok((await json<string[]>('/page/paths')).includes('/series'))
  assert.deepEqual(await json('/insight/slow'), { slow: [] })
})

test('the page and its files are kept by a browser that asks whether they are still the same', async () => {
  const FILES = {
    '/': /^text\/html/,
    '/page/page.js': /^text\/javascript/,
    '/page/page.css': /^text\/css/,
    '/page/icon.svg': /^image\/svg\+xml$/,
  }
  for (const [path, type] of Object.entries(FILES)) {
    const first = await fetch(new URL(path, url))
    assert.equal(first.status, 200, path)
    assert.match(first.headers.get('content-type')!, type)
    assert.match(
      first.headers.get('content-security-policy')!,
      /default-src 'none'; script-src 'self'/,
    )
    assert.equal(first.headers.get('cache-control'), 'no-cache')
    const etag = first.headers.get('etag')!
    const { length } = Buffer.from(await first.arrayBuffer())
    const again = await ask(`GET ${path} HTTP/1.1`, `If-None-Match: "other", W/${etag}`)
    assert.match(
      again,
      new RegExp(`^HTTP/1.1 304 .*\r\nContent-Length: ${length}\r\n.*\r\n\r\n$`, 's'),
    )
    assert.equal(statusOf(await ask(`GET ${path} HTTP/1.1`, 'If-None-Match: "other"')), 200)
  }
  const html = await (await fetch(url)).text()
  assert.match(html, /<!doctype html>/)
  assert.doesNotMatch(html, /(src|href)="(https?:)?\/\/|<script>|style=/, 'nothing from elsewhere')
})

test('services that are registered are parts of health, and one that is down degrades it', async () => {
  const remove = opened.engine.metricSources.addHealth(() => ({
    'service.data-api': { status: 'down', reason: 'no answer' },
  }))
  try {
    assert.deepEqual(await json('/health/services'), {
      status: 'degraded',
      services: { 'data-api': { status: 'down', reason: 'no answer' } },
    })
    assert.equal((await json<Health>('/health')).parts['service.data-api']!.status, 'down')
  } finally {
    remove()
  }
})

test('the series has a sample every two seconds, and gives those after a time alone', async () => {
  const client = await opened.connect()
  await until('there are two samples', async () => (await client.series()).atMs.length >= 2, 8_000)
  const all = await client.series()
  const [first, second] = all.atMs as [number, number]
  assert.ok(Math.abs(second - first - all.everyMs) < 1_500)
  const later = await json<typeof all>(`/series?since=${first}`)
  assert.equal(later.atMs[0], second)
  for (const column of Object.values(later.values)) assert.equal(column.length, later.atMs.length)
  assert.equal(later.values['clientCount']![0], 1)
  assert.equal(all.values['requestsPerSecond']![0], null, 'a rate needs two')
  assert.ok(later.values['requestsPerSecond']![0]! > 0)
})

const REFUSED: Record<string, [status: number, line: string, ...fields: string[]]> = {
  'another method': [405, 'POST /health HTTP/1.1'],
  'a delete of the page': [405, 'DELETE / HTTP/1.1'],
  'an unknown path': [404, 'GET /nothing HTTP/1.1'],
  'a path of the prototype': [404, 'GET /constructor HTTP/1.1'],
  'a body': [400, 'GET /health HTTP/1.1', 'Content-Length: 5'],
  'a body in chunks': [400, 'GET /health HTTP/1.1', 'Transfer-Encoding: chunked'],
  'two lengths': [400, 'GET /health HTTP/1.1', 'Content-Length: 0', 'Content-Length: 0'],
  'a second host': [400, 'GET /health HTTP/1.1', 'Host: 127.0.0.1'],
  'a space before the colon': [400, 'GET /health HTTP/1.1', 'Accept : text/html'],
  'a folded line': [400, 'GET /health HTTP/1.1', 'Accept: text/html', ' text/plain'],
  'a bare line feed': [400, 'GET /health HTTP/1.1\nX: y'],
  'a zero byte': [400, 'GET /health\0 HTTP/1.1'],
  'no path': [400, 'GET health HTTP/1.1'],
  'another version': [505, 'GET /health HTTP/2.0'],
  'no HTTP at all': [400, 'hello'],
  'too long a head': [431, 'GET /health HTTP/1.1', `X: ${'a'.repeat(HEAD_BYTES_MAX)}`],
}

for (const [what, [status, ...head]] of Object.entries(REFUSED)) {
  test(`${what} is refused with ${status}`, async () => {
    assert.equal(statusOf(await ask(...head)), status)
  })
}

test('a head that does not end is refused when it is too long', async () => {
  const answer = await talk(`GET / HTTP/1.1\r\nX: ${'a'.repeat(2 * HEAD_BYTES_MAX)}`)
  assert.equal(statusOf(answer), 431)
})

const HOSTS: Record<string, number> = {
  localhost: 200,
  'localhost:9464': 200,
  'hearth.localhost': 200,
  '127.0.0.1': 200,
  '[::1]:80': 200,
  '192.168.7.9': 200,
  'hearth.example:9464': 200,
  'evil.example': 403,
  '127.0.0.1.evil.example': 403,
  'localhost.evil.example:9464': 403,
  notlocalhost: 403,
}

for (const [host, status] of Object.entries(HOSTS)) {
  test(`a request for the Host ${host} gets ${status}`, async () => {
    const answer = await talk(
      request('GET /health/live HTTP/1.1', `Host: ${host}`, 'Connection: close'),
    )
    assert.equal(statusOf(answer), status)
    const inTarget = request(
      `GET http://${host}/health/live HTTP/1.1`,
      'Host: localhost',
      'Connection: close',
    )
    assert.equal(statusOf(await talk(inTarget)), status, 'in the target too')
  })
}

test('a Host is needed in HTTP/1.1, and HEAD has no body', async () => {
  assert.equal(statusOf(await talk(request('GET /health/live HTTP/1.1'))), 400)
  assert.equal(statusOf(await talk(request('GET /health/live HTTP/1.0'))), 200)
  const answer = await ask('HEAD /health/live HTTP/1.1')
  assert.match(answer, /Content-Length: 16\r\n/)
  assert.ok(answer.endsWith('\r\n\r\n'))
})

test('requests sent ahead are answered in order on one connection', async () => {
  const paths = ['/health/live', '/metrics/json', '/nothing', '/health/ready', '/health/live']
  const heads = paths.map((path, i) =>
    request(`GET ${path} HTTP/1.1`, 'Host: localhost', ...(i === 4 ? ['Connection: close'] : [])),
  )
  const answer = await talk(heads.join(''))
  const found = [...answer.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status))
  assert.deepEqual(found, [200, 200, 404, 200, 200])
  const halfClosed = net.connect(Number(url.port), url.hostname)
  let last = ''
  halfClosed.on('data', data => void (last += data))
  halfClosed.end(heads[1]! + heads[0]!)
  await until('both are answered', async () => last.endsWith('{"status":"ok"}\n'))
  // Cut anywhere, it is the same request.
  const socket = net.connect(Number(url.port), url.hostname)
  let text = ''
  socket.on('data', data => void (text += data))
  for (const byte of heads[0]!) {
    socket.write(byte)
    await sleep(0)
  }
  await until('it is answered', async () => statusOf(text) === 200)
  socket.destroy()
})

test('whoever is slow to ask, to read, or idle for long is closed', async () => {
  const written: string[] = []
  const handlers: Record<string, (bytes: Buffer) => void> = {}
  let isDestroyed = false
  const socket = {
    on: (event: string, handler: () => void) => void (handlers[event] = handler),
    end: (bytes: Buffer) => void written.push(String(bytes)),
    write: () => true,
    removeAllListeners: () => undefined,
    resume: () => undefined,
    pause: () => undefined,
    destroy: () => void (isDestroyed = true),
  } as unknown as net.Socket
  const connection = new HttpConnection(
    socket,
    () => ({ status: 200, type: 'text/plain', body: '' }),
    () => true,
  )
  const inMs = (ms: number) => connection.checkDeadline(performance.now() + ms)
  inMs(70_000)
  assert.ok(!isDestroyed)
  inMs(80_000)
  assert.ok(isDestroyed, 'idle for long')
  isDestroyed = false
  handlers['data']!(Buffer.from('GET / HT'))
  inMs(4_000)
  assert.equal(written.length, 0)
  inMs(6_000)
  assert.match(written[0]!, /^HTTP\/1\.1 408 /)

  const second = new HttpConnection(
    socket,
    () => ({ status: 200, type: 'text/plain', body: '' }),
    () => true,
  )
  handlers['data']!(Buffer.from(request('GET / HTTP/1.1', 'Host: a')))
  await sleep(1)
  second.checkDeadline(performance.now() + 9_000)
  assert.ok(!isDestroyed)
  second.checkDeadline(performance.now() + 11_000)
  assert.ok(isDestroyed, 'it does not read')
})

test('who sends requests ahead faster than they are answered is read no further', async t => {
  const server = net.createServer({ allowHalfOpen: true })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const client = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
  t.after(() => client.destroy())
  const [socket] = (await once(server, 'connection')) as [net.Socket]
  let answerCount = 0
  const slow = async () => {
    await sleep(1)
    answerCount++
    return { status: 200, type: 'text/plain', body: '' }
  }
  new HttpConnection(socket, slow, () => true)
  client.resume()
  client.write(request('GET / HTTP/1.1', 'Host: a').repeat(100_000))
  await until('some are answered', async () => answerCount >= 100)
  const atMost = 4 * 64 * 1024
  assert.ok(socket.bytesRead < atMost, `${socket.bytesRead} bytes for ${answerCount} answers`)
})

test('one connection too many ends an idle one, and not the engine', async () => {
  const sockets = Array.from({ length: CONNECTION_COUNT_MAX + 8 }, () =>
    net.connect(Number(url.port), url.hostname).on('error', () => undefined),
  )
  try {
    await until('some are closed', async () => sockets.filter(socket => socket.closed).length >= 8)
    assert.equal(statusOf(await ask('GET /health/live HTTP/1.1')), 200)
  } finally {
    for (const socket of sockets) socket.destroy()
  }
})

test('an engine that starts or stops is alive and not ready, and down', async t => {
  const starting = await openEngine(t, { http: { listen: '127.0.0.1:0' } })
  const own = (await starting.engine.httpUrl())!
  const phases = starting.engine as unknown as { phase: string }
  for (const phase of ['starting', 'stopping']) {
    phases.phase = phase
    assert.equal((await fetch(`${own}/health/live`)).status, 200)
    assert.equal((await fetch(`${own}/health/ready`)).status, 503)
    const health = await fetch(`${own}/health`)
    assert.equal(health.status, 503)
    const { status, parts } = (await health.json()) as Health
    assert.deepEqual([status, parts['engine']!.reason], ['down', `the engine is ${phase}`])
  }
})

test('a port that is taken stops the start with words that say what to set', async t => {
  const engine = prepare(t, { HEARTH_HTTP_LISTEN: `127.0.0.1:${url.port}` })
  engine.spawn()
  assert.equal((await engine.untilExit()).code, 1)
  assert.match(
    engine.log(),
    /cannot serve HTTP on http:\/\/127\.0\.0\.1:\d+: .*EADDRINUSE.*http\.listen/,
  )
})

test('an address that others reach needs http.allow_remote beside it', () => {
  const load = (listen: string, allowRemote = false) =>
    loadConfig({ env: cleanEnvironment(), overrides: { http: { listen, allowRemote } } }).config
      .http.listen
  assert.throws(
    () => load('0.0.0.0:9464'),
    /http\.listen: found 0\.0\.0\.0:9464.*http\.allow_remote/s,
  )
  assert.throws(() => load('[::]:9464'), /allow_remote/)
  assert.throws(() => load('hearth.example:80'), /an address with a port/)
  assert.equal(load('0.0.0.0:9464', true), '0.0.0.0:9464')
  assert.equal(load('[::1]:9464'), '[::1]:9464')
  assert.equal(loadConfig({ env: {} }).config.http.listen, 'off')
})
