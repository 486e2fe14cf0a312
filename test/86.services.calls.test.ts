/** Calls of services, against a real server that stalls, cuts and lies: what is repeated, what is refused, how long it takes.
 *  Owns:   an engine and a service for the file.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Hearth, HearthError, Service } from '../engine/client/index.ts'
import { type BadService, badService } from './helpers/bad_service.ts'
import { type Embedded, embed } from './helpers/engine.ts'

/** No absolute time is asserted tighter than what a busy machine keeps. */
const SOON_MS = 2_000

let bad: BadService
let engine: Embedded
let hearth: Hearth
let service: Service
const endings: (() => unknown)[] = []
const ending = { after: (end: () => unknown) => void endings.push(end) }

before(async () => {
  bad = await badService(ending)
  const once = { url: bad.url, timeoutMs: 500, backoffMs: 20, healthIntervalMs: Infinity }
  const never = { failures: 1_000_000, failureRate: 1, minCalls: 1_000_000 }
  engine = await embed(ending, {
    breaker: never,
    services: {
      bad: once,
      prefixed: { ...once, url: `${bad.url}/api/` },
      idle: once,
      gone: { ...once, url: 'http://127.0.0.1:1' },
    },
  })
  hearth = await engine.connect({ name: 'services' })
  service = hearth.service('bad')
})
after(async () => {
  for (const end of endings.toReversed()) await end()
})

const refusedWith = (code: string, words?: RegExp) => (error: HearthError) => {
  assert.equal(error.code, code, error.message)
  if (words !== undefined) assert.match(error.message, words)
  assert.ok(typeof error.correlationId === 'string' || code === 'NOT_CONFIGURED')
  return true
}

async function asked(path: string): Promise<number> {
  return (await bad.counts()).paths[path] ?? 0
}

test('a call answers with status, headers and body, whatever the status', async () => {
  const answer = await service.get('/fine')
  assert.deepEqual(
    [answer.status, answer.ok, answer.attempts, answer.fromCache],
    [200, true, 1, false],
  )
  assert.deepEqual(answer.json(), { method: 'GET' })
  assert.equal(answer.headers['content-type'], 'application/json')
  const missing = await service.get('/there-is-none')
  assert.deepEqual([missing.status, missing.ok, missing.text()], [404, false, '404'])
  assert.throws(() => hearth.service(''), TypeError)
})

test('bodies, queries and headers arrive as they were given', async () => {
  const answer = await service.post(
    '/echo',
    { a: 1 },
    { query: { q: ['x y', 2] }, headers: { 'X-Own': 'yes' } },
  )
  const { body, headers } = answer.json<{ body: string; headers: Record<string, string> }>()
  assert.equal(body, '{"a":1}')
  assert.equal(headers['content-type'], 'application/json')
  assert.equal(headers['x-own'], 'yes')
  assert.match(answer.url, /\?q=x\+y&q=2$/)
  const text = await service.put('/echo', 'as it is')
  assert.equal(text.json<{ body: string }>().body, 'as it is')
})

test('a correlation id and the trace are passed on, also those of OpenTelemetry', async t => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const answer = await service.get('/echo', {
    correlationId: 'abc-1',
    traceparent,
    tracestate: 'a=b',
  })
  const { headers } = answer.json<{ headers: Record<string, string> }>()
  assert.equal(answer.correlationId, 'abc-1')
  assert.deepEqual(
    ['x-correlation-id', 'x-request-id', 'traceparent', 'tracestate'].map(name => headers[name]),
    ['abc-1', 'abc-1', traceparent, 'a=b'],
  )
  const inContext = await service.inContext({ correlationId: 'abc-2', traceparent }).get('/echo')
  const passed = inContext.json<{ headers: Record<string, string> }>().headers
  assert.deepEqual([passed['x-correlation-id'], passed['traceparent']], ['abc-2', traceparent])
  const own = await service.get('/echo')
  assert.equal(
    own.json<typeof answer & { headers: Record<string, string> }>().headers['x-correlation-id'],
    own.correlationId,
  )

  const key = Symbol.for('opentelemetry.js.api.1')
  const global = globalThis as Record<symbol, unknown>
  t.after(() => delete global[key])
  type Set = (carrier: object, name: string, value: string) => void
  global[key] = {
    context: { active: () => 'the active one' },
    propagation: {
      inject: (context: string, carrier: object, setter: { set: Set }) =>
        setter.set(carrier, 'traceparent', context === 'the active one' ? traceparent : ''),
    },
  }
  const traced = await service.get('/echo')
  assert.equal(
    traced.json<{ headers: Record<string, string> }>().headers['traceparent'],
    traceparent,
  )
})

