/** The embedded Postgres: starts, stops, comes back, refuses and recovers, and takes the sample data.
 *  Owns:   temporary folders and servers.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  no server and no folder is left behind. */

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../engine/clock.ts'
import { type EmbeddedPostgres, startPostgres } from '../engine/dev/embedded_postgres.ts'
import { findBinaries, isTraversable, serverUser } from '../engine/dev/postgres_binaries.ts'
import { choosePlaces } from '../engine/dev/postgres_places.ts'
import { loadSampleData, SAMPLE_ROWS_COUNT } from '../engine/dev/sample_data.ts'
import type { HearthError } from '../engine/errors.ts'
import { temporaryFolder } from './helpers/postgres_template.ts'
import { WireClient } from './helpers/postgres_wire.ts'

const isRoot = process.getuid?.() === 0
const folder = temporaryFolder()
const dataDir = join(folder, 'data')
let server: EmbeddedPostgres

before(async () => {
  const startedMs = monotonicMs()
  server = await startPostgres({ dataDir, settings: { fsync: 'off' }, removeOnDeath: folder })
  console.log(`# initdb and start: ${Math.round(monotonicMs() - startedMs)} ms`)
})

after(async () => {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
})

function removeIfEmpty(path: string): void {
  if (readdirSync(path).length === 0) rmdirSync(path)
}

async function ask(sql: string): Promise<string | null> {
  const client = await WireClient.open(server.url)
  try {
    return await client.value(sql)
  } finally {
    await client.close()
  }
}

describe('a started server', () => {
  test('answers on its Unix socket and speaks UTF-8', async () => {
    assert.equal(await ask('select 6 * 7'), '42')
    assert.equal(await ask('show server_encoding'), 'UTF8')
  })

  test('opens no TCP port', async () => {
    assert.equal(await ask('show listen_addresses'), '')
  })

  test('lets only its own user and root reach the socket', () => {
    const owner = serverUser()?.uid ?? process.getuid!()
    for (const path of [
      server.socketDir,
      join(server.socketDir, `.s.PGSQL.${server.port}`),
      dataDir,
    ]) {
      const { uid, mode } = statSync(path)
      assert.equal(uid, owner, path)
      assert.equal(mode & 0o077, 0, path)
    }
  })

  test('runs as an unprivileged user when we are root', { skip: !isRoot }, () => {
    const status = readFileSync(`/proc/${server.pid}/status`, 'utf8')
    assert.equal(Number(/^Uid:\s+(\d+)/m.exec(status)![1]), serverUser()!.uid)
    assert.match(status, /^Groups:\s*\d*\s*$/m, 'no group of root is kept')
  })

  test('refuses a second server on the same data and says how to stop the first', async () => {
    await assert.rejects(startPostgres({ dataDir }), (error: HearthError) => {
      assert.equal(error.code, 'BUSY')
      assert.match(error.message, new RegExp(`kill -INT ${server.pid}`))
      return true
    })
    assert.equal(await ask('select 1'), '1')
  })
})

describe('coming back', () => {
  test('keeps its data over stop and restart, with a new process', async () => {
    await ask('create table kept as select 7 as value')
    const pid = server.pid
    await server.restart()
    assert.notEqual(server.pid, pid)
    assert.equal(await ask('select value from kept'), '7')
  })

  test('recovers after every process of it was killed at once', async () => {
    await ask('create table survived as select 8 as value')
    await ask('checkpoint')
    await server.kill()
    assert.equal(server.pid, undefined)
    assert.ok(existsSync(join(dataDir, 'postmaster.pid')), 'a crash leaves the pid file')
    await server.restart()
    assert.equal(await ask('select value from survived'), '8')
  })

  test('takes no notice of a pid file whose number belongs to another process', async () => {
    await server.stop()
    writeFileSync(join(dataDir, 'postmaster.pid'), `${process.pid}\n${dataDir}\n`)
    await server.restart()
    assert.equal(await ask('select 1'), '1')
  })
})

describe('what goes wrong is said', () => {
  test('a setting that Postgres does not know stops the start with its words', async () => {
    await server.stop()
    await assert.rejects(
      startPostgres({ dataDir, settings: { no_such_setting: '1' } }),
      (error: HearthError) => error.code === 'UNAVAILABLE' && /no_such_setting/.test(error.message),
    )
    await server.restart()
  })

  test('a folder that holds no cluster is refused and left alone', async () => {
    const other = join(folder, 'other')
    mkdirSync(other)
    writeFileSync(join(other, 'letter.txt'), 'mine')
    await assert.rejects(startPostgres({ dataDir: other }), /holds no Postgres cluster/)
    assert.deepEqual(readdirSync(other), ['letter.txt'])
  })

  test('a socket folder with too long a name is refused before anything starts', async () => {
    await assert.rejects(
      startPostgres({ dataDir, socketDir: join(folder, 'x'.repeat(100)) }),
      (error: HearthError) => error.code === 'BAD_REQUEST',
    )
  })
})

