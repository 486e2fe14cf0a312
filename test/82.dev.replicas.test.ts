/** hearth dev --replicas: replicas of the embedded Postgres, and what dev does by itself for those that cannot help themselves.
 *  Owns:   the folders and processes of each test.   Thread: main of a test process.   Runs: beside others.
 *          `HEARTH_TEST_FULL=1` for the promotion, which takes three starts. */

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect, type Hearth } from '../engine/client/index.ts'
import { urlOf } from '../engine/dev/embedded_postgres.ts'
import { serverUser } from '../engine/dev/postgres_binaries.ts'
import { choosePlaces } from '../engine/dev/postgres_places.ts'
import { childrenOf, isAlive, readPid } from '../engine/dev/postgres_process.ts'
import { hearth, processesLeft, projectFolder, type Running, start } from './helpers/cli.ts'
import { freePort } from './helpers/free_port.ts'
import { until } from './helpers/postgres_pool.ts'
import { WireClient } from './helpers/postgres_wire.ts'

const MENDED_MS_MAX = 20_000
const env = { HEARTH_HTTP_LISTEN: `127.0.0.1:${await freePort()}` }
const skip = process.env['HEARTH_TEST_FULL'] !== '1' && 'HEARTH_TEST_FULL=1 runs it (10 s)'

interface Server {
  name: string
  role: string
  state: string
  isStreaming: boolean
  timeline: number
}

/** A running `hearth dev`, and its servers asked past it. */
class Dev {
  readonly running: Running
  readonly folder: string
  hearth!: Hearth

  constructor(t: TestContext, folder: string, replicaCount: number) {
    this.folder = folder
    const command = ['dev', '--replicas', String(replicaCount), '--json']
    this.running = start(command, { cwd: folder, env })
    t.after(async () => {
      this.running.child.kill('SIGKILL')
      await processesLeft(folder, MENDED_MS_MAX)
    })
  }

  async ready(): Promise<void> {
    await this.running.untilSaid('"event":"ready"')
    this.hearth = await connect({
      socket: join(this.folder, '.hearth/hearth.sock'),
      failOpen: false,
    })
  }

  places(folder: string) {
    const dataDir = join(this.folder, '.hearth', folder)
    return choosePlaces({ dataDir, port: 5432 }, serverUser())
  }

  async value(folder: string, sql: string): Promise<string | null> {
    const client = await WireClient.open(urlOf(this.places(folder).socketDir, 5432))
    try {
      return await client.value(sql)
    } finally {
      await client.close()
    }
  }

  signal(folder: string, name: NodeJS.Signals): void {
    const pid = Number(readPid(this.places(folder).dataDir)[0])
    for (const each of [pid, ...childrenOf(pid)]) process.kill(each, name)
  }

  async servers(): Promise<Server[]> {
    return ((await this.hearth.stats()).pools['main']!['servers'] ?? []) as Server[]
  }

  async isWell(name: string): Promise<boolean> {
    const found = (await this.servers()).find(server => server.name === name)
    return found?.state === 'up' && found.isStreaming
  }

  /** What it said of its care, by server. */
  care(): string[] {
    return this.running
      .stdout()
      .split('\n')
      .filter(line => line.includes('"event":"care"'))
      .map(line => JSON.parse(line))
      .map(({ server, what }) => `${server} ${what}`)
  }

  async stop(): Promise<void> {
    await this.hearth.close()
    this.running.child.kill('SIGTERM')
    const { code, stderr } = await this.running.ended
    assert.deepEqual([code, stderr], [0, ''])
    assert.deepEqual(await processesLeft(this.folder, 5_000), [])
  }
}