test('connections are used again', async () => {
  await service.get('/fine')
  const { connections } = await bad.counts()
  for (let i = 0; i < 20; i++) await service.get('/fine')
  assert.ok((await bad.counts()).connections <= connections + 1)
})

for (const [path, words] of [
  ['/stall', /not answered within \d+ ms/],
  ['/stall-in-body', /not answered within \d+ ms/],
] as const)
  test(`${path} is TIMEOUT`, async () => {
    await assert.rejects(service.get(path, { retries: 0 }), refusedWith('TIMEOUT', words))
  })

for (const [path, words] of [
  ['/cut', /cut before the answer was whole/],
  ['/cut-in-body', /cut/],
  ['/cut-in-chunk', /cut/],
  ['/garbage', /no HTTP/],
  ['/long-head', /no HTTP/],
  ['/no-gzip', /no valid gzip/],
  ['/loop', /comes back to/],
  ['/endless', /more than 5/],
  ['/to-file', /leads to file:/],
] as const)
  test(`${path} is UNAVAILABLE`, async () => {
    await assert.rejects(service.get(path, { retries: 0 }), refusedWith('UNAVAILABLE', words))
  })

for (const path of ['/large', '/announced-large', '/bomb'])
  test(`${path} is VALUE_TOO_LARGE, asked once, and not taken into memory`, async () => {
    const before = process.memoryUsage().rss
    await assert.rejects(service.get(path, { timeoutMs: 10_000 }), refusedWith('VALUE_TOO_LARGE'))
    assert.equal(await asked(path), 1)
    assert.ok(process.memoryUsage().rss - before < 60 * 1024 * 1024)
  })

test('an answer longer than announced is UNAVAILABLE, and its connection is not used again', async () => {
  await assert.rejects(
    service.get('/too-short', { retries: 0 }),
    refusedWith('UNAVAILABLE', /no HTTP/),
  )
  assert.deepEqual((await service.get('/fine')).json(), { method: 'GET' })
})

test('what is compressed is decompressed', async () => {
  assert.deepEqual((await service.get('/gzip')).json(), { was: 'zipped' })
  assert.deepEqual((await service.head('/gzip')).body.length, 0)
})

test('an answer without a body may say anything of its length and encoding', async () => {
  assert.equal((await service.get('/empty-gzip', { retries: 0 })).body.length, 0)
  assert.equal((await service.get('/nothing-zipped', { retries: 0 })).status, 204)
  const { headers } = await service.head('/large-file', { retries: 0 })
  assert.equal(headers['content-length'], String(2 ** 40))
})

test('an encoding that nobody knows leaves the body as it is', async () => {
  assert.equal((await service.get('/odd-encoding', { retries: 0 })).text(), 'as it is')
})

test('what is no JSON says so', async () => {
  const answer = await service.get('/health')
  assert.equal(answer.status, 204)
  assert.throws(() => answer.json(), refusedWith('UNAVAILABLE', /0 bytes that are no JSON/))
})

test('a connection that was closed while idle is no failure, but for a POST', async () => {
  const own = (await engine.connect()).service('idle')
  for (let i = 0; i < 6; i++)
    assert.equal((await own.get('/once-a-connection', { retries: 0 })).status, 200)
  assert.equal((await hearth.stats()).services['idle']!.failedCalls, 0)
  await own.get('/once-a-connection')
  await assert.rejects(own.post('/once-a-connection'), refusedWith('UNAVAILABLE', /cut/))
})

test('idempotent methods are repeated, three times at most; POST is not, but with an Idempotency-Key', async () => {
  assert.deepEqual((await service.get('/once-cut')).json(), { count: 2 })
  const answer = await service.get('/twice-503')
  assert.deepEqual([answer.status, answer.attempts], [200, 3])
  const before = await asked('/cut-in-body')
  await assert.rejects(service.put('/cut-in-body'), refusedWith('UNAVAILABLE'))
  assert.equal(await asked('/cut-in-body'), before + 4)
  await assert.rejects(service.post('/cut-in-body'), refusedWith('UNAVAILABLE'))
  assert.equal(await asked('/cut-in-body'), before + 5)
  await assert.rejects(
    service.post('/cut-in-body', 'x', { idempotencyKey: 'k1' }),
    refusedWith('UNAVAILABLE'),
  )
  assert.equal(await asked('/cut-in-body'), before + 9)
  assert.equal((await bad.counts()).headers['idempotency-key'], 'k1')
})

