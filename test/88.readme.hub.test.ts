/** The README's home hub and its move from Redis and `pg`: taken from it as they stand, and run.
 *  Owns:   a folder with the examples in it, one Postgres with the sample data, an engine, and the four services.
 *  Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { loadSampleData } from '../engine/dev/sample_data.ts'
import { cleanEnvironment, PROJECT, prepare, type ServedEngine } from './helpers/engine.ts'
import { freePort } from './helpers/free_port.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { WireClient } from './helpers/postgres_wire.ts'

const README = readFileSync(join(PROJECT, 'README.md'), 'utf8')
const RIVALS = join(PROJECT, 'bench', 'rivals', 'node_modules')
const SERVICES = ['data-api', 'query', 'pattern', 'automation']

let url = ''

before(async () => {
  const postgres = await sharedPostgres()
  url = await postgres.createDatabase('home')
  const client = await WireClient.open(url)
  await loadSampleData({ query: (sql, params) => client.query(sql, params) })
  await client.query('create table written (sensor text primary key, count integer not null)')
  await client.close()
})

test('the four services of the hub share pool, cache and breakers', async t => {
  const engine = prepare(t, { HEARTH_POSTGRES_URL: url })
  writePackage(engine.folder)
  for (const [name, code] of files()) writeFileSync(join(engine.folder, name), code)
  const ports = await Promise.all(SERVICES.map(() => freePort()))
  for (const [i, name] of SERVICES.entries()) {
    const key = `HEARTH_SERVICES_${name.toUpperCase().replace('-', '_')}`
    engine.env[`${key}_URL`] = `http://127.0.0.1:${ports[i]}`
    engine.env[`${key}_HEALTH_INTERVAL`] = '200ms'
  }
  await engine.start()
  const children = new Map<string, ChildProcess>()
  t.after(() => {
    for (const child of children.values()) child.kill('SIGKILL')
  })
  for (const [i, name] of SERVICES.entries()) {
    const env = { ...cleanEnvironment(), PORT: String(ports[i]), HEARTH_SOCKET: engine.socket }
    const options = { cwd: engine.folder, env, stdio: 'inherit' } as const
    children.set(name, spawn(process.execPath, [`${name}.mjs`], options))
  }
  const hearth = await engine.connect()
  const until = async (isSo: () => Promise<boolean>) => {
    const deadlineMs = performance.now() + 15_000
    while (!(await isSo())) {
      assert.ok(performance.now() < deadlineMs, `not in time:\n${engine.log()}`)
      await sleep(50)
    }
  }
  const statusOf = async (name: string) => (await hearth.health()).parts[`service.${name}`]!.status
  const states = async () => Object.values((await hearth.stats()).services).map(({ up }) => up)
  await until(async () => (await states()).every(up => up === true))

  const decide = async (above: number) => {
    const query = { sensor: 'kitchen_temp_c', other: 'living_room_temp_c', above }
    const answer = await hearth.service('automation').get('/decide', { query })
    assert.equal(answer.status, 200, answer.text())
    return answer.json<{ value: number; related: number; decision: string }>()
  }
  const first = await decide(0)
  assert.equal(first.decision, 'ventilate')
  assert.ok(first.related > 0.5 && first.related <= 1, `correlation ${first.related}`)
  assert.equal((await decide(100)).decision, 'wait')

  // A write ends what was kept of the table, wherever.
  const api = hearth.service('data-api')
  const latest = async () => {
    const { headers, ...answer } = await api.get('/latest', { query: { sensor: 'kitchen_temp_c' } })
    const { value } = JSON.parse(answer.body.toString()) as { value: number }
    return [value, headers['x-source']]
  }
  assert.deepEqual(await latest(), [first.value, 'memory'])
  const recorded = await api.post('/record', undefined, {
    query: { sensor: 'kitchen_temp_c', value: 99.5 },
  })
  assert.equal(recorded.status, 200, recorded.text())
  assert.deepEqual(await latest(), [99.5, 'primary'])

  // Without `query` the pattern is still known, and who depends on it is degraded.
  children.get('query')!.kill('SIGKILL')
  assert.equal((await decide(0)).related, first.related)
  await until(async () => (await statusOf('query')) === 'down')
  await until(async () => (await statusOf('pattern')) === 'degraded')
  assert.equal(await statusOf('data-api'), 'ok')
})

test('the service that was moved over does what it did before', async t => {
  const engine = prepare(t, { HEARTH_POSTGRES_URL: url })
  await engine.start()
  writePackage(engine.folder)
  const after = outcomeOf(engine, 'after.mjs', '+')
  assert.deepEqual(after, {
    known: 19.5,
    again: 19.5,
    told: ['reading:moved', { value: 20.5 }],
    afterwards: 20.5,
    missing: null,
  })
  const hasRedis = spawnSync('redis-server', ['--version']).status === 0
  if (!hasRedis || !existsSync(join(RIVALS, 'ioredis')))
    return t.diagnostic('no Redis here, or no clients of it: only what it became was run')
  const socket = join(engine.folder, 'redis.sock')
  const settings = ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', engine.folder]
  const redis = spawn('redis-server', settings, { stdio: 'ignore' })
  t.after(() => void redis.kill('SIGKILL'))
  while (!existsSync(socket)) await sleep(10)
  assert.deepEqual(outcomeOf(engine, 'before.mjs', '-', socket), after)
})

/** What the module does for its callers: read twice, write, be told, read again. */
const DRIVER = `
const told = Promise.withResolvers()
await onReading((channel, message) => told.resolve([channel, message]))
await record('2016-06-01 00:00', 'moved', 19.5)
await told.promise
const [known, again] = [await latest('moved'), await latest('moved')]
const second = Promise.withResolvers()
await onReading((channel, message) => message.value === 20.5 && second.resolve([channel, message]))
await record('2016-06-01 00:10', 'moved', 20.5)
const results = { known, again, told: await second.promise, afterwards: await latest('moved'), missing: (await latest('none')) ?? null }
await close()
console.log(JSON.stringify(results))
`