describe('places', () => {
  test('a long data folder gets a short socket folder', () => {
    const user = serverUser()
    const places = choosePlaces(
      { dataDir: join(folder, 'y'.repeat(100), 'data'), port: 5432 },
      user,
    )
    assert.ok(places.socketDir.length < 60, places.socketDir)
    assert.equal(statSync(places.socketDir).mode & 0o077, 0)
    rmSync(places.socketDir, { recursive: true })
  })

  test('as root, data below a private folder goes where the server can reach it', {
    skip: !isRoot,
  }, () => {
    const closed = join(folder, 'closed')
    mkdirSync(closed, { mode: 0o700 })
    const places = choosePlaces({ dataDir: join(closed, 'data'), port: 5432 }, serverUser())
    assert.ok(!places.dataDir.startsWith(closed), places.dataDir)
    assert.ok(isTraversable(dirname(places.dataDir), serverUser()!))
    rmSync(places.socketDir, { recursive: true })
    removeIfEmpty(dirname(places.dataDir))
  })

  test('a symlink planted in place of the socket folder is refused', () => {
    const link = join(folder, 'planted')
    execFileSync('ln', ['-s', '/tmp', link])
    assert.throws(
      () => choosePlaces({ dataDir, socketDir: link, port: 5432 }, serverUser()),
      /not a folder/,
    )
  })
})

test('missing library links are made again', () => {
  const native = dirname(dirname(findBinaries(serverUser()).postgres))
  const links: { source: string; target: string }[] = JSON.parse(
    readFileSync(join(native, 'pg-symlinks.json'), 'utf8'),
  )
  for (const { target } of links)
    assert.ok(lstatSync(join(native, '..', target)).isSymbolicLink(), target)
  assert.ok(
    existsSync(join(native, 'lib', 'libicui18n.so.60')),
    'the one without which nothing starts',
  )
})

test('a package installed without scripts, below a private folder, still runs', {
  skip: !isRoot,
}, () => {
  // A copy of the project in miniature: the package without its links, in a folder that only root may enter.
  const project = join(folder, 'project')
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const root = join(import.meta.dirname, '..')
  cpSync(join(root, 'engine'), join(project, 'engine'), {
    recursive: true,
    filter: path => !path.endsWith('.csv'),
  })
  writeFileSync(join(project, 'package.json'), '{"type":"module"}')
  cpSync(join(root, 'node_modules', name), join(project, 'node_modules', name), {
    recursive: true,
    filter: path => !lstatSync(path).isSymbolicLink() && !path.endsWith('.a'),
  })
  execFileSync('chmod', ['0700', project])
  const script = `
    import { startPostgres } from ${JSON.stringify(join(project, 'engine/dev/embedded_postgres.ts'))}
    const server = await startPostgres({ dataDir: ${JSON.stringify(join(folder, 'project-data'))} })
    console.log(server.pid > 0 ? 'started' : 'not started')
    await server.stop()`
  const cache = '/var/cache/hearth'
  const before = existsSync(cache) ? readdirSync(cache) : []
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: project,
  })
  assert.equal(out.toString().trim(), 'started')
  for (const made of readdirSync(cache)) {
    if (!before.includes(made)) rmSync(join(cache, made), { recursive: true })
  }
  removeIfEmpty(cache)
})

for (const [state, act] of [
  ['running', ''],
  ['stopped', 'await server.stop()'],
  ['restarted', 'await server.restart()'],
] as const) {
  test(`a ${state} server and its folder go when the process that started it is killed`, async () => {
    const doomed = temporaryFolder()
    const script = `
      import { startPostgres } from ${JSON.stringify(join(import.meta.dirname, '../engine/dev/embedded_postgres.ts'))}
      const server = await startPostgres({ dataDir: ${JSON.stringify(join(doomed, 'data'))},
        settings: { fsync: 'off' }, removeOnDeath: ${JSON.stringify(doomed)} })
      const pid = server.pid
      ${act}
      console.log(server.pid ?? pid)
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const pid = Number(await new Promise<Buffer>(resolve => child.stdout.once('data', resolve)))
    assert.equal(existsSync(`/proc/${pid}`), state !== 'stopped')
    child.kill('SIGKILL')
    const untilMs = monotonicMs() + 5_000
    const isLeft = () => existsSync(`/proc/${pid}`) || existsSync(doomed)
    while (isLeft() && monotonicMs() < untilMs) await sleep(20)
    assert.ok(!existsSync(`/proc/${pid}`), 'the server is gone')
    assert.ok(!existsSync(doomed), 'its folder too')
  })
}

test('the sample data loads once, whole, and can be asked', async () => {
  const client = await WireClient.open(server.url)
  const query = (sql: string, params: string[]) => client.query(sql, params)
  const steps: number[] = []
  const startedMs = monotonicMs()
  const loaded = await loadSampleData({ query, onProgress: rowsLoaded => steps.push(rowsLoaded) })
  console.log(`# sample data: ${Math.round(monotonicMs() - startedMs)} ms`)
  assert.equal(loaded, SAMPLE_ROWS_COUNT)
  assert.equal(steps.at(-1), SAMPLE_ROWS_COUNT)
  assert.ok(steps.length > 10, 'progress is shown on the way')
  assert.equal(await client.value('select count(*) from readings'), '128232')
  assert.equal(await client.value('select count(distinct sensor) from readings'), '26')
  assert.equal(
    await client.value(
      `select value from readings where sensor = 'kitchen_temp_c' order by at limit 1`,
    ),
    '19.89',
  )
  assert.equal(await loadSampleData({ query }), 0, 'the second time there is nothing to do')
  assert.equal(await client.value('select count(*) from readings'), '128232')
  await client.close()
})

test('a load that was cut off is begun anew', async () => {
  const client = await WireClient.open(server.url)
  await client.query('drop table readings; create table readings_loading (at int); checkpoint')
  await loadSampleData({ query: (sql, params) => client.query(sql, params) })
  assert.equal(await client.value('select count(*) from readings'), '128232')
  await client.close()
})