test('a POST that never reached the service is repeated', async () => {
  const startMs = performance.now()
  const gone = hearth.service('gone').post('/x', 'x', { retries: 2 })
  await assert.rejects(gone, refusedWith('UNAVAILABLE', /ECONNREFUSED/))
  // Two pauses, the shorter halves of 20 and 40 ms.
  assert.ok(performance.now() - startMs >= 30)
})

test('Retry-After is obeyed, in seconds and as a date, within the deadline', async () => {
  let startMs = performance.now()
  assert.equal((await service.get('/wait-1s', { deadlineMs: 20_000 })).attempts, 2)
  assert.ok(performance.now() - startMs >= 990)
  startMs = performance.now()
  assert.equal((await service.get('/wait-date', { deadlineMs: 20_000 })).attempts, 2)
  // A date has whole seconds.
  assert.ok(performance.now() - startMs >= 900)
  startMs = performance.now()
  const long = await service.get('/wait-long')
  assert.deepEqual([long.status, long.attempts], [503, 1])
  assert.ok(performance.now() - startMs < SOON_MS)
})

test('the deadline is of the whole call, whatever the retries', async () => {
  const startMs = performance.now()
  const call = service.get('/stall', { timeoutMs: 400, deadlineMs: 600, retries: 10 })
  await assert.rejects(call, refusedWith('TIMEOUT'))
  assert.ok(performance.now() - startMs < 600 + SOON_MS)
})

test('an abort ends a call with its reason, and frees the connection', async () => {
  const abort = new AbortController()
  const reason = new Error('not wanted any more')
  setTimeout(() => abort.abort(reason), 50)
  await assert.rejects(service.get('/stall', { signal: abort.signal }), reason)
  await assert.rejects(service.get('/fine', { signal: AbortSignal.abort(reason) }), reason)
})

test('redirects are followed, and credentials go to no other origin', async () => {
  const moved = await service.get('/moved')
  assert.match(moved.url, /\/fine\?moved$/)
  const headers = { authorization: 'Bearer secret', cookie: 'a=b', 'x-own': 'yes' }
  const away = await service.get('/away', { headers, timeoutMs: 3_000, retries: 0 })
  // A host without a localhost for IPv4 cannot show it.
  const there = away.json<{ headers: Record<string, string> }>().headers
  assert.deepEqual(
    [there['authorization'], there['cookie'], there['x-own']],
    [undefined, undefined, 'yes'],
  )
  assert.equal((await service.post('/moved')).status, 301)
})

test('a path stays below the url of its service', async () => {
  const prefixed = hearth.service('prefixed')
  assert.match((await prefixed.get('/x')).url, /\/api\/x$/)
  for (const path of ['/../fine', 'fine', 'http://elsewhere/', '/a b', '/a#b', '/\\elsewhere', ''])
    await assert.rejects(prefixed.get(path), (error: HearthError) => error.code === 'BAD_REQUEST')
  assert.match((await service.get('//elsewhere/x')).url, /127\.0\.0\.1:\d+\/\/elsewhere\/x$/)
  await assert.rejects(
    service.get('/fine', { headers: { a: 'b\r\nc: d' } }),
    refusedWith('BAD_REQUEST'),
  )
})

test('a name that is not registered is NOT_CONFIGURED, and says which are', async () => {
  await assert.rejects(
    hearth.service('bat').get('/'),
    refusedWith('NOT_CONFIGURED', /there are bad, /),
  )
})

test('wrong options are TypeErrors', async () => {
  for (const options of [
    { retry: 1 },
    { retries: -1 },
    { timeoutMs: 0 },
    { signal: 1 },
    { body: 1 },
  ])
    await assert.rejects(service.request('PUT', '/fine', options as object), TypeError)
  await assert.rejects(service.request('get', '/fine'), TypeError)
  await assert.rejects(service.request('PUT', '/fine', { body: 'a', json: 1 }), TypeError)
})

test('a second attempt is begun when the first has no answer, and the first answer is taken', async () => {
  const startMs = performance.now()
  const answer = await service.get('/slow-first', { hedgeAfterMs: 50, timeoutMs: 5_000 })
  assert.deepEqual([answer.json(), answer.attempts], [{ count: 2 }, 1])
  assert.ok(performance.now() - startMs < 1_900)
  assert.equal(await asked('/slow-first'), 2)
})

test('of a hundred calls to a slow service about ten are hedged', async () => {
  const slow = (await engine.connect()).service('bad')
  await slow.get('/fine')
  const options = { hedgeAfterMs: 20, timeoutMs: 10_000, cache: false }
  for (const count of [50, 50])
    await Promise.all(Array.from({ length: count }, () => slow.get('/slow', options)))
  const count = await asked('/slow')
  assert.ok(count >= 105 && count <= 115, `${count} requests`)
})