test('a replica that ended, and one whose log is gone, are at work again by themselves', async t => {
  const dev = new Dev(t, projectFolder(t), 2)
  await dev.ready()
  const { hearth, folder } = dev
  await until('both serve', async () => (await dev.isWell('1')) && (await dev.isWell('2')))
  const sources = new Set<string>()
  await until('they are read from', async () => {
    const sql = 'select count(*)::int as n from readings where sensor = $1'
    sources.add((await hearth.db.query(sql, ['x'])).source)
    return sources.has('replica:1') && sources.has('replica:2')
  })

  dev.signal('replica-1', 'SIGKILL')
  await until(
    'it is started again',
    () => dev.care().join() === '1 restarting,1 mended',
    MENDED_MS_MAX,
  )
  await until('it is well', () => dev.isWell('1'), MENDED_MS_MAX)

  dev.signal('replica-2', 'SIGSTOP')
  const frozen = Number(readPid(dev.places('replica-2').dataDir)[0])
  await hearth.db.query('create table later (n int)')
  for (let i = 0; i < 12; i++) {
    await dev.value('postgres', `insert into later values (${i}); select pg_switch_wal()`)
    if (i % 4 === 3) await dev.value('postgres', 'checkpoint')
  }
  dev.signal('replica-2', 'SIGCONT')
  const wanted = '1 restarting,1 mended,2 copying,2 mended'
  await until('it is copied anew', () => dev.care().join() === wanted, MENDED_MS_MAX)
  await until('it is well', () => dev.isWell('2'), MENDED_MS_MAX)
  assert(!isAlive(frozen), 'it is another server')
  assert.equal(await dev.value('replica-2', 'select count(*) from later'), '12')
  const places = dev.places('replica-2')
  for (const left of ['.new', '.old']) assert(!existsSync(`${places.dataDir}${left}`), left)
  const log = readFileSync(join(folder, '.hearth/engine.log'), 'utf8')
  assert.match(
    log,
    /"message":"replica 2: the primary no longer has the log that it needs: copying/,
  )
  dev.signal('replica-1', 'SIGSTOP')
  await dev.stop()
})

test('after a promotion the old primary becomes a replica, and the next start knows who is who', {
  skip,
}, async t => {
  const folder = projectFolder(t)
  const dev = new Dev(t, folder, 1)
  await dev.ready()
  await until('it serves', () => dev.isWell('1'))
  await dev.value('replica-1', 'select pg_promote()')
  await until(
    'it takes writes',
    async () => {
      const asked = dev.hearth.db.query('create table if not exists later (n int)')
      await asked.catch(() => undefined)
      return (await dev.value('replica-1', `select to_regclass('later')`)) === 'later'
    },
    MENDED_MS_MAX,
  )
  await until(
    'the other follows it',
    () => dev.care().join() === 'url copying,url mended',
    MENDED_MS_MAX,
  )
  await until('it is well', () => dev.isWell('url'), MENDED_MS_MAX)
  await dev.hearth.db.query('insert into later values (7)')
  await until('it has what was written', async () => {
    return (await dev.value('postgres', 'select max(n) from later')) === '7'
  })
  assert(existsSync(`${dev.places('postgres').dataDir}.old`), 'what only the old one had is kept')
  await dev.stop()

  const alone = new Dev(t, folder, 0)
  await alone.ready()
  assert.equal((await alone.hearth.db.query('select n from later')).rows[0]?.['n'], 7)
  await alone.hearth.db.query('insert into later values (8)')
  await alone.stop()

  const again = new Dev(t, folder, 1)
  await again.ready()
  await until('both are well', () => again.isWell('1'), MENDED_MS_MAX)
  assert.deepEqual(
    (await again.servers()).map(({ name, role, timeline }) => [name, role, timeline]),
    [
      ['url', 'primary', 2],
      ['1', 'replica', 2],
    ],
  )
  await until('it has all', async () => {
    return (await again.value('replica-1', 'select max(n) from later')) === '8'
  })
  await again.stop()
})

test('a number of replicas that cannot be is refused before anything is started', async t => {
  const folder = projectFolder(t)
  for (const wrong of ['4', '-1', 'two', '1.5']) {
    const { code, stderr } = await hearth(['dev', '--replicas', wrong], { cwd: folder })
    assert.equal(code, 2)
    assert.match(stderr, /--replicas: found ".*", expected a number from 0 to 3/)
  }
  assert(!existsSync(join(folder, '.hearth')))
})