/** Runs one side of the diff on its own database rows; they are removed before the other is run. */
function outcomeOf(engine: ServedEngine, file: string, side: '+' | '-', redis = ''): unknown {
  const diff = /^```diff\n(.*?)^```/ms.exec(README)![1]!
  const lines = diff.split('\n').filter(line => line === '' || line[0] === ' ' || line[0] === side)
  writeFileSync(
    join(engine.folder, file),
    lines.map(line => line.slice(1)).join('\n') + DRIVER + CLEANUP[side],
  )
  const env = {
    ...cleanEnvironment(),
    HEARTH_SOCKET: engine.socket,
    DATABASE_URL: url,
    REDIS_URL: redis,
  }
  const options = { cwd: engine.folder, env, encoding: 'utf8', timeout: 20_000 } as const
  const { stdout, stderr } = spawnSync(process.execPath, [file], options)
  assert.equal(stderr, '')
  return JSON.parse(stdout)
}

/** After the module's own close(), by the same driver that it had. */
const CLEANUP = {
  '+': `const own = await connect()
await own.db.query("delete from readings where sensor = 'moved'")
await own.cache.delete('latest:moved')
await own.close()`,
  '-': '',
}

/** The example's files by name, and its configuration. */
function files(): Map<string, string> {
  const found = [
    ...README.matchAll(/^```(?:ts|toml)\n(?:\/\/|#) ([\w-]+\.(?:mjs|toml))(.*?)^```/gms),
  ]
  return new Map(found.map(([, name, rest]) => [name!, `//${rest}`.replace(/^\/\/\n/, '')]))
}

function writePackage(folder: string): void {
  const modules = join(folder, 'node_modules')
  mkdirSync(modules)
  symlinkSync(PROJECT, join(modules, 'hearth'))
  for (const name of ['ioredis', 'pg'])
    if (existsSync(join(RIVALS, name))) symlinkSync(join(RIVALS, name), join(modules, name))
}
