/** The breaker of a service, one for all processes of the host; and its health, as the engine asks for it.
 *  Owns:   engines and services.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Health, Hearth, HearthError } from '../engine/client/index.ts'
import { loadConfig } from '../engine/config/load.ts'
import { Services } from '../engine/services/services.ts'
import { badService } from './helpers/bad_service.ts'
import { cleanEnvironment, embed, HEARTH, prepare, serve } from './helpers/engine.ts'
import { freePort } from './helpers/free_port.ts'
import { callInChild } from './helpers/service_client.ts'

const UNCHECKED = { backoffMs: 10, healthIntervalMs: Infinity }

const codeOf = (call: Promise<{ status: number }>): Promise<number | string> =>
  call.then(
    ({ status }) => status,
    (error: HearthError) => error.code,
  )

async function until(what: string, isSo: () => Promise<boolean>, timeoutMs = 20_000) {
  const deadlineMs = performance.now() + timeoutMs
  while (!(await isSo())) {
    if (performance.now() > deadlineMs) throw new Error(`not in time: ${what}`)
    await sleep(20)
  }
}

test('failures in one process open the breaker for all, which then refuse at once without asking', async t => {
  const bad = await badService(t)
  const engine = await embed(t, {
    services: { moody: { url: bad.url, ...UNCHECKED } },
    breaker: { failures: 5, openMs: 60_000 },
  })
  const hearth = await engine.connect()
  const service = hearth.service('moody')
  await bad.fail(true)
  assert.equal((await service.get('/fine')).status, 200)
  assert.deepEqual(await callInChild(engine.socket, 'moody', '/moody', 7), [
    ...Array(5).fill(500),
    ...Array(2).fill('CIRCUIT_OPEN'),
  ])
  assert.equal((await bad.counts()).paths['/moody'], 5)

  const tookMs: number[] = []
  for (let i = 0; i < 200; i++) {
    const startMs = performance.now()
    await assert.rejects(service.get('/fine', { cache: false }), (error: HearthError) => {
      tookMs.push(performance.now() - startMs)
      assert.equal(error.code, 'CIRCUIT_OPEN')
      assert.ok(error.retryable && error.retryAfterMs! > 50_000 && error.retryAfterMs! <= 60_000)
      return true
    })
  }
  const medianMs = tookMs.sort((a, b) => a - b)[100]!
  assert.ok(medianMs < 1, `refused in ${medianMs} ms`)
  t.diagnostic(`an open breaker refuses in ${(medianMs * 1_000).toFixed(0)} µs`)
  assert.equal((await bad.counts()).paths['/fine'], 1)
  // A process that comes later is refused as well.
  assert.deepEqual(await callInChild(engine.socket, 'moody', '/fine', 1), ['CIRCUIT_OPEN'])

  const { services } = await hearth.stats()
  const { breaker, calls, failedCalls } = services['moody']!
  assert.deepEqual([breaker.state, breaker.transitions.open, failedCalls], ['open', 1, 5])
  assert.equal(breaker.refused, 0, 'nobody asked the engine')
  assert.ok(calls >= 5)
  const { parts, status } = await hearth.health()
  assert.deepEqual([status, parts['service.moody']!.status], ['degraded', 'degraded'])
  assert.match(parts['service.moody']!.reason!, /breaker is open/)
})

test('after its time one call at a time tries, and two that succeed close it for all', async t => {
  const bad = await badService(t)
  const engine = await embed(t, {
    services: { moody: { url: bad.url, timeoutMs: 5_000, ...UNCHECKED } },
    breaker: { failures: 2, openMs: 300, successes: 2 },
  })
  const clients = [await engine.connect(), await engine.connect(), await engine.connect()]
  const callAll = (path: string) =>
    Promise.all(clients.map(each => codeOf(each.service('moody').get(path, { retries: 0 }))))
  await callAll('/fine')
  await bad.fail(true)
  const [first] = clients as [Hearth]
  for (let i = 0; i < 2; i++) await codeOf(first.service('moody').get('/moody', { retries: 0 }))
  assert.deepEqual(await callAll('/moody'), Array(3).fill('CIRCUIT_OPEN'))
  await bad.fail(false)
  await sleep(350)
  // /slow takes 300 ms: while one tries, the others are told to come back.
  assert.deepEqual((await callAll('/slow')).toSorted(), [200, 'CIRCUIT_OPEN', 'CIRCUIT_OPEN'])
  assert.equal((await bad.counts()).paths['/slow'], 1)
  await sleep(150)
  assert.equal(await codeOf(clients[1]!.service('moody').get('/moody')), 200)
  await until(
    'closed',
    async () => (await first.stats()).services['moody']!.breaker.state === 'closed',
  )
  assert.deepEqual(await callAll('/moody'), [200, 200, 200])
})

test('answers 4xx and calls that are given up do not count against a service', async t => {
  const bad = await badService(t)
  const engine = await embed(t, {
    services: { bad: { url: bad.url, ...UNCHECKED } },
    breaker: { failures: 2 },
  })
  const hearth = await engine.connect()
  const service = hearth.service('bad')
  for (let i = 0; i < 5; i++) assert.equal((await service.get('/not-there')).status, 404)
  for (let i = 0; i < 3; i++)
    await assert.rejects(service.get('/stall', { signal: AbortSignal.timeout(20) }))
  for (let i = 0; i < 3; i++)
    await assert.rejects(service.get('/stall', { timeoutMs: 5_000, deadlineMs: 20 }))
  await assert.rejects(service.get('/loop'))
  const { breaker, failedCalls } = (await hearth.stats()).services['bad']!
  assert.deepEqual([breaker.state, failedCalls], ['closed', 0])
})

test('many calls that fail together are one failure', async t => {
  const bad = await badService(t)
  const engine = await embed(t, {
    services: { bad: { url: bad.url, ...UNCHECKED } },
    breaker: { failures: 3 },
  })
  const hearth = await engine.connect()
  const service = hearth.service('bad')
  const calls = Array.from({ length: 20 }, () => codeOf(service.get('/cut', { retries: 0 })))
  assert.deepEqual(new Set(await Promise.all(calls)), new Set(['UNAVAILABLE']))
  assert.equal((await hearth.stats()).services['bad']!.breaker.state, 'closed')
})

test('while the engine is away calls go on, and afterwards the breaker is that of the new engine', async t => {
  const bad = await badService(t)
  const engine = await serve(t, {
    HEARTH_SERVICES_MOODY_URL: bad.url,
    HEARTH_SERVICES_MOODY_HEALTH_INTERVAL: 'off',
    HEARTH_BREAKER_FAILURES: '2',
  })
  const hearth = await engine.connect()
  const service = hearth.service('moody')
  assert.equal((await service.get('/fine')).status, 200)
  await engine.kill()
  assert.equal((await service.get('/fine', { cache: false })).status, 200)
  await engine.start()
  await until('connected', async () => hearth.state === 'open')
  await bad.fail(true)
  assert.deepEqual(await callInChild(engine.socket, 'moody', '/moody', 3), [
    500,
    500,
    'CIRCUIT_OPEN',
  ])
  await until(
    'told',
    async () => (await codeOf(service.get('/moody', { retries: 0 }))) === 'CIRCUIT_OPEN',
  )
})

test('an engine without services says how to register one', async t => {
  const engine = await embed(t)
  await assert.rejects(
    (await engine.connect()).service('any').get('/'),
    (error: HearthError) => error.code === 'NOT_CONFIGURED' && /add \[services/.test(error.message),
  )
})

test('health is asked for again and again: up, down after three tries, up again, and who depends on it is told', async t => {
  const bad = await badService(t)
  const checked = { healthIntervalMs: 100, timeoutMs: 1_000 }
  const engine = await embed(t, {
    services: {
      base: { url: bad.url, ...checked },
      above: { url: bad.url, ...checked, healthPath: '/fine', dependsOn: ['base', 'sqlite'] },
      lost: { url: bad.url, ...checked, healthPath: '/nowhere' },
      silent: { url: bad.url, ...checked, timeoutMs: 50, healthPath: '/stall' },
      liar: { url: bad.url, ...checked, healthPath: '/garbage' },
    },
  })
  const hearth = await engine.connect()
  const partOf = async (name: string) => (await hearth.health()).parts[`service.${name}`]!
  const become = (name: string, status: Health['status']) =>
    until(`${name} ${status}`, async () => {
      const { warning, ...part } = await partOf(name)
      return part.status === status && warning === undefined
    })
  await become('base', 'ok')
  await become('above', 'ok')
  await bad.fail(true)
  await become('base', 'down')
  assert.match((await partOf('base')).reason!, /\/health answered 500/)
  await become('above', 'degraded')
  const above = await partOf('above')
  assert.deepEqual(above.dependencies, { base: 'down', sqlite: 'ok' })
  assert.match(above.reason!, /depends on base, which is down/)
  const { services } = await hearth.stats()
  assert.deepEqual([services['base']!.up, services['above']!.up], [false, true])
  assert.ok(services['base']!.failedTries >= 3)
  await bad.fail(false)
  await become('base', 'ok')
  await become('above', 'ok')
  for (const name of ['lost', 'silent', 'liar']) await become(name, 'down')
  assert.match((await partOf('lost')).reason!, /answered 404; set services\.lost\.health_path/)
  assert.match((await partOf('silent')).reason!, /no answer within 50 ms/)
  assert.match((await partOf('liar')).reason!, /no HTTP/)
})

test('a service on a Unix socket is called and checked', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-services-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const server = http.createServer((request, answer) => answer.end(request.url))
  await new Promise<void>(resolve => server.listen(join(folder, 'own.sock'), resolve))
  t.after(() => void server.close())
  const url = `unix:${join(folder, 'own.sock')}`
  const engine = await embed(t, { services: { own: { url, healthIntervalMs: 100 } } })
  const hearth = await engine.connect()
  assert.equal((await hearth.service('own').get('/x?y=1')).text(), '/x?y=1')
  await until('up', async () => (await hearth.stats()).services['own']!.up === true)
})

test('a service behind TLS is called, and checked by a child process', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-services-'))
  t.after(() => rmSync(folder, { recursive: true }))
  if (spawnSync('openssl', ['version']).status !== 0)
    return t.skip('no openssl to make a certificate')
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  const files = ['-keyout', key, '-out', cert]
  execFileSync('openssl', ['req', '-x509', ...kind, ...names, ...files], { stdio: 'ignore' })
  const options = { key: readFileSync(key), cert: readFileSync(cert) }
  const server = https.createServer(options, (_request, answer) => answer.end('over TLS'))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  const engine = prepare(t, {
    HEARTH_SERVICES_SAFE_URL: url,
    HEARTH_SERVICES_SAFE_HEALTH_INTERVAL: '100ms',
    NODE_EXTRA_CA_CERTS: cert,
  })
  await engine.start()
  const hearth = await engine.connect()
  await until('up', async () => (await hearth.stats()).services['safe']!.up === true)
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: cert }
  assert.deepEqual(await callInChild(engine.socket, 'safe', '/', 2, env), [200, 200])
  // This process does not know who has signed it.
  await assert.rejects(
    hearth.service('safe').get('/', { retries: 0 }),
    (error: HearthError) => error.code === 'UNAVAILABLE' && /self.signed/.test(error.message),
  )
})

test('the metrics of services are samples of up, of the state, and of its changes', () => {
  const options = {
    url: 'http://h',
    timeoutMs: 1,
    retries: 0,
    backoffMs: 1,
    hedgeAfterMs: Infinity,
    maxBodyBytes: 1,
    healthPath: '/',
    healthIntervalMs: Infinity,
    healthTries: 1,
    dependsOn: undefined,
  }
  const settings = {
    failures: 1,
    failureRate: 1,
    minCalls: 1,
    windowMs: 1e3,
    openMs: 1e3,
    successes: 1,
  }
  const services = new Services({ a: options }, settings, { send: () => 0 })
  const samples: string[] = []
  services.report((name, labels, value) => samples.push(`${name} ${labels} ${value}`))
  assert.deepEqual(samples, [
    'hearth_breaker_state service:a 0',
    'hearth_breaker_transitions_total service:a,closed 0',
    'hearth_breaker_transitions_total service:a,half_open 0',
    'hearth_breaker_transitions_total service:a,open 0',
  ])
})

test('a url that is none, a dependency that is not there, and an unknown setting stop the start', () => {
  const refused = (service: object) => {
    try {
      loadConfig({ env: { HOME: '/tmp' }, cwd: '/', overrides: { services: { a: service } } })
    } catch (error) {
      assert.equal((error as HearthError).code, 'BAD_REQUEST')
      return (error as HearthError).message
    }
    return ''
  }
  for (const url of [
    'h',
    'ftp://h',
    'http://',
    'http://u:p@h',
    'http://h?q',
    'http://h#f',
    'unix:x',
  ])
    assert.match(refused({ url }), /services\.a\.url: found .*, expected a url such as http/, url)
  assert.doesNotMatch(refused({ url: 'http://u:secret@h' }), /secret/)
  assert.match(refused({}), /services\.a\.url: missing/)
  const lost = refused({ url: 'http://h', dependsOn: ['b'] })
  assert.match(lost, /depends_on: found "b", expected some of memory, sqlite/)
  assert.match(refused({ url: 'http://h', timeoot: 1 }), /services\.a\.timeoutMs/)
  for (const url of ['http://h', 'https://h:8443/api/', 'unix:/run/a.sock', 'http://[::1]:80'])
    assert.equal(refused({ url }), '')
})

test('health, stats and metrics show services, on the command line and over HTTP', async t => {
  const bad = await badService(t)
  const port = await freePort()
  const engine = await serve(t, {
    HEARTH_SERVICES_API_URL: bad.url,
    HEARTH_HTTP_LISTEN: `127.0.0.1:${port}`,
  })
  const hearth = await engine.connect()
  await hearth.service('api').get('/fine')
  await until('up', async () => (await hearth.stats()).services['api']!.up === true)
  const run = (...args: string[]) => {
    const env = { ...cleanEnvironment(), HEARTH_SOCKET: engine.socket, NO_COLOR: '1' }
    return execFileSync(process.execPath, [HEARTH, ...args], { env, encoding: 'utf8' })
  }
  assert.match(run('health'), /service\.api +ok/)
  assert.equal(JSON.parse(run('health', '--json')).parts['service.api'].status, 'ok')
  const ask = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).text()
  const { services } = JSON.parse(await ask('/health/services'))
  assert.deepEqual([services.api.status, services.api.breaker.state], ['ok', 'closed'])
  const { breakers } = JSON.parse(await ask('/health/circuit-breakers'))
  assert.equal(breakers['service:api'].state, 'closed')
  const metrics = await ask('/metrics')
  assert.match(metrics, /^hearth_service_up\{service="api"\} 1$/m)
  assert.match(metrics, /^hearth_breaker_state\{breaker="service:api"\} 0$/m)
  assert.match(run('stats'), /api +http:\/\/127\.0\.0\.1:\d+ +up +closed +1 +0/)
})
